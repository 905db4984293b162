"""Weights that are functions of others: directions with lengths of their own, and norms held at 1.

A weight is seen as a matrix with a row for each index of one axis, its outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.tree import Array


def as_rows(w: Array, axis: int) -> Array:
    """Return w as a matrix (size of the axis, all the others)."""
    moved = np.moveaxis(w, axis, 0)
    return moved.reshape(len(moved), -1)


def from_rows(rows: Array, like: Array, axis: int) -> Array:
    """Return a matrix of `as_rows` in the shape of `like`."""
    moved = np.moveaxis(like, axis, 0).shape
    return np.moveaxis(rows.reshape(moved), 0, axis).copy()  # No view of what could be written to.


def lengths(v: Array, axis: int) -> Array:
    """Return ‖v‖ for each index of the axis."""
    rows = as_rows(v, axis)
    norm: Array = np.sqrt((rows * rows).sum(axis=1))  # No absolute values: it continues analytically.
    return norm


def rescale(v: Array, g: Array, axis: int) -> Array:
    """Return g v / ‖v‖."""
    shape = [1] * v.ndim
    shape[axis] = -1
    scaled: Array = v * (g / lengths(v, axis)).reshape(shape)
    return scaled


def rescale_vjp(v: Array, g: Array, dw: Array, axis: int) -> tuple[Array, Array]:
    """Return (dv, dg): dg = ⟨dw, v⟩ / ‖v‖, dv = g / ‖v‖ (dw - v ⟨dw, v⟩ / ‖v‖²)."""
    rows, drows, norm = as_rows(v, axis), as_rows(dw, axis), lengths(v, axis)
    unit = rows / norm[:, None]
    dg = (drows * unit).sum(axis=1)
    dv = (g / norm)[:, None] * (drows - unit * dg[:, None])
    return from_rows(dv, v, axis), dg


def power_iteration(
    w: Array, u: Array, v: Array, axis: int, times: int, eps: float
) -> tuple[Array, Array]:
    """Return u and v nearer to the singular vectors of the largest singular value of w."""
    rows = as_rows(w, axis)
    for _ in range(times):
        u = _unit(rows @ v, eps)
        v = _unit(rows.T @ u, eps)
    return u, v


def _unit(a: Array, eps: float) -> Array:
    norm = float(np.sqrt((a * a).sum()))
    unit: Array = a / max(norm, eps)
    return unit


def spectral(w: Array, u: Array, v: Array, axis: int) -> tuple[Array, Any]:
    """Return w / σ and σ = uᵀ w v."""
    sigma = u @ (as_rows(w, axis) @ v)
    return w / sigma, sigma


def spectral_vjp(scaled: Array, sigma: Any, u: Array, v: Array, dw: Array, axis: int) -> Array:
    """Return the derivative in w of `scaled` = w / σ, u and v held: (dw - ⟨dw, scaled⟩ u vᵀ) / σ."""
    drows = as_rows(dw, axis)
    along = (drows * as_rows(scaled, axis)).sum()
    return from_rows((drows - along * np.outer(u, v)) / sigma, dw, axis)
