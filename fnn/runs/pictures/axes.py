"""Where an axis begins and ends, whatever the values are: constant, rounded only, huge or tiny."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.tree import Array

FLAT = 1e-5
"""Values that differ by less than this part of their size are drawn as a flat line: a float32 that is
averaged over a data set is known to no more, and its roundings would look like a wild curve."""
LARGEST, SMALLEST = 1e300, 1e-300


def drawable(values: Any) -> Array:
    """Return float64 in which what no axis can hold is NaN, and what is as good as 0 is 0."""
    y = np.array(values, np.float64)
    size = np.abs(y)
    # NaN compares as False with everything.
    y[~(size <= LARGEST)] = np.nan
    y[size < SMALLEST] = 0.0
    return y


def limits(
    low: float, high: float, *, floor: float | None = None, ceiling: float | None = None
) -> tuple[float, float]:
    """Return the ends of an axis for values from `low` to `high`, apart far enough to be told so.

    A range narrower than `FLAT` times its size is widened to a tenth of the size on either side.

    Args:
        low: The least value, finite.
        high: The greatest.
        floor: Where the axis may not go below, unless the values do.
        ceiling: Where it may not go above, unless the values do.
    """
    size = max(abs(low), abs(high))
    if high - low > FLAT * size:
        return low, high
    middle, margin = low / 2 + high / 2, size / 10 or 0.5
    if floor is not None and middle - margin < floor <= low:
        return floor, floor + 2 * margin
    if ceiling is not None and middle + margin > ceiling >= high:
        return ceiling - 2 * margin, ceiling
    return middle - margin, middle + margin
