"""Layers that stand still: nothing of them moves, no optimizer sees them, dx goes through."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fnn
from fnn import Key, OptionError, frozen, named, serial, tree
from fnn.ensemble import Keys, over_members, stacked
from fnn.layers.combinators import residual
from fnn.testing import check_layer
from fnn.training.state import trained

KEY = Key.of(0)
RNG = np.random.default_rng(0)
X = (RNG.normal(size=(64, 3)) + 3).astype("float32")
Y = RNG.integers(0, 2, 64)
DATA = fnn.Dataset(X, Y)


def trunk():
    return serial(fnn.Dense(4), fnn.BatchNorm(), fnn.Relu(), fnn.Dropout(0.5))


def plain():
    return serial(named("trunk", trunk()), named("head", fnn.Dense(2)))


def held():
    return serial(frozen(named("trunk", trunk())), named("head", fnn.Dense(2)))


def bits(node):
    return tree.digest(node) if node else ""


OPTIMIZERS = [
    fnn.sgd(0.1),
    fnn.adamw(0.01, weight_decay=0.5),
    fnn.chain(fnn.clip_by_global_norm(0.01), fnn.momentum(1.0)),
    fnn.chain(fnn.add_decayed_weights(0.1), fnn.adam(0.01)),
]
optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)


@optimizers
def test_params_and_state_of_a_frozen_layer_keep_every_bit_through_a_fit(optimizer):
    first = fnn.init_train_state(held(), optimizer, (3,), KEY)
    params = tree.update(first.params, {"trunk/dense_0/b": np.full(4, -0.0, "float32")})
    fit = fnn.fit(
        held(), fnn.softmax_cross_entropy, optimizer, DATA, epochs=3, batch_size=10, key=KEY,
        params=params, validation=DATA, progress=False,
    )  # fmt: skip
    assert bits(fit.last.params["trunk"]) == bits(params["trunk"])
    assert fit.last.params["trunk"]["dense_0"]["b"] is fit.best.params["trunk"]["dense_0"]["b"]
    assert bits(fit.last.state) == bits(first.state)
    assert bits(fit.last.params["head"]) != bits(params["head"])
    assert all("trunk" not in path for path, _ in tree.items(fit.last.opt_state))


@optimizers
def test_jit_and_scan_take_the_steps_of_the_plain_step_beside_what_is_frozen(optimizer):
    step = fnn.train_step(held(), fnn.softmax_cross_entropy, optimizer)
    start = slow = quick = fnn.init_train_state(held(), optimizer, (3,), KEY)
    jitted = fnn.jit(step)
    for batch in fnn.batches(DATA, 10):
        slow, _ = step(slow, batch)
        quick, _ = jitted(quick, batch)
    last, logs = fnn.scan(step, start, fnn.batches(DATA, 10))
    assert len(logs["loss"]) == 7
    for other in (quick, last):
        for part in ("params", "state", "opt_state"):
            assert bits(getattr(slow, part)) == bits(getattr(other, part))
        assert list(other.params) == list(start.params)


def test_the_head_trains_as_it_does_alone_on_what_the_trunk_gives():
    optimizer = fnn.chain(fnn.clip_by_global_norm(0.1), fnn.adamw(0.05, weight_decay=0.1))
    now = fnn.init_train_state(held(), optimizer, (3,), KEY)
    inner = trunk()
    features, _ = inner.apply(now.params["trunk"], now.state["trunk"], X)
    head = serial(named("head", fnn.Dense(2)))
    alone = fnn.init_train_state(head, optimizer, (4,), KEY)
    step = fnn.train_step(held(), fnn.softmax_cross_entropy, optimizer)
    own = fnn.train_step(head, fnn.softmax_cross_entropy, optimizer)
    assert bits(now.params["head"]) == bits(alone.params["head"])
    for _ in range(5):
        now, logs = step(now, (X, Y))
        alone, expected = own(alone, (features, Y))
        assert logs == expected
    assert bits(now.params["head"]) == bits(alone.params["head"])
    assert bits(now.opt_state) == bits(alone.opt_state)


def test_freezing_changes_no_path_no_name_and_no_draw():
    for layer in (trunk(), fnn.Dense(3), named("mine", fnn.Dense(3)), residual(fnn.Dense(3))):
        both = [serial(each, fnn.Dense(2)).init(KEY, (3,)) for each in (layer, frozen(layer))]
        assert both[0] == both[1]
        assert frozen(layer).name == layer.name
        assert fnn.named("other", frozen(layer)).frozen == ("",)
        again = pickle.loads(pickle.dumps(frozen(layer)))
        assert again == frozen(layer) != layer
        assert repr(again) == f"frozen({layer!r})"


def test_it_runs_as_in_evaluation_and_needs_no_key():
    layer = frozen(trunk())
    _, params, state = layer.init(KEY, (3,))
    assert not layer.traits.stochastic
    assert not layer.traits.mixes_batch
    y, same, _ = layer.vjp(params, state, X, train=True)
    np.testing.assert_array_equal(y, trunk().apply(params, state, X)[0])
    assert same is state
    assert layer.apply(params, state, X, train=True)[1] is state


def test_dparams_are_zero_and_dx_is_that_of_the_layer_itself():
    for layer, shape in (
        (trunk(), (3,)),
        (serial(fnn.Conv(2, 2), fnn.Tanh(), residual(fnn.Conv(2, 1), fnn.BatchNorm())), (1, 4, 4)),
        (residual(fnn.Dense(3), shortcut=fnn.Dense(3, bias=False)), (3,)),
    ):
        x = RNG.normal(size=(5, *shape)).astype("float32")
        _, params, state = layer.init(KEY, shape)
        y, _, back = layer.vjp(params, state, x)
        dy = RNG.normal(size=y.shape).astype("float32")
        dparams, dx = frozen(layer).vjp(params, state, x, train=True)[2](dy)
        np.testing.assert_array_equal(dx, back(dy)[1])
        assert [path for path, _ in tree.items(dparams)] == [path for path, _ in tree.items(params)]
        for (path, leaf), (_, p) in zip(tree.items(dparams), tree.items(params), strict=True):
            assert leaf.shape == p.shape, path
            assert leaf.dtype == p.dtype
            assert not leaf.any()
            assert not np.signbit(leaf).any()
        assert frozen(layer).frozen_paths(params) == [path for path, _ in tree.items(params)]


def test_the_way_back_ends_at_the_last_layer_that_trains():
    calls = []

    def watched(name):
        def init(key, in_shape):
            return in_shape, {"w": np.ones(1, "float32")}, {}

        def fwd(params, state, x, train, key):
            def back(dy, *, need_dx=True):
                calls.append((name, need_dx))
                return {"w": np.zeros(1, "float32")}, dy

            return x * params["w"], state, back

        return fnn.make_layer(name, init, fwd)

    net = serial(
        frozen(serial(watched("a"), fnn.Relu())), watched("b"), frozen(watched("c")), watched("d")
    )
    _, params, state = net.init(KEY, (3,))
    y, _, back = net.vjp(params, state, X)
    dparams, _ = back(y, need_dx=False)
    assert calls == [("d", True), ("c", True), ("b", False)]
    assert dparams.keys() == params.keys()
    assert net.frozen == ("serial_0", "c_0")
    assert net.frozen_paths(params) == ["c_0/w", "serial_0/a_0/w"]


def test_a_network_frozen_in_part_trains_the_rest_of_every_branch():
    net = serial(
        residual(frozen(fnn.Dense(3)), fnn.Dense(3), shortcut=frozen(fnn.Dense(3))),
        serial(fnn.Dense(3), frozen(fnn.Dense(2))),
    )
    optimizer = fnn.adam(0.1)
    now = then = fnn.init_train_state(net, optimizer, (3,), KEY)
    for batch in fnn.batches(DATA, 16):
        then, _ = fnn.jit(fnn.train_step(net, fnn.softmax_cross_entropy, optimizer))(then, batch)
    moved = {
        path
        for (path, a), (_, b) in zip(tree.items(now.params), tree.items(then.params), strict=True)
        if a.tobytes() != b.tobytes()
    }
    expected = {
        "residual_0/dense_1/w",
        "residual_0/dense_1/b",
        "serial_0/dense_0/w",
        "serial_0/dense_0/b",
    }
    assert moved == expected
    seen = {path for path, _ in tree.items(trained(net, now.params))}
    assert seen == expected
    assert trained(plain(), now.params) is now.params


def test_a_network_that_is_frozen_altogether_stays_what_it_is():
    net, optimizer = frozen(plain()), fnn.adam(0.1)
    now = fnn.init_train_state(net, optimizer, (3,), KEY)
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    for each in (step, fnn.jit(step)):
        then, _ = each(now, (X, Y))
        assert bits(then.params) == bits(now.params)
        assert then.step == 1
    assert bits(fnn.scan(step, now, [(X, Y)])[0].params) == bits(now.params)


def test_members_of_an_ensemble_are_frozen_one_by_one():
    net = stacked(serial(frozen(fnn.Dense(4)), fnn.Relu(), fnn.Dense(2)), 3)
    optimizer = fnn.sgd(0.1)
    now = fnn.init_train_state(net, optimizer, (3,), Keys.of([0, 1, 2]))
    step = fnn.jit(fnn.train_step(net, over_members(fnn.softmax_cross_entropy), optimizer))
    then, _ = step(now, (X, Y))
    assert bits(then.params["dense_0"]) == bits(now.params["dense_0"])
    assert bits(then.params["dense_1"]) != bits(now.params["dense_1"])


def test_a_run_with_frozen_layers_goes_on_where_it_was():
    saved = []
    options = {"batch_size": 10, "key": KEY, "progress": False}
    loss, optimizer = fnn.softmax_cross_entropy, fnn.adam(0.01)
    whole = fnn.fit(held(), loss, optimizer, DATA, epochs=4, **options)
    fnn.fit(held(), loss, optimizer, DATA, epochs=2, save=saved.append, **options)
    rest = fnn.fit(held(), loss, optimizer, DATA, epochs=4, start=saved[-1], **options)
    assert rest.last == whole.last
    with pytest.raises(fnn.DataError, match=r"opt_state.*trunk"):
        fnn.fit(plain(), loss, optimizer, DATA, epochs=4, start=saved[-1], **options)


def test_summaries_show_what_is_frozen():
    rows = fnn.summary(held(), (3,)).rows
    assert [(row.path, row.kind) for row in rows] == [
        ("trunk", "frozen(serial)"),
        ("trunk/dense_0", "frozen(Dense(4))"),
        ("trunk/batch_norm_0", "frozen(BatchNorm())"),
        ("trunk/relu_0", "frozen(Relu())"),
        ("trunk/dropout_0", "frozen(Dropout(0.5))"),
        ("head", "Dense(2)"),
    ]
    assert [row.flops for row in rows] == [row.flops for row in fnn.summary(plain(), (3,)).rows]


def test_only_layers_are_frozen():
    for value in (fnn.Dense, 3, None):
        with pytest.raises(OptionError, match="frozen: layer: expected a Layer, got"):
            frozen(value)


def test_models_with_frozen_layers_are_saved_and_loaded(tmp_path):
    now = fnn.init_train_state(held(), fnn.sgd(0.1), (3,), KEY)
    fnn.save_model(tmp_path / "model.npz", held(), now.params, now.state, (3,))
    net, params, state, in_shape = fnn.load_model(tmp_path / "model.npz")
    assert net == held()
    assert in_shape == (3,)
    np.testing.assert_array_equal(
        net.apply(params, state, X)[0], held().apply(now.params, now.state, X)[0]
    )


@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [
        (frozen(fnn.Dense(2)), (3,)),
        (serial(frozen(trunk()), fnn.Tanh(), fnn.Dense(2)), (3,)),
        (
            serial(fnn.Dense(3), frozen(serial(fnn.Dense(3), fnn.Tanh())), named("b", fnn.Dense(2))),
            (3,),
        ),
        (residual(frozen(fnn.Conv(2, 1)), shortcut=fnn.Conv(2, 1)), (1, 2, 3)),
        (frozen(named("mine", residual(fnn.Dense(3), fnn.Sigmoid()))), (3,)),
        (frozen(fnn.Relu()), (3,)),
    ],
    ids=repr,
)
def test_the_laws_hold_and_skip_the_derivative_in_what_is_frozen(layer, in_shape):
    check_layer(layer, in_shape)


def test_laws_refuse_a_frozen_layer_with_a_gradient_or_a_wrong_dx():
    def wrong(init, apply, vjp):
        return fnn.Layer("wrong", init, apply, vjp, frozen=("",))

    with pytest.raises(AssertionError, match="a frozen leaf's gradient is not zero; at dparams/b"):
        check_layer(wrong(*fnn.Dense(2)), (3,))

    init, apply, vjp = frozen(fnn.Dense(2))

    def doubled(*args, **options):
        y, state, back = vjp(*args, **options)
        return (
            y,
            state,
            lambda dy, *, need_dx=True: (
                back(dy)[0],
                2 * back(dy)[1] if need_dx else None,
            ),
        )

    with pytest.raises(AssertionError, match="at dx"):
        check_layer(wrong(init, apply, doubled), (3,))
    with pytest.raises(
        AssertionError, match="a frozen layer moves its state; at state/mean, state/var"
    ):
        check_layer(wrong(*fnn.BatchNorm()), (3,))
