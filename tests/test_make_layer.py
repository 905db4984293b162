"""Layers written with `make_layer`: what follows from the shapes, what is checked, what passes on."""

from __future__ import annotations

import functools
import gc

import numpy as np
import pytest

import fnn
from fnn import DTypeError, Key, Leaf, OptionError, ShapeError, Traits, TreeError
from fnn.tree import Tree

KEY = Key.of(3)


def affine(width, *, init_w=fnn.glorot_uniform, spoil=None, named=True, flops=None, members="each"):
    """Return a dense layer as a user writes it; `spoil` changes what its pullback returns."""
    asked = []

    def shapes(in_shape):
        if not in_shape:
            raise ShapeError(f"expected a feature axis, got in_shape={in_shape}")
        asked.append(in_shape)
        fans = in_shape[-1], width
        return (*in_shape[:-1], width), {"w": Leaf(fans, init_w, fans), "b": Leaf((width,))}, {}

    def fwd(params, state, x, train, key):
        def plain(dy):
            rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, width)
            dparams = {"w": rows[0].T @ rows[1], "b": rows[1].sum(0)}
            back = dparams, dy @ params["w"].T
            return back if spoil is None else spoil(*back)

        def telling(dy, *, need_dx=True):
            dparams, dx = plain(dy)
            return dparams, dx if need_dx else None

        return x @ params["w"] + params["b"], state, telling if named else plain

    layer = fnn.make_layer("mine", shapes, fwd, flops=flops, members=members)
    return layer, asked


def drawn(layer, in_shape, batch=4, dtype="float32"):
    out_shape, params, state = layer.init(KEY, in_shape)
    x = np.random.default_rng(0).normal(size=(batch, *in_shape)).astype(dtype)
    return out_shape, fnn.tree.cast(params, dtype), state, x


# --- what follows from the shapes -------------------------------------------------------------


def test_leaves_are_drawn_from_the_key_folded_with_their_names():
    layer, _ = affine(5)
    out_shape, params, state = layer.init(KEY, (3,))
    assert (out_shape, state) == ((5,), {})
    assert params == fnn.Dense(5).init(KEY, (3,))[1]
    w = fnn.glorot_uniform(KEY.fold("w"), (3, 5), 3, 5)
    np.testing.assert_array_equal(params["w"], w)


def test_a_leaf_without_fans_lets_the_initializer_tell_them_from_the_shape():
    layer = fnn.make_layer(
        "bag", lambda in_shape: ((4,), {"w": Leaf((6, 4), fnn.he_normal)}, {}), lambda *given: None
    )
    np.testing.assert_array_equal(
        layer.init(KEY, (6,))[1]["w"], fnn.he_normal(KEY.fold("w"), (6, 4), 6, 4)
    )


@pytest.mark.parametrize("named", [True, False])
def test_apply_and_vjp_follow_from_one_function_and_agree_with_dense(named):
    layer, _ = affine(5, named=named)
    _, params, state, x = drawn(layer, (2, 3))
    theirs = fnn.Dense(5).vjp(params, state, x)
    for _ in range(3):  # Checked at first, trusted then.
        y, _, pullback = layer.vjp(params, state, x)
        np.testing.assert_array_equal(y, layer.apply(params, state, x)[0])
        np.testing.assert_allclose(y, theirs[0], rtol=1e-6)
        dy = np.ones_like(y)
        for got, want in zip(fnn.tree.leaves(pullback(dy)[0]), theirs[2](dy)[0].values(), strict=False):
            assert got.dtype == want.dtype
        dparams, dx = pullback(dy)
        assert dparams.keys() == params.keys()
        np.testing.assert_allclose(dx, theirs[2](dy)[1], rtol=1e-5)
        assert pullback(dy, need_dx=False)[1] is None


def test_the_laws_hold_for_it():
    layer, _ = affine(3)
    fnn.testing.check_layer(layer, (4,))


def test_shapes_are_asked_once_for_each_set_of_shapes():
    layer, asked = affine(5)
    _, params, state, x = drawn(layer, (3,))
    asked.clear()
    for batch in (4, 2, 4, 2, 4):
        layer.vjp(params, state, x[:batch])
        layer.apply(params, state, x[:batch])
    assert asked == [(3,), (3,)]


