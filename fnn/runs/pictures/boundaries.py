"""Where a classifier of points in the plane draws the line, with the points on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fnn.datasets.dataset import Dataset
from fnn.errors import DataError, OptionError, ShapeError
from fnn.files import PathLike
from fnn.layers.contract import Layer
from fnn.options import integer
from fnn.runs.pictures.canvas import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Labels,
    bare,
    class_name,
    heading,
    new_figure,
    save,
)
from fnn.training.evaluation import predict
from fnn.tree import Array

_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, "#000000", "#8A6D3B")
_MARKS = "osD^vPX*"
_MOST_CLASSES = len(_COLORS)
_MOST_POINTS = 2000
# Inches that the plane has, of a page that holds the legend too.
_WIDTH = 4.7
# Room around the points, as a part of their extent.
_MARGIN = 0.12


def decision_boundary(
    path: PathLike,
    net: Layer,
    now: Any,
    dataset: Dataset,
    *,
    logits: bool = True,
    names: Labels = None,
    title: str = "",
    axes: tuple[str, str] = ("x₁", "x₂"),
    steps: int = 250,
) -> Path:
    """Draw which class a network sees at every place of the plane, and the points that it was shown.

    A place has the colour of its likeliest class, the paler the less likely it is; lines part the
    classes. Points have the colour and mark of their true class; those that the network takes for
    another have a dark rim. Of more than 2,000 points the first are drawn; the title counts all.

    Args:
        path: The PNG to write.
        net: A classifier of points: its output is (n, 1) or (n,) for two classes, or (n, classes).
        now: A state or weights of it, as for `fnn.predict`.
        dataset: x is (n, 2); y holds classes from 0 as numbers, (n,) or (n, 1), or rows of one-hot.
        logits: Whether the network ends with scores, of which softmax or sigmoid makes probabilities;
            False where it ends with probabilities.
        names: Names of the classes; their numbers otherwise.
        title: What stands before the count of right points.
        axes: What the two features are.
        steps: Places along each axis.

    Raises:
        ShapeError: If x has not two features, or output, classes and names do not fit together.
        DataError: If a class is none of the network's, if its output is not finite, or is
            probabilities where logits are said to be, or the other way round.
        OptionError: If steps is not an integer from 2 to 2,000.
    """
    who = ("decision_boundary",)
    steps = integer(who[0], "steps", steps, least=2)
    if steps > 2000:
        raise OptionError(f"steps: expected 2,000 or less, got {steps}", path=who)
    if not isinstance(dataset, Dataset):
        raise DataError(f"expected a Dataset, got {type(dataset).__name__}", path=who)
    x = dataset.x
    if not isinstance(x, np.ndarray) or x.ndim != 2 or x.shape[1] != 2:
        got = getattr(x, "shape", "several arrays")
        raise ShapeError(f"expected x of two features, (n, 2), got {got}", path=who)
    # The points come along: what the network says of them is counted.
    lows, highs = _extent(x)
    along = [np.linspace(low, high, steps) for low, high in zip(lows, highs, strict=True)]
    grid = np.stack(np.meshgrid(*along), axis=-1).reshape(-1, 2)
    p = _probabilities(predict(net, now, np.concatenate([x, grid.astype(x.dtype)])), logits=logits)
    n_classes = p.shape[1]
    if n_classes > _MOST_CLASSES:
        raise ShapeError(f"expected at most {_MOST_CLASSES} classes, got {n_classes}", path=who)
    if names is not None and len(names) != n_classes:
        raise ShapeError(f"expected a name for each of {n_classes} classes, got {names}", path=who)
    y, seen = _classes(dataset.y, len(x), n_classes), p[: len(x)].argmax(axis=1)
    p = p[len(x) :].reshape(steps, steps, n_classes)

    wide, high = highs - lows
    # Both features on about one scale, so that a circle is round, unless that would be no picture.
    figure = new_figure(_WIDTH + 2.05, min(max(_WIDTH * high / wide, 2.8), 6.5) + 0.75)
    place = figure.add_subplot()
    _regions(place, p, (lows[0], highs[0], lows[1], highs[1]), along)
    _points(place, x[:_MOST_POINTS], y[:_MOST_POINTS], seen[:_MOST_POINTS], names, n_classes)
    bare(place)
    place.set_xlabel(axes[0], fontsize=10, color=FAINT, parse_math=False)
    place.set_ylabel(axes[1], fontsize=10, color=FAINT, parse_math=False)
    right = int((seen == y).sum())
    some = f", the first {_MOST_POINTS:,} drawn" if len(x) > _MOST_POINTS else ""
    count = f"{right:,} of {len(x):,} right{some}"
    heading(place, f"{title}: {count}" if title else count, 12)
    legend = place.legend(
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        title="true class",
        title_fontsize=9,
        alignment="left",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return save(figure, path)


def _extent(x: Array) -> tuple[Array, Array]:
    """Return the corners of what is drawn: the points with some room around them."""
    low, high = x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)
    # A set of one value along an axis has an extent too.
    room = np.maximum(_MARGIN * (high - low), 1e-3 * np.maximum(np.abs(low), np.abs(high)))
    room[room == 0] = 1.0
    return low - room, high + room


def _probabilities(output: Any, *, logits: bool) -> Array:
    """Return the probabilities of the classes, (n, classes), of what a network ends with."""
    who = ("decision_boundary",)
    if not isinstance(output, np.ndarray) or output.ndim not in (1, 2) or 0 in output.shape:
        got = getattr(output, "shape", type(output).__name__)
        raise ShapeError(f"expected an output of (n, 1) or (n, classes), got {got}", path=who)
    z = output.reshape(len(output), -1).astype(np.float64)
    if not np.isfinite(z).all():
        raise DataError("expected finite outputs, got NaN or infinity", path=who)
    within = bool(((z >= 0) & (z <= 1 + 1e-6)).all())
    sums = z.shape[1] == 1 or bool((np.abs(z.sum(axis=1) - 1) < 1e-4).all())
    if not logits and not (within and sums):
        raise DataError("expected probabilities, got scores; leave logits=False out", path=who)
    # Scores of several classes hardly ever sum to 1; a single one may well lie between 0 and 1.
    if logits and z.shape[1] > 1 and within and sums:
        raise DataError("expected logits, got probabilities; say logits=False", path=who)
    if z.shape[1] == 1:
        p = 0.5 * (1 + np.tanh(0.5 * z)) if logits else z
        return np.concatenate([1 - p, p], axis=1)
    if not logits:
        return z
    e = np.exp(z - z.max(axis=1, keepdims=True))
    share: Array = e / e.sum(axis=1, keepdims=True)
    return share


def _classes(y: Any, n: int, n_classes: int) -> Array:
    """Return the true classes as integers."""
    who = ("decision_boundary",)
    if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if isinstance(y, np.ndarray) and y.shape == (n, n_classes):
        if not (((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all()):
            raise DataError("expected rows of y with a single 1, got others", path=who)
        y = y.argmax(axis=1)
    if not isinstance(y, np.ndarray) or y.shape != (n,):
        got = getattr(y, "shape", "several arrays")
        expected = f"classes as y, ({n},) or one-hot ({n}, {n_classes})"
        raise ShapeError(f"expected {expected}, got {got}", path=who)
    wrong = ~((y >= 0) & (y < n_classes) & (y == np.floor(y)))
    if wrong.any():
        place = int(np.argmax(wrong))
        expected = f"classes from 0 to {n_classes - 1}"
        raise DataError(f"expected {expected}, got {y[place]} at {place}", path=who)
    classes: Array = y.astype(np.int64)
    return classes


def _rgb(color: str) -> Array:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def _regions(place: Any, p: Array, extent: tuple[float, ...], along: list[Array]) -> None:
    """Colour every place by its likeliest class, and draw lines where two are equally likely."""
    n_classes = p.shape[2]
    best = p.argmax(axis=2)
    # From none, where all classes are equally likely, to half of the colour: points stand out.
    sure = (p.max(axis=2) - 1 / n_classes) / (1 - 1 / n_classes)
    strength = (0.08 + 0.42 * sure)[..., None]
    colors = np.stack([_rgb(color) for color in _COLORS[:n_classes]])
    shown = 1 - strength * (1 - colors[best])
    place.imshow(shown, extent=extent, origin="lower", aspect="auto", interpolation="bilinear")
    for i in range(n_classes if n_classes > 2 else 1):
        others = np.delete(p, i, axis=2).max(axis=2)
        lead = p[..., i] - others
        if lead.min() < 0 < lead.max():
            place.contour(*along, lead, levels=[0.0], colors=[INK], linewidths=1.1)


def _points(place: Any, x: Array, y: Array, seen: Array, names: Labels, n_classes: int) -> None:
    size, white = (26, 0.6) if len(x) <= 500 else (14, 0.3)
    for i in range(n_classes):
        for is_right in (True, False):
            mask = (y == i) & ((seen == y) == is_right)
            rim = {"edgecolors": "white", "linewidths": white}
            if not is_right:
                rim = {"edgecolors": INK, "linewidths": 1.4}
            place.scatter(
                x[mask, 0],
                x[mask, 1],
                s=size,
                c=_COLORS[i],
                marker=_MARKS[i],
                # Every class is in the legend, one without points too.
                label=(class_name(names, i).lstrip("_") or str(i)) if is_right else None,
                zorder=2 if is_right else 3,
                **rim,
            )
    if (seen != y).any():
        place.scatter(
            [], [], s=size, c="white", edgecolors=INK, linewidths=1.4, label="taken for another"
        )
