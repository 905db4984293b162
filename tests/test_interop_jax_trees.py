"""Trees as pytrees, keys, what is drawn, bends and ties, and what is refused."""

import pickle

import jax_cases
import numpy as np
import pytest

import fnn
from fnn import Key, Tree, tree

jax = pytest.importorskip("jax")
room = pytest.importorskip("fnn.interop.jax")
jnp, to_jax, jax_key = jax.numpy, room.to_jax, room.jax_key

ONES = np.ones((4, 3), "float32")


# --- trees ------------------------------------------------------------------------------------


def test_a_tree_is_a_pytree_with_its_paths():
    params = Tree({"b": {"w": np.ones(2)}, "a": {"w": np.zeros(3)}})
    leaves, shape = jax.tree.flatten(params)
    assert [leaf.shape for leaf in leaves] == [(3,), (2,)]
    assert jax.tree.unflatten(shape, leaves) == params
    paths = [jax.tree_util.keystr(path, simple=True, separator="/")
             for path, _ in jax.tree_util.tree_leaves_with_path(params)]  # fmt: skip
    assert paths == [path for path, _ in tree.items(params)]
    assert jax.tree.structure(params) == jax.tree.structure(Tree({"a": params["a"], "b": params["b"]}))
    assert jax.tree.leaves(Tree()) == []


def test_what_jax_makes_of_a_tree_is_one_that_nobody_can_change():
    params = Tree({"a": {"w": np.ones(2, "float32")}})
    doubled = jax.jit(lambda p: jax.tree.map(lambda leaf: 2 * leaf, p))(params)
    assert type(doubled) is type(doubled["a"]) is Tree
    assert isinstance(doubled["a"]["w"], jax.Array)
    with pytest.raises(TypeError, match="immutable"):
        doubled["a"] = 1
    back = jax.device_get(doubled)
    assert type(back["a"]["w"]) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        back["a"]["w"][0] = 3
    assert back == pickle.loads(pickle.dumps(doubled)) == Tree({"a": {"w": np.full(2, 2.0)}})
    assert repr(doubled) == "Tree(a: Tree(w: float32[2]))"


def test_a_tree_of_other_things_than_arrays_prints():
    params = Tree({"a": {"w": np.ones(2)}})
    assert repr(jax.tree.map(lambda leaf: leaf.ndim > 1, params)) == "Tree(a: Tree(w: False))"
    assert repr(jax.tree.map(lambda leaf: None, params)) == "Tree(a: Tree(w: None))"


def test_dicts_come_back_as_dicts():
    net = fnn.serial(fnn.Dense(2), fnn.BatchNorm())
    _, params, state = net.init(Key.of(0), (3,))
    plain, carried = ({name: dict(own) for name, own in each.items()} for each in (params, state))
    carried["dense_0"] = {}
    _, moved = to_jax(net)(plain, carried, ONES, train=True)
    assert type(moved) is type(moved["batch_norm_0"]) is dict
    assert moved["dense_0"] == {}
    assert type(jax.grad(lambda p: to_jax(net)(p, carried, ONES)[0].sum())(plain)["dense_0"]) is dict


# --- keys and draws -----------------------------------------------------------------------------


def test_a_key_of_ours_is_one_of_jax_by_all_its_bits():
    data = {bytes(np.asarray(jax.random.key_data(jax_key(Key(bytes(i) + b"\1" + bytes(15 - i))))))
            for i in range(16)}  # fmt: skip
    assert len(data) == 16
    same = [jax_key(Key.of(3)) for _ in range(2)]
    assert jnp.array_equal(*map(jax.random.key_data, same))


@pytest.mark.parametrize(
    "key",
    [0, np.int64(0), np.uint8(0), jnp.asarray(0), jax.random.key(0), jax.random.PRNGKey(0)],
    ids=repr,
)
def test_integers_and_keys_of_jax_are_keys(key):
    assert jnp.array_equal(jax.random.key_data(jax_key(key)), jax.random.key_data(jax.random.key(0)))
    assert jnp.array_equal(*(jax.random.key_data(f(key)) for f in (jax_key, jax.jit(jax_key))))


