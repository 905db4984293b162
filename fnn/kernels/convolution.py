"""Convolution (cross-correlation) in any number of spatial dimensions, by unfolding to matrices.

A window's values are gathered into columns and multiplied by the kernels. Where a row of the output
is long, only the axes after the first are unfolded: the values of a window's rows then follow each
other in memory, so that every row of the output is a product with a part of the columns as it lies,
and a k · k window costs k copies of the image, not k². Where rows are short, several are unfolded
along all axes, for one product. Either way columns are made for some rows at a time, so that they stay
within a byte budget.

Tried and left out: keeping the columns for the way back (memory costs more than gathering anew), a
row of ones in them for the bias, dx as a convolution of dy (as fast, and wasteful for strides), two
threads that share the copying (handing work over costs more than it spares below a million numbers).
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import attrs
import numpy as np

from fnn.kernels.affine import row_sums
from fnn.kernels.memory import empty, zeros
from fnn.kernels.windows import Windows, batch_first, batch_last, pad
from fnn.tree import Array

COLUMN_BYTES = 1 << 21
"""How large the columns of one chunk may grow that have all axes unfolded."""

ROW_BYTES = 1 << 23
"""The same for those that follow each other by rows: less of them is copied twice."""

LONG_ROW = 512
"""From how many numbers on a row of the output is worth a product of its own."""


@attrs.frozen(eq=False)
class _Chunk:
    """Some rows of the output and what they see of the padded image.

    Attributes:
        see: Rows of the image.
        make: Columns of the output, as a matrix.
        at: The windows along the axes that are unfolded.
        blocks: For every product: rows of the columns, and columns of the output.
    """

    see: slice
    make: slice
    at: Windows
    blocks: tuple[tuple[slice, slice], ...]


@functools.lru_cache(maxsize=1024)
def _row_length(at: Windows, batch: int) -> int:
    return math.prod(at.out[1:]) * batch


@functools.lru_cache(maxsize=1024)
def _chunks(at: Windows, channels: int, batch: int, itemsize: int, by_row: bool) -> tuple[_Chunk, ...]:
    """Cut the output into chunks; `by_row` has a product for every row, else one for every chunk."""
    length = _row_length(at, batch)
    step, reach = at.stride[0], (at.size[0] - 1) * at.dilation[0] + 1
    row_bytes = max(1, channels * length * itemsize * math.prod(at.size[1:] if by_row else at.size))
    # Rows of the image in the one case, of the output in the other.
    rows = (ROW_BYTES // row_bytes - reach) // step + 1 if by_row else COLUMN_BYTES // row_bytes
    n_chunks = -(-at.out[0] // max(1, rows))
    # Of even length: a last chunk of a single row would waste its product.
    cuts = [at.out[0] * i // n_chunks for i in range(n_chunks + 1)]
    return tuple(_chunk(at, start, stop, length, by_row) for start, stop in itertools.pairwise(cuts))


def _chunk(at: Windows, start: int, stop: int, length: int, by_row: bool) -> _Chunk:
    step, reach = at.stride[0], (at.size[0] - 1) * at.dilation[0] + 1
    see = slice(start * step, (stop - 1) * step + reach)
    make = slice(start * length, stop * length)
    if not by_row:
        inner = attrs.evolve(at, out=(stop - start, *at.out[1:]))
        return _Chunk(see, make, inner, ((slice(0, 1), make),))
    blocks = tuple(
        (
            slice(i * step, i * step + reach, at.dilation[0]),
            slice((start + i) * length, (start + i + 1) * length),
        )
        for i in range(stop - start)
    )
    axes = [field.name for field in attrs.fields(Windows) if field.init]
    return _Chunk(see, make, Windows(*(getattr(at, name)[1:] for name in axes)), blocks)


@functools.lru_cache(maxsize=1024)
def _windowed(
    chunk: _Chunk, image: tuple[int, ...], itemsize: int, groups: int, by_row: bool
) -> tuple[tuple[int, ...], int, tuple[int, ...], tuple[int, int, int]]:
    """Return shape, offset and strides that show the chunk's columns in an image, and their shape."""
    at, own = chunk.at, image[0] // groups
    strides = [math.prod(image[i + 1 :]) * itemsize for i in range(len(image))]
    channel, first, *rest = strides[:-1]
    row, steps = (first, rest) if by_row else (0, [first, *rest])
    n_rows = chunk.see.stop - chunk.see.start if by_row else 1
    shape = (groups, n_rows, own, *at.size, *at.out, image[-1])
    shown = (
        own * channel,
        row,
        channel,
        *(step * d for step, d in zip(steps, at.dilation, strict=True)),
        *(step * s for step, s in zip(steps, at.stride, strict=True)),
        itemsize,
    )
    return shape, chunk.see.start * first, shown, (groups, n_rows, own * math.prod(at.size))


