"""Initializers: moments against theory, fans of every layer, and what users may pass."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import fnn
from fnn import Key
from fnn.errors import DTypeError, OptionError, ShapeError
from fnn.layers import initializers
from fnn.layers.initializers import INITIALIZERS, constant, draw, normal, uniform

# Variance as a function of (fan_in, fan_out).
VARIANCE = {
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}
# (shape, fan_in, fan_out): dense, one and two spatial axes, lopsided ones.
KERNELS = [
    ((500, 300), 500, 300),
    ((20, 4000), 20, 4000),
    ((64, 96, 5), 480, 320),
    ((128, 64, 3, 3), 576, 1152),
    ((200, 10, 7, 5), 350, 7000),
]


def check_moments(values, mean, variance, kurtosis):
    """Hold mean and variance to 4.5 standard errors."""
    n = values.size
    wide = values.astype("float64")
    assert abs(wide.mean() - mean) < 4.5 * math.sqrt(variance / n)
    square = ((wide - mean) ** 2).mean()
    assert abs(square - variance) < 4.5 * variance * math.sqrt((kurtosis - 1) / n)


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), KERNELS)
@pytest.mark.parametrize("family", VARIANCE)
def test_normal_ones_have_the_moments_of_theory_and_are_not_truncated(family, shape, fan_in, fan_out):
    variance = VARIANCE[family](fan_in, fan_out)
    values = INITIALIZERS[f"{family}_normal"](Key.of(0), shape, fan_in, fan_out)
    check_moments(values, 0, variance, 3)
    beyond = (np.abs(values) > 2 * math.sqrt(variance)).mean()
    assert beyond == pytest.approx(0.0455, abs=4.5 * math.sqrt(0.0455 / values.size))


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), KERNELS)
@pytest.mark.parametrize("family", VARIANCE)
def test_uniform_ones_have_the_moments_and_bounds_of_theory(family, shape, fan_in, fan_out):
    variance = VARIANCE[family](fan_in, fan_out)
    values = INITIALIZERS[f"{family}_uniform"](Key.of(0), shape, fan_in, fan_out)
    check_moments(values, 0, variance, 9 / 5)
    limit = math.sqrt(3 * variance)
    assert np.abs(values).max() <= np.float32(limit)
    assert np.abs(values).max() > limit * (1 - 20 / values.size)
    assert values.min() < -limit * (1 - 20 / values.size)


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), KERNELS)
@pytest.mark.parametrize("name", [f"{f}_{d}" for f in VARIANCE for d in ("normal", "uniform")])
def test_fans_follow_from_the_shape_where_none_are_given(name, shape, fan_in, fan_out):
    init, key = INITIALIZERS[name], Key.of(1)
    expected = init(key, shape, fan_in, fan_out)
    np.testing.assert_array_equal(init(key, shape), expected)
    np.testing.assert_array_equal(init(key, shape, fan_in), expected)
    np.testing.assert_array_equal(init(key, shape, fan_out=fan_out), expected)


def test_a_given_fan_wins_over_the_shape():
    key = Key.of(0)
    np.testing.assert_allclose(
        initializers.he_normal(key, (8, 8), 2), 2 * initializers.he_normal(key, (8, 8)), rtol=1e-6
    )


def test_fans_of_vectors_and_scalars_are_defined():
    assert initializers.glorot_uniform(Key.of(0), (5,)).shape == (5,)
    assert initializers.he_normal(Key.of(0), ()).shape == ()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0, 2)])
def test_fans_of_nothing_are_refused(shape):
    with pytest.raises(ShapeError, match="expected fans of 1 or more"):
        initializers.lecun_normal(Key.of(0), shape)


def test_the_plain_ones_have_their_moments():
    shape = (400, 500)
    check_moments(normal(0.5, 3)(Key.of(0), shape), 3, 0.25, 3)
    values = uniform(-1, 3)(Key.of(0), shape)
    check_moments(values, 1, 16 / 12, 9 / 5)
    assert values.min() >= -1
    assert values.max() <= 3
    assert np.all(constant(0.25)(Key.of(0), shape) == 0.25)
    assert not initializers.zeros(Key.of(0), shape).any()
    assert initializers.ones(Key.of(0), shape).all()


@pytest.mark.parametrize("name", list(INITIALIZERS))
def test_equal_keys_draw_equal_float32_and_others_do_not(name):
    init = INITIALIZERS[name]
    one, same, other = (init(Key.of(seed), (6, 7)) for seed in (0, 0, 1))
    assert one.dtype == np.float32
    assert one.tobytes() == same.tobytes()
    assert (one.tobytes() == other.tobytes()) == (name in ("zeros", "ones", "identity"))


# --- numbers of their own


def test_initializers_with_numbers_are_values():
    assert normal(0.1) == normal(std=0.1) == normal(np.float64(0.1))
    assert normal(0.1) != normal(0.2)
    assert normal() != uniform()
    assert normal() == INITIALIZERS["normal"]
    assert hash(constant(1.0)) == hash(constant(1.0))
    for init in (normal(0.5, mean=1.0), constant(2.0), uniform(0.0, 2.0)):
        again = pickle.loads(pickle.dumps(init))
        assert again == init
        assert repr(again) == repr(init)
        assert again(Key.of(0), (3,)).tobytes() == init(Key.of(0), (3,)).tobytes()
    assert repr(normal(0.5, mean=1.0)) == "normal(std=0.5, mean=1.0)"
    assert repr(constant(2.0)) == "constant(2.0)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: normal(-1), r"normal: std: expected a number in \[0, inf\), got -1"),
        (lambda: normal(math.nan), "normal: std: expected a number"),
        (lambda: normal(1, math.inf), "normal: mean: expected a number"),
        (lambda: normal("1x"), "normal: std: expected a number, got '1x'"),
        (lambda: uniform(2, 1), r"uniform: high: expected a number in \[2.0, inf\), got 1"),
        (lambda: uniform(math.nan), "uniform: low: expected a number"),
        (lambda: constant(None), "constant: value: expected a number, got None"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


# --- what layers pass


class Spy:
    """An initializer that remembers what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, key, shape, fan_in, fan_out):
        self.calls.append((shape, fan_in, fan_out))
        return np.zeros(shape)


