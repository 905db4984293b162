"""A function at a point with the pullback on trial, and what oracles say of it: J v, and its rounding.

Two results that are both right differ by rounding, and where a point is ill-conditioned by much of
it. How much that may be is asked of the oracle alone. Asked of the pullback, a gradient that is noisy
enough would excuse itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from fnn.testing.oracles import DIFFERENCE_RTOL, complex_step, difference, doubled
from fnn.testing.values import Arrays, Forward, inner, norm

ROUNDINGS = 30
"""How many roundings of the point may lie between two results that are both right."""
SHAKES = 3
SCALES = (3, 6, 9, 12, 15)
"""Elsewhere is nearer to 0 by these powers of two: what saturates is steep there."""
COARSE_RTOL = 1e-2
"""How near a gradient must come where J v is a difference in float32."""


@attrs.define
class Problem:
    """A function at a point, with the pullback that is on trial.

    Attributes:
        names: Names of the gradient's leaves ("dparams/w", "dx").
        point: The arrays that it is differentiated in.
        y: Its value there.
        forward: From such arrays, in other precisions or complex too, to y's.
        pull: From dy to the gradient's arrays.
        rng: From a label to a generator.
        method: "complex", "difference", "coarse" (differences in float32) or "taylor".
        rtol: Relative to ‖dy‖ ‖J v‖, where the method is exact.
        notes: What a reader should know.
        unsharp: How often the derivative could not be told, or was hidden by rounding.
        null: How many of these times there was no derivative here but rounding.
        still: Names of leaves that are frozen: their gradient is zero by declaration.
        known: What was worked out before, by label.
    """

    names: list[str]
    point: Arrays
    y: Arrays
    forward: Forward
    pull: Callable[[Arrays], Arrays]
    rng: Callable[[str], np.random.Generator]
    method: str
    rtol: float
    notes: list[str]
    unsharp: int = 0
    null: int = 0
    still: frozenset[str] = frozenset()
    known: dict[str, Any] = attrs.field(factory=dict)

    @property
    def eps(self) -> float:
        """Return the rounding of y's precision."""
        return float(np.finfo(self.y[0].dtype).eps) if self.y else 0.0

    def floating(self) -> list[int]:
        """Return which leaves have derivatives."""
        named = zip(self.names, self.point, strict=True)
        return [
            i
            for i, (name, leaf) in enumerate(named)
            if leaf.dtype.kind == "f" and leaf.size and name not in self.still
        ]

    def directions(self, joint: int) -> list[tuple[int | None, str, str]]:
        """Return (leaf, label of its draw, what reports call it): along each leaf, then jointly."""
        alone: list[tuple[int | None, str, str]] = [
            (i, f"leaf {i}", self.names[i]) for i in self.floating()
        ]
        return [*alone, *((None, f"joint {d}", f"all leaves, draw {d}") for d in range(joint))]

    def zeros(self) -> Arrays:
        """Return a direction that leads nowhere."""
        return [np.zeros(a.shape, a.dtype if a.dtype.kind == "f" else "float64") for a in self.point]

    def direction(self, label: str, leaf: int | None = None) -> Arrays:
        """Draw v over all leaves, or along one alone."""
        rng, v = self.rng(label), self.zeros()
        for i in self.floating() if leaf is None else [leaf]:
            v[i] = rng.normal(size=self.point[i].shape).astype(v[i].dtype)
        return v

    def along_label(self, label: str, leaf: int | None) -> tuple[Arrays, Arrays, float] | None:
        """Return v, J v and the slack of the direction under a label, worked out once."""
        if label not in self.known:
            v = self.direction(label, leaf)
            at = self.along(v)
            self.known[label] = None if at is None else (v, *at)
        return self.known[label]

    def along(self, v: Arrays) -> tuple[Arrays, float] | None:
        """Return J v and how far J* may be off from it; None where no derivative can be told."""
        if self.method == "complex":
            jv = complex_step(self.forward, self.point, v)
            return jv, self.rtol * norm(jv)
        if self.method == "coarse":
            estimate = difference(self.forward, self.point, v, double=False)
            if estimate.error <= COARSE_RTOL * norm(estimate.jv) + 1e3 * self.eps * estimate.size:
                return estimate.jv, COARSE_RTOL * norm(estimate.jv) + 4 * estimate.error
        else:
            estimate = difference(self.forward, self.point, v)
            if estimate.is_sharp:
                rtol = max(self.rtol, DIFFERENCE_RTOL)
                return estimate.jv, rtol * norm(estimate.jv) + 2 * estimate.error
        self.unsharp += 1
        what = "a kink" if estimate.kink else "no sharp difference"
        self.notes.append(f"{what} at a random point: moved to another one")
        return None

    # --- how far rounding alone may lead ---

    def _seen_at(self, point: Arrays, v: Arrays) -> Arrays | None:
        """Return J v at another point, None where it cannot be told."""
        if self.method == "complex":
            return complex_step(self.forward, point, v)
        estimate = difference(self.forward, point, v, double=self.method != "coarse")
        return None if estimate.kink else estimate.jv

    def is_hidden(self, v: Arrays, jv: Arrays, label: str) -> bool:
        """Say whether there is next to no derivative here but one nearer to 0, and count it.

        What saturates proves nothing: 0 is a thousand times 0.
        """
        size, height = norm(jv), norm(doubled(self.y))
        if size > 1e-6 * height:
            return False
        elsewhere = self.steepest(v, label)[0]
        if not elsewhere > 1e3 * max(size, 1e-6 * height):
            return False
        self.unsharp += 1
        self.null += 1
        return True

    def shaken(self, k: int, by: float | None = None) -> Arrays:
        """Return the point, each number moved by a part of its size, by default of its last bit."""
        rng, by = self.rng(f"shake {k}"), self.eps if by is None else by
        return [
            (leaf * (1 + by * rng.choice([-1.0, 1.0], size=leaf.shape))).astype(leaf.dtype)
            if leaf.dtype.kind == "f"
            else leaf.copy()
            for leaf in self.point
        ]

    def _shaken_off(self, v: Arrays, by: float | None = None) -> list[Arrays]:
        """Return how far J v is off, by the oracle, at points that are a little away."""
        here = self._seen_at(self.point, v)
        there = [self._seen_at(self.shaken(k, by), v) for k in range(SHAKES)] if here else []
        return [[a - b for a, b in zip(jv, here or [], strict=True)] for jv in there if jv is not None]

    def moves(self, v: Arrays, dy: Arrays) -> float:
        """Return how far ⟨dy, J v⟩ moves, by the oracle, if the point is rounded otherwise."""
        off = [abs(inner(dy, gap)) for gap in self._shaken_off(v)]
        return max((each for each in off if each < math.inf), default=0.0)

    def is_rounding(self, v: Arrays, jv: Arrays) -> bool:
        """Say whether the oracle's J v is but rounding: another one at any point nearby."""
        # The last bit alone may leave all roundings as they are; half of the digits change them.
        off = map(norm, self._shaken_off(v, math.sqrt(self.eps)))
        return norm(jv) <= ROUNDINGS * max(off, default=0.0)

    def steepest(self, v: Arrays, label: str) -> tuple[float, float]:
        """Return the largest ‖J v‖ nearer to 0, and the largest if v shrinks as the point does."""
        label = f"steepest {label}"
        if label in self.known:
            found: tuple[float, float] = self.known[label]
            return found
        places = [
            (2.0**-k, [a * a.dtype.type(2.0**-k) if a.dtype.kind == "f" else a for a in self.point])
            for k in SCALES
        ]
        most = relative = 0.0
        for scale, point in places:
            jv = self._seen_at(point, v)
            size = norm(jv) if jv is not None else 0.0
            if size < math.inf:
                most, relative = max(most, size), max(relative, scale * size)
        self.known[label] = most, relative
        return most, relative

    def height(self, v: Arrays) -> float:
        """Return ‖y‖, over how much of the point's own size v moves where that is less than v."""
        parts = [
            norm([u]) / norm([a]) for u, a in zip(v, self.point, strict=True) if u.any() and a.any()
        ]
        return norm(doubled(self.y)) * max([1.0, *parts])

    def explained(
        self, v: Arrays, dy: Arrays, jv: Arrays, label: str, excess: float, far: Arrays | None = None
    ) -> float:
        """Return how much of ⟨J* dy, v⟩ rounding explains, as far as `excess` asks for.

        By size: y's last bits, which are a part of its derivative where y is flat, as in 1 - y² where
        tanh saturates; the last bits of the derivative where it is largest; how far the derivative
        moves if the point is rounded otherwise. The latter two explain no more than half of the
        digits.
        """
        size, eps = norm(dy), self.eps
        flat = 16 * eps * norm(doubled(self.y)) * size
        if excess <= flat:
            return flat
        most = math.sqrt(eps) * size * max(norm(jv), self.height(v))
        if not excess <= most:
            return flat
        steep = min(most, 100 * eps * self.steepest(v if far is None else far, label)[0] * size)
        if excess <= steep:
            return steep
        return max(flat, steep, min(most, ROUNDINGS * self.moves(v, dy)))

    def excused(
        self, v: Arrays, dy: Arrays, jv: Arrays, label: str, excess: float, of_leaf: Any = None
    ) -> bool:
        """Say whether rounding explains what is over the bound, at an ill-conditioned point.

        No gradient is proved by an excuse for more than √eps of ‖dy‖ ‖J v‖, so that in float64 a
        factor 1 + 1e-6 has none: beyond that it has to be proved at another point. Where v is one
        entry, `of_leaf` is (v, J v) along its leaf.
        """
        far, jv = (v, jv) if of_leaf is None else of_leaf
        allowed = self.explained(v, dy, jv, label, excess, far)
        if not excess <= allowed:
            return False
        self.notes.append("ill-conditioned at a point: gradients are right up to its rounding")
        size, half = norm(dy), math.sqrt(self.eps)
        if excess > half * size * norm(jv):
            self.unsharp += 1
            flat_everywhere = self.steepest(far, label)[1] <= half * self.height(far)
            # A derivative that is small but steady is no rounding, however large y is.
            is_null = flat_everywhere and self.is_rounding(far, jv)
            self.null += is_null
        return True


def unit(jv: Arrays, y: Arrays) -> Arrays:
    """Return J v as a cotangent, of length 1 so that no size can overflow."""
    length = norm(jv)
    scale = 1 / length if 0 < length < math.inf else 1.0
    return [(scale * part).astype(like.dtype) for part, like in zip(jv, y, strict=True)]
