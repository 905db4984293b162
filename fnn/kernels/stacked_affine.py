"""Affine maps of several networks at once, as products of stacks of matrices.

The networks are seeds of one architecture, here called members; axis 0 of every array runs over them.
`np.matmul` over a stack calls for every matrix the routine that `np.dot` calls for a single one, so
each member gets the bits that `fnn.kernels.affine` would give it alone. Inputs that all members share
have length 1 on axis 0.
"""

from __future__ import annotations

import numpy as np

from fnn.kernels import memory
from fnn.kernels.affine import ones
from fnn.tree import Array


def products(a: Array, b: Array) -> Array:
    """Multiply two stacks matrix by matrix; a stack of one matrix is broadcast."""
    shape = max(len(a), len(b)), a.shape[1], b.shape[2]
    return np.matmul(a, b, memory.scratch(shape, a.dtype) if a.dtype == b.dtype else None)


def _matrices(x: Array) -> Array:
    """Reshape (n, ..., features) to (n, rows, features)."""
    return x if x.ndim == 3 else x.reshape(len(x), -1, x.shape[-1])


def affine(x: Array, w: Array, b: Array | None) -> Array:
    """Return y = x w + b for x (n or 1, ..., n_in), w (n, n_in, n_out) and b (n, n_out)."""
    y = products(_matrices(x), w)
    if b is not None:
        # In y's memory, unless b alone carries a complex perturbation.
        in_place = y.dtype is b.dtype or y.dtype == b.dtype or y.dtype.kind == "c"
        y = np.add(y, b[:, None], y if in_place else None)
    return y if x.ndim == 3 else y.reshape(len(w), *x.shape[1:-1], w.shape[-1])


def affine_vjp(
    x: Array, w: Array, dy: Array, *, bias: bool, need_dx: bool, need_dw: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    """Return dw = xᵀ dy, db = Σ dy over rows, dx = dy wᵀ; summed over members if they share x."""
    rows, dy = _matrices(x), _matrices(dy)
    dw = products(rows.swapaxes(1, 2), dy) if need_dw else None
    db = np.matmul(ones(dy.shape[1], dy.dtype), dy) if bias and need_dw else None
    dx = sum_if_shared(products(dy, w.swapaxes(1, 2)), len(x)).reshape(x.shape) if need_dx else None
    return dw, db, dx


def sum_if_shared(dx: Array, n: int) -> Array:
    """Return dx, summed over the members if n is 1: they all share the input then."""
    return dx if len(dx) == n else np.add.reduce(dx, axis=0, keepdims=True)
