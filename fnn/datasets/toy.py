"""Points in the plane that a line does not part: sets to look at, each a pure function of a key.

All have x float32 (n, 2) and y int64 (n,), classes of n/k points each (the first ones get what is left
over) in a drawn order, places drawn uniformly along the curve, and normal noise of standard deviation
`noise` added to both coordinates. With noise 0 the points lie on the curve to float32's rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.datasets.dataset import Dataset
from fnn.errors import OptionError
from fnn.keys import Key
from fnn.options import integer, real
from fnn.tree import Array

_FARTHEST = 1e6

Curve = Callable[[Array, Array], tuple[Array, Array]]
"""From classes and places in [0, 1) to the two coordinates."""


def _along(who: str, n: Any, classes: int, noise: Any, key: Any, curve: Curve) -> Dataset:
    """Return n points along one curve per class, the same for the same key."""
    n = integer(who, "n", n, least=classes)
    noise = real(who, "noise", noise, least=0, below=_FARTHEST)
    if not isinstance(key, Key):
        raise OptionError(f"key: expected a Key, e.g. Key.of(0), got {key!r}", path=(who,))
    draws = {name: key.fold(who, name).generator() for name in ("order", "place", "noise")}
    y = draws["order"].permutation(np.arange(n) % classes)
    x = np.stack(curve(y, draws["place"].random(n)), axis=1)
    # Drawn even where it is 0, so that noise moves points and changes nothing else.
    x += noise * draws["noise"].standard_normal((n, 2))
    x = x.astype(np.float32)
    for array in (x, y):
        array.setflags(write=False)
    return Dataset(x, y.astype(np.int64, copy=False))


def two_moons(n: int, *, noise: float = 0.1, key: Key) -> Dataset:
    """Return two half circles that reach into each other.

    For t uniform in [0, π): class 0 at (cos t, sin t), class 1 at (1 - cos t, ½ - sin t).

    Args:
        n: How many points, 2 or more.
        noise: Standard deviation of what is added to each coordinate.
        key: Where all randomness comes from.

    Raises:
        OptionError: If an option is out of range, or `key` is no Key.
    """

    def curve(y: Array, place: Array) -> tuple[Array, Array]:
        t, is_upper = math.pi * place, y == 0
        return (
            np.where(is_upper, np.cos(t), 1 - np.cos(t)),
            np.where(is_upper, np.sin(t), 0.5 - np.sin(t)),
        )

    return _along("two_moons", n, 2, noise, key, curve)


def circles(n: int, *, factor: float = 0.5, noise: float = 0.05, key: Key) -> Dataset:
    """Return a circle within another.

    For t uniform in [0, 2π): class 0 at (cos t, sin t), class 1 at factor · (cos t, sin t).

    Args:
        n: How many points, 2 or more.
        factor: Radius of the inner circle, in [0, 1).
        noise: Standard deviation of what is added to each coordinate.
        key: Where all randomness comes from.

    Raises:
        OptionError: If an option is out of range, or `key` is no Key.
    """
    factor = real("circles", "factor", factor, least=0, below=1)

    def curve(y: Array, place: Array) -> tuple[Array, Array]:
        t, radius = 2 * math.pi * place, np.where(y == 0, 1.0, factor)
        return radius * np.cos(t), radius * np.sin(t)

    return _along("circles", n, 2, noise, key, curve)


def spirals(n: int, *, classes: int = 2, turns: float = 1.5, noise: float = 0.02, key: Key) -> Dataset:
    """Return arms of a spiral that wind about each other, from the origin to radius 1.

    For r with r² uniform in [0, 1), which spreads points evenly along an arm: class c of k at
    r · (cos t, sin t) with t = 2π (turns · r + c / k).

    Args:
        n: How many points, at least one per class.
        classes: How many arms, 2 or more.
        turns: How often an arm winds about the origin, above 0.
        noise: Standard deviation of what is added to each coordinate.
        key: Where all randomness comes from.

    Raises:
        OptionError: If an option is out of range, or `key` is no Key.
    """
    classes = integer("spirals", "classes", classes, least=2)
    turns = real("spirals", "turns", turns, least=0, below=1000)
    if turns == 0:
        raise OptionError("turns: expected a number above 0, got 0", path=("spirals",))

    def curve(y: Array, place: Array) -> tuple[Array, Array]:
        r = np.sqrt(place)
        t = 2 * math.pi * (turns * r + y / classes)
        return r * np.cos(t), r * np.sin(t)

    return _along("spirals", n, classes, noise, key, curve)


def blobs(n: int, *, classes: int = 3, radius: float = 2.0, noise: float = 0.4, key: Key) -> Dataset:
    """Return round clouds about the corners of a regular polygon.

    Class c of k is normal about radius · (cos t, sin t) with t = 2π c / k and a standard deviation
    of `noise`; for k = 3 a line parts every pair.

    Args:
        n: How many points, at least one per class.
        classes: How many clouds, 2 or more.
        radius: Distance of their centres from the origin, 0 or more.
        noise: Standard deviation of each coordinate.
        key: Where all randomness comes from.

    Raises:
        OptionError: If an option is out of range, or `key` is no Key.
    """
    classes = integer("blobs", "classes", classes, least=2)
    radius = real("blobs", "radius", radius, least=0, below=_FARTHEST)

    def curve(y: Array, place: Array) -> tuple[Array, Array]:
        t = 2 * math.pi * y / classes
        return radius * np.cos(t), radius * np.sin(t)

    return _along("blobs", n, classes, noise, key, curve)
