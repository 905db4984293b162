"""The sections of one run's report; each is None where the run has nothing to say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.metrics import classification_report, confusion_matrix
from fnn.report.chart import chart, is_drawable
from fnn.report.comparing import results
from fnn.report.images import as_images, greys, weights
from fnn.report.matrix import confusion
from fnn.report.network import first_weights, summarize
from fnn.report.parts import (
    Block,
    Card,
    Cards,
    Cell,
    Drawing,
    Drawings,
    Gallery,
    Picture,
    Section,
    Table,
    Text,
    number,
    plain_text,
    words,
)
from fnn.report.reading import Evaluation, RunRecord
from fnn.report.series import Line, by_measure, label_of, line, one_axis

_MOST_CHARTS = 12
_MOST_CARDS = 6
_MOST_CLASSES = 20
_MOST_EXAMPLES = 12
_MOST_FILTERS = 64
_SHOWN_ELSEWHERE = ("format", "experiment", "config", "result", "status", "error", "network", "seed")


def _short(name: str, value: float) -> str:
    """Return a result as it is read at a glance: an accuracy in percent."""
    is_share = "accuracy" in name and 0 <= value <= 1
    return (
        f"{100 * value:.2f} %"
        if is_share
        else number(value if isinstance(value, int) else float(f"{value:.4g}"))
    )


def duration(about: dict[str, Any]) -> str | None:
    """Return how long a run took, None if it does not say so."""
    seconds = about.get("seconds")
    if not isinstance(seconds, int | float) and isinstance(about.get("minutes"), int | float):
        seconds = 60 * about["minutes"]
    if not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        return None
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def cards(run: RunRecord) -> Section | None:
    """Return the key numbers: accuracies first, then the rest."""
    found = results(run)
    order = sorted(found, key=lambda name: ("accuracy" not in name, not name.startswith("test")))
    shown = [Card(words(name), _short(name, found[name]), found[name]) for name in order[:_MOST_CARDS]]
    took = duration(run.about)
    if took is not None:
        shown.append(Card("duration", took, took))
    return Section("", (Cards(tuple(shown)),)) if shown else None


def curves(run: RunRecord) -> Section | None:
    """Return a chart per measure, training and test in one."""
    drawings: list[Drawing] = []
    files: list[str] = []
    for measure, names in by_measure(run.columns).items():
        columns = one_axis([run.columns[name] for name in names])
        lines = [
            line(label_of(name, measure, len(names)), i, [column])
            for i, (name, column) in enumerate(zip(names, columns, strict=False))
        ]
        if len(drawings) < _MOST_CHARTS and (drawn := draw(lines, measure, columns[0].axis)):
            drawings.append(drawn)
            files.append(f"{measure}.png")
    return Section("Curves", (Drawings(tuple(drawings), files=tuple(files)),)) if drawings else None


def draw(lines: list[Line], measure: str, axis: str, *, direct: bool = True) -> Drawing | None:
    """Return a chart of the lines that have a value, None if none has."""
    lines = [line for line in lines if is_drawable(line)]
    if not lines:
        return None
    title = words(measure)
    title = title[:1].upper() + title[1:]
    svg, is_log = chart(lines, title=title, axis=axis, direct=direct)
    return Drawing(f"{title}, logarithmic" if is_log else title, svg)


def result_table(run: RunRecord) -> Section | None:
    """Return all that the run returned but what has a place of its own."""
    numbers = results(run)
    rows: list[tuple[Cell, ...]] = [
        (words(name), numbers[name] if name in numbers else plain_text(value))
        for name, value in run.result.items()
        if name not in ("network", "digest")
    ]
    table = Table(("result", "value"), tuple(rows), "What the run returned")
    return Section("Results", (table,), half=True) if rows else None


def config_table(run: RunRecord, title: str = "Config") -> Section | None:
    """Return what the run was told."""
    rows = tuple((words(name), plain_text(value)) for name, value in run.config.items())
    table = Table(("option", "value"), rows, "What the run was told")
    return Section(title, (table,), half=True) if rows else None


def flat(entries: dict[str, Any], prefix: str = "", depth: int = 4) -> dict[str, str]:
    """Return nested entries of run.json in one level: "versions / numpy"."""
    found: dict[str, str] = {}
    for name, value in entries.items():
        path = f"{prefix}{words(name)}"
        if isinstance(value, dict) and value and depth:
            found |= flat(value, f"{path} / ", depth - 1)
        elif value is not None and value != {}:
            found[path] = plain_text(value)
    return found


def conditions(run: RunRecord) -> dict[str, str]:
    """Return all that run.json says of how and on what the run was made."""
    # Runs of format 1 have the digest among their results.
    about = {"digest": run.result.get("digest"), **run.about}
    return flat({name: value for name, value in about.items() if name not in _SHOWN_ELSEWHERE})


def conditions_table(run: RunRecord) -> Section | None:
    """Return the conditions as a table."""
    rows = tuple(conditions(run).items())
    table = Table(("condition", "value"), rows[:200], "How and on what the run was made")
    return Section("Conditions", (table,)) if rows else None


def network_table(run: RunRecord, notes: list[str]) -> Section | None:
    """Return the network's layers with shapes, parameters and FLOPs, else its recipe."""
    found = summarize(run, notes)
    blocks: list[Block] = []
    if found is not None:
        head, *rows = found.cells()
        caption = "Layers with shapes, parameters and FLOPs per example"
        blocks.append(Table(head, tuple(rows), caption, code=(0, 1), has_total=True))
        shape = "×".join(map(str, found.in_shape))
        blocks.append(Text(f"One example is {shape}; FLOPs are those of one, a multiply-add as two."))
    elif run.recipe is not None:
        blocks.append(Table(("recipe",), ((plain_text(run.recipe),),), "The network", code=(0,)))
    return Section("Network", tuple(blocks)) if blocks else None


