"""More elementwise nonlinearities; each is stable wherever its values can be held.

Branches ask `x.real`, so that complex perturbations pass (see `fnn.kernels.activation`). What lies on
the other side of a branch is kept from overflowing by a clamp before it, not by a mask behind it.
"""

from __future__ import annotations

import numpy as np

from fnn.kernels.activation import sigmoid
from fnn.tree import Array


def _above(x: Array) -> Array:
    """Return x where it is above 0, else 0."""
    return np.where(x.real > 0, x, 0) if x.dtype.kind == "c" else np.maximum(x, x.dtype.type(0))


def _below(x: Array) -> Array:
    """Return x where it is below 0, else 0."""
    return np.where(x.real < 0, x, 0) if x.dtype.kind == "c" else np.minimum(x, x.dtype.type(0))


def _magnitude(x: Array) -> Array:
    return np.where(x.real < 0, -x, x) if x.dtype.kind == "c" else np.abs(x)


def elu(x: Array, alpha: float) -> Array:
    """Return x where x > 0, else alpha (exp(x) - 1)."""
    return _above(x) + alpha * np.expm1(_below(x))


def elu_vjp(x: Array, dy: Array, alpha: float) -> Array:
    """Return dx = dy where x > 0, else alpha exp(x) dy."""
    return np.where(x.real > 0, 1, alpha * np.exp(_below(x))).astype(x.dtype, copy=False) * dy


def celu(x: Array, alpha: float) -> Array:
    """Return x where x > 0, else alpha (exp(x / alpha) - 1)."""
    return _above(x) + alpha * np.expm1(_below(x) / alpha)


def celu_vjp(x: Array, dy: Array, alpha: float) -> Array:
    """Return dx = dy where x > 0, else exp(x / alpha) dy."""
    return np.exp(_below(x) / alpha) * dy


def silu(x: Array) -> Array:
    """Return x σ(x)."""
    return x * sigmoid(x)


def silu_vjp(x: Array, y: Array, dy: Array) -> Array:
    """Return dx = (σ + y (1 - σ)) dy."""
    gate = sigmoid(x)
    return (gate + y * (1 - gate)) * dy


def _tanh_softplus(x: Array) -> Array:
    """Return tanh(log(1 + exp(x))), from exp(-|x|) alone."""
    e = np.exp(-_magnitude(x))
    rises = x.real > 0
    top = np.where(rises, 1 + 2 * e, e * (e + 2))
    return top / (top + np.where(rises, 2 * e * e, 2))


def mish(x: Array) -> Array:
    """Return x tanh(softplus(x))."""
    return x * _tanh_softplus(x)


def mish_vjp(x: Array, dy: Array) -> Array:
    """Return dx = (t + x (1 - t²) σ(x)) dy, with t = tanh(softplus(x))."""
    t = _tanh_softplus(x)
    return (t + x * (1 - t * t) * sigmoid(x)) * dy


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x))."""
    return _above(x) + np.log1p(np.exp(-_magnitude(x)))


def softplus_vjp(x: Array, dy: Array) -> Array:
    """Return dx = σ(x) dy."""
    return sigmoid(x) * dy


def log_sigmoid(x: Array) -> Array:
    """Return log σ(x) = -log(1 + exp(-x))."""
    return _below(x) - np.log1p(np.exp(-_magnitude(x)))


def log_sigmoid_vjp(x: Array, dy: Array) -> Array:
    """Return dx = σ(-x) dy."""
    return sigmoid(-x) * dy


def softsign(x: Array) -> Array:
    """Return x / (1 + |x|)."""
    return x / (1 + _magnitude(x))


def softsign_vjp(x: Array, dy: Array) -> Array:
    """Return dx = dy / (1 + |x|)²."""
    part = 1 / (1 + _magnitude(x))
    return part * part * dy


def clipped(x: Array, low: float, high: float) -> Array:
    """Return x cut off below `low` and above `high`."""
    if x.dtype.kind == "c":
        return np.where(x.real > high, high, np.where(x.real < low, low, x))
    return np.clip(x, x.dtype.type(low), x.dtype.type(high))


def clipped_vjp(x: Array, dy: Array, low: float, high: float) -> Array:
    """Return dx = dy inside the two bounds, else 0 (on them too)."""
    return np.where((x.real > low) & (x.real < high), dy, dy.dtype.type(0))


def hard_swish(x: Array) -> Array:
    """Return x clip(x / 6 + 1/2, 0, 1)."""
    return x * clipped(x / 6 + 0.5, 0, 1)


def hard_swish_vjp(x: Array, dy: Array) -> Array:
    """Return dx = clip(x / 6 + 1/2, 0, 1) dy, and x / 6 dy more between -3 and 3."""
    inside = (x.real > -3) & (x.real < 3)
    return (clipped(x / 6 + 0.5, 0, 1) + np.where(inside, x / 6, x.dtype.type(0))) * dy


def absolute(x: Array) -> Array:
    """Return |x|."""
    return _magnitude(x)


def absolute_vjp(x: Array, dy: Array) -> Array:
    """Return dx = sign(x) dy, 0 at 0."""
    return np.sign(x.real) * dy


def sparsemax(x: Array, axis: int) -> Array:
    """Return the point of the simplex nearest to x: max(x - τ, 0), τ such that it sums to 1."""
    x = x - x.real.max(axis=axis, keepdims=True)
    n = x.shape[axis]
    ordered = -np.sort(-x.real, axis=axis)
    ranks = np.arange(1, n + 1).reshape(-1, *(1,) * (x.ndim - 1 - axis % x.ndim))
    within = 1 + ranks * ordered > np.cumsum(ordered, axis=axis)
    count = within.sum(axis=axis, keepdims=True).astype(x.real.dtype)
    last = np.take_along_axis(ordered, count.astype(int) - 1, axis=axis)
    held = x.real >= last
    total = np.where(held, x, x.dtype.type(0)).sum(axis=axis, keepdims=True)
    threshold = (total - 1) / held.sum(axis=axis, keepdims=True).astype(x.real.dtype)
    y = x - threshold
    return np.where(y.real > 0, y, y.dtype.type(0))


def sparsemax_vjp(y: Array, dy: Array, axis: int) -> Array:
    """Return dx: dy less its mean where y is above 0, and 0 elsewhere."""
    held = y.real > 0
    inside = np.where(held, dy, dy.dtype.type(0))
    count = held.sum(axis=axis, keepdims=True).astype(dy.real.dtype)
    mean = inside.sum(axis=axis, keepdims=True) / np.maximum(count, 1)
    return np.where(held, dy - mean, dy.dtype.type(0))
