"""Convolution (cross-correlation) in any number of spatial dimensions, by unfolding to matrices.

A window's values are gathered into columns (channels · window, outputs · batch) and multiplied by
the kernels (out_channels, channels · window). Columns are made for some rows of the output at a
time, so that they stay within a byte budget and in the cache.
"""

from __future__ import annotations

import functools
import itertools
import math

import attrs
import numpy as np

from fnn.kernels.affine import onto
from fnn.kernels.windows import Windows, batch_first, batch_last, pad
from fnn.tree import Array

COLUMN_BYTES = 1 << 21
"""How large the columns of one chunk may grow."""


@attrs.frozen
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


def _unfold(z: Array, chunk: _Chunk, groups: int) -> Array:
    """Return the chunk's columns (groups, channels / groups · window, outputs · batch)."""
    at, steps = chunk.at, z.strides[1:-1]
    view = np.lib.stride_tricks.as_strided(
        z[:, chunk.start :],
        (z.shape[0], *at.size, *at.out, z.shape[-1]),
        (
            z.strides[0],
            *(step * d for step, d in zip(steps, at.dilation, strict=True)),
            *(step * s for step, s in zip(steps, at.stride, strict=True)),
            z.strides[-1],
        ),
        writeable=False,
    )
    return view.reshape(groups, z.shape[0] // groups * math.prod(at.size), -1)


def _kernels(w: Array, groups: int) -> Array:
    return w.reshape(groups, w.shape[0] // groups, -1)


def convolution(x: Array, w: Array, b: Array | None, at: Windows, groups: int) -> Array:
    """Return y[n, o] = Σ_c,k w[o, c, k] x[n, c, at k] + b[o], batch-innermost.

    Shapes: x (batch, channels, *space), w (out, channels / groups, *window), b (out,).
    """
    z = pad(batch_last(x), at, 0)
    kernels, batch = _kernels(w, groups), z.shape[-1]
    y = np.empty((groups, kernels.shape[1], math.prod(at.out) * batch), np.result_type(x, w))
    for chunk in _chunks(at, z.shape[0], batch, z.itemsize):
        np.matmul(kernels, _unfold(z, chunk, groups), out=y[:, :, chunk.columns])
    if b is not None:
        y = onto(np.add, y, b.reshape(groups, -1, 1))
    return batch_first(y.reshape(w.shape[0], *at.out, batch))


def convolution_vjp(
    x: Array, w: Array, dy: Array, at: Windows, groups: int, *, bias: bool, need_dx: bool
) -> tuple[Array, Array | None, Array | None]:
    """Return dw, db (None without bias) and dx (None if not needed) of `convolution`.

    The columns are made anew: gathering them again costs less than keeping them in memory.
    """
    z = pad(batch_last(x), at, 0)
    kernels, batch = _kernels(w, groups), z.shape[-1]
    g = batch_last(dy).reshape(*kernels.shape[:2], -1)
    dw = np.zeros(w.shape, np.result_type(x, dy))
    dz = np.zeros((z.shape[0], *at.padded, batch), np.result_type(w, dy)) if need_dx else None
    for chunk in _chunks(at, z.shape[0], batch, z.itemsize):
        part = g[:, :, chunk.columns]
        _kernels(dw, groups)[...] += part @ _unfold(z, chunk, groups).transpose(0, 2, 1)
        if dz is not None:
            columns = kernels.transpose(0, 2, 1) @ part
            columns = columns.reshape(z.shape[0], *at.size, *chunk.at.out, batch)
            into = dz[:, chunk.start :]
            for offset in at.offsets():
                into[chunk.at.slices(offset)] += columns[(slice(None), *offset)]
    db = g.reshape(w.shape[0], -1) @ np.ones(g.shape[-1], g.dtype) if bias else None
    dx = None if dz is None else batch_first(dz[at.interior()])
    return dw, db, dx
