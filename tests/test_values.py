"""What layers take and give: tuples of arrays and integers, in a layer and in compositions."""

from __future__ import annotations

import numpy as np
import pytest
from value_cases import IMAGES, KEY, RNG, TOKENS, Embedding, Join, Two, words

import fnn
from fnn import DTypeError, ShapeError, Traits, tree
from fnn.layers.contract import Layer


def test_integers_have_none_in_the_place_of_their_derivative():
    net = words()
    shape, params, state = net.init(KEY, (3,))
    y, _, back = net.vjp(params, state, TOKENS)
    dparams, dx = back(np.ones_like(y))
    assert shape == (2,)
    assert y.shape == (20, 2)
    assert dx is None
    assert dparams["embedding_0"]["rows"].shape == (7, 2)
    np.testing.assert_array_equal(back(np.ones_like(y), need_dx=False)[0]["dense_0"]["b"], [20, 20])
    assert net.traits.takes_integers
    assert not fnn.serial(fnn.Dense(2), Embedding(7, 2)).traits.takes_integers


def test_the_parts_of_a_tuple_have_a_tuple_of_derivatives():
    layer = Two(2)
    shape, params, state = layer.init(KEY, ((3,), (4,)))
    y, _, back = layer.vjp(params, state, (TOKENS, IMAGES))
    dparams, dx = back(np.ones_like(y))
    assert shape == (2,)
    assert isinstance(dx, tuple)
    assert dx[0] is None
    assert dx[1].shape == (20, 4)
    assert dparams.keys() == params.keys()


def test_lengths_are_handed_on_beside_floating_numbers():
    rows = RNG.normal(size=(20, 3, 2)).astype("float32")
    x = rows, IMAGES, np.arange(20)
    layer = Join()
    out_shape, params, state = layer.init(KEY, ((3, 2), (4,), ()))
    assert out_shape == ((6,), ())
    (y, lengths), _, back = layer.vjp(params, state, x)
    assert lengths is x[2]
    _, dx = back((np.ones_like(y), None))
    assert dx[0].shape == rows.shape
    assert dx[2] is None
    with pytest.raises(DTypeError, match=r"^join \(\S+\): expected None as dy\[1\], in the place"):
        back((np.ones_like(y), np.ones_like(lengths)))
    with pytest.raises(ShapeError, match=r"^join \(\S+\): expected dy\[0\] of shape \(20, 6\)"):
        back((np.ones((1, 6), "float32"), None))
    with pytest.raises(ShapeError, match=r"^join \(\S+\): expected dy to be a tuple of 2 arrays"):
        back(np.ones_like(y))


def test_a_layer_that_does_not_say_so_refuses_integers():
    def fwd(params, state, x, train, key):
        return x, state, lambda dy: ({}, dy)

    def init(key, in_shape):
        return in_shape, {}, {}

    own = fnn.make_layer("own", init, fwd)
    hint = r"got int64; a layer that takes integers has traits=Traits\(takes_integers=True\)"
    for x, part in ((TOKENS, ""), ((IMAGES, TOKENS), "part 1 of the tuple: ")):
        with pytest.raises(DTypeError, match=rf"^own \(\S+\): {part}expected float32.*, {hint}"):
            own.apply({}, {}, x)
    for layer in (fnn.Dense(2), fnn.Relu(), fnn.Dropout(0.5), fnn.Flatten(), fnn.Softmax()):
        _, params, state = layer.init(KEY, (3,))
        with pytest.raises(DTypeError, match="got int64"):
            layer.apply(params, state, TOKENS)


@pytest.mark.parametrize(
    "layer",
    [
        fnn.Dense(2),
        fnn.Conv(2, 1),
        fnn.BatchNorm(),
        fnn.Dropout(0.5),
        fnn.Flatten(),
        fnn.Reshape((1, -1)),
        fnn.MaxPool(1),
        fnn.AvgPool(1),
        fnn.GlobalAvgPool(),
        fnn.Softmax(),
        fnn.LogSoftmax(),
        fnn.stacked(fnn.Dense(2), 2),
    ],
    ids=repr,
)
@pytest.mark.parametrize("shapes", [((1, 4, 4),), ((1, 4, 4), (1, 4, 4)), ((4,), ())])
def test_a_layer_of_one_array_refuses_the_shapes_of_several(layer, shapes):
    with pytest.raises(ShapeError, match=r"expected the shape of one array, got the shapes of several"):
        layer.init(KEY, shapes)


def test_a_function_of_single_numbers_takes_every_array_of_a_tuple():
    x = IMAGES, (2 * IMAGES, -IMAGES)
    net = fnn.serial(fnn.Tanh(), fnn.Relu())
    assert net.init(KEY, ((4,), ((4,), (4,))))[0] == ((4,), ((4,), (4,)))
    y, _, back = net.vjp({}, {}, x)
    again, _ = net.apply({}, {}, x)
    _, dx = back(y)
    for got, same, each in ((y[0], again[0], x[0]), (y[1][1], again[1][1], x[1][1])):
        np.testing.assert_array_equal(got, np.maximum(np.tanh(each), 0))
        np.testing.assert_array_equal(got, same)
    _, alone = net.vjp({}, {}, IMAGES)[2](y[0])
    np.testing.assert_array_equal(dx[0], alone)
    with pytest.raises(ShapeError, match=r"serial/tanh_0 .*an empty tuple"):
        net.apply({}, {}, ())
    with pytest.raises(ShapeError, match=r"expected parts with one batch axis, got \[20, 19\]"):
        net.apply({}, {}, (IMAGES, IMAGES[1:]))


