"""Hypothesis strategies for networks, and for what a layer is called with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from fnn import tree
from fnn.layers.activation import LogSoftmax, Softmax
from fnn.layers.calls import Shape
from fnn.layers.combinators import serial
from fnn.layers.contract import Layer
from fnn.testing.drawing import in_dtype
from fnn.testing.strategies.of_arrays import arrays, keys
from fnn.testing.strategies.of_combinators import Alphabet, out_shape_of, ways
from fnn.testing.strategies.of_layers import GROWING, HEADS
from fnn.testing.strategies.of_layers import layers as every_layer
from fnn.tree import Array, Tree

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# --- networks -------------------------------------------------------------------------------


def _inner_layers(in_shape: Shape) -> st.SearchStrategy[Layer]:
    return every_layer(in_shape, without=(*HEADS, *GROWING))


def networks(
    in_shape: Shape, depth: int = 6, *, layers: Alphabet = _inner_layers
) -> st.SearchStrategy[Layer]:
    """Return random nested networks for examples of `in_shape`; they shrink to the smallest failing.

    The way through them leads past at most `depth` layers, in compositions nested at most as deep:
    serial, residual and named ones, branches of every merge, layers in parallel, repeated, shared and
    run again (`remat`). Where two ways would end in different shapes, one is projected.
    Softmax and LogSoftmax come last or not at all: what sums to 1 has a mean that is constant, and a
    derivative of nothing but rounding behind it. Exp and Square are in none: a few of them in a row
    leave the range of numbers.

    Args:
        in_shape: Shape of one example.
        depth: Longest way from input to output, in layers; shortcuts and projections do not count.
        layers: From a shape to a strategy for the layers that take it. With one's own among them:
            `networks((4,), layers=lambda shape: fnn.testing.strategies.layers(shape) |
            st.just(Swish()))`.
    """
    return _whole(tuple(in_shape), depth, layers)


@st.composite
def _whole(draw: st.DrawFn, in_shape: Shape, depth: int, alphabet: Alphabet) -> Layer:
    # Drawn whether it fits or not: what is drawn after it shrinks the better the less depends on it.
    head = draw(st.sampled_from([None, None, Softmax, LogSoftmax]))
    room = depth - (head is not None)
    chain, out, _ = draw(ways(in_shape, room, alphabet, min(1, room)))
    # Of one number alone they make a constant.
    if head is not None and out and out[-1] > 1:
        chain.append(head())
    return serial(*chain)


# --- what a layer is called with ------------------------------------------------------------


def _moved(leaf: Array, rng: np.random.Generator, dtype: Any) -> Array:
    if leaf.dtype.kind not in "fc":
        return leaf
    return (leaf + rng.normal(size=leaf.shape) / 2).astype(dtype)


def _moved_state(leaf: Array, rng: np.random.Generator, dtype: Any) -> Array:
    # What starts above zero stays there: a running variance, a count that something is divided by.
    if leaf.dtype.kind != "f" or not leaf.size or not (leaf > 0).all():
        return _moved(leaf, rng, dtype)
    return (leaf * np.exp(rng.normal(size=leaf.shape) / 2)).astype(dtype)


@st.composite
def params_for(
    draw: st.DrawFn, layer: Layer, in_shape: Shape, dtype: DTypeLike = "float64"
) -> tuple[Tree, Tree]:
    """Draw (params, state) of a layer, both off their first values, the floats in `dtype`.

    Biases are not 0 then nor scales 1, which would hide wrong gradients. State that starts above 0
    stays above 0, like a running variance.
    """
    key = draw(keys())
    _, params, state = layer.init(key, tuple(in_shape))
    rng = key.fold("moved").generator()
    return (
        tree.map(lambda leaf: _moved(leaf, rng, dtype), params),
        tree.map(lambda leaf: _moved_state(leaf, rng, dtype), state),
    )


def _filled(shape: Any, batch: int, make: Callable[[Shape], Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for one array, or for a tuple of them where `shape` is one of shapes."""
    if shape and isinstance(shape[0], tuple | list):
        return st.tuples(*(_filled(each, batch, make) for each in shape))
    return make((batch, *shape))


@st.composite
def inputs_for(
    draw: st.DrawFn,
    layer: Layer,
    in_shape: Shape,
    batch: int | st.SearchStrategy[int] = 3,
    *,
    dtype: DTypeLike = "float64",
    away_from_kinks: bool = True,
) -> Any:
    """Draw a batch of inputs; a tuple of arrays if `in_shape` is a tuple of shapes.

    A layer that declares its inputs (`Layer.inputs`) gets such.

    Args:
        draw: Given by Hypothesis.
        layer: Only one that has kinks is kept away from them: others may get zeros and ties.
        in_shape: Shape of one example.
        batch: How many examples, or a strategy for it. What normalises over the batch needs two.
        dtype: Real or complex.
        away_from_kinks: Whether values keep apart and away from 0. Inside a network a value may
            still come near a kink, but never by construction.
    """
    n = batch if isinstance(batch, int) else draw(batch)
    if layer.inputs is not None:
        return in_dtype(layer.inputs(draw(keys()), n, in_shape), np.dtype(dtype).name)
    away = away_from_kinks and layer.traits.has_kinks
    return draw(_filled(in_shape, n, lambda shape: arrays(shape, dtype, away_from_kinks=away)))


@st.composite
def cotangents_for(
    draw: st.DrawFn,
    layer: Layer,
    in_shape: Shape,
    batch: int | st.SearchStrategy[int] = 3,
    dtype: DTypeLike = "float64",
) -> Any:
    """Draw a cotangent dy of what the layer makes of a batch, sometimes a single one among zeros."""
    n = batch if isinstance(batch, int) else draw(batch)
    return draw(_filled(out_shape_of(layer, in_shape), n, lambda shape: _units(shape, dtype)))


@st.composite
def _units(draw: st.DrawFn, shape: Shape, dtype: DTypeLike) -> Array:
    size = math.prod(shape)
    if not size or not draw(st.sampled_from([False, False, True])):
        return draw(arrays(shape, dtype))
    unit = np.zeros(size, dtype)
    unit[draw(st.integers(0, size - 1))] = 1
    unit.setflags(write=False)
    return unit.reshape(shape)
