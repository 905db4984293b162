"""Strategies: what they draw is valid, reaches everything public and shrinks to something simple."""

from __future__ import annotations

import functools
import inspect
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from searches import drawn, simplest, some

import fnn
from fnn import Key, tree
from fnn.testing import strategies
from fnn.testing.strategies import (
    arrays,
    cotangents_for,
    inputs_for,
    keys,
    layers,
    networks,
    params_for,
    shapes,
    transforms,
)
from fnn.testing.strategies.of_layers import LAYERS
from fnn.testing.strategies.of_optimizers import TRANSFORMS


def parts(layer):
    """Yield the layer and all layers inside it."""
    yield layer
    for _, child in layer.children:
        yield from parts(child)


def children(layer):
    return [child for _, child in layer.children]


def makers(layer):
    return {part.recipe.call.__name__ for part in parts(layer)}


def public(annotation):
    """Return the names of public functions that say they return `annotation`."""
    functions = {name: getattr(fnn, name) for name in fnn.__all__}
    return {
        name
        for name, value in functions.items()
        if inspect.isfunction(value)
        and inspect.signature(value).return_annotation in (annotation, getattr(fnn, annotation))
    }


# --- everything public can be drawn ---------------------------------------------------------


def is_made_by(name, made):
    return made.recipe.call.__name__ == name


def has_option(option, made):
    return option in made.recipe.kwargs


COMBINATORS = {"serial", "residual", "named", "branch", "parallel", "fan_out", "fan_in"}
COMBINATORS |= {"repeat", "shared", "remat"}


NOT_DRAWN = {
    "stacked": "many networks, not one",
    "frozen": "its gradient of zero says nothing of those around it (test_frozen.py)",
    "mlp": "a serial",
    "rnn": "RNN, LSTM and GRU are calls of it",
    "Lambda": "its function and derivative are the user's, like those of elementwise",
    "Embedding": "takes integers, of which a network behind other layers has none",
    "tied_embedding": "likewise",
    "spectral_norm": "its power iteration in training is a function of the state, no smooth one",
}
"""What random networks leave out, and why; a new layer is drawn once it has a row."""


def test_every_activation_and_what_else_has_a_row_is_in_the_alphabet_of_layers_or_networks():
    assert LAYERS.keys() | COMBINATORS <= public("Layer") - NOT_DRAWN.keys()
    assert public("Layer") >= NOT_DRAWN.keys()
    assert {fnn.ACTIVATIONS[name].__name__ for name in fnn.ACTIVATIONS} <= LAYERS.keys()
    assert {"Dense", "Conv", "BatchNorm", "Dropout", "MaxPool", "Reshape"} <= LAYERS.keys()


@functools.cache
def many(shape):
    """Return layers for examples of that shape, some hundred."""
    found = []

    @drawn(500)
    @given(layers(shape))
    def draw(layer):
        found.append(layer)

    draw()
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_of_the_alphabet_can_be_drawn(name):
    axes = LAYERS[name][0]
    shape = (2, 4, 4) if isinstance(axes, int) or 3 in axes else (2, 4)
    found = next((each for each in many(shape) if name in makers(each)), None)
    found = found or some(layers(shape), lambda layer: name in makers(layer))
    assert makers(found) - {"named"} == {name}


@pytest.mark.parametrize("name", sorted(COMBINATORS | {"Dense", "Conv", "BatchNorm", "Dropout"}))
def test_networks_reach_every_combinator_and_kind_of_layer(name):
    network = some(networks((2, 4, 4), 3), lambda net: name in set().union(*map(makers, children(net))))
    assert network.init(Key.of(0), (2, 4, 4))[0]
    assert name in makers(network)


@drawn(200)
@given(networks((3,), 6))
def test_no_network_makes_powers_of_powers(network):
    assert not {"Exp", "Square"} & set().union(*map(makers, parts(network)))


def test_every_optimizer_and_what_else_has_a_row_can_be_drawn():
    params = {"dense_0": {"w": np.ones(3)}}
    drawn = TRANSFORMS.keys() | {"freeze", "chain"}
    assert {*fnn.OPTIMIZERS} <= drawn <= public("Transform")
    seen = set()

    def is_last(transform):
        seen.add(transform.recipe.call.__name__)
        return drawn <= seen

    some(transforms(params), is_last)