def test_init_of_two_arguments_is_taken_as_ever():
    def init(key, in_shape, scale=2.0):
        return in_shape, {"deep": {"w": np.full(in_shape, scale, "float32")}}, {}

    def fwd(params, state, x, train, key):
        w = params["deep"]["w"]
        return x * w, state, lambda dy: ({"deep": {"w": (dy * x).sum(0)}}, dy * w)

    layer = fnn.make_layer("deep", init, fwd)
    assert layer.shapes is None
    fnn.testing.check_layer(layer, (3,))
    x = drawn(layer, (3,))[-1]
    net = fnn.serial(fnn.Dense(3), layer)
    now = fnn.init_train_state(net, fnn.sgd(0.1), (3,), KEY)
    step = fnn.train_step(net, fnn.squared_error, fnn.sgd(0.1))
    assert step(now, (x, x))[0].step == 1


# --- what is checked --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, x: (p, x[:, :2]), "expected last axis 3, got (4, 2)"),
        (lambda p, x: (p, x[:, None]), None),  # One more axis before the last is for it to take.
        (lambda p, x: (p, x[:, 0]), "expected a feature axis, got (4,), the batch first"),
        (lambda p, x: (p, x.astype("float64")), "expected float32 as the parameters, got float64"),
        (lambda p, x: (p | {"b": p["b"][:1]}, x), "expected b of shape (5,), got (1,)"),
        (lambda p, x: (p | {"b": p["b"].astype("float64")}, x), "expected b in float32, got float64"),
        (lambda p, x: ({"w": p["w"]}, x), "expected params ['b', 'w'], got ['w']"),
        (lambda p, x: (p | {"c": p["b"]}, x), "expected params ['b', 'w'], got ['b', 'c', 'w']"),
        (lambda p, x: (p | {"w": p["w"].tolist()}, x), "expected an array at w, got list"),
        (lambda p, x: (p, x.astype("int64")), "a layer that takes integers has traits="),
        (lambda p, x: (p, (x, x)), "expected the shape of one array"),
    ],
)
@pytest.mark.parametrize("warm", [False, True], ids=["first", "again"])
def test_a_call_that_does_not_fit_is_refused_at_the_first_call_and_at_later_ones(change, message, warm):
    layer, _ = affine(5)
    _, params, state, x = drawn(layer, (3,))
    if warm:
        for _ in range(3):
            layer.vjp(params, state, x)[2](np.ones((4, 5), "float32"))
            layer.apply(params, state, x)
    params, x = change(dict(params), x)
    for call in (layer.apply, layer.vjp):
        if message is None:
            assert call(params, state, x)[0].shape == (4, 1, 5)
        else:
            with pytest.raises(fnn.FnnError) as caught:
                call(params, state, x)
            assert message in str(caught.value)


def test_the_axis_that_disagrees_is_named_as_the_layer_counts_it():
    def scale(axis):
        return fnn.make_layer(
            "scale",
            lambda in_shape: (in_shape, {"w": Leaf((in_shape[axis - (axis > 0)],), fnn.ones)}, {}),
            lambda params, state, x, train, key: (x, state, None),
        )

    for axis, x, message in (
        (1, np.zeros((2, 4, 5)), "expected axis 1 of size 3, got (2, 4, 5)"),
        (-1, np.zeros((2, 4, 5)), "expected last axis 3, got (2, 4, 5)"),
        (1, np.zeros((2, 4)), "expected axis 1 of size 3, got (2, 4)"),
        (2, np.zeros((2, 4)), None),
    ):
        params = {"w": np.zeros(3)}
        with pytest.raises((ShapeError, IndexError)) as caught:
            scale(axis).apply(params, {}, x)
        assert message is None or message in str(caught.value)