@pytest.mark.parametrize(
    "key", [True, "a", 0.5, jax.random.split(jax.random.key(0)), np.ones(2)], ids=repr
)
def test_what_is_no_key_is_refused(key):
    net = fnn.serial(fnn.Dropout(0.5))
    with pytest.raises(fnn.OptionError, match=r"serial .*key: expected a fnn.Key, one key of JAX"):
        to_jax(net)({}, {}, ONES, train=True, key=key)


def test_training_with_draws_needs_a_key():
    apply = to_jax(fnn.serial(fnn.Dropout(0.5)))
    with pytest.raises(fnn.OptionError, match=r"serial/dropout_0 .*expected a key when train=True"):
        apply({}, {}, ONES, train=True)
    assert np.array_equal(apply({}, {}, ONES)[0], ONES)


@pytest.mark.parametrize(
    ("layer", "axes"),
    [
        (fnn.Dropout(0.25), ()),
        (fnn.SpatialDropout(0.25), (2, 3)),
        (fnn.StochasticDepth(0.25), (1, 2, 3)),
    ],
    ids=repr,
)
def test_dropout_drops_at_its_rate_and_scales_the_rest(layer, axes):
    x = np.ones((300, 20, 2, 2), "float32")
    y = np.asarray(to_jax(layer)({}, {}, x, train=True, key=1)[0])
    assert set(np.unique(y)) == {0, np.float32(4 / 3)}
    shares = y.max(axis=axes, keepdims=True)
    assert np.array_equal(np.broadcast_to(shares, y.shape), y)
    assert abs((shares == 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / shares.size)
    again = to_jax(layer)({}, {}, x, train=True, key=1)[0]
    other = to_jax(layer)({}, {}, x, train=True, key=2)[0]
    assert np.array_equal(y, again)
    assert not np.array_equal(y, other)


def test_noise_has_its_spread():
    y, _ = to_jax(fnn.GaussianNoise(0.5))({}, {}, np.zeros((200, 100), "float32"), train=True, key=0)
    assert y.dtype == np.float32
    assert abs(float(y.std()) - 0.5) < 0.01
    assert abs(float(y.mean())) < 0.01


def test_a_layer_more_of_another_kind_changes_no_mask():
    one, two = fnn.serial(fnn.Dropout(0.5)), fnn.serial(fnn.Identity(), fnn.Dropout(0.5))
    masks = [to_jax(net)({}, {}, ONES, train=True, key=Key.of(5))[0] for net in (one, two)]
    assert np.array_equal(*masks)
    twice = fnn.serial(fnn.named("a", fnn.Dropout(0.5)), fnn.named("b", fnn.Dropout(0.5)))
    x = np.ones((50, 50), "float32")
    both = to_jax(twice)({}, {}, x, train=True, key=0)[0]
    assert abs(float((both > 0).mean()) - 0.25) < 0.05
    again = to_jax(fnn.shared(fnn.Dropout(0.5), 2))({}, {}, x, train=True, key=0)[0]
    assert abs(float((again > 0).mean()) - 0.25) < 0.05


def test_stacked_members_draw_each_for_itself():
    net = fnn.stacked(fnn.serial(fnn.Dropout(0.5)), 3)
    y, _ = to_jax(net)({}, {}, np.ones((50, 4), "float32"), train=True, key=0)
    assert y.shape == (50, 3, 4)
    assert not np.array_equal(y[:, 0], y[:, 1])
    with pytest.raises(fnn.OptionError, match="expected a key"):
        to_jax(net)({}, {}, ONES, train=True)


# --- bends, ties and values that are not finite -------------------------------------------------

BENT = [
    fnn.Relu(), fnn.LeakyRelu(0.3), fnn.Relu6(), fnn.HardTanh(), fnn.HardSigmoid(), fnn.HardSwish(),
    fnn.Abs(), fnn.Elu(0.5), fnn.Selu(), fnn.Softsign(), fnn.Softplus(), fnn.Gelu(), fnn.Mish(),
    fnn.Silu(), fnn.LogSigmoid(), fnn.Celu(2.0),
]  # fmt: skip


def derivative(layer, x, params=Tree()):  # noqa: B008 - it cannot change.
    dy = np.random.default_rng(3).normal(size=np.shape(layer.apply(params, {}, x)[0])).astype("float32")
    theirs = jax.jit(lambda x: jax.vjp(lambda x: to_jax(layer)(params, {}, x)[0], x)[1](dy)[0])
    return np.asarray(theirs(x)), layer.vjp(params, {}, x)[2](dy)[1]


@pytest.mark.parametrize("layer", BENT, ids=repr)
def test_at_a_bend_and_far_out_a_derivative_is_ours(layer):
    x = np.array([[0.0, -0.0, 1, -1, 3, -3, 6, -6, 90, -90, 200, -200]], "float32")
    got, want = derivative(layer, x)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        to_jax(layer)({}, {}, x)[0], layer.apply({}, {}, x)[0], rtol=1e-5, atol=1e-6
    )
    assert np.isnan(to_jax(layer)({}, {}, np.full((1, 1), np.nan, "float32"))[0])


