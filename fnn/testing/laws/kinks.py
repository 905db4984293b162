"""The law of kinks: where none are declared, neither y nor its derivative jumps along random lines.

A kink is told from a bend, however sharp, by ever narrower intervals: the jump stays what it is, the
change across a bend shrinks with the interval.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from fnn.testing.laws.derivatives import LARGE, size_of
from fnn.testing.oracles import STEP, moved
from fnn.testing.probe import Probe
from fnn.testing.problem import Problem
from fnn.testing.report import Violation
from fnn.testing.values import Arrays, arrays_of, norm, worst

NARROW = 1e-4
"""From this width of the interval on a jump has to persist."""
LEAST = {"complex": 1e-11, "difference": 1e-8}
NEAR = 0.25
"""How far parameters move, of their own size, where a jump has to be found again."""


def kinks(p: Probe) -> Iterator[Violation]:
    """Declared none: neither y nor its derivative jumps anywhere along random lines."""
    if p.layer.traits.has_kinks or not arrays_of(p.x):
        return
    if p.dtype == "float32":  # Where f bends is no matter of precision, and jumps are clearer there.
        p = p.of(dtype="float64")
    large = size_of(p) > LARGE
    exact = p.layer.traits.complex_safe and p.bends() is None
    problem = p.problem("complex" if exact else "difference")
    samples = 9 if large else 33
    for line in range(1 if large else 2):
        v = problem.direction(f"line {line}")
        if _jump_along(p, problem, v, f"line {line}", samples) is None:
            continue
        # Far from its parameters a right layer may jump: a fixed point that is none there.
        for again in range(3):
            nearby = _nearby(p, v if again == 0 else problem.direction(f"line {line}, {again}"))
            found = _jump_along(p, problem, nearby, f"line {line}", samples)
            if found is not None:
                yield found
                return
        p.notes.append("kinks: it jumps only where params are far from where they are")
        return


def _nearby(p: Probe, v: Arrays) -> Arrays:
    """Return a direction that moves parameters by a part of their size, and x as before."""
    n = len(arrays_of(p.params))
    sizes = [norm([leaf]) / max(1.0, leaf.size) ** 0.5 or 1.0 for leaf in arrays_of(p.params)]
    return [*(NEAR * size * u for size, u in zip(sizes, v, strict=False)), *v[n:]]


class _Line:
    """Samples (y, J v) of a function along p + t v."""

    def __init__(self, problem: Problem, v: Arrays) -> None:
        self.problem, self.v, self.exact = problem, v, problem.method == "complex"

    def at(self, t: float, width: float) -> tuple[Arrays, Arrays]:
        """Return y and its derivative at t, by differences much narrower than `width`."""
        problem, v = self.problem, self.v
        if self.exact:
            y = problem.forward(moved(moved(problem.point, v, t), v, 1j * STEP["d"]))
            return [leaf.real for leaf in y], [leaf.imag / STEP["d"] for leaf in y]
        h = min(1e-7, width / 64)
        plus, minus = (problem.forward(moved(problem.point, v, t + by)) for by in (h, -h))
        return plus, [(a - b) / (2 * h) for a, b in zip(plus, minus, strict=True)]

    def is_defined_between(self, low: float, high: float) -> bool:
        """Say whether y is finite where the numbers that change their sign in between are 0."""
        ends = (moved(self.problem.point, self.v, t) for t in (low, high))
        point = [
            np.where(a * b <= 0, 0, a) if a.dtype.kind == "f" else a for a, b in zip(*ends, strict=True)
        ]
        return all(np.isfinite(leaf).all() for leaf in self.problem.forward(point))


def _jump_along(p: Probe, problem: Problem, v: Arrays, label: str, samples: int) -> Violation | None:
    """Sample y and J v along p + t v, halve the interval where they change most, down to nothing."""
    line = _Line(problem, v)
    ts = [float(t) for t in np.linspace(-3, 3, samples)]
    values = [line.at(t, 1.0) for t in ts]
    sizes = [max(norm(value[k]) for value in values) or 1.0 for k in (0, 1)]
    if not all(np.isfinite(sizes)):
        return None  # Another law's.
    gaps = [_gap(a, b, sizes) for a, b in itertools.pairwise(values)]
    for k in np.argsort(gaps)[::-1][:3]:
        found = _narrowed(line, (ts[k], ts[k + 1]), (values[k], values[k + 1]), sizes)
        if found is None:
            continue
        low, high, a, b, what = found
        if not line.is_defined_between(low, high):
            p.notes.append(f"kinks: {what} jumps at a point where y is not defined")
            continue
        middle, part = (low + high) / 2, 0 if what == "y" else 1
        return Violation(
            "kinks",
            f"declares no kinks, but {what} jumps along {label!r} at t = {middle:.9g}, "
            f"by {_distance(a[part], b[part]) / sizes[part]:.2g} of its size",
            **_place(a, b, what),
        )
    return None


def _narrowed(line: _Line, ends: Any, values: Any, sizes: list[float]) -> Any:
    """Return (low, high, their values, what jumps) if a jump persists in ever narrower intervals."""
    (low, high), (a, b) = ends, values
    least = LEAST["complex" if line.exact else "difference"]
    # No derivative of a billionth of y's size is worth a word: that is rounding.
    floors = (1e-3 * sizes[0], max(1e-3 * sizes[1], 1e-9 * sizes[0]))
    before: list[tuple[float, float]] = []
    while high - low > least:
        width = high - low
        middle = (low + high) / 2
        m = line.at(middle, width)
        if not line.exact and width < NARROW:
            a, b = line.at(low, width), line.at(high, width)
        # Beside a jump of y its derivative may be noise, as that of x / |x| is near 0.
        parts = (0,) if width < NARROW and _distance(a[0], b[0]) > 0.1 * sizes[0] else (0, 1)
        if _gap(a, m, sizes, parts) >= _gap(m, b, sizes, parts):
            high, b = middle, m
        else:
            low, a = middle, m
        if high - low < NARROW:
            jumps = tuple(_distance(a[k], b[k]) for k in (0, 1))
            earlier = before[-6] if len(before) >= 6 else (0.0, 0.0)
            # Narrowed 64 times, a bend has lost most of its change.
            if not any(jumps[k] > floors[k] and jumps[k] > 0.5 * earlier[k] for k in (0, 1)):
                return None
            before.append((jumps[0], jumps[1]))
    is_y = before[-1][0] > floors[0] and before[-1][0] > 0.5 * before[-7][0]
    return low, high, a, b, "y" if is_y else "the derivative"


def _gap(a: Any, b: Any, sizes: list[float], parts: tuple[int, ...] = (0, 1)) -> float:
    return sum(_distance(a[k], b[k]) / sizes[k] for k in parts)


def _distance(a: Arrays, b: Arrays) -> float:
    return norm([u - w for u, w in zip(a, b, strict=True)])


def _place(a: Any, b: Any, what: str) -> dict[str, Any]:
    k = 0 if what == "y" else 1
    pairs = [("y", u, w) for u, w in zip(a[k], b[k], strict=True)]
    name, u, w = max(pairs, key=lambda pair: float(np.abs(pair[1] - pair[2]).max(initial=0)))
    return worst(name, w, u, "").parts()
