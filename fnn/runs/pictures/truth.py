"""Predictions beside the truth: numbers against numbers, and how well scores rank ones above zeros."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fnn.errors import DataError, ShapeError
from fnn.files import PathLike
from fnn.kernels.conversion import as_array
from fnn.metrics.ranking import average_precision, precision_recall_curve, roc_auc, roc_curve
from fnn.metrics.regression import r2
from fnn.runs.pictures.axes import LARGEST, limits
from fnn.runs.pictures.canvas import (
    BLUE,
    FAINT,
    GREEN,
    GRID,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    bare,
    heading,
    new_figure,
    require,
    save,
)
from fnn.tree import Array

_COLORS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY)
_MOST = len(_COLORS)


def predictions(
    path: PathLike, predicted: Mapping[str, Array], target: Array, *, title: str = "", label: str = ""
) -> Path:
    """Draw predicted numbers over true ones, a panel for each model, on one scale.

    What is predicted right lies on the line. Above each panel stands the model's R².

    Args:
        path: The PNG to write.
        predicted: By name of a model, numbers of the target's shape; up to six models.
        target: The true numbers.
        title: What the whole picture is called.
        label: What is predicted, with its unit: "price / thousands".

    Raises:
        DataError: If there is no model or are more than six, a number is not finite, or all targets
            are equal.
        ShapeError: If predictions and targets are not as many.
    """
    who = "predictions"
    models, true = _checked(who, predicted, target)
    everything = np.concatenate([true, *models.values()])
    if (far := np.abs(everything) > LARGEST).any():
        got = everything[int(np.argmax(far))]
        raise DataError(f"expected numbers of up to {LARGEST:g}, got {got:g}", path=(who,))
    # In another unit R² is the same, and no square is beyond what a float holds.
    unit = -int(np.frexp(np.abs(everything).max())[1])
    scaled = {name: np.ldexp(said, unit) for name, said in models.items()}
    explained = {name: r2(said, np.ldexp(true, unit)) for name, said in scaled.items()}
    low, high = limits(float(everything.min()), float(everything.max()))
    margin = 0.04 * (high - low)
    ends = (low - margin, high + margin)
    figure = new_figure(3.5 * len(models) + 0.5, 3.9 + (0.3 if title else 0))
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    # So many points that they would hide each other are drawn fainter.
    alpha = min(0.8, max(0.08, 12 / math.sqrt(len(true))))
    for i, (axes, (name, said)) in enumerate(zip(panels, models.items(), strict=True)):
        axes.plot(ends, ends, color=FAINT, linewidth=1, zorder=1)
        axes.scatter(true, said, s=9, color=_COLORS[i], alpha=alpha, linewidths=0, zorder=2)
        _square(axes, ends, ends)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(require().ticker.MaxNLocator(5, steps=(1, 2, 5, 10)))
        axes.set_xlabel(f"true {label}".strip(), fontsize=10, color=FAINT, parse_math=False)
        heading(axes, f"{name}, R² {explained[name]:.3f}")
    panels[0].set_ylabel(f"predicted {label}".strip(), fontsize=10, color=FAINT, parse_math=False)
    _above(figure, title)
    return save(figure, path)


def rankings(path: PathLike, scores: Mapping[str, Array], target: Array, *, title: str = "") -> Path:
    """Draw the ROC curve and the precision-recall curve of each model, with the areas under them.

    The dotted lines are what chance reaches: the diagonal, and the share of ones.

    Args:
        path: The PNG to write.
        scores: By name of a model, scores of the target's shape; up to six models.
        target: 0 and 1.
        title: What the whole picture is called.

    Raises:
        DataError: If there is no model or are more than six, a score is nan, or the targets are not
            both zeros and ones.
        ShapeError: If scores and targets are not as many.
    """
    models, true = _checked("rankings", scores, target)
    # The curves refuse what does not fit before a page is made.
    roc = {name: roc_curve(said, true)[:2] for name, said in models.items()}
    found = {name: precision_recall_curve(said, true)[:2] for name, said in models.items()}
    figure = new_figure(8.0, 4.1 + (0.3 if title else 0))
    left, right = figure.subplots(1, 2)
    for i, (name, said) in enumerate(models.items()):
        style = {"color": _COLORS[i], "linewidth": 1.6, "linestyle": ("-", "--")[i % 2]}
        left.plot(*roc[name], label=f"{name} {roc_auc(said, true):.3f}", **style)
        precision, recall = found[name]
        # A step of height P before each point, as `average_precision` adds them up.
        right.plot(
            np.append(0.0, recall),
            np.append(precision[0], precision),
            drawstyle="steps-pre",
            label=f"{name} {average_precision(said, true):.3f}",
            **style,
        )
    share = float(np.mean(true))
    left.plot((0, 1), (0, 1), ":", color=FAINT, linewidth=1.2, label="chance 0.500")
    right.plot((0, 1), (share, share), ":", color=FAINT, linewidth=1.2, label=f"chance {share:.3f}")
    for axes, name, x, y, corner in (
        (left, "ROC", "false positive rate", "true positive rate", "lower right"),
        (right, "Precision and recall", "recall", "precision", "upper right"),
    ):
        _square(axes, (-0.02, 1.02), (-0.02, 1.02))
        axes.set_xlabel(x, fontsize=10, color=FAINT)
        axes.set_ylabel(y, fontsize=10, color=FAINT)
        heading(axes, name)
        legend = axes.legend(
            fontsize=9, labelcolor=INK, loc=corner, title="area under", edgecolor="none", framealpha=0.9
        )
        legend.get_title().set(fontsize=9, color=FAINT)
        for text in legend.get_texts():
            text.set_parse_math(False)
    _above(figure, title)
    return save(figure, path)


def _checked(who: str, models: Mapping[str, Array], target: Any) -> tuple[dict[str, Array], Array]:
    """Return what each model said, and the truth, on one axis each."""
    if not isinstance(models, Mapping) or not 1 <= len(models) <= _MOST:
        got = len(models) if isinstance(models, Mapping) else type(models).__name__
        raise DataError(f"expected 1 to {_MOST} models by name, got {got}", path=(who,))
    true = as_array("target", target, (who,))
    found = {}
    for name, values in models.items():
        said = as_array(name, values, (who,))
        if said.shape != true.shape:
            expected = f"{name}: expected shape {true.shape}, as of the target"
            raise ShapeError(f"{expected}, got {said.shape}", path=(who,))
        found[name.lstrip("_")] = said.reshape(-1)
    return found, true.reshape(-1)


def _square(axes: Any, x: tuple[float, float], y: tuple[float, float]) -> None:
    bare(axes)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(x)
    axes.set_ylim(y)
    axes.set_aspect("equal")


def _above(figure: Any, title: str) -> None:
    if title:
        figure.suptitle(title, fontsize=12, color=INK, x=0.02, ha="left", parse_math=False)
