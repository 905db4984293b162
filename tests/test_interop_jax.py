"""Every layer and network in JAX beside the same in NumPy: outputs, states and all derivatives."""

import functools

import layer_cases
import numpy as np
import pytest

import fnn
from fnn import Key, tree

jax = pytest.importorskip("jax")

import jax.numpy as jnp
import jax_cases
from recurrent_cases import LeakyCell, MeanCell, PairCell

from fnn.interop.jax import function_of, rules, to_jax
from fnn.kernels.values import named_arrays

TOLERANCES = {"float64": 1e-10, "float32": 1e-5}
