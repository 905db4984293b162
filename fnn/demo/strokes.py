"""Strokes of a pen made an image, centred and scaled as the digits are that networks learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from fnn.layers.resizing import Upsample
from fnn.tree import Array

Style: TypeAlias = Literal["mnist", "small"]
Stroke: TypeAlias = Sequence[tuple[float, float]]

_SIDE, _BOX, _PEN = 28, 20, 2.6
"""MNIST: pixels of a side, of the box that the ink fills, and of the width of a line."""
_SMALL, _INK, _PENS = 8, 0.27, (0.9, 1.2, 1.5, 1.8, 2.1, 2.4)
"""The digits that come with the library: pixels of a side, which they fill from top to bottom, and the
part of the image that is ink, of a 1 as of an 8; so that the width of a line depends on the digit."""
_LEAST = 0.04
"""Part of the drawing board below which a drawing is not made larger: a dot stays one."""
_EDGE = 1.6
"""Pixels over which ink fades at its edge."""
_CHUNK = 256


def drawn(strokes: Sequence[Stroke], side: int, style: Style) -> Array:
    """Return an image (side, side) of strokes, float64 with ink 1 on ground 0.

    Where and how large they were drawn makes no difference, and neither does in how many strokes: the
    image is that of MNIST ("mnist": the larger side of the ink in 20 of 28 pixels, its centre of mass
    in the middle), or that of the bundled digits ("small": in 8 pixels from top to bottom, drawn out
    to `side` as `digits` does).

    Args:
        strokes: The points of each, (x, y) from the top left; their unit is free.
        side: Pixels along a side.
        style: See above.
    """
    points = [np.asarray(stroke, np.float64).reshape(-1, 2) for stroke in strokes if len(stroke)]
    if not points:
        return np.zeros((side, side))
    starts = np.concatenate([each[:-1] if len(each) > 1 else each for each in points])
    ends = np.concatenate([each[1:] if len(each) > 1 else each for each in points])
    every = np.concatenate(points)
    low, high = every.min(axis=0), every.max(axis=0)
    if style == "small":
        return _small(starts, ends, low, high, side)
    unit = side / _SIDE
    scale = (_BOX - _PEN) * unit / max(float((high - low).max()), _LEAST)
    pen, middle = _PEN * unit, side / 2
    starts, ends = (scale * (each - (low + high) / 2) + middle for each in (starts, ends))
    image = _inked(starts, ends, side, pen, _EDGE)
    # The centre of mass moves to the middle, but no ink out of the image.
    place = np.arange(side) + 0.5
    mass = np.array([image.sum(axis=0) @ place, image.sum(axis=1) @ place]) / image.sum()
    room = middle - (scale * (high - low) + pen) / 2
    shift = np.clip(middle - mass, -room, room)
    return _inked(starts + shift, ends + shift, side, pen, _EDGE)


def _small(starts: Array, ends: Array, low: Array, high: Array, side: int) -> Array:
    image = np.zeros((_SMALL, _SMALL))
    for pen in _PENS:
        scale = (_SMALL - pen) / max(float((high - low).max()), _LEAST)
        # As they were made: the share of black in every block of 4 by 4 finer pixels.
        start, end = (4 * (scale * (each - (low + high) / 2) + _SMALL / 2) for each in (starts, ends))
        fine = _inked(start, end, 4 * _SMALL, 4 * pen, 1.0)
        image = fine.reshape(_SMALL, 4, _SMALL, 4).mean(axis=(1, 3))
        if image.mean() >= _INK:
            break
    return image if side == _SMALL else _resized(image, side)


def _resized(image: Array, side: int) -> Array:
    if side % _SMALL == 0:
        whole, _ = Upsample(side // _SMALL, "bilinear").apply({}, {}, image[None, None])
        return np.asarray(whole[0, 0])
    at = np.clip((np.arange(side) + 0.5) * (_SMALL / side) - 0.5, 0, _SMALL - 1)
    old = np.arange(_SMALL)
    rows = np.array([np.interp(at, old, row) for row in image])
    return np.array([np.interp(at, old, column) for column in rows.T]).T


def _inked(starts: Array, ends: Array, side: int, pen: float, edge: float) -> Array:
    """Return how much of every pixel lines of the width `pen` cover."""
    place = np.arange(side) + 0.5
    at = np.stack(np.meshgrid(place, place), axis=-1).reshape(-1, 1, 2)
    nearest = np.full(side * side, np.inf)
    for i in range(0, len(starts), _CHUNK):  # No more in memory than this, however much is drawn.
        start, end = starts[i : i + _CHUNK], ends[i : i + _CHUNK]
        along = end - start
        length = np.maximum(np.square(along).sum(axis=1), 1e-12)
        share = np.clip(((at - start) * along).sum(axis=2) / length, 0, 1)
        gap = at - start - share[..., None] * along
        np.minimum(nearest, np.square(gap).sum(axis=2).min(axis=1), out=nearest)
    cover = 0.5 + (pen / 2 - np.sqrt(nearest)) / edge
    return np.clip(cover, 0, 1).reshape(side, side)
