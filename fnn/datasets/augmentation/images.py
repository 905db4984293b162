"""Augmentations of images (n, ..., height, width): flip, crop, shift, rotate and cut out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.datasets.augmentation.making import Augmentation, Draws, make_augmentation
from fnn.errors import DTypeError, OptionError, ShapeError
from fnn.kernels import sampling
from fnn.options import axis_of, real, sizes
from fnn.recipe import constructor
from fnn.tree import Array

_MODES = ("constant", "edge", "reflect", "wrap")


def _as_images(x: Array, *, floats: bool = False) -> Array:
    """Return x as (n, channels, height, width)."""
    if x.ndim < 3:
        raise ShapeError(f"x: expected images (n, ..., height, width), got shape {x.shape}")
    if floats and x.dtype.kind != "f":
        raise DTypeError(f"x: expected floats, got dtype {x.dtype}")
    return x.reshape(len(x), math.prod(x.shape[1:-2]), *x.shape[-2:])


@constructor
def random_flip(axis: int = -1, *, rate: float = 0.5) -> Augmentation:
    """Reverse an axis of each example with probability `rate`: left and right of images, by default.

    Args:
        axis: The axis of the batch that is reversed; not 0, which is the examples'.
        rate: Probability, in [0, 1].

    Raises:
        OptionError: If an option is out of range.
        ShapeError: When called, if examples lack the axis.
    """
    who = "random_flip"
    axis = axis_of(who, axis, "an axis of an example")
    rate = real(who, "rate", rate, least=0, most=1)

    def change(draws: Draws, x: Array) -> Array:
        place = axis + x.ndim if axis < 0 else axis
        if not 0 < place < x.ndim:
            raise ShapeError(f"x: expected examples with axis {axis}, got shape {x.shape}")
        chosen = draws.uniform("flip") < rate
        flipped = x.copy()
        flipped[chosen] = np.flip(x[chosen], place)
        return flipped

    return make_augmentation(who, change)


@constructor
def random_crop(padding: int | tuple[int, int], *, mode: str = "constant") -> Augmentation:
    """Pad each image on all sides, then cut its size out again at a place drawn uniformly.

    Pixels keep their values: they move by whole pixels, up to `padding` in every direction.

    Args:
        padding: Pixels on each side; a pair is (above and below, left and right).
        mode: What the border holds: "constant" (0), "edge" (the outermost pixels), "reflect" (mirrored
            about them) or "wrap" (the other side).

    Raises:
        OptionError: If an option is out of range.
        ShapeError: When called, if examples are no images.
    """
    who = "random_crop"
    by = sizes(who, "padding", padding, 2, least=0)
    if mode not in _MODES:
        raise OptionError(f"mode: expected one of {_MODES}, got {mode!r}", path=(who,))

    def change(draws: Draws, x: Array) -> Array:
        images = _as_images(x)
        pads = ((0, 0), (0, 0), (by[0], by[0]), (by[1], by[1]))
        padded = np.pad(images, pads, mode=mode)  # type: ignore[call-overload]
        row, column = draws.integers("row", 2 * by[0] + 1), draws.integers("column", 2 * by[1] + 1)
        cuts = np.lib.stride_tricks.sliding_window_view(padded, images.shape[2:], axis=(2, 3))
        return cuts[np.arange(len(x)), :, row, column].reshape(x.shape)

    return make_augmentation(who, change)


@constructor
def random_shift(most: float | tuple[float, float]) -> Augmentation:
    """Move each image by a distance drawn uniformly from [-most, most], down and to the right.

    Distances are no whole pixels, so values are interpolated linearly; 0 comes in from outside.
    `random_crop` moves by whole pixels.

    Args:
        most: Largest distance in pixels; a pair is (up and down, left and right).

    Raises:
        OptionError: If most is no number of 0 or more.
        ShapeError, DTypeError: When called, if examples are no images of floats.
    """
    who = "random_shift"
    pair = tuple(most) if isinstance(most, tuple | list) else (most, most)
    if len(pair) != 2:
        raise OptionError(f"most: expected a number or a pair, got {most!r}", path=(who,))
    down, right = (real(who, "most", each, least=0) for each in pair)

    def change(draws: Draws, x: Array) -> Array:
        images = _as_images(x, floats=True)
        rows = down * (2 * draws.uniform("row") - 1)
        columns = right * (2 * draws.uniform("column") - 1)
        return sampling.shifted(images, rows, columns).reshape(x.shape)

    return make_augmentation(who, change)


@constructor
def random_rotate(degrees: float) -> Augmentation:
    """Turn each image about its centre by an angle drawn uniformly from [-degrees, degrees].

    Values are interpolated linearly between pixels; 0 comes in at the corners.

    Args:
        degrees: Largest angle, from 0 to 180.

    Raises:
        OptionError: If degrees is out of range.
        ShapeError, DTypeError: When called, if examples are no images of floats.
    """
    who = "random_rotate"
    degrees = real(who, "degrees", degrees, least=0, most=180)

    def change(draws: Draws, x: Array) -> Array:
        images = _as_images(x, floats=True)
        angles = math.radians(degrees) * (2 * draws.uniform("angle") - 1)
        return sampling.turned(images, angles).reshape(x.shape)

    return make_augmentation(who, change)


@constructor
def cutout(size: int | tuple[int, int], *, fill: float = 0.0) -> Augmentation:
    """Cover a rectangle of each image, its centre drawn uniformly from all pixels.

    It covers rows c - size // 2 up to c - size // 2 + size, without the last, and columns alike; at an
    edge less of it is inside.

    Args:
        size: Its side in pixels; a pair is (height, width).
        fill: What covers it.

    Raises:
        OptionError: If an option is out of range.
        ShapeError: When called, if examples are no images.
        DTypeError: When called, if they are of integers and `fill` is none of that dtype.

    References:
        DeVries & Taylor (2017), "Improved regularization of convolutional neural networks with cutout".
    """
    who = "cutout"
    sides = sizes(who, "size", size, 2)
    fill = real(who, "fill", fill)

    def change(draws: Draws, x: Array) -> Array:
        images = _as_images(x)
        inside = []
        for name, side, n in zip(("row", "column"), sides, images.shape[2:], strict=True):
            start = draws.integers(name, n)[:, None] - side // 2
            at = np.arange(n)
            inside.append((at >= start) & (at < start + side))
        covered = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return np.where(covered, _value(fill, x), images).reshape(x.shape)

    return make_augmentation(who, change)


def _value(fill: float, x: Array) -> Any:
    """Return `fill` in the dtype of x."""
    if x.dtype.kind in "fc":
        return x.dtype.type(fill)
    bounds = (0, 1) if x.dtype.kind == "b" else (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
    if fill != int(fill) or not bounds[0] <= fill <= bounds[1]:
        raise DTypeError(f"x: expected a dtype that holds fill = {fill}, got {x.dtype}")
    return x.dtype.type(int(fill))
