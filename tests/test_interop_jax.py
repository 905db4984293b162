"""Every layer in JAX beside the same in NumPy: outputs, states and all derivatives."""

import layer_cases
import numpy as np
import pytest

import fnn

jax = pytest.importorskip("jax")

import jax.numpy as jnp
from jax_cases import agrees, inputs, trees, without_draws
from recurrent_cases import LeakyCell, MeanCell, PairCell

from fnn.interop.jax import rules, to_jax


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


ROWS = layer_cases.ALL_CASES
WRITTEN_IN_NUMPY = (fnn.make_layer, fnn.elementwise, fnn.Lambda)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("layer", "in_shape"), ROWS, ids=layer_cases.ALL_IDS)
def test_a_layer_is_what_it_is_in_numpy(layer, in_shape, dtype):
    if layer.made_by().call in WRITTEN_IN_NUMPY:
        with pytest.raises(fnn.OptionError, match=r"expected a layer that JAX can express.*rules\.of"):
            to_jax(layer)
        return
    layer = without_draws(layer)
    with jax.enable_x64(dtype == "float64"):
        params, state = trees(layer, in_shape, dtype)
        x = inputs(layer, in_shape, dtype)
        for train in (False, True):
            agrees(layer, params, state, x, dtype, train=train)
