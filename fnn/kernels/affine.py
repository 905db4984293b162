"""Affine maps of the last axis."""

from __future__ import annotations

import functools

import numpy as np

from fnn.kernels import memory
from fnn.kernels.broadcasting import broadcast_row
from fnn.tree import Array

_FEW = memory.SMALL // 4

MOST_TERMS = 1 << 17
"""How many terms a sum over a batch may have in one product; adding those up one after the other
changes it by 1e-5 Σ|x| or so in float32."""

FEW_TERMS = 1 << 12
"""How many terms a part of a longer sum has, and of one that must be right to the last digits."""


def product(a: Array, b: Array) -> Array:
    """Return the product of two matrices; `dot` takes half the time of `@` where they are small."""
    shape = a.shape[0], b.shape[1]
    if shape[0] * shape[1] < _FEW or (a.dtype is not b.dtype and a.dtype != b.dtype):
        return np.dot(a, b)
    return np.dot(a, b, memory.scratch(shape, a.dtype))


def column_sums(rows: Array, most: int = MOST_TERMS) -> Array:
    """Sum a matrix over its rows.

    As a product with ones: several times faster than `sum(axis=0)`, and it keeps float32. How a
    product adds up its terms is the business of the linear algebra that NumPy was built with, and
    some add one after the other, which loses more digits the more there are. So longer sums are
    sums of shorter ones.

    Args:
        rows: The matrix, in any order of memory.
        most: How many terms a product may have.
    """
    n = rows.shape[0]
    return np.dot(ones(n, rows.dtype), rows) if n <= most else row_sums(rows.T, most)


def row_sums(rows: Array, most: int = MOST_TERMS) -> Array:
    """Sum a matrix over its columns, in the same way."""
    m, n = rows.shape
    if n <= most:
        return np.dot(rows, ones(n, rows.dtype))
    n_parts, rest = divmod(n, FEW_TERMS)
    row = ones(FEW_TERMS, rows.dtype)
    if rows.T.flags.c_contiguous:
        parts = np.matmul(row, rows.T[: n - rest].reshape(n_parts, FEW_TERMS, m)).T
    elif n_parts > m:
        parts = np.matmul(rows[:, : n - rest].reshape(m, n_parts, FEW_TERMS), row)
    else:  # `matmul` would call for every row apart.
        starts = range(0, n - rest, FEW_TERMS)
        parts = np.stack([np.matmul(rows[:, i : i + FEW_TERMS], row) for i in starts]).T
    return row_sums(parts, FEW_TERMS) + np.matmul(rows[:, n - rest :], ones(rest, rows.dtype))


def ones(n: int, dtype: np.dtype) -> Array:
    """Return a read-only vector of ones; the lengths that come again are kept."""
    return _kept_ones(n, dtype)


@functools.lru_cache(maxsize=64)
def _kept_ones(n: int, dtype: np.dtype) -> Array:
    vector = np.ones(n, dtype)
    vector.setflags(write=False)
    return vector


def affine(x: Array, w: Array, b: Array | None) -> Array:
    """Return y = x w + b for x (..., n_in) and w (n_in, n_out)."""
    y = product(x if x.ndim == 2 else x.reshape(-1, x.shape[-1]), w)
    if b is not None:
        y = broadcast_row(np.add, y, b, y)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], w.shape[1])


def affine_vjp(
    x: Array, w: Array, dy: Array, *, bias: bool, need_dx: bool, need_dw: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    """Return dw = xᵀ dy, db = Σ dy over rows (None without bias), dx = dy wᵀ; None if not needed."""
    rows_x, rows_dy = x, dy
    if x.ndim != 2:
        rows_x, rows_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    dw = product(rows_x.T, rows_dy) if need_dw else None
    db = column_sums(rows_dy) if bias and need_dw else None
    if not need_dx:
        return dw, db, None
    if rows_x.T.flags.c_contiguous and not rows_x.flags.c_contiguous:
        # x is batch-innermost, as convolutions leave it: hand its derivative back in that format.
        dx = product(w, rows_dy.T).T
    else:
        dx = product(rows_dy, w.T)
    return dw, db, dx if x.ndim == 2 else dx.reshape(x.shape)