def _unfold(z: Array, chunk: _Chunk, groups: int, by_row: bool) -> Array:
    """Return the chunk's columns (groups, rows, channels / groups · window, outputs · batch).

    Without `by_row` there is one row, and the window has all axes.
    """
    shape, offset, strides, merged = _windowed(chunk, z.shape, z.itemsize, groups, by_row)
    columns = empty(shape, z.dtype)
    if columns.size:
        # As `as_strided` does, in a tenth of its time; NumPy checks that it stays within z.
        np.copyto(columns, np.ndarray(shape, z.dtype, z, offset, strides))
    return columns.reshape(*merged, math.prod(chunk.at.out) * z.shape[-1])


def _kernels(w: Array, groups: int, by_row: bool) -> Array:
    """Return the kernels as matrices (groups, out / groups, window), in the order of the columns."""
    if not by_row:
        return w.reshape(groups, w.shape[0] // groups, -1)
    kernels = w.transpose(0, 2, 1, *range(3, w.ndim))  # The window's rows before the channels.
    return kernels.reshape(groups, w.shape[0] // groups, -1)


def convolution(x: Array, w: Array, b: Array | None, at: Windows, groups: int) -> Array:
    """Return y[n, o] = Σ_c,k w[o, c, k] x[n, c, at k] + b[o], batch-innermost.

    Shapes: x (batch, channels, *space), w (out, channels / groups, *window), b (out,).
    """
    z = pad(batch_last(x), at, 0)
    batch = z.shape[-1]
    by_row = _row_length(at, batch) >= LONG_ROW
    kernels = _kernels(w, groups, by_row)
    dtype = z.dtype if z.dtype is w.dtype else np.result_type(z, w)
    if b is not None and b.dtype is not dtype:
        dtype = np.result_type(dtype, b)
    y = empty((groups, kernels.shape[1], math.prod(at.out) * batch), dtype)
    for chunk in _chunks(at, z.shape[0], batch, z.itemsize, by_row):
        columns = _unfold(z, chunk, groups, by_row)
        for g in range(groups):
            for rows, make in chunk.blocks:
                block = columns[g, rows].reshape(kernels.shape[2], -1)
                np.matmul(kernels[g], block, y[g, :, make])
        if b is not None:
            made = y[:, :, chunk.make]
            np.add(made, b.reshape(groups, -1, 1), made)
    return batch_first(y.reshape(w.shape[0], *at.out, batch))


def convolution_vjp(
    x: Array, w: Array, dy: Array, at: Windows, groups: int, *, bias: bool, need_dx: bool
) -> tuple[Array, Array | None, Array | None]:
    """Return dw, db (None without bias) and dx (None if not needed) of `convolution`."""
    z = pad(batch_last(x), at, 0)
    batch = z.shape[-1]
    by_row = _row_length(at, batch) >= LONG_ROW
    kernels = _kernels(w, groups, by_row)
    slopes = batch_last(dy).reshape(*kernels.shape[:2], -1)
    sums = np.zeros((groups, kernels.shape[2], kernels.shape[1]), np.result_type(x, dy))
    for chunk in _chunks(at, z.shape[0], batch, z.itemsize, by_row):
        columns = _unfold(z, chunk, groups, by_row)
        for g in range(groups):
            for rows, make in chunk.blocks:
                block = columns[g, rows].reshape(sums.shape[1], -1)
                sums[g] += np.matmul(block, slopes[g, :, make].T)  # `dot` would copy the latter.
    dw = sums.transpose(0, 2, 1)
    if by_row:
        dw = dw.reshape(w.shape[0], at.size[0], w.shape[1], -1).transpose(0, 2, 1, 3)
    dw = dw.reshape(w.shape).copy()  # No view, so that who owns it can make it immutable.
    db = row_sums(slopes.reshape(w.shape[0], -1)) if bias else None
    if not need_dx:
        return dw, db, None
    dz = zeros((z.shape[0], *at.padded, batch), np.result_type(w, dy))
    _fold(w, slopes, dz, at, groups)
    return dw, db, batch_first(dz[at.interior()])


def _fold(w: Array, slopes: Array, dz: Array, at: Windows, groups: int) -> None:
    """Add wᵀ dy to dz, every value where it was unfolded from."""
    kernels = _kernels(w, groups, False).transpose(0, 2, 1)
    for chunk in _chunks(at, dz.shape[0], dz.shape[-1], dz.itemsize, False):
        part = slopes[:, :, chunk.make]
        columns = np.matmul(kernels, part, empty((groups, kernels.shape[1], part.shape[2]), dz.dtype))
        parts: Array = columns.reshape(dz.shape[0], *at.size, *chunk.at.out, dz.shape[-1])
        into = dz[:, chunk.see]
        for offset, cut in zip(at.offsets(), chunk.at.cuts(), strict=True):
            index: Any = (slice(None), *offset)
            place = into[cut]
            np.add(place, parts[index], place)
