"""The adjoint law, ⟨dy, J v⟩ = ⟨J* dy, v⟩, for any function, and where it breaks.

J v comes from an oracle, J* dy from the pullback on trial. The bound is relative to ‖dy‖ ‖J v‖ and
does not grow with the arrays. Beside directions over all leaves jointly there are directions along
each leaf alone, so that no large leaf drowns a small one, and beside random dy there is dy = J v, so
that a factor 1 + 1e-6 is seen whatever the size: the two sides are then as large as they can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np

from fnn.errors import OptionError
from fnn.keys import Key
from fnn.testing.oracles import (
    DIFFERENCE_RTOL,
    complex_step,
    difference,
    doubled,
    moved,
    taylor_order,
    weighed,
)
from fnn.testing.report import Report, Violation, concluded
from fnn.testing.values import (
    Arrays,
    BrokenError,
    Forward,
    arrays_of,
    described,
    inner,
    like,
    named_leaves,
    norm,
    rebuilt,
    shown,
)

RTOL = {"d": 1e-12, "f": 1e-5}
ATTEMPTS = 5
ROUNDINGS = 30
"""How many roundings of the point may lie between two results that are both right."""
METHODS = ("complex", "difference", "taylor")


def checked_rtol(rtol: float | None, char: str) -> float:
    """Return the tolerance, by default that of the precision.

    Raises:
        OptionError: If rounding alone would exceed it.
    """
    least = 16 * float(np.finfo(char).eps)
    if rtol is None:
        return RTOL[char]
    if not least <= rtol < 1:
        name = np.dtype(char).name
        raise OptionError(
            f"rtol: expected {least:.0e} or more in {name}, whose rounding alone is "
            f"{np.finfo(char).eps:.0e} per operation, and less than 1, got {rtol!r}"
        )
    return float(rtol)


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
        method: "complex", "difference" or "taylor".
        rtol: Relative to ‖dy‖ ‖J v‖, where the method is exact.
        notes: What a reader should know.
        wobble: From dy to how far each entry of the gradient moves if the point is rounded otherwise.
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
    wobble: Callable[[Arrays], Arrays] | None = None
    unsharp: int = 0
    known: dict[str, Any] = attrs.field(factory=dict)

    def floating(self) -> list[int]:
        """Return which leaves have derivatives."""
        return [i for i, leaf in enumerate(self.point) if leaf.dtype.kind == "f" and leaf.size]

    def direction(self, label: str, leaf: int | None = None) -> Arrays:
        """Draw v over all leaves, or along one alone."""
        rng = self.rng(label)
        v = [np.zeros(a.shape, a.dtype if a.dtype.kind == "f" else "float64") for a in self.point]
        for i in self.floating() if leaf is None else [leaf]:
            v[i] = rng.normal(size=self.point[i].shape).astype(v[i].dtype)
        return v

    def moves(self, dy: Arrays) -> Arrays:
        """Return how far every entry of the gradient moves if the point is rounded otherwise."""
        return [np.zeros(a.shape) for a in self.point] if self.wobble is None else self.wobble(dy)

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
        estimate = difference(self.forward, self.point, v)
        if estimate.is_sharp:
            rtol = max(self.rtol, DIFFERENCE_RTOL)
            return estimate.jv, rtol * norm(estimate.jv) + 2 * estimate.error
        self.unsharp += 1
        what = "a kink" if estimate.kink else "no sharp difference"
        self.notes.append(f"{what} at a random point: moved to another one")
        return None


def tolerated(problem: Problem) -> float:
    """Return the part of the bound that is rounding of the whole gradient, relative to ‖dy‖.

    A bias before a batch normalisation has no derivative but rounding, and nothing could be relative
    to that. It is some last bits of the largest leaf's derivative, and hides no error of a leaf whose
    derivative is more than a hundred-millionth of that.
    """
    eps = float(np.finfo(problem.y[0].dtype).eps) if problem.y else 0.0
    largest = 0.0
    for i in problem.floating():
        found = problem.along_label(f"leaf {i}", i)
        if found is not None and math.isfinite(size := norm(found[1])):
            largest = max(largest, size)
    return 100 * eps * largest


def broken_along(problem: Problem, v: Arrays, dy: Arrays, jv: Arrays, bound: float) -> Any:
    """Return (got, want) if the two sides differ by more than the bound, else None."""
    want, got = inner(dy, jv), inner(problem.pull(dy), v)
    return None if abs(got - want) <= bound else (got, want)


def adjoint(problem: Problem, directions: int) -> Iterator[Violation]:
    """Yield a violation for every leaf whose gradient is not the adjoint of J, or for all jointly."""
    if not problem.y or not problem.floating():
        return
    floor = tolerated(problem)
    leaves: list[tuple[int | None, str]] = [(i, f"leaf {i}") for i in problem.floating()]
    found = False
    for leaf, label in [*leaves, *((None, f"joint {d}") for d in range(directions))]:
        if leaf is None and found:
            return  # The leaves have said it.
        at = problem.along_label(label, leaf)
        if at is None:
            continue
        v, jv, slack = at
        rng = problem.rng(f"{label} dy")
        for dy in ([rng.normal(size=y.shape).astype(y.dtype) for y in problem.y], unit(jv, problem.y)):
            bound = norm(dy) * (slack + floor)
            sides = broken_along(problem, v, dy, jv, bound)
            if sides is None:
                continue
            moved_by = [a * b for a, b in zip(problem.moves(dy), v, strict=True)]
            if not excused(problem, norm(moved_by), dy, jv, _gap(*sides) - bound):
                found = True
                yield located(problem, v, dy, label, leaf, sides, norm(dy) * norm(jv))
                break


def excused(problem: Problem, moved: float, dy: Arrays, jv: Arrays, excess: float) -> bool:
    """Say whether rounding explains what is over the bound, at an ill-conditioned point.

    Either the point, rounded otherwise, moves the gradient by as much (`moved`); or y is so flat that
    its last bits are a part of its derivative, as in 1 - y² where tanh saturates. The second is no
    excuse for more than √eps of ‖dy‖ ‖J v‖, so that in float64 a factor 1 + 1e-6 has none: beyond
    that the gradient has to be proved at another point.
    """
    eps = float(np.finfo(problem.y[0].dtype).eps)
    flat = 16 * eps * norm(doubled(problem.y)) * norm(dy)
    if not excess <= max(ROUNDINGS * moved, flat):
        return False
    problem.notes.append("ill-conditioned at a point: gradients are right up to its rounding")
    if excess > max(ROUNDINGS * moved, math.sqrt(eps) * norm(dy) * norm(jv)):
        problem.unsharp += 1
    return True


def unit(jv: Arrays, y: Arrays) -> Arrays:
    """Return J v as a cotangent, of length 1 so that no size can overflow."""
    length = norm(jv)
    scale = 1 / length if 0 < length < math.inf else 1.0
    return [(scale * part).astype(like.dtype) for part, like in zip(jv, y, strict=True)]


def located(
    problem: Problem, v: Arrays, dy: Arrays, label: str, leaf: int | None, sides: Any, size: float
) -> Violation:
    """Halve a direction along one leaf until a single entry is left that is wrong."""
    got, want = sides
    off = abs(got - want) / size if size > 0 else math.inf
    message = f"⟨J* dy, v⟩ is not ⟨dy, J v⟩ along {label!r}, off by {off:.1e} of ‖dy‖ ‖J v‖"
    if leaf is None:
        return Violation("adjoint", message, leaf="all leaves", got=got, want=want)
    shape, gradient = problem.point[leaf].shape, problem.pull(dy)[leaf]
    entries = np.arange(problem.point[leaf].size)

    def gap(part: Any) -> tuple[float, float]:
        only = [np.zeros_like(a) for a in v]
        only[leaf].reshape(-1)[part] = v[leaf].reshape(-1)[part]
        at = problem.along(only)
        here = float((gradient.reshape(-1)[part] * v[leaf].reshape(-1)[part]).sum(dtype="float64"))
        return (here, inner(dy, at[0])) if at is not None else (here, here)

    # One evaluation a halving: the other half is what is left of the whole.
    while entries.size > 1:
        half = entries.size // 2
        here = gap(entries[:half])
        there = (got - here[0], want - here[1])
        first = _gap(*here) >= _gap(*there)
        entries = entries[:half] if first else entries[half:]
        got, want = here if first else there
    got, want = gap(entries)
    index = tuple(map(int, np.unravel_index(int(entries[0]), shape)))
    along = float(v[leaf][index])
    return Violation(
        "adjoint", message, leaf=problem.names[leaf], index=index, got=got / along, want=want / along
    )


def _gap(got: float, want: float) -> float:
    gap = abs(got - want)
    return gap if gap == gap else math.inf


def entries(problem: Problem, most: int) -> Iterator[Violation]:
    """Yield the worst wrong entry of every leaf's gradient, all entries looked at if there are few."""
    floating = problem.floating()
    if not problem.y or not floating:
        return
    rng = problem.rng("entries")
    dy = [rng.normal(size=y.shape).astype(y.dtype) for y in problem.y]
    gradient, size = problem.pull(dy), norm(dy)
    floor = tolerated(problem)
    total = sum(problem.point[i].size for i in floating)
    if total > most:
        problem.notes.append(f"entries: {most} of {total} entries looked at, some of every leaf")
    zeros = [np.zeros(a.shape, a.dtype if a.dtype.kind == "f" else "float64") for a in problem.point]
    moves: Arrays | None = None
    for i in floating:
        n = problem.point[i].size
        along = problem.along_label(f"leaf {i}", i)
        whole = problem.y if along is None else along[1]  # What the leaf's derivative is as a whole.
        chosen = range(n) if total <= most else rng.permutation(n)[: max(1, most * n // total)]
        bad: tuple[float, Any, float, float] | None = None
        for k in map(int, chosen):
            v = [a.copy() if j == i else a for j, a in enumerate(zeros)]
            v[i].reshape(-1)[k] = 1
            at = problem.along(v)
            if at is None:
                continue
            got, want = float(gradient[i].reshape(-1)[k]), inner(dy, at[0])
            gap, bound = _gap(got, want), size * (at[1] + floor)
            if gap <= bound or (bad is not None and gap <= bad[0]):
                continue
            moves = problem.moves(dy) if moves is None else moves
            if not excused(problem, float(moves[i].reshape(-1)[k]), dy, whole, gap - bound):
                bad = gap, np.unravel_index(k, problem.point[i].shape), got, want

        if bad is not None:
            index = tuple(map(int, bad[1]))
            message = "an entry of the gradient is wrong"
            yield Violation(
                "entries", message, leaf=problem.names[i], index=index, got=bad[2], want=bad[3]
            )


def taylor(problem: Problem, directions: int) -> Iterator[Violation]:
    """Yield a violation for every direction along which what J leaves does not fall as h²."""
    leaves: list[tuple[int | None, str]] = [(i, f"leaf {i}") for i in problem.floating()]
    for leaf, label in [*leaves, *((None, f"joint {d}") for d in range(directions))]:
        v = problem.direction(label, leaf)
        rng = problem.rng(f"{label} dy")
        random = [rng.normal(size=y.shape).astype(y.dtype) for y in problem.y]
        ends = problem.forward(moved(doubled(problem.point), doubled(v), 1e-4))
        secant = unit([a - b for a, b in zip(ends, doubled(problem.y), strict=True)], problem.y)
        for dy in (random, secant):
            slope = inner(problem.pull(dy), v)
            phi = weighed(dy, problem.forward, problem.point, v)
            order = taylor_order(phi, slope, norm(dy) * norm(doubled(problem.y)))
            if not order.slope >= 1.8:
                message = (
                    f"|f(p + h v) - f(p) - h J v| falls as h^{order.slope:.2f} along {label!r}, not as "
                    f"h²; at h = {order.h:.0e} there is {order.rest:.1e} left"
                )
                name = problem.names[leaf] if leaf is not None else "all leaves"
                yield Violation("adjoint", message, leaf=name, got=order.slope, want=2.0)
                break


def check_vjp(
    fn: Callable[..., Any],
    args: Any,
    *,
    method: str = "complex",
    directions: int = 3,
    rtol: float | None = None,
    seed: int = 0,
) -> Report:
    """Check that `fn(*args) -> (y, pullback)` carries derivatives back: pullback(dy) = J* dy.

    Args:
        fn: Function of arrays or trees; `pullback(dy)` returns a tuple of cotangents like `args`. Under
            "complex" it is called with complex arrays.
        args: Where to look: a tuple of arrays, trees or tuples, in float32 or float64. Integers have
            no derivative; what comes for them is not looked at.
        method: "complex" (exact where fn is analytic), "difference" (to 1e-7) or "taylor" (no
            tolerance: what is left must fall as h²).
        directions: Number of random directions over all arguments, beside one along each leaf.
        rtol: Relative to ‖dy‖ ‖J v‖; by default 1e-12 in float64 and 1e-5 in float32.
        seed: Of the directions.

    Returns:
        A report that says what was looked at.

    Raises:
        LawError: If a gradient is wrong.
        OptionError: If an option is out of range.
    """
    if method not in METHODS:
        raise OptionError(f"check_vjp: method: expected one of {METHODS}, got {method!r}")
    subject = getattr(fn, "__name__", type(fn).__name__)
    notes: list[str] = []
    args = tuple(args)
    leaves = named_leaves(args, "args")
    chars = [leaf.dtype.char for _, leaf in leaves if leaf.dtype.kind == "f"]
    rtol = checked_rtol(rtol, "f" if "f" in chars else "d")

    def generator(label: str) -> np.random.Generator:
        return Key.of(seed).fold(label).generator()

    def call(arrays: Arrays) -> Any:
        try:
            result = fn(*rebuilt(args, arrays))
        except Exception as error:
            raise BrokenError("contract", f"the function raised {described(error)}") from error
        if not isinstance(result, tuple) or len(result) != 2:
            raise BrokenError("contract", f"expected (y, pullback), got {shown(result)}")
        return result

    def pull(dy: Arrays) -> Arrays:
        try:
            back = pullback(rebuilt(y, [leaf.copy() for leaf in dy]))
        except Exception as error:
            raise BrokenError("contract", f"pullback raised {described(error)}") from error
        back = tuple(
            a if all(leaf.dtype.kind != "f" for leaf in arrays_of(a)) else b
            for a, b in zip(args, back if isinstance(back, tuple | list) else (back,), strict=False)
        )
        return [leaf for _, leaf in like(back, args, "args", "contract")]

    violations: list[Violation] = []
    with np.errstate(all="ignore"):
        try:
            y, pullback = call([leaf.copy() for _, leaf in leaves])
            problem = Problem(
                [name for name, _ in leaves],
                [leaf for _, leaf in leaves],
                arrays_of(y, "y"),
                lambda arrays: arrays_of(call(arrays)[0], "y"),
                pull,
                generator,
                method,
                rtol,
                notes,
            )
            law = taylor if method == "taylor" else adjoint
            violations += [attrs.evolve(each, seed=seed) for each in law(problem, directions)]
            if problem.unsharp and problem.unsharp >= len(leaves) + directions:
                message = "no derivative can be told at this point"
                violations.append(Violation("adjoint", message, seed=seed))
        except BrokenError as broken:
            violations.append(Violation(broken.law, broken.message, leaf=broken.leaf))
    return concluded(f"{subject}, by {method}", ("adjoint",), violations, notes)
