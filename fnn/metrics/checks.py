"""What metrics demand of the arrays they are called with, and how they weigh examples."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from fnn.errors import DTypeError, ShapeError
from fnn.losses.checks import check_filled, check_real, check_weight, refuse
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


def check_numbers(who: str, pred: Any, target: Any) -> tuple[Array, Array]:
    """Return pred and target in float64, and refuse what is not finite or would broadcast."""
    check_scores(who, "pred", pred)
    check_same_shape(who, pred, target)
    check_scores(who, "target", target)
    for name, array in (("pred", pred), ("target", target)):
        if array.dtype.kind == "f":
            refuse(who, name, array, np.isinf(array), "is not finite")
    return pred.astype(np.float64, copy=False), target.astype(np.float64, copy=False)


def check_binary(who: str, pred: Any, target: Any) -> None:
    """Refuse what are no scores with zeros and ones of their shape beside them."""
    check_scores(who, "pred", pred)
    check_same_shape(who, pred, target)
    check_scores(who, "target", target)
    refuse(who, "target", target, (target != 0) & (target != 1), "is neither 0 nor 1")


def check_probabilities(who: str, pred: Array) -> None:
    """Refuse what is no probability."""
    refuse(who, "pred", pred, (pred < 0) | (pred > 1), "is no probability, which lies in [0, 1]")


def batch_weight(who: str, weight: Any, n: int) -> Array:
    """Return the weights of a batch in float64; all of them may be 0, where others come.

    Raises:
        ShapeError, DTypeError, DataError: If they are not n finite numbers of 0 or more.
    """
    check_real(who, "weight", weight, (n,))
    bad = ~(np.isfinite(weight) & (weight >= 0))
    refuse(who, "weight", weight, bad, "is not a finite number of 0 or more")
    return np.asarray(weight, dtype=np.float64)


def entry_weight(who: str, weight: Any, n: int, n_entries: int) -> Array:
    """Return the weight of every entry, as many for every example; 1 where there are none."""
    if weight is None:
        return np.ones(n_entries)
    return np.repeat(batch_weight(who, weight, n), n_entries // n)


def share(who: str, values: Array, n: int, weight: Any) -> float:
    """Return the mean of values, of truth values the fraction of True; an example's share its weight.

    Args:
        who: Name of the metric, for errors.
        values: Numbers or truth values, as many for every example.
        n: Number of examples.
        weight: Shape (n,), or None.
    """
    is_count = values.dtype == bool
    if weight is None:
        if is_count:
            return int(np.count_nonzero(values)) / values.size
        return float(np.add.reduce(values, axis=None, dtype=np.float64)) / values.size
    wide, total = check_weight(who, weight, n)
    rows = values.reshape(n, -1)
    sums = np.count_nonzero(rows, axis=1) if is_count else rows.sum(axis=1, dtype=np.float64)
    each = sums / (values.size // n)
    if not is_count:
        each[wide == 0] = 0.0  # What does not count may be infinite.
    return float(np.add.reduce(wide * each)) / total
