"""Hypothesis strategies for everything that this library takes; needs the extra `test`.

    @given(st.data())
    def test_my_layer_is_linear_in_its_input(data):
        layer = MyLayer()
        params, state = data.draw(params_for(layer, (4,)))
        x = data.draw(inputs_for(layer, (4,)))

What comes is valid, so that a failure is a finding; it is adversarial within that: ties and zeros,
odd memory layouts, read-only arrays, padding on one side, schedules that return NumPy's floats.
Everything follows from Hypothesis' own choices, no global random state is touched, and what fails
shrinks: arrays to ramps or zeros, networks to the layer that is to blame.
"""

from fnn.testing.strategies.of_arrays import (
    arrays,
    batch_sizes,
    datasets,
    keys,
    seeds,
    shapes,
    trees,
)
from fnn.testing.strategies.of_layers import layers
from fnn.testing.strategies.of_networks import cotangents_for, inputs_for, networks, params_for
from fnn.testing.strategies.of_optimizers import schedules, transforms
from fnn.testing.strategies.of_options import initializers

__all__ = [
    "arrays",
    "batch_sizes",
    "cotangents_for",
    "datasets",
    "initializers",
    "inputs_for",
    "keys",
    "layers",
    "networks",
    "params_for",
    "schedules",
    "seeds",
    "shapes",
    "transforms",
    "trees",
]
