"""Convolution (cross-correlation) in any number of spatial dimensions, as products of matrices.

What every window sees is gathered into columns (`unfolding`) and multiplied by the kernels. The way
back to the image mirrors it: where the products go by rows, those rows of dy that see a row of the
image follow each other, and one product per row leaves as many parts to be added as the window has
places along the other axes, k and not k².

Tried and left out: keeping the columns for the way back (memory costs more than gathering anew), a
row of ones in them for the bias, dx as a convolution of dy (as fast, and wasteful for strides), two
threads that share the copying: after a product the linear algebra's own thread spins on the second
core, and elementwise work of a million numbers gains nothing.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import attrs
import numpy as np

from fnn.kernels.affine import row_sums
from fnn.kernels.memory import empty, zeros
from fnn.kernels.noting import strided
from fnn.kernels.unfolding import ROW_BYTES, Chunk, Unfolding, cut, unfold, unfolding
from fnn.kernels.windows import Windows, batch_first, batch_last, pad
from fnn.tree import Array

SUM_BYTES = 1 << 22
"""How large the parts of dw may grow that are added at a time."""


def _matrices(y: Array, chunk: Chunk) -> Array:
    """Return the part of y (channels, columns) as matrices (groups, matrices, channels, length)."""
    groups, n, _, length = chunk.blocks
    return y[:, chunk.make].reshape(groups, len(y) // groups, n, length).swapaxes(1, 2)


def _kernels(w: Array, groups: int, by_row: bool) -> Array:
    """Return the kernels as matrices (groups, 1, out / groups, window), in the order of the columns."""
    if by_row:
        w = w.swapaxes(1, 2)  # The window's rows before the channels.
    return w.reshape(groups, 1, w.shape[0] // groups, -1)


def convolution(x: Array, w: Array, b: Array | None, geometry: Windows, groups: int) -> Array:
    """Return y[n, o] = Σ_c,k w[o, c, k] x[n, c, at k] + b[o], batch-innermost.

    Shapes: x (batch, channels, *space), w (out, channels / groups, *window), b (out,).
    """
    z = pad(batch_last(x), geometry, 0)
    how = unfolding(geometry, z.shape, z.itemsize, groups)
    kernels = _kernels(w, groups, how.by_row)
    dtype = z.dtype if z.dtype == w.dtype else np.result_type(z, w)
    if b is not None and b.dtype != dtype:
        dtype = np.result_type(dtype, b)
    y = empty((w.shape[0], geometry.out[0] * how.length), dtype)
    for chunk in how.chunks:
        np.matmul(kernels, unfold(z, chunk), _matrices(y, chunk))
        if b is not None:
            made = y[:, chunk.make]
            np.add(made, b[:, None], made)
    return batch_first(y.reshape(w.shape[0], *geometry.out, z.shape[-1]))


def convolution_vjp(
    x: Array,
    w: Array,
    dy: Array,
    geometry: Windows,
    groups: int,
    *,
    bias: bool,
    need_dx: bool,
    need_dw: bool = True,
) -> tuple[Array | None, Array | None, Array | None]:
    """Return dw, db (None without bias) and dx of `convolution`; None if not needed."""
    z = pad(batch_last(x), geometry, 0)
    how = unfolding(geometry, z.shape, z.itemsize, groups)
    slopes = batch_last(dy).reshape(w.shape[0], -1)
    dw = _kernels_vjp(z, w, slopes, how, groups) if need_dw else None
    db = row_sums(slopes) if bias and need_dw else None
    if not need_dx:
        return dw, db, None
    return dw, db, _folded(w, slopes, x.shape, geometry, groups, how.by_row)


def _folded(
    w: Array,
    slopes: Array,
    shape: tuple[int, ...],
    geometry: Windows,
    groups: int,
    by_row: bool,
) -> Array:
    """Return the image (batch, channels, *space) of that shape that slopes (out, columns) add up to."""
    dz = zeros((shape[1], *geometry.padded, shape[0]), np.result_type(w, slopes))
    # Rows of the image at its ends are seen by few of the output, and cost as much as others.
    fits = geometry.stride[0] == 1 and 1 < geometry.size[0] <= geometry.out[0] // 2
    fold = _fold_by_row if fits and by_row else _fold
    fold(w, slopes, dz, geometry, groups)
    return batch_first(dz[geometry.interior()])


def transposed_convolution(
    x: Array, w: Array, b: Array | None, geometry: Windows, groups: int
) -> Array:
    """Return the derivative of a convolution in its image, x being that of its output; plus b.

    Shapes: x (batch, in, *geometry.out), w (in, out / groups, *window), b (out,); the image that comes
    out is that over which `geometry` lies.
    """
    slopes = batch_last(x).reshape(w.shape[0], math.prod(geometry.out) * len(x))
    shape = (len(x), w.shape[1] * groups, *geometry.space)
    image = shape[1], *geometry.padded, shape[0]
    by_row = unfolding(geometry, image, x.itemsize, groups).by_row
    y = _folded(w, slopes, shape, geometry, groups, by_row)
    return y if b is None else y + b.reshape(-1, *(1,) * len(geometry.space))


def transposed_convolution_vjp(
    x: Array,
    w: Array,
    dy: Array,
    geometry: Windows,
    groups: int,
    *,
    bias: bool,
    need_dx: bool,
) -> tuple[Array, Array | None, Array | None]:
    """Return dw, db (None without bias) and dx of `transposed_convolution`; None if not needed."""
    dz = pad(batch_last(dy), geometry, 0)
    how = unfolding(geometry, dz.shape, dz.itemsize, groups)
    slopes = batch_last(x).reshape(w.shape[0], math.prod(geometry.out) * len(x))
    dw = _kernels_vjp(dz, w, slopes, how, groups)
    rows = batch_last(dy)
    db = row_sums(rows.reshape(len(rows), math.prod(rows.shape[1:]))) if bias else None
    return dw, db, convolution(dy, w, None, geometry, groups) if need_dx else None


def _kernels_vjp(z: Array, w: Array, slopes: Array, how: Unfolding, groups: int) -> Array:
    """Return dw, from slopes (out, columns)."""
    dtype = np.result_type(z, slopes)
    sums = zeros((groups, w.size // w.shape[0], w.shape[0] // groups), dtype)
    at_once = max(1, SUM_BYTES // max(1, sums.nbytes))
    for chunk in how.chunks:
        blocks = unfold(z, chunk)
        part = _matrices(slopes, chunk).swapaxes(2, 3)
        for some in cut(chunk.blocks[1], at_once):
            products = empty((groups, some.stop - some.start, *sums.shape[1:]), dtype)
            np.matmul(blocks[:, some], part[:, some], products)
            sums += np.add.reduce(products, axis=1)
    dw = sums.swapaxes(1, 2)
    if how.by_row:
        dw = dw.reshape(w.shape[0], w.shape[2], w.shape[1], *w.shape[3:]).swapaxes(1, 2)
    return dw.reshape(w.shape).copy()  # No view, so that who owns it can make it immutable.


def _fold(w: Array, slopes: Array, dz: Array, geometry: Windows, groups: int) -> None:
    """Add wᵀ dy to dz, every value where it was unfolded from."""
    kernels = _kernels(w, groups, False).swapaxes(2, 3)
    for chunk in unfolding(geometry, dz.shape, dz.itemsize, groups, False).chunks:
        parts = empty(chunk.blocks, dz.dtype)
        np.matmul(kernels, _matrices(slopes, chunk), parts)
        _add(parts, dz[:, chunk.see], _inner(geometry, chunk.rows, False))


def _fold_by_row(w: Array, slopes: Array, dz: Array, geometry: Windows, groups: int) -> None:
    """Do as `_fold` does, for windows that move by one row: a product for every row of the image."""
    slopes = slopes.reshape(groups, slopes.shape[0] // groups, geometry.out[0], -1)
    out, length = slopes.shape[1], slopes.shape[3]
    k, own = geometry.size[0], dz.shape[0] // groups
    # The rows that see a row of the image, from the first to the last, see it by the window's last
    # row to its first.
    kernels = w.reshape(groups, out, *w.shape[1:])[:, :, :, ::-1]
    kernels = kernels.transpose(0, 2, *range(4, kernels.ndim), 3, 1)
    kernels = kernels.reshape(groups, 1, own * math.prod(w.shape[3:]), k * out)
    most = ROW_BYTES // max(1, groups * kernels.shape[2] * length * dz.itemsize)
    for rows in cut(geometry.padded[0], most):
        seen = _seeing(slopes, rows, k)
        n, row = rows.stop - rows.start, seen.strides[1]
        steps = (seen.strides[0], row, *seen.strides[2:])
        blocks = strided(seen, (groups, n, k * out, length), 0, steps)
        parts = empty((groups, kernels.shape[2], n, length), dz.dtype)
        np.matmul(kernels, blocks, parts.swapaxes(1, 2))
        _add(parts, dz[:, rows], _inner(geometry, n, True))


def _seeing(slopes: Array, rows: slice, k: int) -> Array:
    """Return the rows of dy that see some rows of the image, zeros beyond its ends, as matrices."""
    groups, out, n_out, length = slopes.shape
    start = rows.start - (k - 1)
    first, last = max(start, 0), min(rows.stop, n_out)
    seen = empty((groups, rows.stop - start, out, length), slopes.dtype)
    seen[:, : first - start] = 0
    np.copyto(seen[:, first - start : last - start], slopes[:, :, first:last].swapaxes(1, 2))
    seen[:, last - start :] = 0
    return seen


@functools.lru_cache(maxsize=1024)
def _inner(geometry: Windows, n: int, by_row: bool) -> Windows:
    """Return the windows of n rows, along all axes or along those after the first."""
    if not by_row:
        return attrs.evolve(geometry, out=(n, *geometry.out[1:]))
    size, stride, dilation = (
        (1, *each[1:]) for each in (geometry.size, geometry.stride, geometry.dilation)
    )
    return attrs.evolve(
        geometry, size=size, stride=stride, dilation=dilation, out=(n, *geometry.out[1:])
    )


def _add(parts: Array, into: Array, geometry: Windows) -> None:
    """Add what windows give to an image (channels, *space, batch), every value to where it was seen."""
    parts = parts.reshape(into.shape[0], *geometry.size, *geometry.out, into.shape[-1])
    for offset, where in zip(geometry.offsets(), geometry.cuts(), strict=True):
        index: Any = (slice(None), *offset)
        place = into[where]
        np.add(place, parts[index], place)
