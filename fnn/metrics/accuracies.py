"""Accuracies: fractions of examples, or of entries, that are predicted right."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import attrs
import numpy as np

from fnn.errors import ShapeError
from fnn.losses.checks import check_labels
from fnn.metrics import METRICS
from fnn.metrics.checks import Metric, check_binary, check_same_shape, check_scores, share
from fnn.metrics.totals import Sums, averaged, summed
from fnn.options import integer, real
from fnn.tree import Array


@METRICS.builtin("accuracy")
@averaged
def accuracy(pred: Array, target: Array) -> Array:
    """Return the fraction of examples whose highest score is that of their label.

    Of equal scores the first counts as the highest.

    Args:
        pred: Scores or probabilities, shape (batch, ..., n_classes).
        target: Integers in [0, n_classes), shape (batch, ...).
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    check_scores("accuracy", "pred", pred, 2)
    labels = check_labels("accuracy", target, pred.shape[:-1], pred.shape[-1])
    return cast(Array, pred.argmax(axis=-1).reshape(-1) == labels)


@METRICS.builtin("categorical_accuracy")
@averaged
def categorical_accuracy(pred: Array, target: Array) -> Array:
    """Return the fraction of examples whose highest score is where their target row is highest.

    Args:
        pred: Scores or probabilities, shape (batch, ..., n_classes).
        target: One-hot rows, or rows of probabilities, of pred's shape.
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    check_scores("categorical_accuracy", "pred", pred, 2)
    check_same_shape("categorical_accuracy", pred, target)
    check_scores("categorical_accuracy", "target", target, 2)
    return cast(Array, pred.argmax(axis=-1) == target.argmax(axis=-1))


@attrs.frozen
class _With:
    """A metric with an option; equal and picklable by name and option."""

    name: str
    option: float
    right: Callable[[str, float, Array, Array], Array]

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def stream(self) -> Sums:
        """The form that takes examples batch by batch."""
        return summed(self.name, self._right)

    def _right(self, pred: Array, target: Array) -> Array:
        return self.right(self.name, self.option, pred, target)

    @np.errstate(all="ignore")
    def __call__(self, pred: Array, target: Array, *, weight: Array | None = None) -> float:
        return share(self.name, self._right(pred, target), len(pred), weight)


def _binary_accuracy(who: str, threshold: float, pred: Array, target: Array) -> Array:
    check_binary(who, pred, target)
    return cast(Array, (pred > threshold) == (target == 1))


@METRICS.builtin("binary_accuracy")
@averaged
def binary_accuracy(pred: Array, target: Array) -> Array:
    """Return the fraction of entries where pred > 0.5 says what target says.

    Args:
        pred: Probabilities of 1, shape (batch, ...); for logits take `binary_accuracy_at(0)`.
        target: 0 and 1 in any real dtype, of pred's shape.
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    return _binary_accuracy("binary_accuracy", 0.5, pred, target)


def binary_accuracy_at(threshold: float) -> Metric:
    """Return the binary accuracy that takes pred > threshold for a 1; 0 suits logits."""
    threshold = real("binary_accuracy_at", "threshold", threshold)
    return _With(f"binary_accuracy_at_{threshold:g}", threshold, _binary_accuracy)


def _top_k_accuracy(who: str, k: float, pred: Array, target: Array) -> Array:
    check_scores(who, "pred", pred, 2)
    n_classes = pred.shape[-1]
    if n_classes < k:
        raise ShapeError(f"expected {k} classes or more, got pred of shape {pred.shape}", path=(who,))
    labels = check_labels(who, target, pred.shape[:-1], n_classes)[:, None]
    rows = pred.reshape(-1, n_classes)
    own = np.take_along_axis(rows, labels, axis=1)
    before = (rows > own) | ((rows == own) & (np.arange(n_classes) < labels))
    return cast(Array, np.count_nonzero(before, axis=1) < k)


def top_k(k: int) -> Metric:
    """Return the metric "top_{k}_accuracy": the fraction of labels among the k highest scores.

    Of equal scores those of lower classes come first, so that `top_k(1)` is `accuracy`. It takes
    scores (batch, ..., n_classes) and integer labels (batch, ...).

    Raises:
        OptionError: If k is below 1; the metric raises a ShapeError for fewer than k classes.
    """
    k = integer("top_k", "k", k)
    return _With(f"top_{k}_accuracy", k, _top_k_accuracy)


METRICS.builtin("top_5_accuracy")(top_k(5))
