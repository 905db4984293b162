"""Pooling by slices of all windows at once: no argmax, no loop over windows.

Tried and left out: one axis after the other (rows first a quarter slower on batches of 100 and a fifth
faster on 128, and the first maximum in row-major order is lost; columns first slower on both).
"""

from __future__ import annotations

import functools
import math

import numpy as np

from fnn.kernels.memory import empty, scratch_like, zeros
from fnn.kernels.unfolding import cut
from fnn.kernels.windows import Windows, batch_first, batch_last, pad
from fnn.tree import Array

_BOOL = np.dtype(bool)

PIECE_BYTES = 1 << 19
"""How much of a derivative is handed on at a time, so that what lies between stays in the cache."""


def max_pool(x: Array, geometry: Windows) -> Array:
    """Return the largest value of every window; padding counts as -inf."""
    z = pad(batch_last(x), geometry, -np.inf)
    cuts = geometry.cuts()
    largest = z[cuts[0]]
    y = empty(largest.shape, z.dtype)
    if z.dtype.kind == "c" or len(cuts) == 1:
        np.copyto(y, largest)
    for place in cuts[1:]:
        values = z[place]
        if z.dtype.kind == "c":
            # By the real part alone, and the first of equals, so that perturbations decide nothing.
            np.copyto(y, values, where=values.real > y.real)
        else:
            largest = np.maximum(largest, values, out=y)
    return batch_first(y)


def max_pool_vjp(x: Array, y: Array, dy: Array, geometry: Windows) -> Array:
    """Return dx: dy of every window at its first maximum in row-major order, 0 elsewhere."""
    # Padding equals no maximum, not even one of -inf: none of dy may go to it.
    z, best, g = pad(batch_last(x), geometry, np.nan), batch_last(y), batch_last(dy)
    dz = empty(z.shape, g.dtype) if geometry.tile() else zeros(z.shape, g.dtype)
    apart = all(s >= extent for s, extent in zip(geometry.stride, geometry.extents(), strict=True))
    (_scatter_disjoint if apart else _scatter_overlapping)(z, best, g, dz, geometry)
    return batch_first(dz[geometry.interior()])


def _scatter_disjoint(z: Array, best: Array, g: Array, dz: Array, geometry: Windows) -> None:
    """Scatter g over windows that share no place, some channels at a time."""
    for some in cut(len(g), len(g) * PIECE_BYTES // max(1, g.nbytes)):
        _scatter_first(z[some], best[some], g[some], dz[some], geometry)


def _scatter_first(z: Array, best: Array, g: Array, dz: Array, geometry: Windows) -> None:
    """Write g to the first place of every window that has its maximum, zeros to the others."""
    *cuts, last = geometry.cuts()
    hit, share, rest = empty(g.shape, _BOOL), empty(g.shape, g.dtype), empty(g.shape, g.dtype)
    for place in cuts:
        np.equal(z[place], best, hit)
        np.copyto(share, hit)  # A product with booleans would take longer than both.
        np.multiply(g, share, share)
        np.copyto(dz[place], share)
        g = np.subtract(g, share, rest)
    np.copyto(dz[last], g)


def _scatter_overlapping(z: Array, best: Array, g: Array, dz: Array, geometry: Windows) -> None:
    """Add g to the first place of every window that has its maximum."""
    hit, free = empty(best.shape, _BOOL), empty(best.shape, _BOOL)
    free.fill(True)
    for place in geometry.cuts():
        np.equal(z[place], best, hit)
        np.logical_and(hit, free, hit)
        np.logical_xor(free, hit, free)
        dz[place] += g * hit


def min_pool(x: Array, geometry: Windows) -> Array:
    """Return the smallest value of every window; padding counts as inf."""
    return -max_pool(-x, geometry)


def min_pool_vjp(x: Array, y: Array, dy: Array, geometry: Windows) -> Array:
    """Return dx: dy of every window at its first minimum in row-major order, 0 elsewhere."""
    return max_pool_vjp(-x, -y, dy, geometry)


def sum_pool(x: Array, geometry: Windows) -> Array:
    """Return the sum of every window."""
    z = pad(batch_last(x), geometry, 0)
    first, *others = (z[place] for place in geometry.cuts())
    y = empty(first.shape, z.dtype)
    np.copyto(y, first)
    for values in others:
        y += values
    return batch_first(y)


def sum_pool_vjp(x: Array, y: Array, dy: Array, geometry: Windows) -> Array:
    """Return dx: every window's dy, added where windows overlap."""
    g = batch_last(dy)
    dz = zeros((x.shape[1], *geometry.padded, x.shape[0]), g.dtype)
    for place in geometry.cuts():
        dz[place] += g
    return batch_first(dz[geometry.interior()])


def average_pool(x: Array, geometry: Windows, *, count_padding: bool) -> Array:
    """Return the mean of every window, over the image alone or over the padding's zeros too."""
    y = batch_last(sum_pool(x, geometry))
    y *= _inverse_counts(geometry, y.real.dtype, count_padding)
    return batch_first(y)


def average_pool_vjp(x: Array, y: Array, dy: Array, geometry: Windows, *, count_padding: bool) -> Array:
    """Return dx: every window's dy / count, added where windows overlap."""
    g = batch_last(dy)
    g = np.multiply(g, _inverse_counts(geometry, g.real.dtype, count_padding), scratch_like(g))
    return sum_pool_vjp(x, y, batch_first(g), geometry)


@functools.lru_cache(maxsize=64)
def _inverse_counts(geometry: Windows, dtype: np.dtype, count_padding: bool) -> Array:
    if geometry.padded == geometry.space or (count_padding and not any(geometry.over)):
        return _read_only(np.array(1 / math.prod(geometry.size), dtype))
    if count_padding:  # What lies beyond the padding that was asked for never counts.
        inside = np.zeros((1, *geometry.padded, 1))
        rows = (slice(n - over) for n, over in zip(geometry.padded, geometry.over, strict=True))
        inside[(slice(None), *rows)] = 1
    else:
        inside = pad(np.ones((1, *geometry.space, 1)), geometry, 0)
    counts = np.zeros((1, *geometry.out, 1))
    for place in geometry.cuts():
        counts += inside[place]
    return _read_only((1 / counts).astype(dtype))


def _read_only(array: Array) -> Array:
    array.setflags(write=False)
    return array


def global_average_pool(x: Array) -> Array:
    """Return the mean over all of space, (batch, channels)."""
    return x.mean(axis=tuple(range(2, x.ndim)))


def global_average_pool_vjp(x: Array, y: Array, dy: Array) -> Array:
    """Return dx: dy / n at every place, in the memory format of x."""
    dx = np.empty_like(x, dy.dtype)
    share = dy / x[0, 0].size if x.size else dy
    dx[...] = share.reshape(*dy.shape, *(1,) * (x.ndim - 2))
    return dx


def global_max_pool(x: Array) -> Array:
    """Return the largest value over all of space, (batch, channels)."""
    flat = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    return np.take_along_axis(flat, flat.real.argmax(axis=2)[:, :, None], axis=2)[:, :, 0]


def global_max_pool_vjp(x: Array, y: Array, dy: Array) -> Array:
    """Return dx: dy at the first maximum in row-major order, 0 elsewhere."""
    flat = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    dx = zeros(flat.shape, dy.dtype)
    np.put_along_axis(dx, flat.real.argmax(axis=2)[:, :, None], dy[:, :, None], axis=2)
    return dx.reshape(x.shape)
