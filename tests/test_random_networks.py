"""All laws on random networks: 25 at every run, more and new ones with `--fnn-profile nightly`."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

import fnn
from fnn.testing import LawError, check_layer
from fnn.testing.strategies import keys, layers, networks, shapes

NIGHTLY = settings.get_current_profile_name() == "fnn-nightly"
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def examples(usual, nightly):
    return settings(
        max_examples=nightly if NIGHTLY else usual,
        derandomize=not NIGHTLY,
        deadline=None,
        database=None,
        suppress_health_check=SLOW,
    )


@st.composite
def networks_and_shapes(draw, depth):
    in_shape = draw(shapes())
    return draw(networks(in_shape, depth)), in_shape


def check_network(network, in_shape, key, **options):
    """Check all laws; what is broken must be broken at three points.

    Where a tanh or a sigmoid is saturated, its derivative 1 - y² is the rounding of y: true of the
    point, and of no gradient. A wrong gradient is wrong everywhere.
    """
    for attempt in range(3):
        try:
            # A path of six layers loses up to three digits; a single layer is held to 1e-12.
            return check_layer(network, in_shape, key=key.fold(attempt), **options)
        except LawError as error:
            broken = error
    raise broken


@examples(25, 400)
@given(networks_and_shapes(6), keys())
def test_random_networks_of_depth_six_obey_all_laws(case, key):
    check_network(*case, key, rtol=1e-9)


@examples(10, 100)
@given(networks_and_shapes(6), keys())
def test_random_networks_obey_all_laws_in_single_precision(case, key):
    check_network(*case, key, dtype="float32", rtol=1e-4)


# --- the kit finds who is to blame ----------------------------------------------------------


def bend(x):
    return np.sqrt(1 + x * x)


def bend_vjp(x, y, dy):
    return 1.001 * x / y * dy


WRONG = fnn.elementwise("wrong", bend, bend_vjp)


def breaks_the_adjoint_law(network, in_shape):
    try:
        check_layer(network, in_shape, laws=["adjoint"], train=False)
    except LawError as error:
        return error.report.broken == ("adjoint",)
    return False


def parts(layer):
    yield layer
    for _, child in layer.children:
        yield from parts(child)


@pytest.mark.parametrize("in_shape", [(3,), pytest.param((2, 3, 3), marks=pytest.mark.slow)])
def test_a_wrong_layer_in_the_alphabet_is_left_almost_alone(in_shape):
    strategy = networks(in_shape, 4, layers=lambda shape: layers(shape) | st.just(WRONG))
    found = find(
        strategy,
        lambda network: breaks_the_adjoint_law(network, in_shape),
        settings=settings(max_examples=500, deadline=None, database=None, suppress_health_check=SLOW),
        random=Random(0),
    )
    assert WRONG in parts(found)
    assert len(found.children) <= 2
    assert len(list(parts(found))) <= 3


def test_the_report_names_the_wrong_layer_wherever_it_stands():
    inner = fnn.residual(fnn.Dense(3), fnn.serial(WRONG, fnn.Tanh()))
    with pytest.raises(LawError) as caught:
        check_layer(fnn.serial(fnn.Dense(3), inner), (2,), laws=["adjoint"])
    violations = caught.value.report.violations
    assert {each.path for each in violations} == {"serial/residual_0/serial_0/wrong_0"}
