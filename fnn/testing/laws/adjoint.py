"""The adjoint law, ⟨dy, J v⟩ = ⟨J* dy, v⟩, for any function, and where it breaks.

J v comes from an oracle, J* dy from the pullback on trial. The bound is relative to ‖dy‖ ‖J v‖ and
does not grow with the arrays. Beside directions over all leaves jointly there are directions along
each leaf alone, so that no large leaf drowns a small one, and beside random dy there is dy = J v, so
that a factor 1 + 1e-6 is seen whatever the size: the two sides are then as large as they can be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fnn.testing.problem import Problem, unit
from fnn.testing.report import Violation
from fnn.testing.values import Arrays, inner, norm


def tolerated(problem: Problem) -> float:
    """Return the part of the bound that is rounding of the whole gradient, relative to ‖dy‖.

    A bias before a batch normalisation has no derivative but rounding, and nothing could be relative
    to that. It is some last bits of the largest leaf's derivative, and hides no error of a leaf whose
    derivative is more than a hundred-millionth of that.
    """
    largest = 0.0
    for i in problem.floating():
        found = problem.along_label(f"leaf {i}", i)
        if found is not None and math.isfinite(size := norm(found[1])):
            largest = max(largest, size)
    return 100 * problem.eps * largest


def broken_along(problem: Problem, v: Arrays, dy: Arrays, jv: Arrays, bound: float) -> Any:
    """Return (got, want) if the two sides differ by more than the bound, else None."""
    want, got = inner(dy, jv), inner(problem.pull(dy), v)
    return None if abs(got - want) <= bound else (got, want)


def adjoint(problem: Problem, directions: int) -> Iterator[Violation]:
    """Yield a violation for every leaf whose gradient is not the adjoint of J, or for all jointly.

    What is frozen has a gradient of exactly zero in its place.
    """
    if problem.y and problem.still:
        rng = problem.rng("dy of what is frozen")
        dy = [rng.normal(size=y.shape).astype(y.dtype) for y in problem.y]
        for name, gradient in zip(problem.names, problem.pull(dy), strict=True):
            if name in problem.still and gradient.any():
                got = float(np.abs(gradient).max())
                message = "a frozen leaf's gradient is not zero"
                yield Violation("adjoint", message, leaf=name, got=got, want=0.0)
    if not problem.y or not problem.floating():
        return
    floor = tolerated(problem)
    found = False
    for leaf, label, called in problem.directions(directions):
        if leaf is None and found:
            return  # The leaves have said it.
        at = problem.along_label(label, leaf)
        if at is None:
            continue
        v, jv, slack = at
        if leaf is not None:
            problem.is_hidden(v, jv, label)
        rng = problem.rng(f"{label} dy")
        for dy in ([rng.normal(size=y.shape).astype(y.dtype) for y in problem.y], unit(jv, problem.y)):
            bound = norm(dy) * (slack + floor)
            sides = broken_along(problem, v, dy, jv, bound)
            if sides is None:
                continue
            if not problem.excused(v, dy, jv, label, _gap(*sides) - bound):
                found = True
                yield located(problem, v, dy, called, leaf, sides, norm(dy) * norm(jv))
                break


def located(
    problem: Problem, v: Arrays, dy: Arrays, called: str, leaf: int | None, sides: Any, size: float
) -> Violation:
    """Halve a direction along one leaf until a single entry is left that is wrong."""
    got, want = sides
    off = abs(got - want) / size if size > 0 else math.inf
    message = f"⟨J* dy, v⟩ is not ⟨dy, J v⟩ along {called!r}, off by {off:.1e} of ‖dy‖ ‖J v‖"
    if off < 1e-6:
        message += " (where it is solved to a tolerance, pass rtol)"
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
    zeros = problem.zeros()
    for i in floating:
        n = problem.point[i].size
        along = problem.along_label(f"leaf {i}", i)
        whole = None if along is None else along[:2]
        if along is not None:
            problem.is_hidden(*along[:2], f"leaf {i}")
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
            if not problem.excused(v, dy, at[0], f"leaf {i}", gap - bound, whole):
                bad = gap, np.unravel_index(k, problem.point[i].shape), got, want

        if bad is not None:
            index = tuple(map(int, bad[1]))
            message = "an entry of the gradient is wrong"
            yield Violation(
                "entries", message, leaf=problem.names[i], index=index, got=bad[2], want=bad[3]
            )