@pytest.mark.parametrize(
    ("layer", "in_shape", "w", "b"),
    [
        (lambda s: fnn.Dense(7, init_w=s, init_b=s), (5,), ((5, 7), 5, 7), ((7,), 5, 7)),
        (lambda s: fnn.Dense(7, init_w=s, init_b=s), (2, 3, 5), ((5, 7), 5, 7), ((7,), 5, 7)),
        (
            lambda s: fnn.Conv(8, 3, init_w=s, init_b=s),
            (6, 9, 9),
            ((8, 6, 3, 3), 54, 72),
            ((8,), 54, 72),
        ),
        (lambda s: fnn.Conv(8, 5, init_w=s, init_b=s), (6, 9), ((8, 6, 5), 30, 40), ((8,), 30, 40)),
        (
            lambda s: fnn.Conv(8, (3, 5), groups=2, init_w=s, init_b=s),
            (6, 9, 9),
            ((8, 3, 3, 5), 45, 60),
            ((8,), 45, 60),
        ),
        (
            lambda s: fnn.Conv(12, 3, groups=6, stride=2, dilation=2, init_w=s, init_b=s),
            (6, 9, 9),
            ((12, 1, 3, 3), 9, 18),
            ((12,), 9, 18),
        ),
    ],
)
def test_fans_count_the_window_and_one_groups_channels(layer, in_shape, w, b):
    spy = Spy()
    layer(spy).init(Key.of(0), in_shape)
    assert spy.calls == [w, b]


def test_the_fan_in_of_a_group_keeps_the_variance_of_what_comes_out():
    net = fnn.Conv(64, 3, groups=4, init_w=initializers.lecun_normal)
    _, params, state = net.init(Key.of(0), (64, 12, 12))
    x = Key.of(1).generator().standard_normal((20, 64, 12, 12), "float32")
    assert net.apply(params, state, x)[0].var() == pytest.approx(1, rel=0.05)


