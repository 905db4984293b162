"""What the pictures share: a page without a window, its colours, and how it becomes a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from fnn.files import PathLike, replacing

Labels: TypeAlias = Sequence[str] | None

BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
)
INK, FAINT, GRID = "#222222", "#767676", "#E4E4E4"
_DPI = 150


def require() -> Any:
    """Return matplotlib; call it before a long training whose pictures need it.

    Raises:
        ImportError: If it is missing; says how to install it.
    """
    try:
        import matplotlib.figure
        import matplotlib.ticker
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "fnn[plot]"') from None
    return matplotlib


def new_figure(width: float, height: float) -> Any:
    """Return an empty page of so many inches."""
    # A Figure made without pyplot belongs to no window and is freed like any other value.
    figure = require().figure.Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    figure.set_facecolor("white")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure


def save(figure: Any, path: PathLike) -> Path:
    """Write a page as a PNG, whole or not at all; return where it is."""
    with replacing(path) as file:
        # Without this the bytes would depend on matplotlib's version.
        figure.savefig(file, format="png", metadata={"Software": None})
    return Path(path)


def heading(axes: Any, title: str, size: float = 11, color: str = INK) -> None:
    """Put a title above axes, at their left."""
    # Class names are shown as they are, dollar signs too.
    axes.set_title(title, fontsize=size, color=color, loc="left", parse_math=False)


def bare(axes: Any) -> None:
    """Take the frame and the marks of the ticks away."""
    axes.tick_params(length=0, labelsize=9, colors=FAINT)
    for side in axes.spines.values():
        side.set_visible(False)


def class_name(names: Labels, index: int) -> str:
    """Return what a class is called: its number where there are no names."""
    return str(index) if names is None else str(names[index])
