"""The sections of one run's report; each is None where the run has nothing to say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.kernels.values import is_tuple_of_shapes
from fnn.runs.report.chart import chart, is_drawable
from fnn.runs.report.comparing import results
from fnn.runs.report.images import as_images, greys, weights
from fnn.runs.report.network import first_weights, summarize
from fnn.runs.report.network_picture import picture
from fnn.runs.report.parts import (
    MAX_ROWS,
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
    clip,
    is_number,
    number,
    plain_text,
    words,
)
from fnn.runs.report.reading import Evaluation, RunRecord
from fnn.runs.report.series import Line, by_measure, labels_of, line

MOST_CHARTS = 12
_MOST_CARDS = 6
_MOST_EXAMPLES = 12
_MOST_FILTERS = 64
_SHOWN_ELSEWHERE = (
    "format",
    "experiment",
    "config",
    "result",
    "status",
    "error",
    "network",
    "seed",
    "layers",
    "fits",
    "used",
    "source",
)


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
    seconds: Any = about.get("seconds")
    if not is_number(seconds) and is_number(about.get("minutes")):
        seconds = 60 * about["minutes"]
    if not is_number(seconds) or not 0 <= seconds < 1e9:
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
    """Return a chart per measure, training and validation in one."""
    drawings: list[Drawing] = []
    files: list[str] = []
    measures = by_measure(run.columns)
    for measure, names in measures.items():
        axis = run.columns[names[0]].axis
        called = labels_of(names, measure, run.validation)
        lines = [
            line(label, i, [run.columns[name]])
            for i, (name, label) in enumerate(zip(names, called, strict=True))
            if run.columns[name].axis == axis
        ]
        if len(drawings) < MOST_CHARTS and (drawn := draw(lines, measure, axis)):
            drawings.append(drawn)
            files.append(f"{measure}.png")
    if not drawings:
        return None
    blocks: list[Block] = [Drawings(tuple(drawings), files=tuple(files))]
    if len(measures) > MOST_CHARTS:
        blocks.append(Text(f"Drawn are the first {MOST_CHARTS} of {len(measures):,} measures."))
    return Section("Curves", tuple(blocks))


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
    table = Table(("result", "value"), rows, "What the run returned")
    return Section("Results", (table,), half=True) if rows else None


def config_table(run: RunRecord) -> Section | None:
    """Return what the run was told, and what it took where that left something open."""
    used = run.used
    rows: list[tuple[Cell, ...]] = [
        (
            words(name),
            plain_text(value),
            *([plain_text(used[name]) if name in used else ""] if used else []),
        )
        for name, value in run.config.items()
    ]
    head = ("option", "value", "used") if used else ("option", "value")
    table = Table(head, rows, "What the run was told")
    return Section("Config", (table,), half=True) if rows else None


def training_table(run: RunRecord) -> Section | None:
    """Return what each training of the run was told: loss, optimizer, length."""
    fits = run.fits
    rows: list[tuple[Cell, ...]] = []
    for i, fit in enumerate(fits[:MAX_ROWS], 1):
        which = f"training {i}, " if len(fits) > 1 else ""
        for name, value in fit.items():
            called = "validation set" if name == "validation" else words(name)
            rows.append((which + called, plain_text(value)))
    table = Table(("training", "value"), rows, "How the network was trained")
    return Section("Training", (table,), half=True) if rows else None


def flat(entries: dict[str, Any], prefix: str = "", depth: int = 4) -> dict[str, str]:
    """Return nested entries of run.json in one level: "versions / numpy"."""
    found: dict[str, str] = {}
    for name, value in entries.items():
        path = clip(f"{prefix}{words(name)}")
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
    table = Table(("condition", "value"), rows, "How and on what the run was made")
    return Section("Conditions", (table,), half=True) if rows else None


def network_table(run: RunRecord, notes: list[str]) -> Section | None:
    """Return the network's layers with shapes, parameters and FLOPs, else its recipe."""
    found = summarize(run, notes)
    blocks: list[Block] = []
    if found is not None:
        drawn = Drawing("From the input to the output", picture(found), is_natural=True)
        blocks.append(Drawings((drawn,)))
        head, *rows = found.cells()
        caption = "Layers with shapes, parameters, FLOPs and bytes of activations"
        blocks.append(Table(head, rows, caption, code=(0, 1), has_total=True))
        parts = found.in_shape if is_tuple_of_shapes(found.in_shape) else (found.in_shape,)
        shape = clip(" and ".join("×".join(map(str, part)) or "a number" for part in parts))
        counted = "FLOPs are those of one, a multiply-add as two"
        kept = "activation bytes what the layers give of one in float32, as training keeps it"
        blocks.append(Text(f"One example is {shape}; {counted}, and {kept}."))
    elif run.recipe is not None:
        blocks.append(Table(("recipe",), ((plain_text(run.recipe),),), "The network", code=(0,)))
    return Section("Network", tuple(blocks)) if blocks else None


# --- pictures -------------------------------------------------------------------------------


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
