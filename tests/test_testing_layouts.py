"""The law of layouts: arguments may lie in memory as they like."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import CASES, IDS

import fnn
from fnn.testing import LawError, check_layer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_layer_takes_arguments_however_they_lie(case, dtype):
    layer, in_shape = case
    check_layer(layer, in_shape, laws="pure", dtype=dtype, batch=5)


def gain(y_of, dx_of=lambda x, y, dy: dy):
    return fnn.elementwise("gain", y_of, dx_of)


def flat_in_memory(x):
    return x.ravel(order="K").reshape(x.shape) * 1


def past_the_end(x):
    """Read as many numbers from where x begins as x has."""
    return np.lib.stride_tricks.as_strided(x, (x.size,), (x.itemsize,)).reshape(x.shape) * 1


def row_major_alone(x):
    if not x.flags.c_contiguous:
        raise ValueError("expected row-major order")
    return x * 1


def in_place(x):
    return np.multiply(x, 1, out=x) + 0 if x.flags.f_contiguous and x.ndim > 1 else x * 1


def other_scale(x):
    return x * (1 if x.flags.c_contiguous else 1 + 1e-6)


CALLS = []


def counted(x):
    CALLS.append(0)
    return x * (1 if x.flags.c_contiguous else 1 + 1e-15 * len(CALLS))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (gain(flat_in_memory), "copies of the arguments give other values"),
        (gain(lambda x: x * 1, lambda x, y, dy: flat_in_memory(dy)), "give other values; at dx"),
        (gain(past_the_end), "copies of the arguments give other values"),
        (gain(row_major_alone), "arguments .*expected row-major order"),
        (gain(in_place), "arguments that cannot be written to: .*read-only"),
        (gain(other_scale), "copies of the arguments give other values"),
        (gain(counted), "vjp is not apply|give other bits at a later call"),
    ],
    ids=["order K", "dy", "gaps", "refused", "in place", "scale", "calls"],
)
def test_a_layer_that_depends_on_how_its_arguments_lie_breaks_the_law(layer, message):
    with pytest.raises(LawError, match=message):
        check_layer(layer, (3, 4), laws="pure")


def test_sums_in_another_order_are_no_fault():
    x = np.random.default_rng(0).normal(size=(64, 512)).astype("float32")
    softmax = fnn.Softmax()
    y, _ = softmax.apply({}, {}, x)
    turned, _ = softmax.apply({}, {}, np.asfortranarray(x))
    assert (y != turned).any()  # They do differ in the last bits, and are allowed to.
    np.testing.assert_allclose(turned, y, rtol=1e-5)
    check_layer(softmax, (512,), laws="pure", dtype="float32", batch=64)
