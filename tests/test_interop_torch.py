"""Every layer in PyTorch beside the same in NumPy: outputs, states and all derivatives."""

import layer_cases
import pytest
from bridge_cases import add_cells
from torch_cases import agrees_in_all_modes, to_torch

import fnn
from fnn.interop.torch import rules

add_cells(rules)
ROWS = layer_cases.ALL_CASES
WRITTEN_IN_NUMPY = (fnn.make_layer, fnn.elementwise, fnn.Lambda)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("layer", "in_shape"), ROWS, ids=layer_cases.ALL_IDS)
def test_a_layer_is_what_it_is_in_numpy(layer, in_shape, dtype):
    if layer.made_by().call in WRITTEN_IN_NUMPY:
        _, params, state = layer.init(fnn.Key.of(0), in_shape)
        with pytest.raises(fnn.OptionError, match=r"that PyTorch can express.*rules\.of"):
            to_torch(layer, params, state)
        return
    agrees_in_all_modes(layer, in_shape, dtype)