@pytest.mark.parametrize("shape", [(3, (4,)), ((3,), 4), ((3,), "ab"), ((-1,), (2,)), "ab", 3])
def test_a_shape_is_of_sizes_or_of_shapes(shape):
    with pytest.raises(ShapeError, match="in_shape"):
        fnn.Relu().init(KEY, shape)


def test_a_residual_adds_tuples_part_by_part_and_no_integers():
    net = fnn.residual(fnn.Tanh())
    x = IMAGES, 2 * IMAGES
    y, _, back = net.vjp({}, {}, x)
    np.testing.assert_array_equal(y[1], np.tanh(x[1]) + x[1])
    _, dx = back(x)
    np.testing.assert_array_equal(dx[0], (1 - np.tanh(IMAGES) ** 2) * IMAGES + IMAGES)
    both = fnn.residual(Embedding(7, 2), shortcut=Embedding(7, 2))
    assert both.traits.takes_integers
    assert not fnn.residual(Embedding(7, 2)).traits.takes_integers
    _, params, state = both.init(KEY, (3,))
    y, _, back = both.vjp(params, state, TOKENS)
    assert back(y)[1] is None
    _, params, state = fnn.serial(Embedding(7, 1), fnn.Flatten()).init(KEY, (3,))
    with pytest.raises(
        DTypeError, match=r"residual/identity_0 .*got int64|residual/shortcut .*got int64"
    ):
        fnn.residual(Embedding(7, 1), fnn.Flatten()).apply(params, state, TOKENS)


def test_what_a_residual_cannot_add_is_said():
    def of(fn):
        return Layer("of", lambda k, s: (s, {}, {}), lambda p, s, x, **k: (fn(x), s), lambda *a: None)

    for fn, error, text in (
        (lambda x: x[0], ShapeError, r"both ways to end alike, got one array \+ 2 arrays"),
        (lambda x: (*x, *x), ShapeError, r"both ways to end alike, got 4 arrays \+ 2 arrays"),
        (lambda x: (x[0], x[1][:1]), ShapeError, r"one shape, got \(1, 4\) \+ \(20, 4\)"),
        (lambda x: (x[0], x[1].astype(int)), DTypeError, r"to add, got int64 \+ float32"),
    ):
        with pytest.raises(error, match=text):
            fnn.residual(of(fn)).apply({}, {}, (IMAGES, IMAGES))


def test_precision_is_compared_over_floating_parts():
    layer = Two(2)
    _, params, _ = layer.init(KEY, ((3,), (4,)))
    wide = tree.cast(params, "float64")
    y, _ = layer.apply(wide, {}, (TOKENS, IMAGES.astype("float64")))
    assert y.dtype == "float64"
    with pytest.raises(DTypeError, match="float"):
        layer.apply(wide, {}, (TOKENS, IMAGES))
    assert (
        words().apply(tree.cast(words().init(KEY, (3,))[1], "float64"), {}, TOKENS)[0].dtype
        == "float64"
    )

    def fwd(params, state, x, train, key):
        return params["rows"][x].astype("float64"), state, None

    leak = fnn.make_layer("leak", None or Embedding(7, 2).init, fwd, traits=Traits(takes_integers=True))
    with pytest.raises(DTypeError, match="expected float32 as the parameters, got float64"):
        leak.apply(leak.init(KEY, (3,))[1], {}, TOKENS)


def test_a_pullback_that_asks_is_told_whether_dx_is_wanted():
    asked = []

    def init(key, in_shape):
        return in_shape, {"w": np.ones(4, "float32")}, {}

    def fwd(params, state, x, train, key):
        def back(dy, *, need_dx=True):
            asked.append(need_dx)
            return {"w": (dy * x).sum(0)}, dy * params["w"] if need_dx else None

        return x * params["w"], state, back

    layer = fnn.make_layer("scale", init, fwd)
    _, params, state = layer.init(KEY, (4,))
    y, _, back = layer.vjp(params, state, IMAGES)
    assert back(y, need_dx=False)[1] is None
    assert back(y)[1] is not None
    assert asked == [False, True]


@pytest.mark.parametrize("shared", [True, False])
def test_members_take_tokens_and_tuples_and_have_each_the_bits_of_its_own(shared):
    net, n = words(), 3
    many = fnn.stacked(net, n, shared=shared)
    shape = (3,) if shared else (n, 3)
    out_shape, params, state = many.init(KEY, shape)
    x = TOKENS if shared else np.stack([TOKENS, TOKENS[::-1], TOKENS], axis=1)
    y, _, back = many.vjp(params, state, x)
    assert y.shape == (len(TOKENS), *out_shape)
    dparams, dx = back(np.ones_like(y))
    assert dx is None
    for i, key in enumerate(KEY.split(n)):
        _, own, own_state = net.init(key, (3,))
        alone, _, own_back = net.vjp(own, own_state, x if shared else np.ascontiguousarray(x[:, i]))
        assert y[:, i].tobytes() == alone.tobytes()
        assert fnn.tree.map(lambda leaf, i=i: leaf[i], dparams) == own_back(np.ones_like(alone))[0]


def test_layers_made_by_hand_hand_integers_and_tuples_on():
    """A composition passes values from layer to layer and looks at none of them."""
    net = fnn.serial(fnn.serial(), Embedding(7, 2), fnn.named("inner", fnn.serial(fnn.Flatten())))
    _, params, state = net.init(KEY, (3,))
    y, _, back = net.vjp(params, state, TOKENS)
    dparams, dx = back(np.ones_like(y))
    assert dx is None
    assert dparams["embedding_0"]["rows"].sum() == y.size
