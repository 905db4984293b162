"""Confusion matrices: a row per true class, a column per predicted one."""

from __future__ import annotations

import math
from typing import Any

from fnn.report import svg
from fnn.tree import Array

_CELL = 34.0
_EDGE = 44.0


def confusion(matrix: Array, names: list[str], title: str) -> str:
    """Draw a confusion matrix, shaded by the share of the row so that rare classes can be read.

    Args:
        matrix: Counts, (n, n).
        names: One per class.
        title: What it is, in words.
    """
    n = len(matrix)
    side = n * _CELL
    content = [
        svg.text(_EDGE + side / 2, 12, "predicted", text_anchor="middle", klass="tick"),
        svg.text(
            12, _EDGE + side / 2, "true", text_anchor="middle", klass="tick",
            transform=f"rotate(-90 12 {_EDGE + side / 2:.1f})",
        ),
    ]  # fmt: skip
    for i, name in enumerate(names):
        middle = _EDGE + (i + 0.5) * _CELL
        content.append(svg.text(middle, _EDGE - 8, name, text_anchor="middle", klass="class"))
        content.append(svg.text(_EDGE - 8, middle + 4, name, text_anchor="end", klass="class"))
    for i in range(n):
        total = int(matrix[i].sum()) or 1
        for j in range(n):
            count = int(matrix[i, j])
            content.append(_cell(i, j, count, count / total, names))
    right, total = int(matrix.trace()), int(matrix.sum())
    description = f"{right:,} of {total:,} right; rows are true classes, columns predicted ones"
    width = _EDGE + side + 2
    return svg.drawing(width, width, "".join(content), title=title, description=description)


def _cell(i: int, j: int, count: int, share: float, names: list[str]) -> str:
    x, y = _EDGE + j * _CELL, _EDGE + i * _CELL
    place: dict[str, Any] = {"x": x + 1, "y": y + 1, "width": _CELL - 2, "height": _CELL - 2, "rx": 4.0}
    content = svg.tag("rect", klass="cell", **place)
    if not count:
        return content
    # The root lifts the few mistakes out of the ground.
    depth = math.sqrt(share)
    kind = "right" if i == j else "wrong"
    content += svg.tag("rect", klass=kind, fill_opacity=f"{depth:.3f}", **place)
    kind = "count" + " strong" * (depth > 0.72) + " long" * (count > 999)
    content += svg.text(x + _CELL / 2, y + _CELL / 2 + 4, f"{count}", text_anchor="middle", klass=kind)
    words = f"true {names[i]}, predicted {names[j]}: {count:,}"
    return svg.tag("g", svg.hint(words) + content)
