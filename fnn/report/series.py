"""Metrics as lines to draw: mean and spread over runs, thinned to what a screen can show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import attrs
import numpy as np

from fnn.report.parts import words
from fnn.report.reading import Column
from fnn.tree import Array

MOST_POINTS = 500
_MOST_MEMBERS = 20
_TEST = ("validation_", "test_", "val_")
_TRAINING = ("training_", "train_")


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
    """Return what a metric measures and on which data: "validation_loss" is ("loss", "test")."""
    for prefixes, data in ((_TEST, "test"), (_TRAINING, "training")):
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


def line(label: str, color: int, columns: Sequence[Column]) -> Line:
    """Return the line of a metric: of one run as it is, of several as mean ± 1 standard deviation.

    The mean at a place is that of the runs that have a finite value there, the band starts at two.
    """
    if len(columns) == 1:
        at = thinned(columns[0].y)
        return Line(label, color, columns[0].x[at], columns[0].y[at])
    x = np.unique(np.concatenate([column.x for column in columns]))
    count, total, squares = (np.zeros(len(x)) for _ in range(3))
    for column in columns:
        places, finite = np.searchsorted(x, column.x), np.isfinite(column.y)
        count[places[finite]] += 1
        total[places[finite]] += column.y[finite]
    mean = np.divide(total, count, out=np.full(len(x), np.nan), where=count > 0)
    for column in columns:
        places, finite = np.searchsorted(x, column.x), np.isfinite(column.y)
        squares[places[finite]] += (column.y[finite] - mean[places[finite]]) ** 2
    variance = np.divide(squares, count - 1, out=np.full(len(x), np.nan), where=count > 1)
    at, spread = thinned(mean), np.sqrt(variance)
    members = []
    for column in columns[:_MOST_MEMBERS]:
        own = thinned(column.y)
        members.append((column.x[own], column.y[own]))
    return Line(label, color, x[at], mean[at], (mean - spread)[at], (mean + spread)[at], tuple(members))


def one_axis(columns: Sequence[Column]) -> list[Column]:
    """Return those columns that are over the same axis as the first."""
    return [column for column in columns if column.axis == columns[0].axis]


def label_of(name: str, measure: str, n_names: int) -> str:
    """Return what a line is called in a chart of one measure."""
    known = measure in ("loss", "accuracy") or n_names > 1
    return role(name)[1] if known else words(name)
