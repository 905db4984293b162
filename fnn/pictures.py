"""Pictures of data and of results, each written as one PNG; equal input gives equal bytes.

Needs matplotlib (`pip install "fnn[plot]"`), which is imported on use. No window is opened and no
global setting of matplotlib is read for colours or changed. The colours are those of Okabe and Ito
(2008, "Color universal design"), which colour-blind readers can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fnn.errors import DataError, ShapeError
from fnn.files import PathLike, replacing
from fnn.tree import Array

Labels: TypeAlias = "Sequence[str] | None"

BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
)
_INK, _FAINT, _GRID = "#222222", "#767676", "#E4E4E4"
_DPI = 150
# Above this many a picture shows the first ones and says so.
_MOST_FILTERS = 64


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


def _figure(width: float, height: float) -> Any:
    # A Figure made without pyplot belongs to no window and is freed like any other value.
    figure = require().figure.Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    figure.set_facecolor("white")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure


def _save(figure: Any, path: PathLike) -> Path:
    with replacing(path) as file:
        # Without this the bytes would depend on matplotlib's version.
        figure.savefig(file, format="png", metadata={"Software": None})
    return Path(path)


def _text(axes: Any, title: str, size: float = 11, color: str = _INK) -> None:
    # Class names are shown as they are, dollar signs too.
    axes.set_title(title, fontsize=size, color=color, loc="left", parse_math=False)


def _bare(axes: Any) -> None:
    axes.tick_params(length=0, labelsize=9, colors=_FAINT)
    for side in axes.spines.values():
        side.set_visible(False)


def _name(names: Labels, index: int) -> str:
    return str(index) if names is None else str(names[index])


def _squares(images: Array) -> Array:
    """Return images as (n, height, width)."""
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    side = math.isqrt(images.shape[1]) if images.ndim == 2 else 0
    if images.ndim == 2 and side * side == images.shape[1]:
        images = images.reshape(-1, side, side)
    if images.ndim != 3 or 0 in images.shape[1:]:
        raise ShapeError(f"expected images (n, h, w), (n, 1, h, w) or flat squares, got {images.shape}")
    return images.astype(np.float64)


def _range(images: Array) -> dict[str, float]:
    """Return one grey scale for all the images, so that they can be compared."""
    finite = images[np.isfinite(images)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return {"vmin": low, "vmax": high if high > low else low + 1}


def _show(axes: Any, image: Array, scale: Mapping[str, Any]) -> None:
    axes.imshow(image, **{"cmap": "gray_r", **scale}, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(color=_GRID, linewidth=0.8)


def curves(
    path: PathLike,
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    ylabel: str,
    xlabel: str = "epoch",
    from_zero: bool = False,
) -> Path:
    """Draw each series over 1, 2, …; values that are not finite leave a gap.

    Raises:
        DataError: If there is no series or all are empty.
    """
    if not any(len(values) for values in series.values()):
        raise DataError(f"curves: expected one series of numbers or more, got {dict(series)}")
    figure = _figure(6.4, 3.8)
    axes = figure.add_subplot()
    colors = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY)
    for i, (name, values) in enumerate(series.items()):
        y = np.asarray(values, np.float64)
        # Markers where they can be told apart; a lone point would be invisible without.
        style = {"marker": "osD^vP"[i % 6], "markersize": 3.5} if len(y) <= 40 else {}
        dashes = ("-", "--", "-.", ":")[i // len(colors) % 4]
        axes.plot(
            np.arange(1, len(y) + 1),
            np.where(np.isfinite(y), y, np.nan),
            color=colors[i % len(colors)],
            linestyle=dashes,
            linewidth=1.6,
            label=name.lstrip("_") or str(i),
            **style,
        )
    _bare(axes)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set(visible=True, color=_FAINT)
    axes.xaxis.set_major_locator(
        require().ticker.MaxNLocator(8, steps=(1, 2, 5, 10), integer=True, min_n_ticks=1)
    )
    longest = max(map(len, series.values()))
    axes.set_xlim(1 - 0.03 * longest, longest + 0.03 * longest)
    axes.ticklabel_format(useOffset=False)
    if from_zero:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(xlabel, fontsize=10, color=_FAINT)
    axes.set_ylabel(ylabel, fontsize=10, color=_FAINT)
    _text(axes, title, 12)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
    return _save(figure, path)


def _grid(
    figure: Any, images: Array, titles: Sequence[str], columns: int, colors: Sequence[str] | None
) -> None:
    rows = -(-len(images) // columns)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    scale = _range(images)
    for i, axes in enumerate(cells):
        if i < len(images):
            _show(axes, images[i], scale)
            axes.set_title(
                titles[i], fontsize=9, color=colors[i] if colors else _INK, parse_math=False, pad=3
            )
        else:
            axes.set_axis_off()


def image_grid(
    path: PathLike,
    images: Array,
    titles: Sequence[str],
    *,
    columns: int,
    title: str = "",
    colors: Sequence[str] | None = None,
) -> Path:
    """Draw images row by row, high values dark, each under its title.

    Args:
        path: The PNG to write.
        images: (n, h, w), (n, 1, h, w), or (n, h²) for flat squares.
        titles: One per image.
        columns: Images in a row.
        title: What stands above all of them.
        colors: Colour of each title.

    Raises:
        ShapeError: If the images are none, or not as many as titles or colours.
    """
    squares = _squares(images)
    counts = {len(squares), len(titles), len(squares if colors is None else colors)}
    if len(counts) > 1 or 0 in counts or columns < 1:
        raise ShapeError(f"image_grid: expected a title per image, got {len(squares)}, {len(titles)}")
    rows = -(-len(squares) // columns)
    lines = 1 + max(text.count("\n") for text in titles)
    figure = _figure(1.15 * columns + 0.3, (1.15 + 0.17 * lines) * rows + (0.4 if title else 0.1))
    _grid(figure, squares, titles, columns, colors)
    if title:
        figure.suptitle(title, fontsize=12, color=_INK, parse_math=False)
    return _save(figure, path)


def right_and_wrong(
    path: PathLike,
    images: Array,
    predicted: Array,
    labels: Array,
    *,
    most: int = 10,
    names: Labels = None,
) -> Path:
    """Draw the first `most` rightly and the first `most` wrongly classified images, if there are.

    Args:
        path: The PNG to write.
        images: As for `image_grid`.
        predicted: Class of each image according to the network, as an integer.
        labels: True class of each image.
        most: How many of a kind at most.
        names: Names of the classes; their numbers otherwise.

    Raises:
        ShapeError: If there are no images, or not as many as classes.
    """
    squares, predicted, labels = _squares(images), np.asarray(predicted), np.asarray(labels)
    if not (len(squares) > 0 and predicted.shape == labels.shape == (len(squares),)):
        raise ShapeError(
            f"right_and_wrong: expected a class per image, got {predicted.shape} and {labels.shape} "
            f"for {len(squares)} images"
        )
    kinds = [("right", predicted == labels, GREEN), ("wrong", predicted != labels, VERMILLION)]
    columns = max(1, min(5, most))
    counts = [min(most, int(mask.sum())) for _, mask, _ in kinds]
    heights = [0.45 + 1.55 * -(-count // columns) for count in counts]
    figure = _figure(1.3 * columns + 0.3, sum(heights))
    blocks = figure.subfigures(2, 1, height_ratios=heights)
    for block, (kind, mask, color), count in zip(blocks, kinds, counts, strict=True):
        total = int(mask.sum())
        some = f", the first {count}" if 0 < count < total else ""
        heading = f"{total:,} of {len(squares):,} {kind}{some}" if total else f"None is {kind}"
        block.suptitle(heading, fontsize=11, color=color, x=0.02, ha="left")
        if count:
            chosen = np.flatnonzero(mask)[:count]
            titles = [
                f"predicted {_name(names, predicted[i])}\ntrue {_name(names, labels[i])}"
                for i in chosen
            ]
            _grid(block, squares[chosen], titles, columns, None)
    return _save(figure, path)


def filters(path: PathLike, w: Array) -> Path:
    """Draw the first layer's weights: convolution filters, or a dense layer's columns as squares.

    Blue is positive, red negative, white zero; one scale for all. At most 64 are shown.

    Args:
        path: The PNG to write.
        w: (channels, in_channels, h, w), one picture per pair, or (n_in, width) with n_in a square.

    Raises:
        ShapeError: If it is neither.
    """
    w = np.asarray(w, np.float64)
    side = math.isqrt(w.shape[0]) if w.ndim == 2 else 0
    if w.ndim == 4 and w.size:
        pictures = w.reshape(-1, *w.shape[2:])
    elif w.ndim == 2 and w.size and side * side == w.shape[0]:
        pictures = w.T.reshape(-1, side, side)
    else:
        raise ShapeError(f"filters: expected (channels, in, h, w) or (square, width), got {w.shape}")
    shown = pictures[:_MOST_FILTERS]
    columns = min(len(shown), 4 if len(shown) <= 4 else 8)
    rows = -(-len(shown) // columns)
    size = 0.75 if columns == 8 else 1.2
    figure = _figure(size * columns + 1.2, size * rows + 0.55)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    largest = float(np.max(np.abs(shown[np.isfinite(shown)]), initial=0.0)) or 1.0
    scale = {"cmap": "RdBu", "vmin": -largest, "vmax": largest}
    for i, axes in enumerate(cells):
        if i < len(shown):
            _show(axes, shown[i], scale)
        else:
            axes.set_axis_off()
    bar = figure.colorbar(cells[0].images[0], ax=cells.tolist(), shrink=0.8, aspect=25)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, colors=_FAINT)
    some = f", the first {len(shown)}" if len(shown) < len(pictures) else ""
    figure.suptitle(f"{len(pictures)} filters of the first layer{some}", fontsize=11, color=_INK)
    return _save(figure, path)


def confusion(path: PathLike, matrix: Array, names: Labels = None) -> Path:
    """Draw a confusion matrix: a row per true class, a column per predicted one.

    Cells show counts and are shaded by their share of the row, so that rare classes can be read.

    Raises:
        ShapeError: If it is not square, or the names are not as many.
    """
    matrix = np.asarray(matrix)
    n = len(matrix) if matrix.ndim == 2 else 0
    if n == 0 or matrix.shape != (n, n) or (names is not None and len(names) != n):
        raise ShapeError(f"confusion: expected a square and a name per class, got {matrix.shape}")
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    inch = max(3.2, min(10.0, 0.46 * n + 1.0))
    figure = _figure(inch, inch)
    axes = figure.add_subplot()
    # The root lifts the few mistakes out of the white.
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    if n <= 20:
        for i, j in np.ndindex(n, n):
            if matrix[i, j]:
                color = "white" if share[i, j] > 0.35 else _INK
                axes.text(j, i, f"{matrix[i, j]:g}", ha="center", va="center", fontsize=8, color=color)
    ticks = np.arange(n) if n <= 20 else np.arange(0, n, -(-n // 20))
    words = [_name(names, int(i)) for i in ticks]
    upright = max(map(len, words)) > 3
    axes.set_xticks(ticks, words, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(ticks, words, parse_math=False)
    _bare(axes)
    axes.tick_params(labelcolor=_INK)
    axes.set_xlabel("predicted", fontsize=10, color=_FAINT)
    axes.set_ylabel("true", fontsize=10, color=_FAINT)
    right, total = np.trace(matrix), matrix.sum()
    _text(axes, f"{right:,g} of {total:,g} right" if total else "No examples", 12)
    return _save(figure, path)


def probabilities(path: PathLike, image: Array, probabilities: Array, names: Labels = None) -> Path:
    """Draw an image beside the probabilities of its classes, the 12 highest if there are more.

    Args:
        path: The PNG to write.
        image: (h, w), (1, h, w) or a flat square.
        probabilities: One per class, in [0, 1].
        names: Names of the classes; their numbers otherwise.

    Raises:
        ShapeError: If it is more than one image, or the names are not as many as probabilities.
        DataError: If a probability is outside [0, 1].
    """
    image, p = np.asarray(image), np.asarray(probabilities, np.float64)
    square = _squares(image if image.ndim == 3 else image[None])
    if len(square) != 1 and image.ndim == 3:
        raise ShapeError(f"probabilities: expected one image, got {image.shape}")
    if p.ndim != 1 or len(p) == 0 or (names is not None and len(names) != len(p)):
        raise ShapeError(f"probabilities: expected a vector and a name per class, got {p.shape}")
    if not np.all((p >= 0) & (p <= 1 + 1e-6)):
        raise DataError(f"probabilities: expected numbers in [0, 1], got {p}")
    best = int(p.argmax())
    # In the order of the classes, as a reader looks for them.
    shown = np.sort(np.argsort(-p, kind="stable")[:12])
    figure = _figure(6.4, max(2.6, 0.26 * len(shown) + 0.7))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    _show(left, square[0], _range(square))
    _text(left, f"{_name(names, best)}, {p[best]:.1%}", 12)
    rows = np.arange(len(shown))
    right.barh(rows, p[shown], color=[BLUE if i == best else "#BBBBBB" for i in shown], height=0.7)
    for row, i in zip(rows, shown, strict=True):
        right.text(p[i] + 0.015, row, f"{p[i]:.1%}", va="center", fontsize=8, color=_FAINT)
    right.set_yticks(rows, [_name(names, int(i)) for i in shown], parse_math=False)
    right.invert_yaxis()
    right.set_xlim(0, 1.16)
    right.set_xticks([])
    _bare(right)
    right.tick_params(labelcolor=_INK)
    return _save(figure, path)
