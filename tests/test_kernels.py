"""Kernels against closed forms and against NumPy written by loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from window_cases import geometries

import fnn
from fnn.kernels import activation, affine, normalization, pooling, softmax
from fnn.kernels.windows import windows

# --- windows: oracles by loops ---------------------------------------------------------------


def starts(at):
    """Yield (place in the output, index of every value of its window in the unpadded image)."""
    for place in itertools.product(*map(range, at.out)):
        inside = []
        for offset in itertools.product(*map(range, at.size)):
            index = tuple(
                p * s + o * d - pads[0]
                for p, s, o, d, pads in zip(place, at.stride, offset, at.dilation, at.pads, strict=True)
            )
            if all(0 <= i < n for i, n in zip(index, at.space, strict=True)):
                inside.append((offset, index))
        yield place, inside


def loop_max_pool(x, dy, at):
    y, dx = np.zeros((*x.shape[:2], *at.out)), np.zeros(x.shape)
    for n, c in np.ndindex(*x.shape[:2]):
        for place, inside in starts(at):
            best = None
            for _, index in inside:
                if best is None or x[(n, c, *index)] > x[(n, c, *best)]:
                    best = index
            y[(n, c, *place)] = x[(n, c, *best)]
            dx[(n, c, *best)] += dy[(n, c, *place)]
    return y, dx


def loop_average_pool(x, dy, at, count_padding):
    y, dx = np.zeros((*x.shape[:2], *at.out)), np.zeros(x.shape)
    for n, c in np.ndindex(*x.shape[:2]):
        for place, inside in starts(at):
            count = math.prod(at.size) if count_padding else len(inside)
            for _, index in inside:
                y[(n, c, *place)] += x[(n, c, *index)] / count
                dx[(n, c, *index)] += dy[(n, c, *place)] / count
    return y, dx


@settings(max_examples=80, deadline=None)
@given(geometries(pooling=True), st.integers(0, 2**32 - 1), st.sampled_from([2, 10, 1000]))
def test_max_pooling_gives_all_to_the_first_maximum_of_every_window(at, seed, levels):
    rng = np.random.default_rng(seed)
    x = -rng.integers(0, levels, size=(2, 2, *at.space)).astype("float64")
    y = pooling.max_pool(x, at)
    dy = rng.normal(size=y.shape)
    want_y, want_dx = loop_max_pool(x, dy, at)
    np.testing.assert_array_equal(y, want_y)
    np.testing.assert_allclose(pooling.max_pool_vjp(x, y, dy, at), want_dx, rtol=1e-14, atol=1e-14)
    v = rng.normal(size=x.shape)
    moved = pooling.max_pool(x + 1e-30j * v, at)
    assert (moved.real == y).all()
    assert (dy * moved.imag / 1e-30).sum() == pytest.approx((want_dx * v).sum(), rel=1e-10, abs=1e-10)


@settings(max_examples=80, deadline=None)
@given(geometries(pooling=True), st.integers(0, 2**32 - 1), st.booleans())
def test_average_pooling_equals_the_loops_with_and_without_the_padding(at, seed, count_padding):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 3, *at.space))
    y = pooling.average_pool(x, at, count_padding=count_padding)
    dy = rng.normal(size=y.shape)
    want_y, want_dx = loop_average_pool(x, dy, at, count_padding)
    np.testing.assert_allclose(y, want_y, rtol=1e-13, atol=1e-14)
    dx = pooling.average_pool_vjp(x, y, dy, at, count_padding=count_padding)
    np.testing.assert_allclose(dx, want_dx, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_equal_values_give_everything_to_the_first_place_of_each_window(stride):
    at = windows((5, 4), (2, 2), (stride, stride), "valid", (1, 1))
    for level in (-3.0, 0.0, -0.0, 2.0):
        x = np.full((1, 1, 5, 4), level)
        y = pooling.max_pool(x, at)
        dx = pooling.max_pool_vjp(x, y, np.ones_like(y), at)
        want = np.zeros_like(x)
        want[0, 0, : at.out[0] * stride : stride, : at.out[1] * stride : stride] = 1
        np.testing.assert_array_equal(dx, want)


@pytest.mark.parametrize("window", [2, (1, 3), (3, 1)])
def test_pieces_of_a_pools_derivative_are_those_of_the_whole(monkeypatch, window):
    rng = np.random.default_rng(0)
    size = window if isinstance(window, tuple) else (window, window)
    at = windows((6, 7), size, size, "valid", (1, 1))
    x = rng.integers(0, 3, (4, 5, 6, 7)).astype(float)
    y = pooling.max_pool(x, at)
    dy = rng.normal(size=y.shape)
    whole = pooling.max_pool_vjp(x, y, dy, at)
    for limit in (1, dy.nbytes // 2):
        monkeypatch.setattr(pooling, "PIECE_BYTES", limit)
        np.testing.assert_array_equal(pooling.max_pool_vjp(x, y, dy, at), whole)
    assert (np.count_nonzero(whole, axis=(2, 3)) == math.prod(at.out)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
def test_same_gives_ceil_of_size_over_stride_and_the_odd_row_at_the_end(n, k, stride, dilation):
    at = windows((n,), (k,), (stride,), "same", (dilation,))
    before, after = at.pads[0]
    assert at.out == (-(-n // stride),)
    assert after - before in (0, 1)
    total = before + after
    assert total == max((at.out[0] - 1) * stride + (k - 1) * dilation + 1 - n, 0)


# --- sums over many ---------------------------------------------------------------------------

FEW = affine.FEW_TERMS


@pytest.mark.parametrize("n", [0, 1, FEW, FEW + 1, 3 * FEW, 40 * FEW + 7, affine.MOST_TERMS + 1])
@pytest.mark.parametrize("m", [1, 3, 50])
@pytest.mark.parametrize("lie", ["C", "F", "every other", "turned"])
def test_long_sums_keep_their_digits_whatever_way_the_numbers_lie(n, m, lie):
    rng = np.random.default_rng(0)
    x = rng.normal(1, 1, size=(m, n)).astype("float32")
    given = {
        "C": lambda: x,
        "F": lambda: np.asfortranarray(x),
        "every other": lambda: np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)[::2, ::2],
        "turned": lambda: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    }[lie]()
    exact = x.sum(axis=1, dtype="float64")
    for sums in (affine.row_sums(given, FEW), affine.column_sums(given.T, FEW)):
        assert sums.dtype == np.float32
        np.testing.assert_allclose(sums, exact, rtol=3e-6, atol=1e-6)
    bent = affine.row_sums(given * np.complex64(1 + 2j), FEW)
    np.testing.assert_allclose(bent, exact * (1 + 2j), rtol=3e-6, atol=1e-6)


def test_the_sum_of_more_numbers_than_float32_counts_to_is_right():
    n = (1 << 24) + (1 << 20)  # One after the other, adding 1 to 2²⁴ gives 2²⁴.
    ones = np.broadcast_to(np.float32(1), (1, n))
    assert affine.row_sums(ones)[0] == n
    assert affine.column_sums(ones.T)[0] == n


# --- normalisation ---------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n", [2, 100, 300_000])
def test_moments_in_float32_are_those_of_float64_at_a_mean_of_ten_thousand(n, order):
    rng = np.random.default_rng(0)
    x = np.asarray(rng.normal(1e4, 1, size=(3, n)), "float32", order=order)
    exact = x.astype("float64")
    mean, var, nearly, missed = normalization.moments(x)
    centered = nearly - missed[:, None]
    assert mean.dtype == var.dtype == centered.dtype == np.float32
    np.testing.assert_allclose(mean, exact.mean(axis=1), rtol=1e-7)
    np.testing.assert_allclose(var, exact.var(axis=1), rtol=1e-5)
    want = exact - exact.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(centered, want, rtol=0, atol=1e-3)
    np.testing.assert_allclose(centered.mean(axis=1, dtype="float64"), 0, atol=1e-4)


# --- activations -----------------------------------------------------------------------------

FAR = np.array(
    [-3e38, -1e30, -1e4, -100, -30, -1e-30, -0.0, 0.0, 1e-30, 0.5, 30, 100, 1e30, 3e38], "float32"
)


def test_activations_are_finite_at_any_finite_number():
    ones = np.ones_like(FAR)
    # Whoever calls a kernel silences overflow: that of exp is what makes the sigmoid right far out.
    with np.errstate(all="raise", under="ignore", over="ignore"):
        for f, f_vjp in (
            (activation.sigmoid, activation.sigmoid_vjp),
            (activation.tanh, activation.tanh_vjp),
            (activation.relu, activation.relu_vjp),
            (
                lambda x: activation.leaky_relu(x, 0.01),
                lambda x, y, dy: activation.leaky_relu_vjp(x, dy, 0.01),
            ),
        ):
            y = f(FAR)
            dx = f_vjp(FAR, y, ones)
            assert y.dtype == dx.dtype == np.float32
            assert np.isfinite(y).all()
            assert np.isfinite(dx).all()


def test_the_sigmoid_keeps_its_relative_precision_far_below_zero():
    x = np.linspace(-80, 10, 50, dtype="float32")
    exact = 1 / (1 + np.exp(-x.astype("float64")))
    np.testing.assert_allclose(activation.sigmoid(x), exact, rtol=3e-7)


@pytest.mark.parametrize("slope", [-2.0, 0.0, 0.01, 0.3, 1.0, 1.5])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_leaky_relu_is_the_branch_bit_for_bit_at_any_slope(slope, dtype):
    x = np.random.default_rng(0).normal(size=1000).astype(dtype)
    x[:2] = 0
    dy = np.random.default_rng(1).normal(size=1000).astype(dtype)
    scalar = x.dtype.type(slope)
    np.testing.assert_array_equal(activation.leaky_relu(x, slope), np.where(x.real > 0, x, scalar * x))
    want = np.where(x.real > 0, dy, scalar * dy)
    np.testing.assert_array_equal(activation.leaky_relu_vjp(x, dy, slope), want)


def test_kinks_have_the_left_derivative():
    x = np.array([0.0, -0.0])
    assert not activation.relu_vjp(x, x, np.ones(2)).any()
    assert (activation.leaky_relu_vjp(x, np.ones(2), 0.25) == 0.25).all()
    assert np.isnan(activation.relu(np.array([np.nan])))
    assert not activation.relu(np.array([1e-30j, -1e-30j])).any()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.floats(-1e4, 1e4), st.integers(0, 2**32 - 1))
def test_softmax_sums_to_one_shifts_freely_and_exponentiates_its_logarithm(n, shift, seed):
    x = np.random.default_rng(seed).normal(scale=5, size=(3, n))
    y = softmax.softmax(x)
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_allclose(softmax.softmax(x + shift), y, rtol=1e-9)
    np.testing.assert_allclose(np.exp(softmax.log_softmax(x)), y, rtol=1e-12)


def test_softmax_is_finite_at_scores_of_1e30():
    x = np.array([[1e30, -1e30, 0.0], [-1e30, -1e30, -1e30]], "float32")
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(softmax.softmax(x), [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
        assert np.isfinite(softmax.log_softmax(x)).all()


# --- affine ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 3, 5000])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_column_sums_are_sums_in_their_dtype(n, dtype):
    rows = np.random.default_rng(0).normal(size=(n, 3)).astype(dtype)
    sums = affine.column_sums(rows)
    assert sums.dtype == rows.dtype
    np.testing.assert_allclose(sums, rows.sum(axis=0), rtol=1e-4, atol=1e-4)


def test_a_batch_innermost_input_gets_its_derivative_in_that_format():
    x = np.asfortranarray(np.ones((5, 4)))
    w, dy = np.ones((4, 3)), np.ones((5, 3))
    assert affine.affine_vjp(x, w, dy, bias=True, need_dx=True)[2].flags.f_contiguous
    assert affine.affine_vjp(x.copy("C"), w, dy, bias=True, need_dx=True)[2].flags.c_contiguous


@pytest.mark.parametrize(
    "layer", [fnn.MaxPool(3, padding=1, stride=4), fnn.MaxPool(3, padding=1, stride=1)]
)
def test_no_derivative_of_a_maximum_goes_to_the_padding(layer):
    x = np.full((1, 1, 5, 5), -np.inf)
    y, _, back = layer.vjp({}, {}, x)
    assert back(np.ones_like(y))[1].sum() == y.size
