"""Images in rows: examples, right and wrong ones, and the weights of a first layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fnn.errors import ShapeError
from fnn.files import PathLike
from fnn.kernels.conversion import as_array
from fnn.runs.pictures.canvas import (
    FAINT,
    GREEN,
    GRID,
    INK,
    VERMILLION,
    Labels,
    class_name,
    new_figure,
    save,
)
from fnn.tree import Array

# Above this many a picture shows the first ones and says so.
_MOST_FILTERS = 64


def squares_of(images: Array) -> Array:
    """Return images as (n, height, width)."""
    images = as_array("images", images)
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    side = math.isqrt(images.shape[1]) if images.ndim == 2 else 0
    if images.ndim == 2 and side * side == images.shape[1]:
        images = images.reshape(-1, side, side)
    if images.ndim != 3 or 0 in images.shape[1:]:
        raise ShapeError(f"expected images (n, h, w), (n, 1, h, w) or flat squares, got {images.shape}")
    return images.astype(np.float64)


def grey_scale(images: Array) -> dict[str, float]:
    """Return one grey scale for all the images, so that they can be compared."""
    finite = images[np.isfinite(images)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return {"vmin": low, "vmax": high if high > low else low + 1}


def show(axes: Any, image: Array, scale: Mapping[str, Any]) -> None:
    """Show an image in its frame, every pixel as a square."""
    axes.imshow(image, **{"cmap": "gray_r", **scale}, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(color=GRID, linewidth=0.8)


def _grid(
    figure: Any, images: Array, titles: Sequence[str], columns: int, colors: Sequence[str] | None
) -> None:
    rows = -(-len(images) // columns)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    scale = grey_scale(images)
    for i, axes in enumerate(cells):
        if i < len(images):
            show(axes, images[i], scale)
            axes.set_title(
                titles[i], fontsize=9, color=colors[i] if colors else INK, parse_math=False, pad=3
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
    squares = squares_of(images)
    counts = {len(squares), len(titles), len(squares if colors is None else colors)}
    if len(counts) > 1 or 0 in counts or columns < 1:
        raise ShapeError(f"image_grid: expected a title per image, got {len(squares)}, {len(titles)}")
    rows = -(-len(squares) // columns)
    lines = 1 + max(text.count("\n") for text in titles)
    figure = new_figure(1.15 * columns + 0.3, (1.15 + 0.17 * lines) * rows + (0.4 if title else 0.1))
    _grid(figure, squares, titles, columns, colors)
    if title:
        figure.suptitle(title, fontsize=12, color=INK, parse_math=False)
    return save(figure, path)


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
    predicted, labels = as_array("predicted", predicted), as_array("labels", labels)
    squares = squares_of(images)
    if not (len(squares) > 0 and predicted.shape == labels.shape == (len(squares),)):
        raise ShapeError(
            f"right_and_wrong: expected a class per image, got {predicted.shape} and {labels.shape} "
            f"for {len(squares)} images"
        )
    kinds = [("right", predicted == labels, GREEN), ("wrong", predicted != labels, VERMILLION)]
    columns = max(1, min(5, most))
    counts = [min(most, int(mask.sum())) for _, mask, _ in kinds]
    heights = [0.45 + 1.55 * -(-count // columns) for count in counts]
    figure = new_figure(1.3 * columns + 0.3, sum(heights))
    blocks = figure.subfigures(2, 1, height_ratios=heights)
    for block, (kind, mask, color), count in zip(blocks, kinds, counts, strict=True):
        total = int(mask.sum())
        some = f", the first {count}" if 0 < count < total else ""
        heading = f"{total:,} of {len(squares):,} {kind}{some}" if total else f"None is {kind}"
        block.suptitle(heading, fontsize=11, color=color, x=0.02, ha="left")
        if count:
            chosen = np.flatnonzero(mask)[:count]
            titles = [
                f"predicted {class_name(names, predicted[i])}\ntrue {class_name(names, labels[i])}"
                for i in chosen
            ]
            _grid(block, squares[chosen], titles, columns, None)
    return save(figure, path)


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
    figure = new_figure(size * columns + 1.2, size * rows + 0.55)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    largest = float(np.max(np.abs(shown[np.isfinite(shown)]), initial=0.0)) or 1.0
    scale = {"cmap": "RdBu", "vmin": -largest, "vmax": largest}
    for i, axes in enumerate(cells):
        if i < len(shown):
            show(axes, shown[i], scale)
        else:
            axes.set_axis_off()
    bar = figure.colorbar(cells[0].images[0], ax=cells.tolist(), shrink=0.8, aspect=25)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, colors=FAINT)
    some = f", the first {len(shown)}" if len(shown) < len(pictures) else ""
    figure.suptitle(f"{len(pictures)} filters of the first layer{some}", fontsize=11, color=INK)
    return save(figure, path)
