"""What a classifier says: a confusion matrix, and the probabilities of one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fnn.errors import DataError, ShapeError
from fnn.files import PathLike
from fnn.kernels.conversion import as_array, check_unmasked
from fnn.runs.pictures.canvas import (
    BLUE,
    FAINT,
    INK,
    Labels,
    bare,
    class_name,
    heading,
    new_figure,
    save,
)
from fnn.runs.pictures.images import grey_scale, show, squares_of
from fnn.tree import Array


def confusion(path: PathLike, matrix: Array, names: Labels = None) -> Path:
    """Draw a confusion matrix: a row per true class, a column per predicted one.

    Cells show counts and are shaded by their share of the row, so that rare classes can be read.

    Raises:
        ShapeError: If it is not square, or the names are not as many.
    """
    matrix = as_array("matrix", matrix, ("confusion",))
    n = len(matrix) if matrix.ndim == 2 else 0
    if n == 0 or matrix.shape != (n, n) or (names is not None and len(names) != n):
        raise ShapeError(f"confusion: expected a square and a name per class, got {matrix.shape}")
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    inch = max(3.2, min(10.0, 0.46 * n + 1.0))
    figure = new_figure(inch, inch)
    axes = figure.add_subplot()
    # The root lifts the few mistakes out of the white.
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    if n <= 20:
        for i, j in np.ndindex(n, n):
            if matrix[i, j]:
                color = "white" if share[i, j] > 0.35 else INK
                axes.text(j, i, f"{matrix[i, j]:g}", ha="center", va="center", fontsize=8, color=color)
    ticks = np.arange(n) if n <= 20 else np.arange(0, n, -(-n // 20))
    words = [class_name(names, int(i)) for i in ticks]
    upright = max(map(len, words)) > 3
    axes.set_xticks(ticks, words, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(ticks, words, parse_math=False)
    bare(axes)
    axes.tick_params(labelcolor=INK)
    axes.set_xlabel("predicted", fontsize=10, color=FAINT)
    axes.set_ylabel("true", fontsize=10, color=FAINT)
    right, total = np.trace(matrix), matrix.sum()
    heading(axes, f"{right:,g} of {total:,g} right" if total else "No examples", 12)
    return save(figure, path)


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
    check_unmasked("probabilities", probabilities, ("probabilities",))
    image, p = as_array("image", image, ("probabilities",)), np.asarray(probabilities, np.float64)
    square = squares_of(image if image.ndim == 3 else image[None])
    if len(square) != 1 and image.ndim == 3:
        raise ShapeError(f"probabilities: expected one image, got {image.shape}")
    if p.ndim != 1 or len(p) == 0 or (names is not None and len(names) != len(p)):
        raise ShapeError(f"probabilities: expected a vector and a name per class, got {p.shape}")
    if not np.all((p >= 0) & (p <= 1 + 1e-6)):
        raise DataError(f"probabilities: expected numbers in [0, 1], got {p}")
    best = int(p.argmax())
    # In the order of the classes, as a reader looks for them.
    shown = np.sort(np.argsort(-p, kind="stable")[:12])
    figure = new_figure(6.4, max(2.6, 0.26 * len(shown) + 0.7))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    show(left, square[0], grey_scale(square))
    heading(left, f"{class_name(names, best)}, {p[best]:.1%}", 12)
    rows = np.arange(len(shown))
    right.barh(rows, p[shown], color=[BLUE if i == best else "#BBBBBB" for i in shown], height=0.7)
    for row, i in zip(rows, shown, strict=True):
        right.text(p[i] + 0.015, row, f"{p[i]:.1%}", va="center", fontsize=8, color=FAINT)
    right.set_yticks(rows, [class_name(names, int(i)) for i in shown], parse_math=False)
    right.invert_yaxis()
    right.set_xlim(0, 1.16)
    right.set_xticks([])
    bare(right)
    right.tick_params(labelcolor=INK)
    return save(figure, path)
