"""A loss with what it is called with: how that is drawn, and when two of its results agree."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.errors import DTypeError
from fnn.keys import Key
from fnn.testing.findings import Findings
from fnn.testing.values import described, norm, shown
from fnn.tree import Array

Draw: TypeAlias = Callable[[np.random.Generator, str], tuple[Array, Array]]
MOST_ENTRIES = 256
"""Up to how many entries of a gradient each are checked alone; of more, this many drawn ones are."""


@attrs.frozen
class Case:
    """A loss and what it is called with, first and at further draws."""

    loss: Any
    pred: Array
    target: Array
    weight: Array | None
    directions: int
    rtol: float
    key: Key
    draws: tuple[tuple[Array, Array], ...]

    def at(self, pred: Any = None, target: Any = None, weight: Any = None) -> tuple[Any, Any]:
        """Call the loss with copies, so that one that writes to them spoils no other law."""
        pred, target = self.pred if pred is None else pred, self.target if target is None else target
        options = {} if weight is None else {"weight": weight.copy()}
        value, dpred = self.loss(pred.copy(order="K"), target.copy(order="K"), **options)
        return value, np.asarray(dpred)


def takes_weight(loss: Any) -> bool:
    """Return whether a loss can be called with weights."""
    with suppress(TypeError, ValueError):
        given = inspect.signature(loss).parameters.values()
        return any(one.name == "weight" or one.kind is one.VAR_KEYWORD for one in given)
    return False


def _suggested(generator: np.random.Generator, dtype: str) -> dict[str, tuple[Array, Array]]:
    # 5 and 4, so that labels of shape (5,) never broadcast against (5, 4) without an error.
    x = generator.normal(size=(5, 4)) * 2
    labels, within = generator.integers(0, 4, 5), generator.random((5, 4))
    logs = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    table = {
        "labels on logits": (x, labels),
        "targets in (0, 1) of pred's shape": (x, within.astype(dtype)),
        "targets of 0 and 1 of pred's shape": (x, np.round(within).astype(dtype)),
        "targets of -1 and 1 of pred's shape": (x, (2 * np.round(within) - 1).astype(dtype)),
        "labels on log-probabilities": (logs, labels),
        "labels on probabilities": (np.exp(logs), labels),
    }
    return {name: (pred.astype(dtype), target) for name, (pred, target) in table.items()}


def drawn_for(found: Findings, loss: Any, draw: Draw | None, dtype: str, key: Key) -> Any:
    """Return several (pred, target) that the loss takes, or None, having said why."""

    def table(i: int) -> dict[str, tuple[Array, Array]]:
        generator = key.fold("draw", i).generator()
        drawn = {"draw": draw(generator, dtype)} if draw else _suggested(generator, dtype)
        return {name: (np.asarray(pred), np.asarray(target)) for name, (pred, target) in drawn.items()}

    refusals, doubtful = [], None
    for name, (pred, target) in table(0).items():
        if pred.dtype != dtype or not pred.size:
            raise DTypeError(f"expected pred in {dtype}, not empty, got {shown(pred)}", path=("draw",))
        try:
            problem = problem_of(loss(pred.copy(), target.copy()))
        except Exception as error:
            refusals.append(f"{name}: {described(error)}")
            continue
        if problem is None:
            found.notes.append(f"drawn: {name}, pred {pred.shape}, target {target.shape}")
            return [table(i)[name] for i in range(24 if pred.size <= MOST_ENTRIES else 1)]
        # Said only if nothing else does: -log(p) is nan for logits, and wants probabilities.
        doubtful = doubtful or f"{problem}; drawn: {name}"
    found.broken(doubtful or "takes nothing of what was drawn: " + " | ".join(refusals))
    return None


def problem_of(result: Any) -> str | None:
    """Say what is wrong with the kind of a loss's result, or None."""
    if not isinstance(result, tuple) or len(result) != 2:
        what = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        return f"expected (value, dpred), got {what}"
    for name, part in zip(("value", "dpred"), result, strict=True):
        array = np.asarray(part)
        if array.dtype.kind not in "fc" or not np.isfinite(array).all():
            return f"expected finite floating numbers as {name}, got {part!r:.80}"
    return None if np.ndim(result[0]) == 0 else f"expected one value, got shape {np.shape(result[0])}"


def agree(case: Case, found: Findings, message: str, got: Any, want: Any, rtol: float = 0.0) -> None:
    """Require equal values and gradients, to rounding."""
    rtol, size = max(rtol, case.rtol), norm([want[1]])
    bound = rtol * (abs(float(want[0])) + size * norm([case.pred]))
    found.close(f"{message}: another value", "value", got[0], want[0], bound)
    found.close(f"{message}: another gradient", "dpred", got[1], want[1], rtol * size)
