"""Toy sets against the equations of their curves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn

KEY = fnn.Key.of(7)
MAKERS = {
    "two_moons": (fnn.two_moons, 2),
    "circles": (fnn.circles, 2),
    "spirals": (lambda n, **options: fnn.spirals(n, classes=3, **options), 3),
    "blobs": (lambda n, **options: fnn.blobs(n, classes=5, **options), 5),
}
EPS = 4 * np.finfo(np.float32).eps


@pytest.mark.parametrize("name", MAKERS)
@given(n=st.integers(5, 60), seed=st.integers(0, 2**40))
def test_a_toy_set_is_a_function_of_its_key_with_balanced_classes(name, n, seed):
    make, classes = MAKERS[name]
    one, again = (make(n, key=fnn.Key.of(seed)) for _ in range(2))
    assert (one.x.shape, one.x.dtype, one.y.shape, one.y.dtype) == ((n, 2), np.float32, (n,), np.int64)
    assert one.digest() == again.digest()
    counts = np.bincount(one.y, minlength=classes)
    assert counts.tolist() == [n // classes + (i < n % classes) for i in range(classes)]
    assert make(n, key=fnn.Key.of(seed + 1)).digest() != one.digest()


def places(data):
    return data.x.astype(np.float64), data.y


def test_moons_without_noise_are_two_half_circles_of_radius_one():
    x, y = places(fnn.two_moons(500, noise=0, key=KEY))
    centres = np.where((y == 0)[:, None], [0.0, 0.0], [1.0, 0.5])
    assert np.abs(np.hypot(*(x - centres).T) - 1).max() <= EPS
    # The first is the upper half of its circle, the second the lower.
    assert np.all(np.where(y == 0, x[:, 1], 0.5 - x[:, 1]) >= -EPS)


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.9])
def test_circles_without_noise_have_their_two_radii(factor):
    x, y = places(fnn.circles(500, factor=factor, noise=0, key=KEY))
    assert np.abs(np.hypot(*x.T) - np.where(y == 0, 1.0, factor)).max() <= EPS


@pytest.mark.parametrize(("classes", "turns"), [(2, 1.5), (3, 0.25), (5, 4.0)])
def test_spirals_without_noise_turn_with_their_radius(classes, turns):
    x, y = places(fnn.spirals(500, classes=classes, turns=turns, noise=0, key=KEY))
    r, t = np.hypot(*x.T), np.arctan2(x[:, 1], x[:, 0])
    turned = t / (2 * math.pi) - turns * r - y / classes
    off = np.abs(turned - np.round(turned)) * 2 * math.pi * r
    # Along the arm a rounding of r turns the place by 2π · turns · r of it.
    assert off.max() <= EPS * (1 + 2 * math.pi * turns)
    assert r.max() <= 1 + EPS


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_blobs_without_noise_are_the_corners_of_a_polygon(classes):
    x, y = places(fnn.blobs(60, classes=classes, radius=3, noise=0, key=KEY))
    t = 2 * math.pi * y / classes
    assert np.abs(x - 3 * np.stack([np.cos(t), np.sin(t)], axis=1)).max() <= 3 * EPS


@pytest.mark.parametrize("name", MAKERS)
def test_noise_has_its_standard_deviation_and_changes_nothing_else(name):
    make, _ = MAKERS[name]
    clean, noisy = (make(20_000, noise=noise, key=KEY) for noise in (0, 0.25))
    np.testing.assert_array_equal(clean.y, noisy.y)
    moved = (noisy.x - clean.x).astype(np.float64)
    # Of 40,000 normal numbers the deviation is known to 0.35 %, the mean to 0.00125.
    assert abs(moved.std() - 0.25) < 5 * 0.25 / math.sqrt(2 * moved.size)
    assert abs(moved.mean()) < 5 * 0.25 / math.sqrt(moved.size)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 5 / math.sqrt(len(moved))


@pytest.mark.parametrize("name", ["two_moons", "circles"])
def test_points_are_spread_evenly_along_their_curve(name):
    make, _ = MAKERS[name]
    x, y = places(make(20_000, noise=0, key=KEY))
    t = np.arctan2(x[y == 0, 1], x[y == 0, 0]) % (2 * math.pi)
    span = math.pi if name == "two_moons" else 2 * math.pi
    counts = np.histogram(t, 20, (0, span))[0]
    assert np.abs(counts - 500).max() < 5 * math.sqrt(500)


def test_a_small_network_parts_the_moons():
    data = fnn.two_moons(200, key=KEY)
    net = fnn.serial(fnn.Dense(16), fnn.Tanh(), fnn.Dense(2))
    fit = fnn.fit(
        net, fnn.softmax_cross_entropy, fnn.adam(0.05), data,
        epochs=60, batch_size=50, key=KEY, progress=False,
    )  # fmt: skip
    assert fnn.evaluate(net, fit.last, data, fnn.accuracy)["accuracy"] > 0.97


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fnn.two_moons(1, key=KEY), "n: expected 2 or more, got 1"),
        (lambda: fnn.two_moons(2.0, key=KEY), "n: expected an integer"),
        (lambda: fnn.two_moons(9, noise=-1, key=KEY), "noise: expected a number in"),
        (lambda: fnn.two_moons(9, noise=math.nan, key=KEY), "noise: expected a number in"),
        (lambda: fnn.two_moons(9, noise=1e30, key=KEY), "noise: expected a number in"),
        (lambda: fnn.two_moons(9, key=3), "key: expected a Key"),
        (lambda: fnn.circles(9, factor=1, key=KEY), "factor: expected a number in"),
        (lambda: fnn.spirals(9, turns=0, key=KEY), "turns: expected a number above 0"),
        (lambda: fnn.spirals(2, classes=3, key=KEY), "n: expected 3 or more, got 2"),
        (lambda: fnn.spirals(9, classes=1, key=KEY), "classes: expected 2 or more"),
        (lambda: fnn.blobs(9, classes=True, key=KEY), "classes: expected an integer"),
        (lambda: fnn.blobs(9, radius=-1, key=KEY), "radius: expected a number in"),
    ],
)
def test_options_out_of_range_are_named(call, message):
    with pytest.raises(fnn.OptionError, match=message):
        call()
