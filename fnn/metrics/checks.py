"""What metrics demand of the arrays they are called with, and how they weigh examples."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from fnn.errors import DTypeError, ShapeError
from fnn.losses.checks import check_filled, check_weight, refuse
from fnn.tree import Array


class Metric(Protocol):
    """A number that says how good predictions are."""

    def __call__(self, pred: Array, target: Array, /, *, weight: Array | None = None) -> float:
        """Return the metric, averaged over everything; weight is one number per example."""


def check_scores(who: str, name: str, scores: Any, n_axes: int = 1) -> None:
    """Refuse what is no filled array of real numbers, or holds NaN."""
    check_filled(who, name, scores, n_axes)
    if scores.dtype.kind not in "fiub":
        raise DTypeError(f"expected real {name}, got {scores.dtype}", path=(who,))
    if scores.dtype.kind == "f":
        refuse(who, name, scores, np.isnan(scores), "is no score")


def check_same_shape(who: str, pred: Array, target: Any) -> None:
    """Refuse a target that would broadcast."""
    shape = getattr(target, "shape", type(target).__name__)
    if shape != pred.shape:
        raise ShapeError(f"expected target of shape {pred.shape}, got {shape}", path=(who,))


def share(who: str, right: Array, n: int, weight: Any) -> float:
    """Return the fraction of entries that are right; those of an example share its weight.

    Args:
        who: Name of the metric, for errors.
        right: Truth values, as many for every example.
        n: Number of examples.
        weight: Shape (n,), or None.
    """
    if weight is None:
        return int(np.count_nonzero(right)) / right.size
    wide, total = check_weight(who, weight, n)
    each = np.count_nonzero(right.reshape(n, -1), axis=1) / (right.size // n)
    return float(np.add.reduce(wide * each)) / total
