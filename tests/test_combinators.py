"""Combinators: names and draws, composition, residuals, and layers of one's own inside them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from layer_cases import digest

from fnn import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    DTypeError,
    Identity,
    Key,
    Layer,
    Relu,
    ShapeError,
    Tanh,
    Traits,
    Tree,
    TreeError,
    elementwise,
    make_layer,
    named,
    residual,
    serial,
    tree,
)

KEY = Key.of(0)


def rows(n, width, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(dtype)


# --- names and draws -------------------------------------------------------------------------


def test_children_are_called_by_kind_and_count_or_as_they_were_named():
    net = serial(Dense(2), Relu(), Dense(3), named("head", Dense(1)), serial(Dense(1)), residual())
    names = ["dense_0", "relu_0", "dense_1", "head", "serial_0", "residual_0"]
    assert [name for name, _ in net.children] == names
    _, params, state = net.init(KEY, (4,))
    assert list(params) == ["dense_0", "dense_1", "head", "serial_0"]
    assert [path for path, _ in tree.items(params)][-1] == "serial_0/dense_0/w"
    assert state == {}


def test_a_layer_draws_from_the_key_folded_with_its_path():
    net = serial(Tanh(), serial(Dense(3), named("out", Dense(2))))
    _, params, _ = net.init(KEY, (4,))
    _, alone, _ = Dense(2).init(KEY.fold("serial_0").fold("out"), (3,))
    assert digest(params["serial_0"]["out"]) == digest(alone)


def test_adding_a_layer_of_another_kind_changes_no_weight_and_no_mask_elsewhere():
    base = serial(Dense(5), Dropout(0.5), Dense(5), Dropout(0.5))
    more = serial(
        Identity(),
        Dense(5),
        serial(Dense(5)),
        Dropout(0.5),
        Identity(),
        Dense(5),
        residual(),
        Dropout(0.5),
    )
    params, more_params = base.init(KEY, (5,))[1], more.init(KEY, (5,))[1]
    for name in ("dense_0", "dense_1"):
        assert digest(params[name]) == digest(more_params[name])
    eye = {"w": np.eye(5, dtype="float32"), "b": np.zeros(5, "float32")}
    x = np.ones((6, 5), "float32")
    y, _ = base.apply({"dense_0": eye, "dense_1": eye}, {}, x, train=True, key=KEY)
    both = {"dense_0": eye, "dense_1": eye, "serial_0": {"dense_0": eye}}
    again, _ = more.apply(both, {}, x, train=True, key=KEY)
    assert digest(2 * y) == digest(again)
    assert 0 < (y > 0).mean() < 1


def test_inserting_into_a_residual_changes_nothing_elsewhere():
    plain, more = (
        residual(Dense(3), shortcut=Dense(3)),
        residual(Tanh(), Dense(3), Relu(), shortcut=Dense(3)),
    )
    assert digest(plain.init(KEY, (3,))[1]) == digest(more.init(KEY, (3,))[1])


def test_different_children_draw_different_masks_and_weights():
    net = serial(named("a", Dropout(0.5)), residual(Dropout(0.5), shortcut=Dropout(0.5)))
    x = np.ones((40, 40), "float32")
    y, _ = net.apply({}, {}, x, train=True, key=KEY)
    first, _ = Dropout(0.5).apply({}, {}, x, train=True, key=KEY.fold("a"))
    inner = KEY.fold("residual_0")
    body, _ = Dropout(0.5).apply({}, {}, first, train=True, key=inner.fold("dropout_0"))
    short, _ = Dropout(0.5).apply({}, {}, first, train=True, key=inner.fold("shortcut"))
    np.testing.assert_array_equal(y, body + short)
    assert len({digest(mask != 0) for mask in (first, body, short)}) == 3
    _, params, _ = serial(Dense(3), Dense(3)).init(KEY, (3,))
    assert digest(params["dense_0"]["w"]) != digest(params["dense_1"]["w"])


def test_dropout_masks_follow_logical_positions_and_scale_what_is_kept():
    layer, x = Dropout(0.25), np.ones((64, 5, 6, 7), "float32")
    inside_out = np.ascontiguousarray(x.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)
    y, _, pullback = layer.vjp({}, {}, x, train=True, key=KEY)
    again, _ = layer.apply({}, {}, inside_out, train=True, key=KEY)
    np.testing.assert_array_equal(y, again)
    assert again.strides == inside_out.strides
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(pullback(x)[1], y)
    assert layer.apply({}, {}, x)[0] is x


# --- composition -----------------------------------------------------------------------------


def test_serial_is_composition_and_the_empty_one_is_the_identity():
    first, second = Dense(3), Dense(2)
    net = serial(first, Tanh(), second)
    _, params, state = net.init(KEY, (4,))
    x = rows(5, 4)
    by_hand = np.tanh(x @ params["dense_0"]["w"] + params["dense_0"]["b"])
    by_hand = by_hand @ params["dense_1"]["w"] + params["dense_1"]["b"]
    np.testing.assert_array_equal(net.apply(params, state, x)[0], by_hand)
    shape, nothing, no_state = serial().init(KEY, (4, 2))
    assert (shape, nothing, no_state) == ((4, 2), {}, {})
    y, _, pullback = serial().vjp({}, {}, x)
    assert y is x
    assert pullback(x)[1] is x
    assert pullback(x, need_dx=False) == ({}, None)


def test_nesting_changes_names_and_no_value():
    flat, deep = (
        serial(Dense(3), Tanh(), Dense(2)),
        serial(serial(Dense(3), serial(Tanh())), serial(Dense(2))),
    )
    _, params, _ = flat.init(KEY, (4,))
    nested = {"serial_0": {"dense_0": params["dense_0"]}, "serial_1": {"dense_0": params["dense_1"]}}
    x, dy = rows(5, 4), rows(5, 2, seed=1)
    (y, _, back), (again, _, deep_back) = flat.vjp(params, {}, x), deep.vjp(nested, {}, x)
    assert digest(y) == digest(again)
    (dparams, dx), (deep_dparams, deep_dx) = back(dy), deep_back(dy)
    assert digest(dx) == digest(deep_dx)
    assert digest(dparams["dense_1"]) == digest(deep_dparams["serial_1"]["dense_0"])


def test_the_first_layers_derivative_in_x_is_not_computed_where_nobody_needs_it():
    asked = []

    def spy(name, layer):
        def vjp(params, state, x, *, train=False, key=None):
            y, new_state, back = layer.vjp(params, state, x, train=train, key=key)

            def pullback(dy, *, need_dx=True):
                asked.append((name, need_dx))
                return back(dy, need_dx=need_dx)

            return y, new_state, pullback

        return Layer(name, layer.init, layer.apply, vjp)

    split = residual(spy("c", Dense(2)), shortcut=spy("s", Dense(2)))
    net = serial(
        spy("a", Tanh()), residual(spy("b", Tanh())), split, spy("d", Tanh()), spy("e", Dense(2))
    )
    _, params, state = net.init(KEY, (3,))
    _, _, pullback = net.vjp(params, state, rows(4, 3))
    full, _ = pullback(rows(4, 2))
    assert asked == [(name, True) for name in "edcsba"]
    asked.clear()
    lean, dx = pullback(rows(4, 2), need_dx=False)
    assert asked == [("e", True), ("d", True), ("c", False), ("s", False)]
    assert dx is None
    assert digest(full) == digest(lean)


def test_state_moves_only_where_it_is_and_keeps_its_structure():
    net = serial(Dense(3), BatchNorm(), residual(Dense(3), BatchNorm(), shortcut=BatchNorm()), Relu())
    _, params, state = net.init(KEY, (4,))
    assert [path for path, _ in tree.items(state)] == [
        "batch_norm_0/mean", "batch_norm_0/var", "residual_0/batch_norm_0/mean",
        "residual_0/batch_norm_0/var", "residual_0/shortcut/mean", "residual_0/shortcut/var",
    ]  # fmt: skip
    y, moved = net.apply(params, state, rows(6, 4), train=True)
    assert type(moved) is Tree
    old, new = dict(tree.items(state)), dict(tree.items(moved))
    assert old.keys() == new.keys()
    assert all((old[path] != new[path]).any() for path in old)
    again, twice = net.apply(params, moved, rows(6, 4), train=True)
    assert digest(y) == digest(again)
    assert digest(twice) != digest(moved)


# --- residual --------------------------------------------------------------------------------


def test_an_empty_residual_doubles_what_comes():
    x, dy = rows(3, 4), rows(3, 4, seed=1)
    y, _, pullback = residual().vjp({}, {}, x)
    np.testing.assert_array_equal(y, 2 * x)
    np.testing.assert_array_equal(pullback(dy)[1], 2 * dy)
    assert residual().init(KEY, (4,)) == ((4,), {}, {})


def test_a_residual_edits_nothing_in_place_however_deep():
    net = residual(residual(residual(Identity()), shortcut=Identity()), residual(Dense(4)))
    _, params, _ = net.init(KEY, (4,))
    x, dy = rows(3, 4), rows(3, 4, seed=1)
    kept_x, kept_dy = x.copy(), dy.copy()
    y, _, pullback = net.vjp(params, {}, x)
    kept_y = y.copy()
    first, second = pullback(dy), pullback(dy)
    assert digest(first[0], first[1]) == digest(second[0], second[1])
    for now, then in ((x, kept_x), (dy, kept_dy), (y, kept_y)):
        np.testing.assert_array_equal(now, then)
    dense = params["residual_1"]["dense_0"]
    inner = 3 * x
    np.testing.assert_allclose(y, x + inner + inner @ dense["w"] + dense["b"], rtol=1e-5, atol=1e-6)


def test_both_ways_of_a_residual_give_their_share_of_every_derivative():
    net = residual(Dense(2), shortcut=Dense(2, bias=False))
    _, params, _ = net.init(KEY, (3,))
    assert [path for path, _ in tree.items(params)] == ["dense_0/b", "dense_0/w", "shortcut/w"]
    assert [name for name, _ in net.children] == ["dense_0", "shortcut"]
    x, dy = rows(5, 3), rows(5, 2, seed=1)
    dparams, dx = net.vjp(params, {}, x)[2](dy)
    weights = params["dense_0"]["w"] + params["shortcut"]["w"]
    np.testing.assert_allclose(dx, dy @ weights.T, rtol=1e-5, atol=1e-6)
    for path in ("dense_0", "shortcut"):
        np.testing.assert_allclose(dparams[path]["w"], x.T @ dy, rtol=1e-5, atol=1e-6)


def test_ways_of_different_shapes_raise_and_never_broadcast():
    with pytest.raises(
        ShapeError, match=r"expected both ways to end in one shape, got \(1,\) \+ \(3,\)"
    ):
        residual(Dense(1)).init(KEY, (3,))
    flat = make_layer(
        "flat", lambda key, shape: (shape, {}, {}), lambda p, s, x, t, k: (x[:, :1], s, None)
    )
    with pytest.raises(ShapeError, match=r"^residual .*got \(2, 1\) \+ \(2, 3\)"):
        residual(flat).apply({}, {}, rows(2, 3))


# --- traits ----------------------------------------------------------------------------------


def test_traits_of_a_composition_are_those_of_its_parts():
    assert serial().traits == residual().traits == Traits()
    assert serial(Dense(2), residual(Relu())).traits == Traits(has_kinks=True)
    net = residual(Dropout(0.1), shortcut=BatchNorm())
    assert net.traits == named("a", net).traits == Traits(mixes_batch=True, stochastic=True)
    rough = elementwise("rough", np.abs, lambda x, y, dy: np.sign(x) * dy, complex_safe=False)
    assert not serial(serial(rough), Dense(1)).traits.complex_safe


# --- layers of one's own ---------------------------------------------------------------------


def cube(x):
    return x * x * x


def cube_vjp(x, y, dy):
    return 3 * x * x * dy


def Cube():
    return elementwise("cube", cube, cube_vjp)


def Scale():
    """Multiply every feature by a learned gain, in 15 lines."""

    def init(key, in_shape):
        return in_shape, {"gain": np.ones(in_shape, "float32")}, {}

    def fwd(params, state, x, train, key):
        def pullback(dy):
            return {"gain": (x * dy).sum(axis=0)}, params["gain"] * dy

        return params["gain"] * x, state, pullback

    return make_layer("scale", init, fwd)


def shift_init(key, in_shape):
    return in_shape, {"by": np.zeros(in_shape, "float32")}, {}


def shift_apply(params, state, x, *, train=False, key=None):
    return x + params["by"], state


def shift_vjp(params, state, x, *, train=False, key=None):
    def pullback(dy, *, need_dx=True):
        return {"by": dy.sum(axis=0)}, dy if need_dx else None

    return x + params["by"], state, pullback


def Shift():
    return Layer("shift", shift_init, shift_apply, shift_vjp)


def test_layers_of_ones_own_are_first_class_inside_a_network():
    net = serial(Dense(3), Cube(), residual(Scale(), Cube(), Shift()), named("last", Scale()), Dense(1))
    shape, params, state = net.init(KEY, (2,))
    assert shape == (1,)
    assert [name for name, _ in net.children] == ["dense_0", "cube_0", "residual_0", "last", "dense_1"]
    paths = [path for path, _ in tree.items(params)]
    assert {"residual_0/scale_0/gain", "residual_0/shift_0/by", "last/gain"} <= set(paths)
    x, dy = rows(4, 2, "float64"), rows(4, 1, "float64", seed=1)
    params = tree.cast(params, "float64")
    _, new_state, pullback = net.vjp(params, state, x, train=True)
    assert new_state is state
    dparams, dx = pullback(dy)
    assert type(dparams) is Tree
    vector, unravel = tree.ravel({"params": params, "x": x})
    v = np.random.default_rng(2).normal(size=vector.size)
    moved = unravel(vector + 1e-30j * v)
    jv = net.apply(moved["params"], state, moved["x"], train=True)[0].imag / 1e-30
    back, _ = tree.ravel({"params": dparams, "x": dx})
    np.testing.assert_allclose(v @ back, (dy * jv).sum(), rtol=1e-12)
    assert pullback(dy, need_dx=False)[1] is None


def test_a_triple_of_ones_own_pickles_compares_and_is_named_in_errors():
    assert Shift() == Shift() == pickle.loads(pickle.dumps(Shift()))
    assert hash(Shift()) == hash(Shift())
    assert Shift() != Layer("other", *Shift())
    net = serial(Dense(3), Shift())
    assert pickle.loads(pickle.dumps(net)) == net
    _, params, state = net.init(KEY, (2,))
    with pytest.raises(TreeError, match=r"^serial/shift_0 .* lack the entry 'by'"):
        net.apply({"dense_0": params["dense_0"]}, state, rows(4, 2))


def test_functions_of_ones_own_that_change_shape_or_precision_are_refused():
    x, ok = rows(2, 3), lambda x, y, dy: dy
    for f, error, text in (
        (lambda x: x.sum(axis=0), ShapeError, r"expected f\(x\) of shape \(2, 3\), got \(3,\)"),
        (lambda x: x * np.float64(2), DTypeError, r"expected f\(x\) in float32, got float64"),
        (lambda x: 0.0, DTypeError, r"expected f\(x\) to be an array, got float"),
    ):
        with pytest.raises(error, match=r"^serial/mine_0 \(test_combinators.py:\d+\): " + text):
            serial(elementwise("mine", f, ok)).apply({}, {}, x)

    def mine(y, dparams, dx):
        return make_layer("mine", shift_init, lambda *_: (y, {}, lambda dy: (dparams, dx)))

    by = {"by": np.zeros(3, "float32")}
    with pytest.raises(DTypeError, match="expected float32 as x, got float64"):
        mine(x.astype("float64"), by, x).apply(by, {}, x)
    for dparams, dx, error, text in (
        ({}, x, TreeError, r"expected dparams \['by'\], got \[\]"),
        (by, x[:1], ShapeError, r"expected dx of shape \(2, 3\), got \(1, 3\)"),
        (by, None, DTypeError, "expected dx to be an array, got NoneType"),
        (by, x.astype("float64"), DTypeError, "expected dx in float32, got float64"),
    ):
        net = serial(mine(x, dparams, dx))
        with pytest.raises(error, match=r"^serial/mine_0 \(test_combinators.py:\d+\): " + text):
            net.vjp({"mine_0": by}, {}, x)[2](x)


def test_a_layer_that_hands_back_an_empty_state_adds_no_entry():
    own = make_layer("own", shift_init, lambda p, s, x, t, k: (x + p["by"], {}, None))
    assert serial(own).apply({"own_0": {"by": np.zeros(3, "float32")}}, {}, rows(2, 3))[1] == {}


def test_a_stochastic_layer_that_does_not_say_so_gets_no_key_in_a_network():
    def fwd(params, state, x, train, key):
        assert key is None
        return x, state, lambda dy: ({}, dy)

    quiet = make_layer("quiet", lambda key, shape: (shape, {}, {}), fwd)
    serial(quiet, Dropout(0.5)).apply({}, {}, rows(2, 3), train=True, key=KEY)


def test_layers_print_as_the_code_that_makes_them():
    made = residual(
        Conv(2, 3, padding="same"), named("n", BatchNorm(momentum=0.5)), shortcut=Conv(2, 1)
    )
    text = (
        "residual(Conv(2, 3, padding='same'), named('n', BatchNorm(momentum=0.5)), shortcut=Conv(2, 1))"
    )
    assert repr(made) == text
    assert eval(text) == made
    assert Dense(10, bias=True) == Dense(width=10) != Dense(10, bias=False)
