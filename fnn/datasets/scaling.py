"""Standardisation: every feature to mean 0 and standard deviation 1, whatever its scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

from fnn.errors import DTypeError, ShapeError
from fnn.tree import Array

# Rows that a pass over the data widens to float64 at a time.
_ROWS = 4096


@attrs.frozen(eq=False)
class Scaling:
    """Means and standard deviations of features, to be applied to any examples, and undone.

    All are float64 arrays of the shape of an example. They are relative to the first row and to the
    largest distance from it: a constant feature then has a deviation of exactly 0, for which 1 stands
    here, a large mean cancels nothing, and no square overflows.

    Attributes:
        origin, spread: What features are taken relative to.
        mean, std: Of (x - origin) / spread.
    """

    origin: Array
    spread: Array
    mean: Array
    std: Array

    @classmethod
    def of(cls, like: Array, weight: Array | None = None) -> Scaling:
        """Learn the scales of the features of `like`, by the weights of its examples if any.

        Raises:
            DTypeError: If it is not of real floats.
        """
        _check_floats(like)
        n = len(like) if weight is None else float(weight.sum())
        origin = like[0].astype(np.float64)
        spread = np.zeros_like(origin)
        total = np.zeros_like(origin)
        squares = np.zeros_like(origin)
        with np.errstate(all="ignore"):
            for part in _chunks(like):
                np.maximum(spread, np.abs(part - origin).max(axis=0), out=spread)
            spread[spread == 0] = 1.0
            for part, by in _weighed_chunks(like, weight):
                total += (((part - origin) / spread) * by).sum(axis=0)
            mean = total / n
            for part, by in _weighed_chunks(like, weight):
                squares += (np.square((part - origin) / spread - mean) * by).sum(axis=0)
            std = np.sqrt(squares / n)
        return cls(origin, spread, mean, np.where(std == 0, 1.0, std))

    def apply(self, x: Array) -> Array:
        """Return (x - mean) / std per feature, read-only and in x's dtype.

        Raises:
            DTypeError: If x is not of real floats.
            ShapeError: If its examples have another shape.
        """
        _check_floats(x)
        if x.shape[1:] != self.origin.shape:
            raise ShapeError(f"expected examples of shape {self.origin.shape}, got {x.shape[1:]}")
        out = np.empty_like(x)
        with np.errstate(all="ignore"):
            for start, part in zip(range(0, len(x), _ROWS), _chunks(x), strict=True):
                rows = ((part - self.origin) / self.spread - self.mean) / self.std
                out[start : start + _ROWS] = rows
        out.setflags(write=False)
        return out

    def undo(self, z: Array) -> Array:
        """Return the float64 x of which `apply` gives z."""
        x: Array = (z.astype(np.float64) * self.std + self.mean) * self.spread + self.origin
        return x


def standardized(x: Array, like: Array, weight: Array | None) -> Array:
    """Return (x - mean) / std per feature in x's dtype, both taken from `like`, by its weights if any.

    Raises:
        DTypeError: If either is not of real floats.
        ShapeError: If their examples differ in shape.
    """
    _check_floats(x)  # Before a pass over `like`.
    return Scaling.of(like, weight).apply(x)


def _check_floats(x: Array) -> None:
    if x.dtype.kind != "f":
        raise DTypeError(f"expected x of floats, got {x.dtype}")


def _chunks(x: Array) -> Iterator[Array]:
    for start in range(0, len(x), _ROWS):
        yield x[start : start + _ROWS].astype(np.float64)


def _weighed_chunks(x: Array, weight: Array | None) -> Iterator[tuple[Array, Any]]:
    """Yield rows in float64 with what multiplies them: weights along the rows, or 1.0."""
    for start, part in zip(range(0, len(x), _ROWS), _chunks(x), strict=True):
        by = None if weight is None else weight[start : start + _ROWS]
        yield part, 1.0 if by is None else by.reshape(-1, *(1,) * (part.ndim - 1))
