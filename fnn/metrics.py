"""Metrics: `metric(pred, target) -> float`, and what a classifier gets right class by class.

Counts are exact integers and their ratios float64. Every example weighs alike, so that the mean
over batches weighted by their sizes is the metric of the whole. NaN in pred has no class and raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
import numpy as np

from fnn.errors import DTypeError, OptionError, ShapeError
from fnn.losses.checks import check_filled, check_labels, refuse
from fnn.options import integer, real
from fnn.registry import Registry
from fnn.tree import Array


class Metric(Protocol):
    """A number that says how good predictions are."""

    def __call__(self, pred: Array, target: Array, /) -> float:
        """Return the metric, averaged over everything."""


def _check_scores(who: str, name: str, scores: Any, n_axes: int = 1) -> None:
    check_filled(who, name, scores, n_axes)
    if scores.dtype.kind not in "fiub":
        raise DTypeError(f"expected real {name}, got {scores.dtype}", path=(who,))
    if scores.dtype.kind == "f":
        refuse(who, name, scores, np.isnan(scores), "is no score")


def _check_same_shape(who: str, pred: Array, target: Any) -> None:
    shape = getattr(target, "shape", type(target).__name__)
    if shape != pred.shape:
        raise ShapeError(f"expected target of shape {pred.shape}, got {shape}", path=(who,))


def accuracy(pred: Array, target: Array) -> float:
    """Return the fraction of examples whose highest score is that of their label.

    Of equal scores the first counts as the highest.

    Args:
        pred: Scores or probabilities, shape (batch, ..., n_classes).
        target: Integers in [0, n_classes), shape (batch, ...).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    _check_scores("accuracy", "pred", pred, 2)
    labels = check_labels("accuracy", target, pred.shape[:-1], pred.shape[-1])
    return int(np.count_nonzero(pred.argmax(axis=-1).reshape(-1) == labels)) / labels.size


def categorical_accuracy(pred: Array, target: Array) -> float:
    """Return the fraction of examples whose highest score is where their target row is highest.

    Args:
        pred: Scores or probabilities, shape (batch, ..., n_classes).
        target: One-hot rows, or rows of probabilities, of pred's shape.

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    _check_scores("categorical_accuracy", "pred", pred, 2)
    _check_same_shape("categorical_accuracy", pred, target)
    _check_scores("categorical_accuracy", "target", target, 2)
    right = pred.argmax(axis=-1) == target.argmax(axis=-1)
    return int(np.count_nonzero(right)) / right.size


@attrs.frozen
class _With:
    """A metric with an option; equal and picklable by name and option."""

    name: str
    option: float
    metric: Callable[[str, float, Array, Array], float]

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, pred: Array, target: Array) -> float:
        return self.metric(self.name, self.option, pred, target)


def _binary_accuracy(who: str, threshold: float, pred: Array, target: Array) -> float:
    _check_scores(who, "pred", pred)
    _check_same_shape(who, pred, target)
    _check_scores(who, "target", target)
    refuse(who, "target", target, (target != 0) & (target != 1), "is neither 0 nor 1")
    right = (pred > threshold) == (target == 1)
    return int(np.count_nonzero(right)) / right.size


def binary_accuracy(pred: Array, target: Array) -> float:
    """Return the fraction of entries where pred > 0.5 says what target says.

    Args:
        pred: Probabilities of 1, shape (batch, ...); for logits take `binary_accuracy_at(0)`.
        target: 0 and 1 in any real dtype, of pred's shape.

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    return _binary_accuracy("binary_accuracy", 0.5, pred, target)


def binary_accuracy_at(threshold: float) -> Metric:
    """Return the binary accuracy that takes pred > threshold for a 1; 0 suits logits."""
    threshold = real("binary_accuracy_at", "threshold", threshold)
    return _With(f"binary_accuracy_at_{threshold:g}", threshold, _binary_accuracy)


def _top_k_accuracy(who: str, k: float, pred: Array, target: Array) -> float:
    _check_scores(who, "pred", pred, 2)
    n_classes = pred.shape[-1]
    if n_classes < k:
        raise ShapeError(f"expected {k} classes or more, got pred of shape {pred.shape}", path=(who,))
    labels = check_labels(who, target, pred.shape[:-1], n_classes)[:, None]
    rows = pred.reshape(-1, n_classes)
    own = np.take_along_axis(rows, labels, axis=1)
    before = (rows > own) | ((rows == own) & (np.arange(n_classes) < labels))
    rank = np.count_nonzero(before, axis=1)
    return int(np.count_nonzero(rank < k)) / labels.size


def top_k(k: int) -> Metric:
    """Return the metric "top_{k}_accuracy": the fraction of labels among the k highest scores.

    Of equal scores those of lower classes come first, so that `top_k(1)` is `accuracy`. It takes
    scores (batch, ..., n_classes) and integer labels (batch, ...).

    Raises:
        OptionError: If k is below 1; the metric raises a ShapeError for fewer than k classes.
    """
    k = integer("top_k", "k", k)
    return _With(f"top_{k}_accuracy", k, _top_k_accuracy)