def test_weights_and_biases_draw_from_keys_of_their_own():
    _, params, _ = fnn.Dense(4, init_b=normal(), init_w=normal()).init(Key.of(0), (1,))
    assert params["w"].ravel().tolist() != params["b"].tolist()


# --- what users pass


def varied(*args):
    assert len(args) == 4
    return np.zeros(args[1])


@pytest.mark.parametrize(
    "init",
    [
        lambda key: np.zeros((2, 3)),
        lambda key, shape: np.zeros(shape),
        lambda key, shape, fan_in: np.full(shape, fan_in),
        lambda key, shape, fan_in, fan_out: np.full(shape, fan_out),
        lambda key, shape, fan_in=9: np.full(shape, fan_in),
        lambda key, shape, *, scale=2: np.full(shape, scale),
        varied,
    ],
)
def test_fewer_arguments_are_accepted(init):
    values = draw(init, Key.of(0), (2, 3), 2, 3)
    assert (values.shape, values.dtype) == ((2, 3), np.float32)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "bool", ">f8"])
def test_other_real_numbers_become_float32(dtype):
    values = draw(lambda key, shape: np.ones(shape, dtype), Key.of(0), (2,), 1, 1)
    assert values.dtype == np.float32
    assert values.tolist() == [1, 1]
    assert draw(lambda key: [[1, 2], [3, 4]], Key.of(0), (2, 2), 1, 1).dtype == np.float32


def test_a_users_buffer_is_copied():
    buffer = np.zeros(3, "float32")
    net = fnn.Dense(3, init_b=lambda key, shape: buffer)
    _, params, _ = net.init(Key.of(0), (2,))
    buffer[:] = 5
    assert not params["b"].any()
    assert buffer.flags.writeable


def named_one(key, shape):
    return np.zeros(1)


@pytest.mark.parametrize(
    ("init", "error", "message"),
    [
        (named_one, ShapeError, r"expected named_one to return shape \(2, 3\), got \(1,\)"),
        (lambda key, shape: np.zeros(shape[::-1]), ShapeError, r"expected <lambda> to return shape"),
        (lambda key, shape: 0.0, ShapeError, r"expected <lambda> to return shape \(2, 3\), got \(\)"),
        (lambda key, shape: np.full(shape, np.nan), OptionError, "<lambda> to return finite float32"),
        (lambda key, shape: np.full(shape, 1e300), OptionError, "<lambda> to return finite float32"),
        (constant(1e300), OptionError, r"expected constant\(1e\+300\) to return finite"),
        (normal(1e39), OptionError, r"expected normal\(std=1e\+39\) to return finite"),
        (
            lambda key, shape: np.full(shape, 1j),
            DTypeError,
            "<lambda> to return real numbers, got complex128",
        ),
        (lambda key, shape: None, DTypeError, "<lambda> to return real numbers, got object"),
        ("he_normal", OptionError, r"got 'he_normal'; write INITIALIZERS\['he_normal'\]"),
        (0.1, OptionError, r"expected an initializer \(key, shape, ...\), got 0.1"),
    ],
)
def test_what_is_no_initializer_is_refused_by_a_readable_name(init, error, message):
    net = fnn.serial(fnn.Dense(3, init_w=init))
    with pytest.raises(error, match=message) as caught:
        net.init(Key.of(0), (2,))
    assert str(caught.value).startswith("serial/dense_0 (test_initializers.py:")
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize("name", fnn.INITIALIZERS)
def test_every_initializer_by_name_takes_all_four_arguments(name):
    init, key = fnn.INITIALIZERS[name], Key.of(0)
    values = init(key, (3, 4), 3, 4)
    assert values.shape == (3, 4)
    assert values.dtype == np.float32
    assert values.tobytes() == init(key, (3, 4)).tobytes()


@pytest.mark.parametrize("init", [fnn.normal, fnn.uniform])
def test_what_takes_numbers_may_be_given_without_any(init):
    one, other = (fnn.Dense(4, init_w=each).init(Key.of(0), (3,))[1] for each in (init, init()))
    assert one == other
