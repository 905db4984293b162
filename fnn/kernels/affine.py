"""Affine maps of the last axis."""

from __future__ import annotations

import functools

import numpy as np

from fnn.tree import Array


def column_sums(rows: Array) -> Array:
    """Sum a matrix over its rows.

    As a product with ones: several times faster than `sum(axis=0)`, and it keeps float32.
    """
    return _ones(rows.shape[0], rows.dtype) @ rows


def _ones(n: int, dtype: np.dtype) -> Array:
    return _few_ones(n, dtype) if n <= 4096 else np.ones(n, dtype)


@functools.lru_cache(maxsize=64)
def _few_ones(n: int, dtype: np.dtype) -> Array:
    ones = np.ones(n, dtype)
    ones.setflags(write=False)
    return ones


def onto(op: np.ufunc, y: Array, other: Array) -> Array:
    """Return op(y, other) in y's memory, unless `other` alone carries a complex perturbation."""
    in_place = y.dtype is other.dtype or y.dtype.kind == "c"
    return op(y, other, out=y if in_place else None)


def affine(x: Array, w: Array, b: Array | None) -> Array:
    """Return y = x w + b for x (..., n_in) and w (n_in, n_out)."""
    y = (x if x.ndim == 2 else x.reshape(-1, x.shape[-1])) @ w
    if b is not None:
        y = onto(np.add, y, b)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], w.shape[1])


def affine_vjp(
    x: Array, w: Array, dy: Array, *, bias: bool, need_dx: bool
) -> tuple[Array, Array | None, Array | None]:
    """Return dw = xᵀ dy, db = Σ dy over rows (None without bias), dx = dy wᵀ (None if not needed)."""
    rows_x, rows_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    dw = rows_x.T @ rows_dy
    db = column_sums(rows_dy) if bias else None
    if not need_dx:
        return dw, db, None
    if rows_x.T.flags.c_contiguous and not rows_x.flags.c_contiguous:
        # x is batch-innermost, as convolutions leave it: hand its derivative back in that format.
        return dw, db, (w @ rows_dy.T).T.reshape(x.shape)
    return dw, db, (rows_dy @ w.T).reshape(x.shape)
