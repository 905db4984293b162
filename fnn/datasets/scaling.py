"""Standardisation: every feature to mean 0 and standard deviation 1, whatever its scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fnn.errors import DTypeError, ShapeError
from fnn.tree import Array

# Rows that a pass over the data widens to float64 at a time.
_ROWS = 4096


def standardized(x: Array, like: Array, weight: Array | None) -> Array:
    """Return (x - mean) / std per feature in x's dtype, both taken from `like`, by its weights if any.

    Raises:
        DTypeError: If either is not of real floats.
        ShapeError: If their examples differ in shape.
    """
    for each in (x, like):
        if each.dtype.kind != "f":
            raise DTypeError(f"expected x of floats, got {each.dtype}")
    if x.shape[1:] != like.shape[1:]:
        raise ShapeError(f"expected examples of shape {like.shape[1:]}, got {x.shape[1:]}")
    n = len(like) if weight is None else float(weight.sum())
    # Relative to the first row and to the largest distance from it: a constant feature then has a
    # deviation of exactly 0, a large mean cancels nothing, and no square overflows.
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
        std[std == 0] = 1.0
        out = np.empty_like(x)
        for start, part in zip(range(0, len(x), _ROWS), _chunks(x), strict=True):
            out[start : start + _ROWS] = ((part - origin) / spread - mean) / std
    out.setflags(write=False)
    return out


def _chunks(x: Array) -> Iterator[Array]:
    for start in range(0, len(x), _ROWS):
        yield x[start : start + _ROWS].astype(np.float64)


def _weighed_chunks(x: Array, weight: Array | None) -> Iterator[tuple[Array, Any]]:
    """Yield rows in float64 with what multiplies them: weights along the rows, or 1.0."""
    for start, part in zip(range(0, len(x), _ROWS), _chunks(x), strict=True):
        by = None if weight is None else weight[start : start + _ROWS]
        yield part, 1.0 if by is None else by.reshape(-1, *(1,) * (part.ndim - 1))
