"""Affine maps of many members at once: stacks of matrices, the members on axis 0.

`np.matmul` over a stack calls for every matrix the routine that `np.dot` calls for a single one, so
each member gets the bits that `fnn.kernels.affine` would give it alone. Inputs may be those of all
members, with 1 in the place of the members' axis.
"""

from __future__ import annotations

import numpy as np

from fnn.kernels import memory
from fnn.kernels.affine import ones, onto
from fnn.tree import Array


def products(a: Array, b: Array) -> Array:
    """Return the products of two stacks of matrices; a stack of one goes with every matrix."""
    shape = max(len(a), len(b)), a.shape[1], b.shape[2]
    return np.matmul(a, b, memory.scratch(shape, a.dtype) if a.dtype == b.dtype else None)


def _matrices(x: Array) -> Array:
    """Return (n, ..., features) as (n, rows, features)."""
    return x if x.ndim == 3 else x.reshape(len(x), -1, x.shape[-1])


def affine(x: Array, w: Array, b: Array | None) -> Array:
    """Return y = x w + b for x (n or 1, ..., n_in), w (n, n_in, n_out) and b (n, n_out)."""
    y = products(_matrices(x), w)
    y = y if b is None else onto(np.add, y, b[:, None])
    return y if x.ndim == 3 else y.reshape(len(w), *x.shape[1:-1], w.shape[-1])


def affine_vjp(
    x: Array, w: Array, dy: Array, *, bias: bool, need_dx: bool, need_dw: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    """Return dw = xᵀ dy, db = Σ dy over rows, dx = dy wᵀ; summed over members if they share x."""
    rows, dy = _matrices(x), _matrices(dy)
    dw = products(rows.swapaxes(1, 2), dy) if need_dw else None
    db = np.matmul(ones(dy.shape[1], dy.dtype), dy) if bias and need_dw else None
    dx = gathered(products(dy, w.swapaxes(1, 2)), len(x)).reshape(x.shape) if need_dx else None
    return dw, db, dx


def gathered(dx: Array, n: int) -> Array:
    """Return dx for n members; where n is 1, what all members say of the input that they share."""
    return dx if len(dx) == n else np.add.reduce(dx, axis=0, keepdims=True)
