"""What a run said of its test set, class by class: the confusion matrix, the worst pairs, a table."""

from __future__ import annotations

import numpy as np

from fnn.metrics.confusion import confusion_matrix
from fnn.runs.report.matrix import confusion, large_confusion
from fnn.runs.report.parts import Block, Cell, Drawing, Drawings, Section, Table, Text
from fnn.runs.report.reading import RunRecord
from fnn.tree import Array

# Up to so many classes counts can be read in their cells, and up to so many a pixel can be seen.
_MOST_CELLS, _MOST_PIXELS = 20, 400
_MOST_PAIRS, _MOST_CLASSES = 12, 500


def class_sections(run: RunRecord) -> list[Section]:
    """Return the confusion matrix and the table of classes; of many classes the worst pairs too."""
    seen = run.evaluation
    if seen is None:
        return []
    # Not more than were seen: a stranger's class could be any number.
    names = np.union1d(seen.predicted, seen.target)
    if names[0] >= 0 and names[-1] < _MOST_CELLS:
        names = np.arange(int(names[-1]) + 1)
    predicted, target = (np.searchsorted(names, labels) for labels in (seen.predicted, seen.target))
    labels = [str(int(name)) for name in names]
    found = [Section("Confusion matrix", (_matrix(predicted, target, labels),), half=True)]
    is_large = len(labels) > _MOST_CELLS
    if is_large and (predicted != target).any():
        pairs = _pairs(predicted, target, labels)
        found.append(Section("Most often confused", pairs, half=True))
    classes = _class_table(predicted, target, labels)
    return [*found, Section("Classes", (classes,), half=not is_large)]


def _matrix(predicted: Array, target: Array, labels: list[str]) -> Block:
    n, right = len(labels), int((predicted == target).sum())
    title = f"{right:,} of {len(predicted):,} right"
    if n > _MOST_PIXELS:
        return Text(f"{title}. Of {n:,} classes no matrix is drawn; up to {_MOST_PIXELS} have one.")
    matrix = confusion_matrix(predicted, target, n_classes=n)
    if n > _MOST_CELLS:
        drawn = Drawing(title, large_confusion(matrix, labels, "Confusion matrix"))
        return Drawings((drawn,), files=("confusion.png",))
    counts: list[tuple[Cell, ...]] = [
        (name, *map(int, row)) for name, row in zip(labels, matrix, strict=True)
    ]
    numbers = Table(("true ↓ predicted →", *labels), counts, "Confusion matrix")
    drawn = Drawing(title, confusion(matrix, labels, "Confusion matrix"))
    return Drawings((drawn,), files=("confusion.png",), table=numbers)


def _pairs(predicted: Array, target: Array, labels: list[str]) -> tuple[Block, ...]:
    """Return the pairs of classes that are confused most often."""
    wrong = predicted != target
    pairs, counts = np.unique(target[wrong] * len(labels) + predicted[wrong], return_counts=True)
    support = np.bincount(target, minlength=len(labels))
    # Of pairs that are confused alike often, the lower classes come first.
    worst = np.argsort(-counts, kind="stable")[:_MOST_PAIRS]
    rows: list[tuple[Cell, ...]] = []
    for pair, count in zip(pairs[worst], counts[worst], strict=True):
        true, guess = divmod(int(pair), len(labels))
        share = f"{100 * count / support[true]:.1f} %"
        rows.append((labels[true], labels[guess], int(count), share))
    head = ("true", "predicted", "examples", "of the class")
    table = Table(head, rows, "Pairs of classes that are confused most often")
    if len(rows) == len(pairs):
        return (table,)
    return (table, Text(f"The first {len(rows)} of {len(pairs):,} pairs that were confused."))


def _class_table(predicted: Array, target: Array, labels: list[str]) -> Table:
    columns = _scores(predicted, target, len(labels))
    rows = [
        (name, f"{p:.4f}", f"{r:.4f}", f"{f:.4f}", int(k))
        for name, p, r, f, k in zip(labels, *columns, strict=True)
    ]
    head = ("class", "precision", "recall", "F1", "examples")
    caption = "How well each class is recognised"
    return Table(head, rows, caption, is_tall=len(labels) > _MOST_CELLS, most=_MOST_CLASSES)


def _scores(predicted: Array, target: Array, n: int) -> tuple[Array, Array, Array, Array]:
    """Return precision, recall, F1 and support, without a matrix of n² counts; what is 0/0 is 0."""
    guessed, true = (np.bincount(labels, minlength=n) for labels in (predicted, target))
    right = np.bincount(target[predicted == target], minlength=n)
    precision, recall = right / np.maximum(guessed, 1), right / np.maximum(true, 1)
    return precision, recall, 2 * right / np.maximum(guessed + true, 1), true