def test_a_layer_is_drawn_with_every_option_off_its_default():
    options = {
        "Conv": {"stride", "padding", "dilation", "groups", "bias", "init_w", "init_b"},
        "AvgPool": {"stride", "padding", "count_padding"},
        "MaxPool": {"stride", "padding"},
        "BatchNorm": {"axis", "momentum", "eps"},
        "Dense": {"bias", "init_w", "init_b"},
    }
    for name, wanted in options.items():
        strategy = LAYERS[name][2]((2, 4, 5))
        for option in wanted:
            assert has_option(option, some(strategy, functools.partial(has_option, option)))


def test_the_public_strategies_are_documented_and_sorted():
    assert strategies.__all__ == sorted(strategies.__all__)
    assert all(inspect.getdoc(getattr(strategies, name)) for name in strategies.__all__)


# --- arrays ---------------------------------------------------------------------------------


@drawn(100)
@given(shapes(0, 4, 4).flatmap(lambda shape: st.tuples(st.just(shape), arrays(shape, "float32"))))
def test_arrays_have_the_shape_and_dtype_asked_for_and_are_finite_and_read_only(case):
    shape, array = case
    assert (array.shape, array.dtype) == (shape, "float32")
    assert np.isfinite(array).all()
    assert np.abs(array).max(initial=0) < 1e4
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0


@drawn(100)
@given(shapes().flatmap(lambda shape: arrays(shape, away_from_kinks=True)))
def test_arrays_away_from_kinks_have_values_well_apart_and_away_from_zero(array):
    least = 1 / max(array.size, 8)
    assert np.diff(np.sort(array, axis=None)).min(initial=math.inf) >= 4 * least * 0.999
    assert np.abs(array).min() >= least * 0.999


@pytest.mark.parametrize(
    "condition",
    [
        lambda a: not a.any(),
        lambda a: (a == 1).all(),
        lambda a: len(np.unique(a)) < a.size and (a % 1 == 0).all() and len(np.unique(a)) > 2,
        lambda a: a.min() > 5,
        lambda a: a.flags.f_contiguous and not a.flags.c_contiguous,
        lambda a: not a.flags.f_contiguous and not a.flags.c_contiguous,
        lambda a: any(stride < 0 for stride in a.strides),
    ],
    ids=["zeros", "ones", "ties", "off zero", "Fortran", "strided", "backwards"],
)
def test_arrays_take_adversarial_forms_and_layouts(condition):
    assert condition(some(arrays((3, 4)), condition))


def test_arrays_shrink_to_zeros_or_a_ramp_in_plain_memory():
    assert not simplest(arrays((2, 3))).any()
    ramp = simplest(arrays((2, 3), away_from_kinks=True))
    np.testing.assert_array_equal(ramp.ravel(), (np.arange(6) - 2.25) / 2)
    assert ramp.flags.c_contiguous


def test_complex_arrays_have_an_imaginary_part():
    array = some(arrays((2,), "complex64"), lambda a: a.imag.any())
    assert array.dtype == np.complex64


# --- what a layer is called with ------------------------------------------------------------


@drawn(150)
@given(st.data(), shapes(), keys(), st.sampled_from(["float32", "float64"]))
def test_every_drawn_layer_runs_in_both_modes_on_what_is_drawn_for_it(data, in_shape, key, dtype):
    layer = data.draw(layers(in_shape))
    params, state = data.draw(params_for(layer, in_shape, dtype))
    x = data.draw(inputs_for(layer, in_shape, st.integers(2, 4), dtype=dtype))
    dy = data.draw(cotangents_for(layer, in_shape, len(x), dtype))
    for train in (False, True):
        y, _, pullback = layer.vjp(params, state, x, train=train, key=key)
        dparams, dx = pullback(dy)
        assert y.shape == dy.shape == (len(x), *layer.init(key, in_shape)[0])
        assert y.dtype == dx.dtype == dtype
        assert all(np.isfinite(leaf).all() for leaf in (y, dx, *tree.leaves(dparams)))


@drawn(100)
@given(shapes().flatmap(layers))
def test_drawn_layers_print_as_the_code_that_makes_them_and_pickle(layer):
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert repr(layer).startswith(layer.recipe.call.__name__)


