"""Elementwise nonlinearities; call them where overflow does not warn.

For complex arrays each continues analytically along the real axis: branches ask `x.real`, because
NumPy orders complex numbers lexicographically and would let a perturbation choose the branch.
"""

from __future__ import annotations

import numpy as np

from fnn.kernels.broadcasting import clamp_min, scalar
from fnn.kernels.memory import scratch_like
from fnn.tree import Array

_BOOL = np.dtype(bool)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)); exp(-x) = inf where x is very negative, and 1 / inf is right."""
    if x.dtype.kind == "c":
        return 0.5 * (1 + np.tanh(0.5 * x))
    y = np.negative(x, scratch_like(x))
    np.exp(y, y)
    one = scalar(1, x.dtype)
    np.add(y, one, y)
    return np.divide(one, y, y)


def sigmoid_vjp(x: Array, y: Array, dy: Array) -> Array:
    """Return dx = y (1 - y) dy."""
    dx = np.subtract(scalar(1, y.dtype), y, scratch_like(y))
    np.multiply(dx, y, dx)
    return np.multiply(dx, dy, dx if (dx.dtype is dy.dtype or dx.dtype == dy.dtype) else None)


def tanh(x: Array) -> Array:
    """Return tanh x."""
    return np.tanh(x, scratch_like(x))


def tanh_vjp(x: Array, y: Array, dy: Array) -> Array:
    """Return dx = (1 - y²) dy."""
    dx = np.multiply(y, y, scratch_like(y))
    np.subtract(scalar(1, y.dtype), dx, dx)
    return np.multiply(dx, dy, dx if (dx.dtype is dy.dtype or dx.dtype == dy.dtype) else None)


def relu(x: Array) -> Array:
    """Return max(x, 0); NaN stays NaN."""
    if x.dtype.kind == "c":
        return np.where(x.real > 0, x, 0)
    return clamp_min(x, 0.0)


def relu_vjp(x: Array, y: Array, dy: Array) -> Array:
    """Return dx = dy where x > 0, else 0 (at x = 0 too)."""
    positive = np.greater(x.real, 0, scratch_like(x, dtype=_BOOL) if x.dtype.kind == "f" else None)
    dx = scratch_like(dy, x)
    if dx is None:
        return np.multiply(dy, positive)
    np.copyto(dx, positive)  # Numbers by numbers: a product with booleans takes longer than both.
    return np.multiply(dy, dx, dx)


def leaky_relu(x: Array, slope: float) -> Array:
    """Return x where x > 0, else slope x."""
    if 0 <= slope <= 1 and x.dtype.kind != "c":
        if slope == 0:
            return clamp_min(x, 0.0)
        y = np.multiply(x, slope, scratch_like(x))
        return np.maximum(x, y, out=y)  # The same numbers, many times faster than `where`.
    return np.where(x.real > 0, x, slope * x)


def leaky_relu_vjp(x: Array, dy: Array, slope: float) -> Array:
    """Return dx = dy where x > 0, else slope dy (at x = 0 too)."""
    if slope == 0:
        return relu_vjp(x, x, dy)
    if 0 <= slope <= 1:
        return np.multiply(np.maximum(x.real > 0, slope, dtype=dy.real.dtype), dy)
    return np.where(x.real > 0, dy, slope * dy)
