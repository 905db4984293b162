"""Curves: what a training reports, over its epochs or steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fnn.errors import DataError, OptionError
from fnn.files import PathLike
from fnn.options import integer
from fnn.runs.pictures.axes import drawable, limits
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


def curves(
    path: PathLike,
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    ylabel: str,
    xlabel: str = "epoch",
    from_zero: bool = False,
    first: int = 1,
) -> Path:
    """Draw each series over 1, 2, …; values that are not finite, or beyond 1e300, leave a gap.

    The first value stands at `first` if that is another number. What differs by no more than rounding
    is drawn as a flat line.

    Raises:
        DataError: If there is no series or all are empty.
    """
    if not any(len(values) for values in series.values()):
        raise DataError(f"curves: expected one series of numbers or more, got {dict(series)}")
    figure = new_figure(6.4, 3.8)
    axes = figure.add_subplot()
    colors = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY)
    drawn: list[Array] = []
    longest = max(map(len, series.values()))
    for i, (name, values) in enumerate(series.items()):
        y = drawable(values)
        drawn.append(y[np.isfinite(y)])
        # Markers where all can be told apart; a lone point would be invisible without.
        marked = longest <= 40 or len(y) == 1
        style = {"marker": "osD^vP"[i % 6], "markersize": 3.5} if marked else {}
        dashes = ("-", "--", "-.", ":")[i // len(colors) % 4]
        axes.plot(
            np.arange(first, len(y) + first),
            y,
            color=colors[i % len(colors)],
            linestyle=dashes,
            linewidth=1.6,
            label=name.lstrip("_") or str(i),
            **style,
        )
    bare(axes)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set(visible=True, color=FAINT)
    axes.xaxis.set_major_locator(
        require().ticker.MaxNLocator(8, steps=(1, 2, 5, 10), integer=True, min_n_ticks=1)
    )
    axes.set_xlim(first - 0.03 * longest, longest + first - 1 + 0.03 * longest)
    axes.ticklabel_format(useOffset=False)
    shown = np.concatenate(drawn)
    if shown.size:
        low, high = float(shown.min()), float(shown.max())
        if limits(low, high) != (low, high):
            axes.set_ylim(*limits(low, high, floor=0.0))
    if from_zero:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(xlabel, fontsize=10, color=FAINT)
    axes.set_ylabel(ylabel, fontsize=10, color=FAINT)
    heading(axes, title, 12)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return save(figure, path)


def schedule(
    path: PathLike,
    schedules: Callable[[int], float] | Mapping[str, Callable[[int], float]],
    steps: int,
    *,
    title: str = "schedule",
    ylabel: str = "value",
) -> Path:
    """Draw a schedule, or several by name, over the steps 0, 1, …, steps - 1.

    Raises:
        OptionError: If `steps` is not 1 or more, or what is to be drawn is no function.
        DataError: If there is nothing to draw.
    """
    n = integer("schedule", "steps", steps)
    named = {"": schedules} if callable(schedules) else schedules
    if not isinstance(named, Mapping) or not all(map(callable, named.values())):
        message = f"schedules: expected a schedule, or some by name, got {schedules!r}"
        raise OptionError(message, path=("schedule",))
    series = {name: [float(each(step)) for step in range(n)] for name, each in named.items()}
    return curves(path, series, title=title, ylabel=ylabel, xlabel="step", first=0)