def confusion_matrix(pred: Array, labels: Array, *, n_classes: int | None = None) -> Array:
    """Count in C[i, j] the examples of class i taken for class j: rows true, columns predicted.

    Args:
        pred: Scores, shape (batch, ..., n_classes), or predicted classes, integers of labels' shape.
        labels: Integers in [0, n_classes), shape (batch, ...).
        n_classes: By default the length of the scores' last axis, or one more than the highest class.

    Returns:
        Counts, int64, shape (n_classes, n_classes).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    return _confusion("confusion_matrix", pred, labels, n_classes)


def _highest(classes: Array) -> int:
    return max(0, int(classes.max())) if classes.dtype.kind in "iu" else 0


def _confusion(who: str, pred: Any, labels: Any, n_classes: int | None) -> Array:
    k = None if n_classes is None else integer(who, "n_classes", n_classes)
    check_filled(who, "labels", labels, 1)
    check_filled(who, "pred", pred, 1)
    if pred.ndim == labels.ndim + 1:
        _check_scores(who, "pred", pred, 2)
        if k not in (None, pred.shape[-1]):
            raise ShapeError(f"expected scores of {k} classes, got {pred.shape}", path=(who,))
        k = pred.shape[-1]
        true = check_labels(who, labels, pred.shape[:-1], k)
        predicted = pred.argmax(axis=-1).reshape(-1)
    else:
        k = k or 1 + max(_highest(pred), _highest(labels))
        true = check_labels(who, labels, labels.shape, k)
        predicted = check_labels(who, pred, labels.shape, k, name="pred")
    return np.bincount(true * k + predicted, minlength=k * k).reshape(k, k).astype(np.int64, copy=False)


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


@attrs.frozen
class Average:
    """Precision, recall and F1, averaged over the classes."""

    precision: float
    recall: float
    f1: float


@attrs.frozen
class ClassReport:
    """How well each class is recognised; `str(report)` is a table.

    Attributes:
        precision: Of what was taken for the class, the fraction that is of it; 0 if nothing was.
        recall: Of what is of the class, the fraction that was taken for it; 0 if nothing is.
        f1: Harmonic mean of the two, 2 right / (true + predicted); 0 if the class never occurs.
        support: Examples of the class.
        accuracy: Fraction of all examples that are right.
        macro: Averages in which every class weighs alike, those that never occur included.
        weighted: Averages in which every class weighs by its support.
    """

    precision: Array = attrs.field(eq=attrs.cmp_using(eq=np.array_equal))
    recall: Array = attrs.field(eq=attrs.cmp_using(eq=np.array_equal))
    f1: Array = attrs.field(eq=attrs.cmp_using(eq=np.array_equal))
    support: Array = attrs.field(eq=attrs.cmp_using(eq=np.array_equal))
    accuracy: float
    macro: Average
    weighted: Average

    def table(self, *, names: Sequence[str] | None = None, digits: int = 4) -> str:
        """Return the report as aligned text, without a newline at the end.

        Args:
            names: One per class; by default their numbers.
            digits: Decimals, 1 or more.

        Raises:
            OptionError: If there are more or fewer names than classes.
        """
        digits = integer("table", "digits", digits)
        n_classes, total = len(self.support), str(self.support.sum())
        names = [str(i) for i in range(n_classes)] if names is None else [str(name) for name in names]
        if len(names) != n_classes:
            raise OptionError(f"names: expected {n_classes}, got {len(names)}", path=("table",))
        columns = zip(names, self.precision, self.recall, self.f1, self.support, strict=True)
        classes = [(name, *(f"{x:.{digits}f}" for x in row), str(n)) for name, *row, n in columns]
        averages = [
            (name, *(f"{x:.{digits}f}" for x in attrs.astuple(average)), total)
            for name, average in (("macro average", self.macro), ("weighted average", self.weighted))
        ]
        head = ("", "precision", "recall", "F1", "support")
        ends = [("accuracy", "", "", f"{self.accuracy:.{digits}f}", total), *averages]
        widths = [max(map(len, column)) for column in zip(head, *classes, *ends, strict=True)]

        def line(cells: tuple[str, ...]) -> str:
            name, *numbers = zip(cells, widths, strict=True)
            return "  ".join((name[0].ljust(name[1]), *(x.rjust(width) for x, width in numbers)))

        rule = "-" * len(line(head))
        return "\n".join([line(head), rule, *map(line, classes), rule, *map(line, ends)])

    def __str__(self) -> str:
        return self.table()


def classification_report(pred: Array, labels: Array, *, n_classes: int | None = None) -> ClassReport:
    """Return precision, recall, F1 and support of every class, with accuracy and averages.

    What would be 0/0 is 0.

    Args:
        pred: Scores, shape (batch, ..., n_classes), or predicted classes, integers of labels' shape.
        labels: Integers in [0, n_classes), shape (batch, ...).
        n_classes: As for `confusion_matrix`.

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    counts = _confusion("classification_report", pred, labels, n_classes)
    right, true, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    scores = _ratio(right, predicted), _ratio(right, true), _ratio(2 * right, true + predicted)
    n = int(true.sum())
    for array in (*scores, true):
        array.setflags(write=False)
    return ClassReport(
        *scores,
        support=true,
        accuracy=int(right.sum()) / n,
        macro=Average(*(float(score.mean()) for score in scores)),
        weighted=Average(*(float(np.sum(score * true)) / n for score in scores)),
    )


METRICS: Registry[Metric] = Registry(
    "metric",
    {
        "accuracy": accuracy,
        "binary_accuracy": binary_accuracy,
        "categorical_accuracy": categorical_accuracy,
        "top_5_accuracy": top_k(5),
    },
)
