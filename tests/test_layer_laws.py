"""What layers do beside the laws of `fnn.testing`, which test_testing_laws.py holds them to."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
from layer_cases import ALL_CASES, ALL_IDS, CASES, IDS, digest, draw, make

import fnn
from fnn import Key, tree

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
    # The first two have by their very purpose another gradient than their derivative: test_frozen.py,
    # test_reparametrization.py. What `mlp` returns is a `serial`.
    own = {"frozen", "spectral_norm", "mlp"}
    assert public - own == {layer.recipe.call.__name__ for layer, _ in ALL_CASES}


def shapes(node):
    return [(path, leaf.shape) for path, leaf in tree.items(node)]


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


@pytest.mark.parametrize("case", ALL_CASES, ids=ALL_IDS)
def test_layers_pickle_copy_and_compare_by_their_recipe(case):
    layer, in_shape = case
    for again in (pickle.loads(pickle.dumps(layer)), copy.copy(layer), copy.deepcopy(layer)):
        assert again == layer
        assert hash(again) == hash(layer)
        assert (repr(again), again.where, again.traits) == (repr(layer), layer.where, layer.traits)
        drawn = [each.init(Key.of(3), in_shape)[1:] for each in (layer, again)]
        assert digest(*drawn[0]) == digest(*drawn[1])
    assert "_cases.py:" in layer.where
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


@pytest.mark.parametrize(
    "case", [case for case in CASES if case[0].name not in ("swish", "exp", "square")], ids=repr
)
@both_modes
@pytest.mark.parametrize("size", [1e-30, 1e4, 1e15])
def test_large_and_tiny_magnitudes_give_finite_values_and_no_warning(case, train, size):
    at = make(case, dtype="float32")
    with np.errstate(all="raise", under="ignore"):
        y, state, pullback = at.vjp(x=at.x * np.float32(size), train=train)
        result = pullback(np.full_like(y, 1e-3))
    assert all(np.isfinite(leaf).all() for leaf in (y, *tree.leaves(state), *flat(result)))
