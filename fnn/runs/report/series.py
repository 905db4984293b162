"""Metrics as lines to draw: mean and spread over runs, thinned to what a screen can show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import attrs
import numpy as np

from fnn.runs.pictures.axes import drawable
from fnn.runs.report.parts import words
from fnn.runs.report.reading import Column
from fnn.tree import Array

MOST_POINTS = 500
_FEWEST_POINTS = 100
_MOST_MEMBERS = 20
_PREFIXES = {
    "validation": ("validation_", "val_"),
    "test": ("test_",),
    "training": ("training_", "train_"),
}


@attrs.frozen(eq=False)
class Line:
    """A line to draw, with its spread if it is the mean of several.

    Attributes:
        label: What it is.
        color: Number of its colour.
        x: Places, increasing.
        y: Values; NaN where there is none.
        low: Lower edge of the band, None without a band.
        high: Upper edge.
        members: The single lines (x, y) that it is the mean of.
    """

    label: str
    color: int
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None
    members: tuple[tuple[Array, Array], ...] = ()


def role(name: str) -> tuple[str, str]:
    """Return what a metric measures and on which data: "val_loss" is ("loss", "validation")."""
    for data, prefixes in _PREFIXES.items():
        for prefix in prefixes:
            if name.startswith(prefix) and len(name) > len(prefix):
                return name.removeprefix(prefix), data
    return name, "training"


def by_measure(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the metrics by what they measure, losses and accuracies first."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(role(name)[0], []).append(name)
    first = ["loss", "accuracy"]
    order = sorted(found, key=lambda measure: first.index(measure) if measure in first else len(first))
    return {measure: found[measure] for measure in order}


def thinned(y: Array, most: int = MOST_POINTS) -> Array:
    """Return which points to draw: of every bucket the lowest, the highest and a gap, if there is one.

    A spike stays a spike and a gap a gap, which taking every k-th point would lose.
    """
    n = len(y)
    if n <= most:
        return np.arange(n)
    # Ends are kept, and a bucket gives up to three.
    edges = np.linspace(0, n, max(1, (most - 2) // 3) + 1).astype(int)
    kept = {0, n - 1}
    for a, b in pairwise(edges):
        finite = np.isfinite(y[a:b])
        if not finite.all():
            kept.add(int(a + np.argmin(finite)))
        if finite.any():
            kept.update((int(a + np.nanargmin(y[a:b])), int(a + np.nanargmax(y[a:b]))))
    return np.array(sorted(kept))


def line(label: str, color: int, columns: Sequence[Column], *, most: int = MOST_POINTS) -> Line:
    """Return the line of a metric: of one run as it is, of several as mean ± 1 standard deviation.

    The mean at a place is that of the runs that have a finite value there, the band starts at two.

    Args:
        label: What the line is called.
        color: Number of its colour.
        columns: The metric in every run.
        most: How many points to draw; too few for the single lines leave those out.
    """
    values = [drawable(column.y) for column in columns]
    if len(columns) == 1:
        at = thinned(values[0], most)
        return Line(label, color, columns[0].x[at], values[0][at])
    # On one scale, for squares of the largest and of the smallest numbers are none.
    scale = max((float(np.abs(y[np.isfinite(y)]).max(initial=0.0)) for y in values), default=0.0) or 1.0
    x = np.unique(np.concatenate([column.x for column in columns]))
    count, total, squares = (np.zeros(len(x)) for _ in range(3))
    points = [
        (np.searchsorted(x, column.x[finite]), y[finite] / scale)
        for column, y in zip(columns, values, strict=True)
        for finite in (np.isfinite(y),)
    ]
    for places, y in points:
        count[places] += 1
        total[places] += y
    mean = np.divide(total, count, out=np.full(len(x), np.nan), where=count > 0)
    for places, y in points:
        squares[places] += (y - mean[places]) ** 2
    variance = np.divide(squares, count - 1, out=np.full(len(x), np.nan), where=count > 1)
    spread = np.sqrt(variance)
    middle, low, high = (drawable(y * scale) for y in (mean, mean - spread, mean + spread))
    at = thinned(middle, most)
    members = []
    for column, y in zip(columns[:_MOST_MEMBERS], values, strict=False):
        own = thinned(y, most)
        members.append((column.x[own], y[own]))
    shown = tuple(members) if most >= _FEWEST_POINTS else ()
    return Line(label, color, x[at], middle[at], low[at], high[at], shown)


def one_axis(columns: Sequence[Column]) -> list[Column]:
    """Return those columns that are over the same axis as the first."""
    return [column for column in columns if column.axis == columns[0].axis]


def labels_of(names: Sequence[str], measure: str, validation: str) -> list[str]:
    """Return what the lines in a chart of one measure are called, each otherwise.

    Args:
        names: The metrics.
        measure: What they measure.
        validation: What the run calls its validation set.
    """
    if len(names) == 1 and measure not in ("loss", "accuracy"):
        return [words(names[0])]
    data = [role(name)[1] for name in names]
    called = [validation if each == "validation" else each for each in data]
    # The validation set may have been a test set that was measured besides.
    return next(
        (found for found in (called, data) if len(set(found)) == len(found)), list(map(words, names))
    )


def measured_on(name: str, validation: str) -> str:
    """Return a metric in words, with the data it was measured on where a reader would ask for them."""
    measure, data = role(name)
    if data == "training" and measure == name and measure not in ("loss", "accuracy"):
        return words(name)
    return f"{validation if data == 'validation' else data} {words(measure)}"