def test_groups_and_other_shares_of_an_axis_are_seen_through():
    conv = fnn.Conv(4, 3, groups=2)
    _, params, state = conv.init(KEY, (6, 5, 5))
    with pytest.raises(ShapeError, match=r"expected axis 1 of size 6, got \(2, 4, 5, 5\)"):
        conv.apply(params, state, np.zeros((2, 4, 5, 5), "float32"))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda dp, dx: (dp, dx[:1]), ShapeError, r"dx of shape \(4, 3\), got \(1, 3\)"),
        (lambda dp, dx: (dp, dx.astype("float64")), DTypeError, "dx in float32, got float64"),
        (lambda dp, dx: (dp, None), DTypeError, "dx to be an array, got NoneType"),
        (lambda dp, dx: ({"w": dp["w"]}, dx), TreeError, r"dparams \['b', 'w'\], got \['w'\]"),
        (lambda dp, dx: (None, dx), TreeError, r"dparams \['b', 'w'\], got NoneType"),
        (
            lambda dp, dx: (dp | {"b": dp["b"][:1]}, dx),
            ShapeError,
            r"the derivative in b of shape \(5,\), got \(1,\)",
        ),
        (
            lambda dp, dx: (dp | {"w": dp["w"].astype("float64")}, dx),
            DTypeError,
            "the derivative in w in float32, got float64",
        ),
    ],
)
def test_what_a_pullback_returns_is_checked_until_it_was_right(spoil, error, message):
    layer, _ = affine(5, spoil=spoil)
    _, params, state, x = drawn(layer, (3,))
    for _ in range(2):
        _, _, pullback = layer.vjp(params, state, x)
        with pytest.raises(error, match=message):
            pullback(np.ones((4, 5), "float32"))


def test_a_y_that_was_not_announced_is_refused_in_either_mode():
    def fwd(params, state, x, train, key):
        return (x if train else x[:, :2]), state, None

    layer = fnn.make_layer("cuts", lambda in_shape: (in_shape, {}, {}), fwd)
    x = np.zeros((4, 3), "float32")
    layer.apply({}, {}, x, train=True)
    with pytest.raises(ShapeError, match=r"expected y of shape \(4, 3\), got \(4, 2\)"):
        layer.apply({}, {}, x)


def test_an_announced_tuple_is_held_to_its_shapes():
    def fwd(params, state, x, train, key):
        return (x, x[:, :1]), state, lambda dy: ({}, dy[0])

    layer = fnn.make_layer("two", lambda in_shape: ((in_shape, (2,)), {}, {}), fwd)
    with pytest.raises(ShapeError, match=r"expected y\[1\] of shape \(4, 2\), got \(4, 1\)"):
        layer.apply({}, {}, np.zeros((4, 3), "float32"))


def test_a_layer_that_takes_tuples_says_so():
    def shapes(in_shapes):
        return in_shapes[0], {}, {}

    def fwd(params, state, x, train, key):
        return x[0] + x[1], state, lambda dy: ({}, (dy, dy))

    layer = fnn.make_layer("add", shapes, fwd, traits=Traits(takes_tuples=True))
    fnn.testing.check_layer(layer, ((3,), (3,)))


def test_integers_come_with_the_precision_of_the_leaves():
    def fwd(params, state, x, train, key):
        def pullback(dy):
            dw = np.zeros_like(params["w"])
            np.add.at(dw, x, dy)
            return {"w": dw}, None

        return params["w"][x], state, pullback

    def shapes(in_shape):
        return (*in_shape, 4), {"w": Leaf((7, 4), fnn.normal(1.0))}, {}

    layer = fnn.make_layer("embedding", shapes, fwd, traits=Traits(takes_integers=True))
    _, params, state = layer.init(KEY, (5,))
    tokens = np.arange(10).reshape(2, 5) % 7
    for dtype in ("float32", "float64", "float32"):
        for _ in range(3):
            own = fnn.tree.cast(params, dtype)
            y, _, pullback = layer.vjp(own, state, tokens)
            assert y.dtype == dtype
            assert pullback(y)[0]["w"].dtype == dtype


# --- what is handed on ------------------------------------------------------------------------