# --- pictures -------------------------------------------------------------------------------


def confusion_sections(run: RunRecord) -> list[Section]:
    """Return the confusion matrix and the table of classes, if there are few enough to read."""
    seen = run.evaluation
    if seen is None:
        return []
    # Not more than were seen: a stranger's class could be any number.
    names = np.union1d(seen.predicted, seen.target)
    if len(names) > _MOST_CLASSES:
        return []
    if names[0] >= 0 and names[-1] < _MOST_CLASSES:
        names = np.arange(int(names[-1]) + 1)
    predicted, target = (np.searchsorted(names, labels) for labels in (seen.predicted, seen.target))
    matrix = confusion_matrix(predicted, target, n_classes=len(names))
    report = classification_report(predicted, target, n_classes=len(names))
    labels = [str(int(name)) for name in names]
    right = int(matrix.trace())
    title = f"{right:,} of {len(predicted):,} right"
    svg = confusion(matrix, labels, "Confusion matrix")
    counts: list[tuple[Cell, ...]] = [
        (name, *map(int, row)) for name, row in zip(labels, matrix, strict=True)
    ]
    numbers = Table(("true ↓ predicted →", *labels), tuple(counts), "Confusion matrix")
    drawing = Drawings((Drawing(title, svg),), files=("confusion.png",), table=numbers)
    columns = zip(labels, report.precision, report.recall, report.f1, report.support, strict=True)
    rows = tuple((name, f"{p:.4f}", f"{r:.4f}", f"{f:.4f}", int(n)) for name, p, r, f, n in columns)
    head = ("class", "precision", "recall", "F1", "examples")
    table = Table(head, rows, "How well each class is recognised")
    return [
        Section("Confusion matrix", (drawing,), half=True),
        Section("Classes", (table,), half=True),
    ]


def examples(run: RunRecord) -> Section | None:
    """Return some rightly and some wrongly classified examples as pictures."""
    seen = run.evaluation
    images = as_images(seen.x) if seen is not None else None
    if seen is None or images is None:
        return None
    # Only those that are shown are made pictures of.
    right = seen.predicted[seen.index] == seen.target[seen.index]
    galleries = []
    for kind, mask in (("right", right), ("wrong", ~right)):
        chosen = np.flatnonzero(mask)[:_MOST_EXAMPLES]
        if not len(chosen):
            continue
        pictures = _pictures(seen, chosen, greys(images[chosen]))
        total = int(np.sum((seen.predicted == seen.target) == (kind == "right")))
        title = f"{total:,} {kind}, {len(chosen)} of them:"
        galleries.append(
            Gallery(title, pictures, kind, images.ndim == 3, files=("right_and_wrong.png",))
        )
    return Section("Examples", tuple(galleries)) if galleries else None


def _pictures(seen: Evaluation, chosen: Any, pngs: list[bytes]) -> tuple[Picture, ...]:
    pictures = []
    for i, png in zip(chosen, pngs, strict=True):
        at = int(seen.index[i])
        guess, true = int(seen.predicted[at]), int(seen.target[at])
        said = f"{true}" if guess == true else f"{guess}, is {true}"
        pictures.append(Picture(png, f"example {at}: predicted {guess}, true {true}", said))
    return tuple(pictures)


def filters(run: RunRecord) -> Section | None:
    """Return the first layer's weights as pictures."""
    kernels = first_weights(run)
    if kernels is None or max(kernels.shape[1:]) > 512:
        return None
    shown = kernels[:_MOST_FILTERS]
    pngs, largest = weights(shown)
    some = f", the first {len(shown)}" if len(shown) < len(kernels) else ""
    pictures = tuple(Picture(png, f"weights of filter {i}") for i, png in enumerate(pngs))
    size = f"{kernels.shape[1]}×{kernels.shape[2]}"
    scale = (-largest, largest) if math.isfinite(largest) else None
    gallery = Gallery(
        f"{len(kernels):,} of {size} weights{some}",
        pictures,
        "weights",
        scale=scale,
        files=("filters.png",),
    )
    return Section("Filters of the first layer", (gallery,))
