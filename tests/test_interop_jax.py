"""Every layer in JAX beside the same in NumPy: outputs, states and all derivatives."""

import layer_cases
import pytest
from bridge_cases import add_cells
from jax_cases import agrees_in_all_modes

import fnn

jax = pytest.importorskip("jax")
room = pytest.importorskip("fnn.interop.jax")
rules, to_jax = room.rules, room.to_jax


add_cells(rules)
ROWS = layer_cases.ALL_CASES
WRITTEN_IN_NUMPY = (fnn.make_layer, fnn.elementwise, fnn.Lambda)


def refused_or_agrees(layer, in_shape, dtype):
    if layer.made_by().call in WRITTEN_IN_NUMPY:
        with pytest.raises(fnn.OptionError, match=r"expected a layer that JAX can express.*rules\.of"):
            to_jax(layer)
        return
    with jax.enable_x64(dtype == "float64"):
        agrees_in_all_modes(layer, in_shape, dtype)


@pytest.mark.parametrize(("layer", "in_shape"), ROWS, ids=layer_cases.ALL_IDS)
def test_a_layer_is_what_it_is_in_numpy(layer, in_shape):
    refused_or_agrees(layer, in_shape, "float64")


@pytest.mark.parametrize(("layer", "in_shape"), ROWS[::7], ids=layer_cases.ALL_IDS[::7])
def test_a_layer_is_what_it_is_in_single_precision(layer, in_shape):
    refused_or_agrees(layer, in_shape, "float32")


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "in_shape"), ROWS, ids=layer_cases.ALL_IDS)
def test_all_layers_are_what_they_are_in_single_precision(layer, in_shape):
    refused_or_agrees(layer, in_shape, "float32")
