"""Images read between their pixels, as they are when they are moved and turned."""

from __future__ import annotations

import math

import numpy as np

from fnn.tree import Array


def bilinear(x: Array, rows: Array, columns: Array) -> Array:
    """Read images at places between pixels, interpolated linearly; outside of them is 0.

    Args:
        x: Images (n, channels, height, width), of floats.
        rows: Where to read, float64 (n, ...), pixel centres at whole numbers.
        columns: As `rows`; the shapes of both broadcast.

    Returns:
        Shape (n, channels, ...), in x's dtype.
    """
    n, channels, height, width = x.shape
    # A border of 0 on all sides, to which all that lies outside is moved.
    bordered = np.zeros((n, channels, height + 3, width + 3), x.dtype)
    bordered[:, :, 1:-2, 1:-2] = x
    flat = bordered.reshape(n, channels, (height + 3) * (width + 3))
    top, down = _cell(rows, height, x)
    left, right = _cell(columns, width, x)
    first = top * (width + 3) + left
    shape = first.shape
    one = (n, 1, math.prod(shape[1:]))
    first = first.reshape(one)
    down, right = (np.broadcast_to(each, shape).reshape(one) for each in (down, right))

    def at(offset: int) -> Array:
        return np.take_along_axis(flat, first + offset, axis=2)

    # a + t (b - a), unlike a (1 - t) + b t, leaves a constant what it is.
    upper = at(0)
    upper += right * (at(1) - upper)
    lower = at(width + 3)
    lower += right * (at(width + 4) - lower)
    upper += down * (lower - upper)
    return upper.reshape(n, channels, *shape[1:])


def _cell(places: Array, size: int, x: Array) -> tuple[Array, Array]:
    """Return the pixel before each place, counted with the border, and how far past it the place is."""
    inside = np.clip(places, -1.0, float(size)) + 1.0
    before = np.floor(inside)
    return before.astype(np.intp), (inside - before).astype(x.dtype)


def shifted(x: Array, down: Array, right: Array) -> Array:
    """Move image i of (n, channels, height, width) by down[i] rows and right[i] columns; 0 comes in."""
    height, width = x.shape[2:]
    rows = np.arange(height)[:, None] - down[:, None, None]
    columns = np.arange(width) - right[:, None, None]
    return bilinear(x, rows, columns)


def turned(x: Array, angles: Array) -> Array:
    """Turn image i of (n, channels, height, width) about its centre, counter-clockwise, by angles[i].

    Angles are in radians; 0 comes in at the corners.
    """
    height, width = x.shape[2:]
    middle, centre = (height - 1) / 2, (width - 1) / 2
    dy, dx = np.arange(height)[:, None] - middle, np.arange(width) - centre
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    # Where a pixel of the result came from: turned back. Rows count downwards.
    return bilinear(x, middle + sin * dx + cos * dy, centre + cos * dx - sin * dy)