def test_dx_is_not_asked_for_where_nobody_needs_it():
    asked = []

    def fwd(params, state, x, train, key):
        def pullback(dy, *, need_dx=True):
            asked.append(need_dx)
            return {"w": (dy * x).sum(0)}, dy * params["w"] if need_dx else None

        return x * params["w"], state, pullback

    scale = fnn.make_layer(
        "scale", lambda in_shape: (in_shape, {"w": Leaf(in_shape, fnn.ones)}, {}), fwd
    )
    net = fnn.serial(scale, scale)
    step = fnn.train_step(net, fnn.squared_error, fnn.sgd(0.1))
    now = fnn.init_train_state(net, fnn.sgd(0.1), (3,), KEY)
    x = np.ones((2, 3), "float32")
    for _ in range(3):
        asked.clear()
        now, _ = step(now, (x, 2 * x))
        assert asked == [True, False]


def test_arrays_that_the_pullback_gives_away_are_not_copied_and_others_are():
    mine = np.ones(3, "float32")

    def layer_of(wrap):
        def fwd(params, state, x, train, key):
            return x * params["w"], state, lambda dy, *, need_dx=True: (wrap(), dy if need_dx else None)

        shapes = lambda in_shape: (in_shape, {"w": Leaf(in_shape, fnn.ones)}, {})  # noqa: E731
        return fnn.make_layer("scale", shapes, fwd)

    kept = layer_of(lambda: {"w": mine})
    x = np.ones((2, 3), "float32")
    for _ in range(3):
        dparams, _ = kept.vjp({"w": mine}, {}, x)[2](x)
        assert dparams["w"] is not mine
    assert mine.flags.writeable

    new = np.full(3, 2, "float32")
    given = layer_of(lambda: Tree.own({"w": new}))
    dparams, _ = given.vjp({"w": mine}, {}, x)[2](x)
    assert dparams["w"] is new


def test_a_pullback_that_is_no_function_is_called_and_let_go():
    def back(scale, dy, *, need_dx=True):
        return {}, scale * dy if need_dx else None

    def fwd(params, state, x, train, key):
        return 2 * x, state, functools.partial(back, np.full_like(x, 2))

    layer = fnn.make_layer("twice", lambda in_shape: (in_shape, {}, {}), fwd)
    x = np.ones((2, 3), "float32")
    for _ in range(3):
        _, _, pullback = layer.vjp({}, {}, x)
        np.testing.assert_array_equal(pullback(x)[1], 2 * x)
        assert pullback(x, need_dx=False)[1] is None
    del pullback
    gc.collect()
    assert not [p for p in gc.get_objects() if type(p) is functools.partial and p.func is back]


# --- facts --------------------------------------------------------------------------------------


def test_a_summary_counts_what_the_layer_says():
    for flops, counted in ((None, None), (3, 9), (lambda a, b, p: p["w"].size * 2, 30)):
        layer, _ = affine(5, flops=flops)
        assert fnn.summary(layer, (3,)).rows[0].flops == counted


def test_members_that_cannot_be_stacked_are_refused_by_path():
    layer, _ = affine(5, members="none")
    net = fnn.serial(fnn.Dense(3), fnn.residual(fnn.serial(fnn.Relu(), layer), shortcut=fnn.Dense(5)))
    with pytest.raises(OptionError, match=r"mine.* at serial/residual_0/serial_0/mine_0"):
        fnn.stacked(net, 2)
    with pytest.raises(OptionError, match="members: expected a function or one of"):
        affine(5, members="often")


def test_members_are_computed_by_the_layer_s_own_function_where_it_has_one():
    calls = []

    def together(params, state, x, train, key):
        calls.append(x.shape)
        y = x @ params["w"] + params["b"][:, None]

        def pullback(dy, *, need_dx=True):
            dx = (dy @ params["w"].swapaxes(1, 2)).sum(0, keepdims=True) if need_dx else None
            return {"w": x.swapaxes(1, 2) @ dy, "b": dy.sum(1)}, dx

        return y, state, pullback

    one_by_one, _ = affine(5)
    at_once, _ = affine(5, members=together)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    results = []
    for layer in (one_by_one, at_once):
        stack = fnn.stacked(layer, 2)
        _, params, state = stack.init(KEY, (3,))
        y, _, pullback = stack.vjp(params, state, x)
        results.append((y, *fnn.tree.leaves(pullback(y)[0]), pullback(y)[1]))
    assert calls == [(1, 4, 3)]
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
