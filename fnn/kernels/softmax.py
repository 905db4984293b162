"""Softmax and its logarithm over one axis."""

from __future__ import annotations

import numpy as np

from fnn.tree import Array


def _shifted(x: Array, axis: int) -> Array:
    # Subtracting the maximum leaves the result as it is and keeps exp in [0, 1].
    return x - x.real.max(axis=axis, keepdims=True)


def softmax(x: Array, axis: int = -1) -> Array:
    """Return exp(x) / Σ exp(x)."""
    y = np.exp(_shifted(x, axis))
    y /= y.sum(axis=axis, keepdims=True)
    return y


def softmax_vjp(y: Array, dy: Array, axis: int = -1) -> Array:
    """Return dx = y (dy - Σ y dy), the full Jacobian's product."""
    dx = y * dy
    return dx - y * dx.sum(axis=axis, keepdims=True)


def log_softmax(x: Array, axis: int = -1) -> Array:
    """Return x - log Σ exp(x)."""
    shifted = _shifted(x, axis)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def log_softmax_vjp(y: Array, dy: Array, axis: int = -1) -> Array:
    """Return dx = dy - exp(y) Σ dy."""
    return dy - np.exp(y) * dy.sum(axis=axis, keepdims=True)
