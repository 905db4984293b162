"""Columns: the values that every window of an image sees, gathered for a product of matrices.

Where a row of the output is long, only the axes after the first are unfolded. The columns of a
window's rows then follow each other in memory, so that every row of the output has a matrix of its
own, which overlaps with the next, and a k · k window costs k copies of the image, not k². Where rows
are short, several are unfolded along all axes into one matrix. Either way columns are made for some
rows at a time, a chunk, so that they stay within a byte budget.
"""

from __future__ import annotations

import functools
import itertools
import math

import attrs
import numpy as np

from fnn.kernels.memory import empty
from fnn.kernels.noting import strided
from fnn.kernels.windows import Windows
from fnn.tree import Array

COLUMN_BYTES = 1 << 21
"""How large the columns of one chunk may grow that have all axes unfolded."""

ROW_BYTES = 1 << 23
"""The same for those that follow each other by rows: less of them is copied twice."""

LONG_ROW = 512
"""From how many numbers on a row of the output is worth a product of its own."""


@attrs.frozen(eq=False)
class Chunk:
    """Some rows of the output and what they see of the padded image.

    Attributes:
        see: Rows of the image.
        make: Columns of the output, as a matrix.
        rows: How many they are.
        shape, offset, strides: How the columns lie in the image, in bytes.
        blocks: Shape of the matrices (groups, matrices, channels / groups · window, length).
        steps: Strides of matrices that overlap in the columns, in bytes; None if they do not.
    """

    see: slice
    make: slice
    rows: int
    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]
    blocks: tuple[int, ...]
    steps: tuple[int, ...] | None


def cut(n: int, most: int) -> list[slice]:
    """Cut n rows into chunks of `most` or less, of even length: a last row alone would be wasteful."""
    n_chunks = max(1, -(-n // max(1, most)))
    cuts = [n * i // n_chunks for i in range(n_chunks + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(cuts)]


@attrs.frozen(eq=False)
class Unfolding:
    """How the windows of one image size are unfolded.

    Attributes:
        by_row: Whether every row of the output has a matrix of its own; else every chunk has one.
        length: How many numbers a row of the output has.
        chunks: The rows in their order.
    """

    by_row: bool
    length: int
    chunks: tuple[Chunk, ...]


@functools.lru_cache(maxsize=1024)
def unfolding(
    geometry: Windows, image: tuple[int, ...], itemsize: int, groups: int, by_row: bool | None = None
) -> Unfolding:
    """Lay out the columns of a padded image (channels, *space, batch) of numbers of `itemsize` bytes.

    They go by row where rows are long, unless `by_row` says otherwise.
    """
    length = math.prod(geometry.out[1:]) * image[-1]
    if by_row is None:  # Rows that are dilated do not follow each other.
        by_row = length >= LONG_ROW and geometry.dilation[0] == 1
    window = math.prod(geometry.size[1:] if by_row else geometry.size)
    row_bytes = max(1, image[0] * length * itemsize * window)
    if by_row:  # Rows of the image, else of the output.
        most = (ROW_BYTES // row_bytes - geometry.size[0]) // geometry.stride[0] + 1
    else:
        most = COLUMN_BYTES // row_bytes
    made = (
        _chunk(geometry, rows, image, itemsize, groups, by_row) for rows in cut(geometry.out[0], most)
    )
    return Unfolding(by_row, length, tuple(made))


def _chunk(
    geometry: Windows, rows: slice, image: tuple[int, ...], itemsize: int, groups: int, by_row: bool
) -> Chunk:
    own, n, step = image[0] // groups, rows.stop - rows.start, geometry.stride[0]
    reach = (geometry.size[0] - 1) * geometry.dilation[0] + 1
    see = slice(rows.start * step, (rows.stop - 1) * step + reach)
    channel, first, *rest = (math.prod(image[i + 1 :]) * itemsize for i in range(len(image) - 1))
    tail = (*geometry.size[1:], *geometry.out[1:], image[-1])
    tail_strides = (
        *(stride * d for stride, d in zip(rest, geometry.dilation[1:], strict=True)),
        *(stride * s for stride, s in zip(rest, geometry.stride[1:], strict=True)),
        itemsize,
    )
    length = math.prod(geometry.out[1:]) * image[-1]
    steps: tuple[int, ...] | None = None
    if by_row:
        n_rows, width = see.stop - see.start, own * math.prod(geometry.size[1:])
        shape = (groups, n_rows, own, *tail)
        strides = (own * channel, first, channel, *tail_strides)
        blocks = (groups, n, geometry.size[0] * width, length)
        row = width * length * itemsize
        steps = (n_rows * row, step * row, length * itemsize, itemsize)
    else:
        n_axes = len(geometry.size)
        shape = (groups, own, geometry.size[0], *tail[: n_axes - 1], n, *tail[n_axes - 1 :])
        strides = (own * channel, channel, first * geometry.dilation[0], *tail_strides)
        strides = (*strides[: n_axes + 2], first * step, *strides[n_axes + 2 :])
        blocks = (groups, 1, own * math.prod(geometry.size), n * length)
    make = slice(rows.start * length, rows.stop * length)
    return Chunk(see, make, n, shape, see.start * first, strides, blocks, steps)


def unfold(z: Array, chunk: Chunk) -> Array:
    """Return what the chunk's windows see of an image, as matrices of the shape `chunk.blocks`."""
    columns = empty(chunk.shape, z.dtype)
    if columns.size:
        np.copyto(columns, strided(z, chunk.shape, chunk.offset, chunk.strides))
    if chunk.steps is None:
        return columns.reshape(chunk.blocks)
    return strided(columns, chunk.blocks, 0, chunk.steps)
