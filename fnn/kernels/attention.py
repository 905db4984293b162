"""Scaled dot-product attention, and the rotation that tells it positions.

Arrays are (batch, heads, time, width): views of (batch, time, heads · width), which `np.matmul` takes
as they lie. `hidden` is True where a query may not see a key; it broadcasts to (batch, heads, queries,
keys).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from fnn.kernels.affine import row_sums
from fnn.kernels.memory import empty
from fnn.tree import Array


def by_head(x: Array, heads: int) -> Array:
    """View (batch, time, heads · width) as (batch, heads, time, width)."""
    batch, time, width = x.shape
    return x.reshape(batch, time, heads, width // heads).transpose(0, 2, 1, 3)


def joined(x: Array) -> Array:
    """View (batch, heads, time, width), made by `product`, as (batch, time, heads · width)."""
    batch, heads, time, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, time, heads * width)


def _product(a: Array, b: Array) -> Array:
    """Return a b for every head, laid out as (batch, time, heads, width)."""
    batch, heads, time, _ = a.shape
    out = empty((batch, time, heads, b.shape[-1]), np.result_type(a, b)).transpose(0, 2, 1, 3)
    return np.matmul(a, b, out=out)


def _scores(a: Array, b: Array) -> Array:
    """Return a bᵀ for every head, (batch, heads, queries, keys)."""
    shape = (*a.shape[:3], b.shape[2])
    return np.matmul(a, b.swapaxes(2, 3), out=empty(shape, np.result_type(a, b)))


@functools.lru_cache(maxsize=64)
def later(queries: int, keys: int) -> Array:
    """Return (queries, keys): True where the key is later than the query; both end together."""
    mask: Array = np.tri(queries, keys, keys - queries, dtype=bool)
    mask = ~mask
    mask.setflags(write=False)
    return mask


def _weigh(scores: Array, hidden: Array | None) -> None:
    """Replace scores by softmax over the keys that are not hidden; 0 where there are none."""
    if hidden is not None:
        np.copyto(scores, -np.inf, where=hidden)
    most = np.maximum.reduce(scores.real, axis=-1, keepdims=True)
    if hidden is not None:
        most = np.where(most == -np.inf, most.dtype.type(0), most)
    np.subtract(scores, most, out=scores)
    np.exp(scores, out=scores)
    rows = scores.reshape(math.prod(scores.shape[:3]), scores.shape[3])
    total = row_sums(rows)
    if hidden is not None:
        total = np.where(total == 0, total.dtype.type(1), total)
    rows /= total[:, None]


def attention(
    q: Array, k: Array, v: Array, hidden: Array | None, kept: Array | None
) -> tuple[Array, tuple[Any, ...]]:
    """Return y = softmax(q kᵀ / √width) v, and what `attention_vjp` needs.

    Args:
        q, k, v: Queries, keys and values.
        hidden: Which keys a query may not see; None if it sees all.
        kept: What the weights are multiplied by (dropout), of their shape; None for nothing.
    """
    scaled = q * (1 / math.sqrt(q.shape[-1]))
    weights = _scores(scaled, k)
    _weigh(weights, hidden)
    used = weights if kept is None else weights * kept
    return _product(used, v), (scaled, k, v, weights, used, kept)


def attention_vjp(saved: tuple[Any, ...], dy: Array) -> tuple[Array, Array, Array]:
    """Return dq, dk and dv."""
    scaled, k, v, weights, used, kept = saved
    dv = _product(used.swapaxes(2, 3), dy)
    dweights = _scores(dy, v)
    if kept is not None:
        dweights *= kept
    # dscores = w (dw - Σ w dw), over the keys.
    is_like = dweights.dtype == weights.dtype
    dweights = np.multiply(dweights, weights, out=dweights if is_like else None)
    rows = dweights.reshape(math.prod(dweights.shape[:3]), dweights.shape[3])
    total = row_sums(rows).reshape(*dweights.shape[:3], 1)
    dscores = dweights - weights * total
    dq = _product(dscores, k)
    dq *= 1 / math.sqrt(k.shape[-1])
    return dq, _product(dscores.swapaxes(2, 3), scaled), dv


# --- positions --------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _angles(time: int, width: int, base: float) -> Array:
    """Return t base^(-2i / width) for step t and i < width / 2."""
    rates = base ** (-2 * np.arange(width // 2) / width)
    return np.arange(time)[:, None] * rates


@functools.lru_cache(maxsize=64)
def sinusoids(time: int, width: int, base: float, dtype: np.dtype[Any]) -> Array:
    """Return (time, width): sines of the angles at even places, cosines at odd ones."""
    angles = _angles(time, width + width % 2, base)
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(time, -1)[:, :width]
    table = table.astype(dtype)
    table.setflags(write=False)
    return table


@functools.lru_cache(maxsize=64)
def _turns(time: int, width: int, base: float, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    angles = _angles(time, width, base)
    both = np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
    for each in both:
        each.setflags(write=False)
    return both


def rotated(x: Array, base: float, *, back: bool = False) -> Array:
    """Turn each pair (x_2i, x_2i+1) of x (..., time, width) by its step's angle, or back."""
    cos, sin = _turns(x.shape[-2], x.shape[-1], base, x.real.dtype)
    sin = -sin if back else sin
    y = np.empty_like(x)
    even, odd = x[..., ::2], x[..., 1::2]
    y[..., ::2] = even * cos - odd * sin
    y[..., 1::2] = odd * cos + even * sin
    return y