@drawn()
@given(params_for(fnn.BatchNorm(), (6,)))
def test_a_running_variance_stays_above_zero_and_nothing_stays_at_its_first_value(drawn_pair):
    params, state = drawn_pair
    assert (state["var"] > 0).all()
    for leaf, first in (
        (params["scale"], 1),
        (params["shift"], 0),
        (state["mean"], 0),
        (state["var"], 1),
    ):
        assert (leaf != first).all()
        assert leaf.dtype == np.float64


def test_integer_leaves_of_a_users_layer_are_left_as_they_are():
    def init(key, in_shape):
        return in_shape, {}, {"calls": np.zeros(1, "int64"), "mean": np.zeros(2, "float32")}

    layer = fnn.make_layer("counting", init, lambda params, state, x, train, key: None)
    _, state = simplest(params_for(layer, (2,)))
    assert (state["calls"].dtype, state["mean"].dtype) == (np.int64, np.float64)


def test_inputs_keep_away_from_kinks_unless_told_otherwise_or_there_are_none():
    def ties(x):
        return len(np.unique(x)) < x.size

    with pytest.raises(NoSuchExample):
        some(inputs_for(fnn.Relu(), (3,)), ties, 1000)
    some(inputs_for(fnn.Relu(), (3,), away_from_kinks=False), ties)
    some(inputs_for(fnn.Tanh(), (3,)), ties)


def test_inputs_of_several_arrays_come_as_a_tuple():
    first, second = simplest(inputs_for(fnn.Identity(), ((3,), (2, 2)), 4))
    assert (first.shape, second.shape) == ((4, 3), (4, 2, 2))


def test_a_cotangent_is_sometimes_one_entry_alone():
    assert simplest(
        cotangents_for(fnn.Dense(4), (3,)), lambda dy: dy.sum() == 1 and np.ptp(dy) == 1
    ).any()


# --- networks -------------------------------------------------------------------------------


@drawn(60)
@given(shapes(), st.data(), st.integers(1, 6))
def test_the_way_through_a_network_is_as_long_as_allowed_and_its_shapes_fit(in_shape, data, depth):
    network = data.draw(networks(in_shape, depth))
    network.init(Key.of(0), in_shape)
    assert 0 <= longest(network) <= depth


def longest(layer):
    body = [longest(child) for name, child in layer.children if name not in ("shortcut", "fitted")]
    if layer.name in ("branch", "parallel"):
        return max(body)
    if layer.name in ("serial", "residual", "repeat", "shared") or body:
        return sum(body) * (2 if layer.name == "shared" else 1)
    return layer.name not in ("fan_out", "fan_in")


def test_networks_of_depth_six_are_mostly_deep_and_often_nested():
    sizes, kinds = [], set()

    @drawn(60)
    @given(shapes().flatmap(lambda shape: networks(shape, 6)))
    def look(network):
        sizes.append(len(list(parts(network))))
        kinds.update(*map(makers, (part for part in parts(network))))

    look()
    assert sum(size > 6 for size in sizes) >= 15
    assert max(sizes) >= 12
    assert kinds >= COMBINATORS


@pytest.mark.parametrize("in_shape", [(3,), (2, 4, 4)])
def test_a_residual_whose_ways_differ_in_shape_has_a_projection(in_shape):
    def is_projected(net):
        return any(part.name == "residual" and len(part.children) > 1 for part in parts(net))

    network = some(networks(in_shape, 4), is_projected)
    assert is_projected(network)
    assert network.init(Key.of(0), in_shape)[0]


def double(x):
    return 2 * x


def double_vjp(x, y, dy):
    return 2.002 * dy


WRONG = fnn.elementwise("wrong", double, double_vjp)


@pytest.mark.parametrize(
    ("in_shape", "seed"),
    [
        ((3,), 0),
        ((2, 3, 3), 1),
        *(pytest.param((2, 3, 3), seed, marks=pytest.mark.slow) for seed in (0, 2)),
    ],
)
def test_a_network_shrinks_to_the_layer_that_is_to_blame(in_shape, seed):
    def alphabet(shape):
        return layers(shape) | st.just(WRONG)

    strategy = networks(in_shape, 6, layers=alphabet)
    network = simplest(strategy, lambda net: WRONG in parts(net), seed=seed)
    assert len(network.children) <= 2
    assert len(list(parts(network))) <= 3
