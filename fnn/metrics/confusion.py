"""Confusion: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.losses.checks import check_filled, check_labels, check_weight
from fnn.metrics.checks import check_scores
from fnn.options import integer
from fnn.tree import Array


def confusion_matrix(
    pred: Array,
    labels: Array,
    *,
    n_classes: int | None = None,
    classes: Iterable[int] | None = None,
    weight: Array | None = None,
) -> Array:
    """Count in C[i, j] the examples of class i taken for class j: rows true, columns predicted.

    Args:
        pred: Scores, shape (batch, ..., n_classes), or predicted classes, integers of labels' shape.
        labels: Integers in [0, n_classes), shape (batch, ...).
        n_classes: By default the length of the scores' last axis, or one more than the highest class.
        classes: Which classes to keep, in this order (scikit-learn's `labels`); examples that are of
            others, or were taken for others, are left out.
        weight: One number of 0 or more per example, shape (batch,), by which it counts.

    Returns:
        Counts, shape (n_classes, n_classes): int64, or float64 if there are weights.

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
        OptionError: If classes names one twice, or one that is not in [0, n_classes).
    """
    who = "confusion_matrix"
    counts = counted(who, pred, labels, n_classes, weight)
    kept = chosen(who, classes, len(counts))
    return counts if kept is None else counts[np.ix_(kept, kept)]


def chosen(who: str, classes: Any, n_classes: int) -> list[int] | None:
    """Return the classes that are to be kept, None for all.

    Raises:
        OptionError: If there are none, one twice, or one out of range.
    """
    if classes is None:
        return None
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        raise OptionError(f"classes: expected integers, got {classes!r}", path=(who,))
    kept = [integer(who, "classes", each, least=0) for each in classes]
    if not kept or len(set(kept)) < len(kept) or max(kept) >= n_classes:
        expected = f"distinct classes in [0, {n_classes})"
        raise OptionError(f"classes: expected {expected}, got {kept}", path=(who,))
    return kept


def _highest(classes: Array) -> int:
    return max(0, int(classes.max())) if classes.dtype.kind in "iu" else 0


def counted(who: str, pred: Any, labels: Any, n_classes: int | None, weight: Any) -> Array:
    """Return the confusion matrix of all classes."""
    k = None if n_classes is None else integer(who, "n_classes", n_classes)
    check_filled(who, "labels", labels, 1)
    check_filled(who, "pred", pred, 1)
    if pred.ndim == labels.ndim + 1:
        check_scores(who, "pred", pred, 2)
        if k not in (None, pred.shape[-1]):
            raise ShapeError(f"expected scores of {k} classes, got {pred.shape}", path=(who,))
        k = pred.shape[-1]
        true = check_labels(who, labels, pred.shape[:-1], k)
        predicted = pred.argmax(axis=-1).reshape(-1)
    else:
        k = k or 1 + max(_highest(pred), _highest(labels))
        true = check_labels(who, labels, labels.shape, k)
        predicted = check_labels(who, pred, labels.shape, k, name="pred")
    places, by = true * k + predicted, None
    if weight is not None:
        wide, _ = check_weight(who, weight, len(labels))
        by = np.repeat(wide, places.size // len(labels))
    counts = np.bincount(places, by, minlength=k * k).reshape(k, k)
    return counts if by is not None else counts.astype(np.int64, copy=False)
