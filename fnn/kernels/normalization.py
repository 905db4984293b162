"""Standardisation over a batch, feature by feature.

Every function takes arrays (n_features, n_values): views with the features first, of any memory order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.kernels.affine import FEW_TERMS, row_sums
from fnn.kernels.broadcasting import broadcast_column
from fnn.kernels.memory import scratch_like
from fnn.tree import Array


def by_feature(x: Array, axis: int) -> Array:
    """View x as (n_features, n_values); copies only where no such view exists."""
    return x.transpose(axis, *range(axis + 1, x.ndim), *range(axis)).reshape(x.shape[axis], -1)


def restored(z: Array, x: Array, axis: int) -> Array:
    """Return (n_features, n_values) in the shape of x, whose features are on `axis`."""
    shape = (*x.shape[axis:], *x.shape[:axis])
    return z.reshape(shape).transpose(*range(x.ndim - axis, x.ndim), *range(x.ndim - axis))


def moments(x: Array) -> tuple[Array, Array, Array, Array]:
    """Return the mean and the biased variance of every row, x less a first mean, and the mean of that.

    In two passes: E[x²] - E[x]² cancels catastrophically in float32. The first mean of many large
    values is itself off by rounding; what it missed, the mean of what is left, corrects it.
    """
    first = _means(x)
    centered = broadcast_column(np.subtract, x, first)
    missed = _means(centered)
    var = _mean_squares(centered) - missed * missed
    if not (missed.real**2 <= 1e-4 * var.real).all():  # It would cancel here too, or has overflowed.
        centered -= missed[:, None]
        first, missed = first + missed, np.zeros_like(missed)
        var = _mean_squares(centered)
    return first + missed, var, centered, missed


def running_moments(
    state: Any, mean: Array, var: Array, count: int, momentum: float
) -> dict[str, Array]:
    """Return the running moments after a batch of `count` values per feature, the variance unbiased.

    running ← momentum running + (1 - momentum) batch, for `mean` and `var`, which is biased.
    """
    keep, unbias = 1 - momentum, count / (count - 1)
    return {
        "mean": momentum * state["mean"] + keep * mean,
        "var": momentum * state["var"] + keep * unbias * var,
    }


def _means(x: Array) -> Array:
    return row_sums(x, FEW_TERMS) / x.shape[1]


def _mean_squares(x: Array) -> Array:
    return _means(np.multiply(x, x, scratch_like(x)))


def scale_and_shift(centered: Array, factor: Array, shift: Array) -> Array:
    """Return y = factor centered + shift, row by row."""
    y = broadcast_column(np.multiply, centered, factor)
    return broadcast_column(np.add, y, shift, y)


def scale_and_shift_vjp(dy: Array, centered: Array, missed: Array) -> tuple[Array, Array]:
    """Return dfactor and dshift of y = factor (centered - missed) + shift, sums over each row."""
    dshift = row_sums(dy, FEW_TERMS)
    slopes = np.multiply(dy, centered, scratch_like(dy, centered))
    return row_sums(slopes, FEW_TERMS) - missed * dshift, dshift


def batch_norm_vjp(
    dy: Array,
    centered: Array,
    missed: Array,
    factor: Array,
    inv_std: Array,
    dfactor: Array,
    dshift: Array,
) -> Array:
    """Return dx of y = factor (centered - missed) + shift where mean and variance depend on x too.

    With z = centered - missed, dx = factor (dy - mean(dy) - z mean(z dy) / std²), the two means from
    the sums that `scale_and_shift_vjp` returns. References: Ioffe & Szegedy (2015), section 3.
    """
    n = dy.shape[1]
    slope = inv_std * inv_std * dfactor / n
    dx = broadcast_column(np.multiply, centered, slope)
    dx = broadcast_column(np.subtract, dx, missed * slope - dshift / n, dx)
    dx = np.subtract(dy, dx, dx if dx.dtype == dy.dtype else None)
    return broadcast_column(np.multiply, dx, factor, dx)


def standardized(rows: Array, eps: float) -> tuple[Array, Array]:
    """Return z = (x - mean) / √(var + eps) of every row, and the factor 1 / √(var + eps)."""
    _, var, rest, missed = moments(rows)
    inv_std = 1 / np.sqrt(var + eps)
    z = broadcast_column(np.multiply, rest, inv_std)
    return broadcast_column(np.subtract, z, missed * inv_std, z), inv_std


def standardized_vjp(dz: Array, z: Array, inv_std: Array) -> Array:
    """Return dx = (dz - mean(dz) - z mean(z dz)) / √(var + eps) of every row."""
    n = z.shape[1]
    products = np.multiply(dz, z, scratch_like(dz, z))
    dx = broadcast_column(np.multiply, z, row_sums(products, FEW_TERMS) / n)
    dx = broadcast_column(np.add, dx, row_sums(dz, FEW_TERMS) / n, dx)
    dx = np.subtract(dz, dx, dx if dx.dtype == dz.dtype else None)
    return broadcast_column(np.multiply, dx, inv_std, dx)


def divided_by_rms(rows: Array, eps: float) -> tuple[Array, Array]:
    """Return z = x / √(mean(x²) + eps) of every row, and the factor."""
    inv_rms = 1 / np.sqrt(_mean_squares(rows) + eps)
    return broadcast_column(np.multiply, rows, inv_rms), inv_rms


def divided_by_rms_vjp(dz: Array, z: Array, inv_rms: Array) -> Array:
    """Return dx = (dz - z mean(z dz)) / √(mean(x²) + eps) of every row."""
    products = np.multiply(dz, z, scratch_like(dz, z))
    dx = broadcast_column(np.multiply, z, row_sums(products, FEW_TERMS) / z.shape[1])
    dx = np.subtract(dz, dx, dx if dx.dtype == dz.dtype else None)
    return broadcast_column(np.multiply, dx, inv_rms, dx)
