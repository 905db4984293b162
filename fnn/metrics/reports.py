"""Precision, recall and F1 of every class, and their averages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np

from fnn.errors import OptionError
from fnn.files import shown
from fnn.metrics.confusion import chosen, counted
from fnn.options import integer
from fnn.tree import Array


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
        precision: Of what was taken for the class, the fraction that is of it.
        recall: Of what is of the class, the fraction that was taken for it.
        f1: Harmonic mean of the two, 2 right / (true + predicted).
        support: Examples of the class, or the sum of their weights.
        accuracy: Fraction of all examples that are right, also where only some classes are reported.
        macro: Averages in which every class weighs alike, those that never occur included; a class
            whose fraction is nan is left out.
        weighted: Averages in which every class weighs by its support.
        classes: Which classes these are, in this order.
    """

    precision: Array = attrs.field(eq=attrs.cmp_using(eq=np.array_equal))
    recall: Array = attrs.field(eq=attrs.cmp_using(eq=np.array_equal))
    f1: Array = attrs.field(eq=attrs.cmp_using(eq=np.array_equal))
    support: Array = attrs.field(eq=attrs.cmp_using(eq=np.array_equal))
    accuracy: float
    macro: Average
    weighted: Average
    classes: tuple[int, ...] = ()

    def table(self, *, names: Sequence[str] | None = None, digits: int = 4) -> str:
        """Return the report as aligned text, without a newline at the end.

        Args:
            names: One per class; by default their numbers.
            digits: Decimals, 1 or more.

        Raises:
            OptionError: If there are more or fewer names than classes.
        """
        digits = integer("table", "digits", digits)
        n_classes, total = len(self.support), f"{self.support.sum():.10g}"
        own = self.classes or range(n_classes)
        names = [str(i) for i in own] if names is None else [shown(name) for name in names]
        if len(names) != n_classes:
            raise OptionError(f"names: expected {n_classes}, got {len(names)}", path=("table",))
        columns = zip(names, self.precision, self.recall, self.f1, self.support, strict=True)
        classes = [(name, *(f"{x:.{digits}f}" for x in row), f"{n:.10g}") for name, *row, n in columns]
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


def classification_report(
    pred: Array,
    labels: Array,
    *,
    n_classes: int | None = None,
    classes: Iterable[int] | None = None,
    weight: Array | None = None,
    zero_division: float = 0.0,
) -> ClassReport:
    """Return precision, recall, F1 and support of every class, with accuracy and averages.

    Args:
        pred: Scores, shape (batch, ..., n_classes), or predicted classes, integers of labels' shape.
        labels: Integers in [0, n_classes), shape (batch, ...).
        n_classes: As for `confusion_matrix`.
        classes: Which classes to report, in this order (scikit-learn's `labels`). Predictions of and
            for the others count in the fractions all the same; averages are over these alone.
        weight: One number of 0 or more per example, shape (batch,).
        zero_division: What 0/0 is: the precision of a class that is never predicted, the recall of one
            that never occurs, F1 of one that does neither; 0, 1 or nan, which no average counts.

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
        OptionError: If classes or zero_division are not as above.
    """
    who = "classification_report"
    undefined = _undefined(who, zero_division)
    counts = counted(who, pred, labels, n_classes, weight)
    kept = chosen(who, classes, len(counts)) or list(range(len(counts)))
    n = counts.sum()
    right, true, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    accuracy = right.sum() / n
    right, true, predicted = right[kept], true[kept], predicted[kept]
    parts = (right, predicted), (right, true), (2 * right, true + predicted)
    scores = [_ratio(part, whole, undefined) for part, whole in parts]
    for array in (*scores, true):
        array.setflags(write=False)
    precision, recall, f1 = scores
    return ClassReport(
        precision,
        recall,
        f1,
        support=true,
        accuracy=float(accuracy),
        macro=Average(*(_average(score, np.ones(len(score))) for score in scores)),
        weighted=Average(*(_average(score, true) for score in scores)),
        classes=tuple(kept),
    )


def _undefined(who: str, value: Any) -> float:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not (value in (0, 1) or np.isnan(value)):
        message = f"zero_division: expected 0, 1 or nan, got {value!r}"
        raise OptionError(message, path=(who,))
    return float(value)


def _ratio(part: Array, whole: Array, undefined: float) -> Array:
    return np.divide(part, whole, out=np.full(part.shape, undefined), where=whole > 0)


def _average(scores: Array, by: Array) -> float:
    """Return the average of the scores that are defined, the plain one if none of those counts."""
    there = ~np.isnan(scores)
    if not there.any():
        return float(np.nan)
    scores, by = scores[there], by[there]
    total = float(by.sum())
    return float(np.sum(scores * by)) / total if total > 0 else float(scores.mean())