@pytest.mark.parametrize(
    "layer",
    [fnn.MaxPool(2), fnn.MaxPool(3, stride=1, padding=1), fnn.MaxPool(2, dilation=2), fnn.MinPool(2),
     fnn.GlobalMaxPool(), fnn.Maxout(2, axis=1), fnn.Sparsemax()],
    ids=repr,
)  # fmt: skip
def test_of_values_that_tie_the_first_has_the_derivative(layer):
    x = np.random.default_rng(0).integers(0, 2, (5, 4, 6, 6)).astype("float32")
    np.testing.assert_allclose(*derivative(layer, x), atol=1e-5)


def test_of_arrays_that_tie_the_first_has_the_derivative():
    layer = fnn.serial(fnn.fan_out(3), fnn.fan_in("max"))
    np.testing.assert_array_equal(*derivative(layer, ONES))
    x = tuple(np.array([[a, 1, 2, np.nan]], "float32") for a in (2, 2, 1))
    got = to_jax(fnn.fan_in("max"))({}, {}, x)[0]
    np.testing.assert_array_equal(got, fnn.fan_in("max").apply({}, {}, x)[0])


# --- what is not in the table of layers ------------------------------------------------------------


def test_the_vectors_of_a_spectral_norm_move_as_ours_and_stand_still_where_frozen():
    inside = fnn.serial(fnn.Dense(3), fnn.frozen(fnn.Dense(3)), fnn.BatchNorm())
    net = fnn.serial(
        fnn.spectral_norm(inside, iterations=2), fnn.spectral_norm(fnn.Conv(2, 1, bias=False))
    )
    net = fnn.serial(net.children[0][1])
    _, params, state = net.init(Key.of(0), (3,))
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    params = tree.map(lambda leaf: leaf + 0.1, params)
    for train in (False, True):
        jax_cases.agrees(net, params, state, x, "float32", train=train)


def test_what_is_frozen_has_no_derivative_and_runs_in_evaluation():
    net = fnn.serial(
        fnn.frozen(fnn.serial(fnn.Dense(3), fnn.BatchNorm(), fnn.Dropout(0.5))), fnn.Dense(2)
    )
    _, params, state = net.init(Key.of(0), (3,))
    apply = to_jax(net)
    y, moved = jax.jit(apply, static_argnames="train")(params, state, ONES, train=True)
    np.testing.assert_allclose(y, net.apply(params, state, ONES, train=True)[0], atol=1e-6)
    assert jax.device_get(moved) == state
    grads = jax.jit(jax.grad(lambda p: apply(p, state, ONES, train=True)[0].sum()))(params)
    assert not any(map(np.any, jax.tree.leaves(grads["serial_0"])))
    assert np.any(grads["dense_0"]["w"])


@fnn.constructor
def Doubled(width):
    """Repeat a block, and merge two ways by name."""
    return fnn.serial(
        fnn.repeat(fnn.Dense(width), 2), fnn.branch(fnn.Tanh(), fnn.Identity(), merge="concat")
    )


@fnn.constructor
def Repeated():
    return fnn.repeat(fnn.branch(fnn.Tanh(), fnn.Identity(), merge="mean"), 2)


