"""Oracles: what the derivative along a direction is, found without the code that is on trial.

- `complex_step`: J v = Im f(p + i h v) / h with h = 1e-30. Nothing is subtracted, so nothing cancels
  and the result is right to the last bits (Squire & Trapp, 1998). f must continue analytically.
- `difference`: central differences (f(p + h v) - f(p - h v)) / 2h over a ladder of h, extrapolated
  (Richardson, 1911; the choice of the rung is Ridders', 1982). About 1e-10 in float64 where f
  is smooth.
- `taylor_order`: |f(p + h v) - f(p) - h J v| must fall as h², and a wrong J shows as a slope of 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from fnn.testing.values import Arrays, Forward, inner, norm

STEP = {"d": 1e-30, "f": 1e-20}
"""Complex steps by precision: far below rounding, yet products with small factors stay normal."""

DIFFERENCE_RTOL = 1e-7
"""How near to ⟨dy, J v⟩ a gradient must come where J v is a difference, relative to ‖dy‖ ‖J v‖."""

KINK_STEPS = (2.0**-20, 2.0**-24, 2.0**-28)
"""Ever narrower intervals, over all of which a kink is one."""


def moved(point: Arrays, direction: Arrays, by: complex | float) -> Arrays:
    """Return p + by · v, complex arrays if `by` is; leaves of other numbers stay as they are."""
    if isinstance(by, complex):
        # Assigned part by part: a product would turn an infinite entry into NaN.
        out = []
        for leaf, v in zip(point, direction, strict=True):
            if leaf.dtype.kind != "f":
                out.append(leaf.copy())
                continue
            bent = np.array(leaf, "D" if leaf.dtype.char == "d" else "F")
            bent.imag = by.imag * v
            out.append(bent)
        return out
    return [
        np.asarray(leaf + np.asarray(by * v, leaf.dtype)) if leaf.dtype.kind == "f" else leaf.copy()
        for leaf, v in zip(point, direction, strict=True)
    ]


def doubled(point: Arrays) -> Arrays:
    """Return a point in float64, integers as they are."""
    return [leaf.astype("float64") if leaf.dtype.kind == "f" else leaf for leaf in point]


def step_of(point: Arrays) -> float:
    """Return the complex step for a point's precision."""
    return STEP["f" if any(leaf.dtype.char == "f" for leaf in point) else "d"]


def complex_step(forward: Forward, point: Arrays, direction: Arrays, h: float | None = None) -> Arrays:
    """Return J v by a complex step, as float64 arrays."""
    h = step_of(point) if h is None else h
    y = forward(moved(point, direction, 1j * h))
    return [leaf.imag.astype("float64") / h for leaf in y]


@attrs.frozen
class Estimate:
    """A derivative by differences.

    Attributes:
        jv: The derivative.
        error: What its norm is probably off by.
        kink: Whether the derivatives to the two sides differ: then there is none.
        size: The norm of f, whose last bits limit what differences can tell.
    """

    jv: Arrays
    error: float
    kink: bool
    size: float

    @property
    def is_sharp(self) -> bool:
        """Whether it can judge a gradient at `DIFFERENCE_RTOL`."""
        bound = 0.1 * DIFFERENCE_RTOL * norm(self.jv) + 1e-11 * self.size
        return not self.kink and self.error <= bound


def _joined(arrays: Sequence[np.ndarray]) -> Any:
    return np.concatenate([leaf.ravel() for leaf in arrays]) if arrays else np.zeros(0)


def difference(forward: Forward, point: Arrays, direction: Arrays, *, double: bool = True) -> Estimate:
    """Return J v by extrapolated central differences, in float64 unless told to keep the precision."""
    if double:
        point, direction = doubled(point), doubled(direction)
    at = forward(point)
    y = _joined(at).astype("float64")
    eps = float(np.finfo("float64" if double else "float32").eps)
    height = _length(y)

    def ends(h: float) -> tuple[Any, Any]:
        plus, minus = (_joined(forward(moved(point, direction, by))) for by in (h, -h))
        return plus.astype("float64"), minus.astype("float64")

    best, error = np.full(y.shape, np.nan), math.inf
    above: list[Any] = []
    for k in range(4, 22) if double else range(2, 12):
        h = 2.0**-k
        plus, minus = ends(h)
        row = [(plus - minus) / (2 * h)]
        # Only some rungs: each order more takes out one even power of h, and adds rounding.
        for j, coarse in enumerate(above[:4]):
            factor = 4.0 ** (j + 1)
            finer = (factor * row[j] - coarse) / (factor - 1)
            row.append(finer)
            # Two rungs may agree by chance, but none is better than the rounding of f.
            off = max(_length(finer - row[j]), _length(finer - coarse), eps * height / h)
            if off < error:
                best, error = finer, off
        above = row
        if error < math.inf and error <= 1e-12 * _length(best):
            break
    kink = double and _persists(lambda h: sum(ends(h)) - 2 * y, _length(best), height)
    return Estimate(_split(best, at), error, kink, height)


def _persists(second: Callable[[float], Any], slope: float, height: float) -> bool:
    """Say whether the derivatives to the two sides differ however near they are taken.

    Of a smooth function, however sharp, the second difference over h falls with h as soon as the
    interval is narrower than the bend; at a kink it is the jump of the derivative at every h.
    """
    before = None
    for h in KINK_STEPS:
        bend = _length(second(h)) / h
        if not bend > 1e-3 * slope + max(1e-6, 8 * 2.3e-16 / h) * height:
            return False
        if before is not None and not bend > 0.5 * before:
            return False
        before = bend
    return True


def _length(a: Any) -> float:
    length = float(np.sqrt((a * a).sum()))
    return length if length == length else math.inf


def _split(vector: Any, model: Arrays) -> Arrays:
    ends = np.cumsum([leaf.size for leaf in model])
    return [
        vector[end - leaf.size : end].reshape(leaf.shape) for end, leaf in zip(ends, model, strict=True)
    ]


@attrs.frozen
class Order:
    """How fast |f(p + h v) - f(p) - h J v| falls with h.

    Attributes:
        slope: Slope over the last decade where more than rounding is left; inf if there is none.
        h: Where that decade ends.
        rest: What is left there.
    """

    slope: float
    h: float
    rest: float


def taylor_order(phi: Callable[[float], float], slope: float, size: float) -> Order:
    """Return the order at which phi(h) - h · slope falls, phi being ⟨dy, f(p + h v) - f(p)⟩.

    There is no tolerance in it but the size of rounding: `size` is ‖dy‖ ‖f‖, and a rest below a
    few of its last bits says nothing.
    """
    noise = 20 * float(np.finfo("float64").eps) * size
    last = Order(math.inf, 0.0, 0.0)
    previous: tuple[float, float] | None = None
    for k in range(2, 10):
        h = 10.0**-k
        rest = abs(phi(h) - h * slope)
        if not rest > noise:
            break
        if previous is not None:
            last = Order(math.log10(previous[1] / rest) / math.log10(previous[0] / h), h, rest)
        previous = (h, rest)
    return last


def weighed(dy: Arrays, forward: Forward, point: Arrays, direction: Arrays) -> Callable[[float], float]:
    """Return h ↦ ⟨dy, f(p + h v) - f(p)⟩ in float64."""
    point, direction = doubled(point), doubled(direction)
    start = forward(point)

    def phi(h: float) -> float:
        # Subtracted before they are weighed, where it is exact.
        ends = zip(forward(moved(point, direction, h)), start, strict=True)
        return inner(dy, [a - b for a, b in ends])

    return phi
