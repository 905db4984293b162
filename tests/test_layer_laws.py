"""Laws that every layer and combinator obeys, in both modes."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
from layer_cases import CASES, IDS, digest, draw, inner, like, make, norm, strip

import fnn
from fnn import Key, OptionError, tree

H = 1e-30
every_case = pytest.mark.parametrize("case", CASES, ids=IDS)
both_modes = pytest.mark.parametrize("train", [False, True], ids=["evaluation", "training"])


def test_the_table_has_every_public_layer_and_combinator():
    public = {
        name
        for name in fnn.__all__
        if inspect.isfunction(getattr(fnn, name))
        and inspect.signature(getattr(fnn, name)).return_annotation in ("Layer", fnn.Layer)
    }
    assert {"Dense", "serial", "named", "elementwise", "make_layer"} <= public
    # What is frozen has by its very purpose another gradient than its derivative: test_frozen.py.
    assert public - {"frozen"} == {layer.recipe.call.__name__ for layer, _ in CASES}


# --- forward ---------------------------------------------------------------------------------


@every_case
@both_modes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_and_dtype_are_as_announced(case, train, dtype):
    at = make(case, dtype=dtype)
    y, state, pullback = at.vjp(train=train)
    assert y.shape == (3, *at.out_shape)
    dparams, dx = pullback(np.ones_like(y))
    assert dx.shape == at.x.shape
    assert type(dparams) is type(state) is fnn.Tree
    assert list(dparams) == list(at.params)
    for got, given in ((dparams, at.params), (state, at.state)):
        assert dict(shapes(got)) == dict(shapes(given))
    assert {leaf.dtype for leaf in (y, dx, *map(leaf_of, shapes_of(dparams, state)))} == {
        np.dtype(dtype)
    }


def shapes(node):
    return [(path, leaf.shape) for path, leaf in tree.items(node)]


def shapes_of(*trees):
    return [pair for each in trees for pair in tree.items(each)]


def leaf_of(pair):
    return pair[1]


@every_case
@both_modes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_apply_and_vjp_give_the_same_bits(case, train, dtype):
    at = make(case, dtype=dtype)
    y, state = at.apply(train=train)
    again, again_state, _ = at.vjp(train=train)
    assert digest(y, state) == digest(again, again_state)


@every_case
@both_modes
def test_complex64_passes_and_carries_its_real_part(case, train):
    at = make(case, dtype="float32")
    y, _, pullback = at.vjp(x=at.x.astype("complex64"), train=train)
    real, _, real_pullback = at.vjp(train=train)
    assert y.dtype == np.complex64
    np.testing.assert_allclose(y.real, real, rtol=1e-5, atol=2e-6)
    dy = draw(y.shape, np.random.default_rng(2), "float32")
    dparams, dx = pullback(dy.astype("complex64"))
    assert {leaf.dtype for leaf in (*tree.leaves(dparams), dx)} == {np.dtype("complex64")}
    for got, want in zip((*tree.leaves(dparams), dx), flat(real_pullback(dy)), strict=True):
        np.testing.assert_allclose(got.real, want, rtol=1e-4, atol=1e-5)


def flat(result):
    return [*tree.leaves(result[0]), result[1]]


def joint(result):
    return {"params": result[0], "x": result[1]}


@every_case
@both_modes
def test_examples_do_not_see_each_other_unless_declared(case, train):
    at = make(case, batch=4)
    whole, _ = at.apply(train=False)
    for i in range(4):
        alone, _ = at.apply(x=at.x[i : i + 1], train=False)
        np.testing.assert_allclose(alone[0], whole[i], rtol=1e-12, atol=1e-13)
    y, _, pullback = at.vjp(train=train)
    dy = np.zeros_like(y)
    dy[1] = draw(y.shape[1:], np.random.default_rng(0))
    _, dx = pullback(dy)
    leaks = np.abs(np.delete(dx, 1, axis=0)).max() > 0
    assert leaks == (train and at.layer.traits.mixes_batch)


@every_case
def test_evaluation_moves_no_state_and_needs_no_key(case):
    at = make(case)
    y, state = at.layer.apply(at.params, at.state, at.x)
    assert state is at.state
    again, state = at.apply(train=False)
    assert digest(y) == digest(again)
    assert state is at.state
    assert at.layer.vjp(at.params, at.state, at.x)[1] is at.state


@every_case
def test_training_needs_a_key_exactly_where_declared(case):
    at = make(case)
    for call in (at.layer.apply, at.layer.vjp):
        if at.layer.traits.stochastic:
            with pytest.raises(OptionError, match="expected a key when train=True, got None"):
                call(at.params, at.state, at.x, train=True)
        else:
            y, state = call(at.params, at.state, at.x, train=True)[:2]
            assert digest(y, state) == digest(*at.apply(train=True))
    same, _ = at.apply(train=True, key=Key.of(5))
    assert digest(same) == digest(at.apply(train=True, key=Key.of(5))[0])
    draws = {digest(at.apply(train=True, key=Key.of(seed))[0]) for seed in range(8)}
    random = at.layer.traits.stochastic and at.layer != fnn.Dropout(0.0)
    assert (len(draws) > 1) == random


# --- derivatives -----------------------------------------------------------------------------


def directions(at, rng):
    """Yield ways to move params and x: jointly, x alone, params alone, and every leaf alone."""
    v, u = like(at.params, rng), rng.normal(size=at.x.shape)
    yield v, u
    yield None, u
    if at.params:
        yield v, None
    for path, _ in tree.items(at.params):
        yield tree.filter(v, lambda other, _, path=path: other == path), None


def moved(node, v):
    """Add i h v to the leaves that v has; the others stay real."""
    if isinstance(node, dict):
        return {k: moved(leaf, v[k]) if k in v else leaf for k, leaf in node.items()}
    return node + 1j * H * v


def covered(node, v):
    """Return the part of `node` that v has."""
    return {k: covered(node[k], v[k]) for k in v} if isinstance(v, dict) else node


@every_case
@both_modes
def test_the_pullback_is_the_adjoint_by_complex_step(case, train):
    at, rng = make(case), np.random.default_rng(1)
    assert at.layer.traits.complex_safe
    y, _, pullback = at.vjp(train=train)
    most = 0.0
    for v, u in directions(at, rng):
        params = at.params if v is None else moved(at.params, v)
        x = at.x if u is None else at.x + 1j * H * u
        forward = at.apply(params=params, x=x, train=train)[0]
        assert forward.dtype == np.complex128
        jv = forward.imag / H
        # Beside the largest move too: a bias before BatchNorm or Softmax moves y by rounding alone.
        most = max(most, norm(jv))
        dy = rng.normal(size=y.shape)
        dparams, dx = pullback(dy)
        back = (inner(covered(dparams, v), v) if v else 0) + (inner(dx, u) if u is not None else 0)
        assert abs(inner(dy, jv) - back) <= 1e-12 * norm(dy) * max(norm(jv), 1e-2 * most)


@every_case
@both_modes
def test_the_state_given_back_is_analytic_too(case, train):
    at = make(case)
    x = at.x + 1j * H * np.ones(at.x.shape)
    states = [at.apply(x=x, train=train)[1], at.vjp(x=x, train=train)[1]]
    assert digest(states[0]) == digest(states[1])
    for path, leaf in tree.items(states[0]):
        want = tree.get(at.apply(train=train)[1], path)
        np.testing.assert_allclose(leaf.real, want, rtol=1e-14, atol=1e-14)


@every_case
@both_modes
def test_every_entry_of_the_gradient_is_right_by_both_oracles(case, train):
    at, rng = make(case, batch=2), np.random.default_rng(1)
    y, _, pullback = at.vjp(train=train)
    dy = rng.normal(size=y.shape)
    dparams, dx = pullback(dy)
    vector, unravel = tree.ravel({"params": at.params, "x": at.x})
    got, _ = tree.ravel({"params": dparams, "x": dx})

    def value(v):
        both = unravel(v)
        return inner(dy, at.apply(params=both.get("params", {}), x=both["x"], train=train)[0])

    exact, difference = np.zeros(vector.size), np.zeros(vector.size)
    for i in range(vector.size):
        bump = np.eye(1, vector.size, i)[0]
        exact[i] = value(vector + 1j * H * bump).imag / H
        h = 1e-6
        difference[i] = ((value(vector + h * bump) - value(vector - h * bump)) / (2 * h)).real
    scale = np.abs(exact).max() + 1e-300
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(got, difference, rtol=0, atol=2e-7 * scale)


@every_case
@both_modes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_pullback_is_linear_repeatable_and_zero_at_zero(case, train, dtype):
    at, rng = make(case, dtype=dtype), np.random.default_rng(1)
    y, _, pullback = at.vjp(train=train)
    a, b = (rng.normal(size=y.shape).astype(dtype) for _ in range(2))
    first, second, both = pullback(a), pullback(b), pullback(2 * a - b)
    # Of the whole gradient's size: a bias before BatchNorm has none but rounding.
    bound = 50 * float(np.finfo(dtype).eps) * (norm(joint(first)) + norm(joint(second)))
    for one, two, together in zip(flat(first), flat(second), flat(both), strict=True):
        np.testing.assert_allclose(together, 2 * one - two, rtol=0, atol=bound)
    assert strip(pullback(a)) == strip(first)
    assert not any(leaf.any() for leaf in flat(pullback(np.zeros_like(y))))
    assert strip(pullback(a, need_dx=False)) == (strip(first)[0], None)
    _, _, anew = at.vjp(train=train)
    assert strip(anew(a)) == strip(first)


# --- purity ----------------------------------------------------------------------------------


def loose(node):
    """Return plain dicts of writeable copies."""
    return {k: loose(v) for k, v in node.items()} if isinstance(node, dict) else np.array(node)


@every_case
@both_modes
def test_arguments_stay_untouched_and_plain_dicts_serve(case, train):
    at, rng = make(case), np.random.default_rng(1)
    params, state, x = loose(at.params), loose(at.state), at.x.copy()
    before = digest(params, state, x)
    y, new_state, pullback = at.layer.vjp(params, state, x, train=train, key=at.key)
    dy = rng.normal(size=y.shape)
    cotangent = dy.copy()
    result = pullback(cotangent)
    at.layer.apply(params, state, x, train=train, key=at.key)
    assert digest(params, state, x) == before
    assert digest(cotangent) == digest(dy)
    want_y, want_state, want_pullback = at.vjp(train=train)
    assert digest(y, new_state) == digest(want_y, want_state)
    assert strip(result) == strip(want_pullback(dy))
    assert not any(np.shares_memory(leaf, dy) for leaf in tree.leaves(result[0]))
    if train:
        assert all(
            not leaf.flags.writeable for leaf in tree.leaves(new_state) if new_state is not state
        )


@every_case
@both_modes
def test_memory_layout_changes_no_value(case, train):
    at, rng = make(case), np.random.default_rng(1)
    want, _, pullback = at.vjp(train=train)
    dy = rng.normal(size=want.shape)
    want_back = flat(pullback(dy))
    for layout in (read_only, fortran, batch_innermost, reverse_strided, spread):
        x, cotangent = layout(at.x), layout(dy)
        assert digest(x) == digest(at.x)
        params = loose_layout(at.params, layout)
        y, state = at.apply(params=params, x=x, train=train)
        again, again_state, back = at.vjp(params=params, x=x, train=train)
        assert digest(y, state) == digest(again, again_state)
        np.testing.assert_allclose(y, want, rtol=1e-11, atol=1e-12)
        for got, wanted in zip(flat(back(cotangent)), want_back, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)


def loose_layout(node, layout):
    return (
        {k: loose_layout(v, layout) for k, v in node.items()}
        if isinstance(node, dict)
        else layout(node)
    )


def read_only(a):
    b = a.copy()
    b.setflags(write=False)
    return b


def fortran(a):
    return np.asfortranarray(a)


def batch_innermost(a):
    order = (*range(1, a.ndim), 0)
    return np.ascontiguousarray(a.transpose(order)).transpose(-1, *range(a.ndim - 1))


def reverse_strided(a):
    flip = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[flip])[flip]


def spread(a):
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), np.nan, a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


@every_case
def test_layers_pickle_copy_and_compare_by_their_recipe(case):
    layer, in_shape = case
    for again in (pickle.loads(pickle.dumps(layer)), copy.copy(layer), copy.deepcopy(layer)):
        assert again == layer
        assert hash(again) == hash(layer)
        assert (repr(again), again.where, again.traits) == (repr(layer), layer.where, layer.traits)
        drawn = [each.init(Key.of(3), in_shape)[1:] for each in (layer, again)]
        assert digest(*drawn[0]) == digest(*drawn[1])
    assert layer.where.startswith("layer_cases.py:")
    init, apply, vjp = layer
    assert (init, apply, vjp) == (layer.init, layer.apply, layer.vjp)


@every_case
def test_init_is_a_pure_function_of_key_and_shape(case):
    layer, in_shape = case
    shape, params, state = layer.init(Key.of(3), in_shape)
    assert (type(params), type(state)) == (fnn.Tree, fnn.Tree)
    listed = layer.init(Key.of(3), [np.int64(n) for n in in_shape])
    assert listed[0] == shape
    assert all(type(n) is int for n in listed[0])
    assert digest(*listed[1:]) == digest(params, state)
    assert {leaf.dtype for leaf in tree.leaves(params) + tree.leaves(state)} <= {np.dtype("float32")}


# --- edges -----------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("batch", [0, 1])
def test_an_empty_batch_and_a_single_example_pass(case, batch):
    at = make(case, batch=batch, dtype="float32")
    for train in (False, True):
        if train and at.layer.traits.mixes_batch:
            continue
        y, _, pullback = at.vjp(train=train)
        assert y.shape == (batch, *at.out_shape)
        dparams, dx = pullback(np.ones_like(y))
        assert dx.shape == at.x.shape
        assert {leaf.dtype for leaf in (y, dx, *tree.leaves(dparams))} == {np.dtype("float32")}
        assert shapes(dparams) == shapes(at.params)
        assert batch or not any(leaf.any() for leaf in tree.leaves(dparams))


@pytest.mark.parametrize("case", [case for case in CASES if case[0].name != "swish"], ids=repr)
@both_modes
@pytest.mark.parametrize("size", [1e-30, 1e4, 1e15])
def test_large_and_tiny_magnitudes_give_finite_values_and_no_warning(case, train, size):
    at = make(case, dtype="float32")
    with np.errstate(all="raise", under="ignore"):
        y, state, pullback = at.vjp(x=at.x * np.float32(size), train=train)
        result = pullback(np.full_like(y, 1e-3))
    assert all(np.isfinite(leaf).all() for leaf in (y, *tree.leaves(state), *flat(result)))
