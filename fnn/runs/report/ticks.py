"""Ticks: round numbers along an axis, and labels that tell them apart."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

from fnn.runs.pictures.axes import limits

_STEPS = (1, 2, 5, 10)
_EXPONENT = re.compile(r"e([+-])0*(\d)")
# Longer than this, a number is written with an exponent.
_LONGEST = 10


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers from at or below `low` to at or above `high`, about `most` of them."""
    low, high = limits(low, high)
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(n * power for n in _STEPS if n * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # Of a product no rest is left that a sum of steps would gather.
    return [i * step for i in range(first, last + 1)]


def whole_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers between the two, whole ones if there are two or more."""
    if not high > low:
        return [low]
    inside = [n for n in ticks(low, high, most) if low <= n <= high]
    whole = [n for n in inside if n == round(n)]
    # Between two numbers that lie close no round one may fit.
    return next((found for found in (whole, inside) if len(found) > 1), [low, high])


def decades(low: float, high: float) -> list[float]:
    """Return powers of ten that hold the two, with their double and fivefold if they are few."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    stride = -(-(last - first) // 6) or 1
    powers = [10.0**k for k in range(first, last + stride, stride)]
    if len(powers) > 3:
        return powers
    fine = [n * 10.0**k for k in range(first, last + 1) for n in (1, 2, 5)]
    start = max(n for n in fine if n <= low * (1 + 1e-9))
    return [n for n in fine if start <= n <= next(n for n in fine if n >= high * (1 - 1e-9))]


def tick_label(value: float) -> str:
    """Return a single tick as text: 0.0005, 20k, 1e−9."""
    if value and abs(value) >= 10_000 and value % 1000 == 0 and abs(value) < 1e9:
        value, unit = (value / 1e6, "M") if abs(value) >= 1e6 else (value / 1e3, "k")
        return f"{value:g}{unit}".replace("-", "−")
    return _typeset(f"{value:.6g}")


def labels(values: Sequence[float]) -> list[str]:
    """Return ticks of even steps as text, with as many digits as it takes to tell them apart."""
    step = min((abs(b - a) for a, b in pairwise(values)), default=0.0)
    short = [tick_label(value) for value in values]
    if not step or all(
        value % 1000 == 0 and (value == 0 or 10_000 <= abs(value) < 1e9) for value in values
    ):
        return short
    for digits in range(18):
        # Nothing is said of a tick that is not so, to a thousandth of a step.
        if all(abs(float(f"{value:.{digits}f}") - value) <= step / 1000 for value in values):
            fixed = [f"{value or 0.0:,.{digits}f}" for value in values]
            if max(map(len, fixed)) <= _LONGEST:
                return [_typeset(label) for label in fixed]
            break
    for digits in range(17):
        powers = [f"{value:.{digits}e}" if value else "0" for value in values]
        if all(
            abs(float(label) - value) <= step / 1000
            for label, value in zip(powers, values, strict=True)
        ):
            break
    return [_typeset(label) for label in powers]


def _typeset(number: str) -> str:
    """Return a number with a true minus and an exponent without zeros: 2e−7."""
    short = _EXPONENT.sub(lambda found: "e" + found[1].replace("+", "") + found[2], number)
    return short.replace("-", "−")