@pytest.mark.parametrize("layer", [Doubled(3), Repeated()], ids=repr)
def test_a_constructor_of_a_composition_needs_no_rule(layer):
    _, params, state = layer.init(Key.of(0), (3,))
    y, _ = to_jax(layer)(params, state, ONES)
    np.testing.assert_allclose(y, layer.apply(params, state, ONES)[0], atol=1e-6)


def test_sixteen_bits_are_enough_for_jax():
    net = fnn.serial(fnn.Embedding(5, 4), fnn.TransformerBlock(2, positions="rotary"), fnn.LSTM(3))
    _, params, state = net.init(Key.of(0), (6,))
    tokens = np.arange(12).reshape(2, 6) % 5
    half = jax.tree.map(lambda leaf: jnp.asarray(leaf, "bfloat16"), params)
    y, _ = jax.jit(to_jax(net))(half, state, tokens)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype("float32"), net.apply(params, state, tokens)[0], atol=0.05)


# --- what is refused ------------------------------------------------------------------------------


@fnn.constructor
def Strange():
    return fnn.elementwise("strange", lambda x: x, lambda x, y, dy: dy)


@pytest.mark.parametrize(
    ("net", "path"),
    [
        (fnn.serial(fnn.Dense(2), fnn.residual(Strange())), "serial/residual_0/strange_0"),
        (
            fnn.branch(fnn.Relu(), merge=fnn.serial(fnn.fan_in("sum"), Strange())),
            "branch/merge/strange_0",
        ),
        (fnn.serial(fnn.remat(fnn.named("odd", Strange()))), "serial/odd"),
        (fnn.TransformerBlock(1, activation=Strange()), "transformer_block/mlp/strange_0"),
        (fnn.stacked(fnn.serial(Strange()), 2), "stacked/strange_0"),
        (fnn.tied_embedding(3, 2, Strange()), "tied_embedding/strange_0"),
        (fnn.vmap(fnn.serial(fnn.shared(Strange(), 2))), "serial/shared_0/strange_0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_rule_is_refused_by_path_before_any_call(net, path):
    expected = rf"^{path} .*expected a layer that JAX can express, got Strange\(\).*rules.of\(Strange\)"
    with pytest.raises(fnn.OptionError, match=expected):
        to_jax(net)


def test_a_cell_without_a_rule_is_refused():
    cell = fnn.make_cell("odd", lambda s: (s, s, {}), lambda p, c, x: (c, x, None))
    with pytest.raises(fnn.OptionError, match="expected a layer that JAX can express"):
        to_jax(fnn.serial(fnn.rnn(cell)))


NET = fnn.serial(fnn.Dense(2), fnn.named("norm", fnn.BatchNorm()))
_, PARAMS, STATE = NET.init(Key.of(0), (3,))


@pytest.mark.parametrize(
    ("params", "state", "x", "error", "message"),
    [
        (PARAMS, STATE, ONES[:, :2], fnn.ShapeError, r"/dense_0 .*w of shape \(2, 2\), got \(3, 2\)"),
        (PARAMS, STATE, ONES.astype(int), fnn.DTypeError, r"serial/dense_0 .*expected x as floating"),
        (PARAMS, STATE, ONES.astype("complex64"), fnn.DTypeError, "floating numbers, got complex64"),
        (PARAMS, STATE, ONES.astype("float16"), fnn.DTypeError, r"expected w in float16 .*got float32"),
        (PARAMS, STATE, (ONES, ONES), fnn.ShapeError, "expected one array, got a tuple of 2"),
        (PARAMS, STATE, np.float32(1), fnn.ShapeError, r"the batch first, got \(\)"),
        ({"norm": PARAMS["norm"]}, STATE, ONES, fnn.TreeError, r"/dense_0 .*params \['b', 'w'\]"),
        (PARAMS | {"more": ONES}, STATE, ONES, fnn.TreeError, r"serial .*got \['more'\] beside them"),
        (PARAMS, {}, ONES, fnn.TreeError, r"serial/norm .*expected state \['mean', 'var'\]"),
        (PARAMS["dense_0"]["w"], STATE, ONES, fnn.TreeError, "params and state as init returns them"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_refused_by_path_also_under_jit(params, state, x, error, message):
    for apply in (to_jax(NET), jax.jit(to_jax(NET))):
        with pytest.raises(error, match=message):
            apply(params, state, x)


def test_a_mode_that_jax_traces_is_refused():
    with pytest.raises(fnn.OptionError, match=r"serial .*train: expected True or.*static_argnames"):
        jax.jit(to_jax(NET))(PARAMS, STATE, ONES, train=True)
    jax.jit(to_jax(NET), static_argnames="train")(PARAMS, STATE, ONES, train=True)
    with pytest.raises(fnn.ShapeError, match=r"serial/norm .*2 or more values per feature in training"):
        to_jax(NET)(PARAMS, STATE, ONES[:1], train=True)


def test_a_rule_that_gives_another_shape_is_refused():
    @fnn.constructor
    def Wrong():
        return fnn.elementwise("wrong", lambda x: x, lambda x, y, dy: dy)

    room.rules.of(Wrong)(lambda layer: lambda params, state, x, train, key: (x[:, :1], state))
    with pytest.raises(fnn.ShapeError, match=r"wrong .*the rule to return y with examples of \(3,\)"):
        to_jax(Wrong())({}, {}, ONES)


def test_what_values_alone_can_tell_gives_nan_for_that_example():
    _, params, state = fnn.Embedding(4, 2).init(Key.of(0), (3,))
    y, _ = to_jax(fnn.Embedding(4, 2))(params, state, np.array([[0, 3, 1], [0, -1, 1], [4, 0, 0]]))
    assert np.isnan(y).any(axis=2).tolist() == [[False] * 3, [False, True, False], [True, False, False]]
    net = fnn.GRU(2, lengths=True)
    _, params, state = net.init(Key.of(0), ((3, 2), ()))
    x = np.ones((4, 3, 2), "float32")
    y, _ = jax.jit(to_jax(net))(params, state, (x, np.array([1, 0, 3, 4])))
    assert np.isnan(y).all(axis=(1, 2)).tolist() == [False, True, False, True]
    net = fnn.MultiHeadAttention(1, mask=True)
    _, params, state = net.init(Key.of(0), ((3, 2), (3,)))
    mask = np.array([[True, False, False], [False] * 3])
    y, _ = jax.jit(to_jax(net))(params, state, (x[:2], mask))
    assert np.isnan(y).any(axis=(1, 2)).tolist() == [False, True]


def test_a_query_that_may_see_no_step_gets_zeros_and_sound_derivatives():
    net = fnn.MultiHeadAttention(1, mask=True, causal=True)
    shape = (3, 2), (3,)
    params, state = jax_cases.trees(net, shape, "float32")
    x = jax_cases.inputs(net, shape, "float32")[0], np.array([[False, True, False]] * 3)
    jax_cases.agrees(net, params, state, x, "float32", train=False)
    y, _ = jax.jit(to_jax(net))(params, state, x)
    np.testing.assert_allclose(y[:, 0], params["b_o"][None].repeat(3, 0))


def test_what_is_carried_is_never_differentiated():
    net = fnn.serial(fnn.Dense(2), fnn.BatchNorm(), fnn.spectral_norm(fnn.Dense(2)))
    _, params, state = net.init(Key.of(0), (3,))
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")

    @jax.jit
    @jax.grad
    def through(params):
        moved = to_jax(net)(params, state, x, train=True)[1]
        return sum(leaf.sum() for leaf in jax.tree.leaves(moved))

    assert not any(map(np.any, jax.tree.leaves(through(params))))


def test_what_stands_in_the_padding_is_never_seen():
    net = fnn.serial(fnn.LSTM(2, lengths=True))
    _, params, state = net.init(Key.of(0), ((3, 2), ()))
    x = np.ones((2, 3, 2), "float32")
    x[0, 2:] = np.nan
    lengths = np.array([2, 3])
    total = jax.jit(jax.grad(lambda p: to_jax(net)(p, state, (x, lengths))[0].sum()))
    grads = total(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
