"""Convolution (cross-correlation) in any number of spatial dimensions, by unfolding to matrices.

A window's values are gathered into columns (channels · window, outputs · batch) and multiplied by
the kernels (out_channels, channels · window). Columns are made for some rows of the output at a
time, so that they stay within a byte budget and in the cache. A bias is one more row of ones in
the columns: it comes with the product, and its derivative with that of the kernels.
"""

from __future__ import annotations

import functools
import itertools
import math

import attrs
import numpy as np

from fnn.kernels.memory import empty, zeros
from fnn.kernels.windows import Windows, batch_first, batch_last, pad
from fnn.tree import Array

COLUMN_BYTES = 1 << 21
"""How large the columns of one chunk may grow."""


@attrs.frozen(cache_hash=True)
class _Chunk:
    """Some rows of the output: their windows, where those start, and which columns they fill."""

    at: Windows
    start: int
    columns: slice


@functools.lru_cache(maxsize=1024)
def _chunks(at: Windows, channels: int, batch: int, itemsize: int) -> tuple[_Chunk, ...]:
    width = math.prod(at.out[1:]) * batch
    row_bytes = channels * math.prod(at.size) * width * itemsize
    n_chunks = min(at.out[0], max(1, -(-at.out[0] * row_bytes // COLUMN_BYTES)))
    # Of even length: a last chunk of a single row would waste its product.
    cuts = [at.out[0] * i // n_chunks for i in range(n_chunks + 1)]
    return tuple(
        _Chunk(
            attrs.evolve(at, out=(stop - start, *at.out[1:])),
            start * at.stride[0],
            slice(start * width, stop * width),
        )
        for start, stop in itertools.pairwise(cuts)
    )


def _unfold(z: Array, chunk: _Chunk, groups: int, bias: bool) -> Array:
    """Return the chunk's columns (groups, channels / groups · window, outputs · batch).

    With a bias every group has a row of ones below.
    """
    at, steps, own = chunk.at, z.strides[1:-1], z.shape[0] // groups
    view = np.lib.stride_tricks.as_strided(
        z[:, chunk.start :],
        (groups, own, *at.size, *at.out, z.shape[-1]),
        (
            own * z.strides[0],
            z.strides[0],
            *(step * d for step, d in zip(steps, at.dilation, strict=True)),
            *(step * s for step, s in zip(steps, at.stride, strict=True)),
            z.strides[-1],
        ),
        writeable=False,
    )
    n_rows = own * math.prod(at.size)
    columns = empty((groups, n_rows + bias, math.prod(at.out) * z.shape[-1]), z.dtype)
    # A view: splitting axes of an array never copies.
    np.copyto(columns[:, :n_rows].reshape(view.shape), view)
    if bias:
        columns[:, n_rows:] = 1
    return columns


def _kernels(w: Array, b: Array | None, groups: int) -> Array:
    """Return the kernels as matrices (groups, out / groups, channels / groups · window), b the last column."""
    kernels = w.reshape(groups, w.shape[0] // groups, -1)
    return kernels if b is None else np.concatenate((kernels, b.reshape(groups, -1, 1)), axis=2)


def convolution(x: Array, w: Array, b: Array | None, at: Windows, groups: int) -> Array:
    """Return y[n, o] = Σ_c,k w[o, c, k] x[n, c, at k] + b[o], batch-innermost.

    Shapes: x (batch, channels, *space), w (out, channels / groups, *window), b (out,).
    """
    z = pad(batch_last(x), at, 0)
    kernels, batch = _kernels(w, b, groups), z.shape[-1]
    y = empty((groups, kernels.shape[1], math.prod(at.out) * batch), np.result_type(x, kernels))
    for chunk in _chunks(at, z.shape[0], batch, z.itemsize):
        columns = _unfold(z, chunk, groups, b is not None)
        for g in range(groups):
            np.matmul(kernels[g], columns[g], out=y[g, :, chunk.columns])
    return batch_first(y.reshape(w.shape[0], *at.out, batch))


def convolution_vjp(
    x: Array, w: Array, dy: Array, at: Windows, groups: int, *, bias: bool, need_dx: bool
) -> tuple[Array, Array | None, Array | None]:
    """Return dw, db (None without bias) and dx (None if not needed) of `convolution`.

    The columns are made anew: gathering them again costs less than keeping them in memory.
    """
    z = pad(batch_last(x), at, 0)
    kernels, batch = _kernels(w, None, groups), z.shape[-1]
    slopes = batch_last(dy).reshape(*kernels.shape[:2], -1)
    sums = np.zeros((groups, kernels.shape[1], kernels.shape[2] + bias), np.result_type(x, dy))
    dz = zeros((z.shape[0], *at.padded, batch), np.result_type(w, dy)) if need_dx else None
    for chunk in _chunks(at, z.shape[0], batch, z.itemsize):
        part = slopes[:, :, chunk.columns]
        columns = _unfold(z, chunk, groups, bias)
        sums += (columns @ part.transpose(0, 2, 1)).transpose(0, 2, 1)
        if dz is not None:
            _fold(kernels, part, dz, chunk)
    dw = sums[:, :, : kernels.shape[2]].reshape(w.shape)
    db = sums[:, :, -1].reshape(-1) if bias else None
    dx = None if dz is None else batch_first(dz[at.interior()])
    return dw, db, dx


def _fold(kernels: Array, part: Array, dz: Array, chunk: _Chunk) -> None:
    """Add to dz what the chunk's windows send back: the transpose of unfolding and multiplying."""
    shape = kernels.shape[0], kernels.shape[2], part.shape[2]
    columns = np.matmul(kernels.transpose(0, 2, 1), part, out=empty(shape, dz.dtype))
    columns = columns.reshape(dz.shape[0], *chunk.at.size, *chunk.at.out, dz.shape[-1])
    into = dz[:, chunk.start :]
    for offset, cut in zip(chunk.at.offsets(), chunk.at.cuts(), strict=True):
        place = into[cut]
        np.add(place, columns[(slice(None), *offset)], place)
