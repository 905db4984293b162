"""Layers, inputs and trees that tests of bridges compare on both sides."""

from __future__ import annotations

import attrs
import numpy as np
from layer_cases import draw
from recurrent_cases import LeakyCell, MeanCell, PairCell

import fnn
from fnn import Key, tree
from fnn.kernels.values import is_tuple_of_shapes, map_arrays
from fnn.recipe import Recipe

RATES = ("rate", "dropout", "std")


def add_cells(rules):
    """Give the cells of the tests rules, which are the same for arrays of any system."""

    @rules.of(LeakyCell)
    def leaky(cell):
        def step(params, carry, x):
            h = params["decay"] * carry + x
            return h, h

        return step

    @rules.of(PairCell)
    def pair(cell):
        def step(params, carry, x):
            new = carry[0] + x, carry[1] * 0.5 + x[:, :1]
            return new, new[0] * new[1]

        return step

    @rules.of(MeanCell)
    def mean(cell):
        def step(params, carry, x):
            h = params["decay"] * carry + x.mean(axis=1)
            return h, h

        return step


def expressible(layer, *, of_numpy=(fnn.elementwise,)):
    """Return a layer like it with all rates of dropout and noise 0, and Tanh for functions of NumPy."""
    recipe = layer.made_by()
    if recipe.call in (fnn.Dropout, fnn.SpatialDropout, fnn.StochasticDepth, fnn.GaussianNoise):
        return recipe.call(0)
    if recipe.call in of_numpy:
        return fnn.Tanh()
    if recipe.call is fnn.make_layer:
        return layer

    def changed(value):
        return expressible(value, of_numpy=of_numpy) if isinstance(value, fnn.Layer) else value

    args = [changed(each) for each in recipe.args]
    more = {name: 0 if name in RATES else changed(each) for name, each in recipe.kwargs.items()}
    return attrs.evolve(Recipe(recipe.call, tuple(args), more).build(), where=layer.where)


def inputs(layer, in_shape, dtype, *, batch=3, seed=0):
    """Return examples of a layer, of floats that keep apart and away from kinks."""
    if layer.inputs is not None:
        x = layer.inputs(Key.of(seed), batch, in_shape)
    else:
        rng = np.random.default_rng(seed)

        def drawn(shape):
            nested = is_tuple_of_shapes(shape)
            return tuple(map(drawn, shape)) if nested else draw((batch, *shape), rng)

        x = drawn(in_shape)
    return map_arrays(lambda part: part.astype(dtype) if part.dtype.kind == "f" else part, x)


def trees(layer, in_shape, dtype, *, seed=0):
    """Return params and state off their first values."""
    rng = np.random.default_rng(seed)
    _, params, state = layer.init(Key.of(seed), in_shape)

    def off(leaf):
        return (leaf + 0.5 * rng.normal(size=leaf.shape)).astype(dtype)

    def scaled(leaf):
        return (leaf * rng.uniform(0.5, 1.5, leaf.shape)).astype(dtype)

    return tree.map(off, params), tree.map(scaled, state)
