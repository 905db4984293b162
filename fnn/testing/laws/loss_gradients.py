"""Laws of a loss's gradient: it is the derivative of the value, in every direction and entry.

It is held to complex steps (Squire & Trapp, 1998), where a loss lets them through, and to central
differences extrapolated to a step of zero (Ridders, 1982), which say how far they can be trusted.
Tolerances are relative to ‖dpred‖ ‖v‖ along a direction v, whatever the size.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import attrs
import numpy as np

from fnn.testing import loss_case
from fnn.testing.findings import Findings
from fnn.testing.loss_case import Case, agree, problem_of
from fnn.testing.oracles import complex_step, difference
from fnn.testing.values import norm
from fnn.tree import Array


def _rays(case: Case, found: Findings) -> Iterator[tuple[str, tuple[int, ...] | None, Array]]:
    """Yield (name, index, direction): random ones of size 1, then single entries."""
    for i in range(case.directions):
        v = case.key.fold("direction", i).generator().normal(size=case.pred.shape)
        yield f"direction {i}", None, v / np.abs(v).max()
    size, entries = case.pred.size, np.arange(case.pred.size)
    if size > loss_case.MOST_ENTRIES:
        entries = (
            case.key.fold("entries").generator().choice(size, loss_case.MOST_ENTRIES, replace=False)
        )
        found.notes.append(f"{loss_case.MOST_ENTRIES} of {size} entries of dpred were checked alone")
    for flat in entries:
        index = tuple(map(int, np.unravel_index(flat, case.pred.shape)))
        v = np.zeros(case.pred.shape)
        v[index] = 1
        yield f"entry {index}", index, v


def _forward(case: Case, weight: Array | None, point: list[Array]) -> list[Array]:
    """Return the value for an oracle: nan past the edge of the domain, where a loss refuses."""
    is_bent = np.iscomplexobj(point[0])
    with suppress(*(() if is_bent else (ValueError,))):
        value = np.asarray(case.at(point[0], weight=weight)[0])
        if is_bent and not (np.iscomplexobj(value) and np.isfinite(value)):
            raise ArithmeticError("the loss lets no complex number through")
        return [value]
    return [np.asarray(np.nan)]


def slopes(case: Case, found: Findings, weight: Any = None, differences: int = 64) -> bool:
    """Return whether dpred is right along all rays; along the first ones differences are asked too."""
    dpred = case.at(weight=weight)[1].astype(np.float64)
    point, forward = [case.pred.astype(np.float64)], functools.partial(_forward, case, weight)
    size, judged, bent = norm([dpred]), 0, 0
    safe = bool(getattr(case.loss, "complex_safe", True))
    why = "not complex-safe" if safe else "declared not complex-safe"
    misses: dict[bool, list[tuple[float, str, Any]]] = {False: [], True: []}
    for count, (name, index, v) in enumerate(_rays(case, found)):
        got, scale = float(np.sum(dpred * v)), size * norm([v])
        want, oracle, bound = None, "complex step", case.rtol * scale
        if safe:
            with suppress(Exception):
                want = float(complex_step(forward, point, [v])[0])
        if count < differences or want is None:
            near = difference(forward, point, [v])
            jv, off = float(near.jv[0]), near.error
            rounding = 1e-12 * max(1.0, near.size)
            is_sharp = not near.kink and off <= 1e-8 * max(scale, abs(jv)) + rounding
            # Where the oracles differ by more than differences err, complex numbers are to blame:
            # an absolute value or a comparison inside the loss.
            is_bent = want is not None and is_sharp and abs(want - jv) > 1e-6 * max(scale, abs(jv))
            bent += is_bent
            if want is None or is_bent:
                if not is_sharp:
                    found.notes.append(f"not judged, near a kink: {name}")
                    continue
                found.notes.append(f"{why}: judged by central differences, to 1e-7")
                want, oracle, bound = jv, "central difference", max(case.rtol, 1e-7) * scale + 10 * off
        judged += 1
        if not abs(got - want) <= bound:
            place = {"leaf": "dpred", "index": index, "got": got, "want": want}
            misses[index is None].append((abs(got - want), f"is not the {oracle} along {name}", place))
    for alike in filter(None, misses.values()):
        _, message, place = max(alike, key=lambda miss: np.nan_to_num(miss[0], nan=np.inf))
        found.broken(f"{message}, the worst of {len(alike)}", **place)
    if bent:
        message = "takes complex numbers but loses their imaginary part (an absolute value?)"
        advice = "make_loss(..., complex_safe=False) says so, and differences judge it"
        found.broken(f"{message}; {advice}", leaf="value")
    if not judged:
        found.broken("neither complex steps nor differences settle anywhere", leaf="dpred")
    return bool(judged) and not bent and not any(misses.values())


def gradient(case: Case, found: Findings) -> None:
    """Require the gradient to be right at the first draw, and then at all others."""
    if slopes(case, found):
        # One draw may hide a fault: where no label is, dpred may be 0.
        others = (attrs.evolve(case, pred=pred, target=target) for pred, target in case.draws)
        all(slopes(other, found, differences=0) for other in others)  # Until one breaks it.


def batch_of_one(case: Case, found: Findings) -> None:
    """Require the same of a single example."""
    one = attrs.evolve(case, pred=case.pred[:1], target=case.target[:1], weight=None)
    if problem := problem_of(one.at()):
        found.broken(problem)
    slopes(one, found)


def weight_gradient(case: Case, found: Findings) -> None:
    """Require the same with weights, and weights of one to be none."""
    slopes(case, found, case.weight)
    agree(case, found, "weights of one", case.at(weight=np.ones(len(case.pred))), case.at())
