"""Elementwise nonlinearities.

For complex arrays each continues analytically along the real axis: branches ask `x.real`, because
NumPy orders complex numbers lexicographically and would let a perturbation choose the branch.
"""

from __future__ import annotations

import numpy as np

from fnn.tree import Array


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), without overflow warnings at any x."""
    if np.iscomplexobj(x):
        return 0.5 * (1 + np.tanh(0.5 * x))
    with np.errstate(over="ignore"):  # exp(-x) = inf where x is very negative; 1 / inf is right.
        y = np.exp(-x)
    y += 1
    return np.divide(1, y, out=y)


def sigmoid_vjp(x: Array, y: Array, dy: Array) -> Array:
    """Return dx = y (1 - y) dy."""
    dx = 1 - y
    dx *= y
    return dx * dy


def tanh(x: Array) -> Array:
    """Return tanh x."""
    return np.tanh(x)


def tanh_vjp(x: Array, y: Array, dy: Array) -> Array:
    """Return dx = (1 - y²) dy."""
    return (1 - y * y) * dy


def relu(x: Array) -> Array:
    """Return max(x, 0); NaN stays NaN."""
    if np.iscomplexobj(x):
        return np.where(x.real > 0, x, 0)
    return np.maximum(x, 0)


def relu_vjp(x: Array, y: Array, dy: Array) -> Array:
    """Return dx = dy where x > 0, else 0 (at x = 0 too)."""
    return dy * (x.real > 0)


def leaky_relu(x: Array, slope: float) -> Array:
    """Return x where x > 0, else slope x."""
    if 0 <= slope <= 1 and not np.iscomplexobj(x):
        return np.maximum(x, slope * x)  # The same numbers, many times faster than `where`.
    return np.where(x.real > 0, x, slope * x)


def leaky_relu_vjp(x: Array, dy: Array, slope: float) -> Array:
    """Return dx = dy where x > 0, else slope dy (at x = 0 too)."""
    if 0 <= slope <= 1:
        return np.maximum(x.real > 0, slope, dtype=dy.real.dtype) * dy
    return np.where(x.real > 0, dy, slope * dy)
