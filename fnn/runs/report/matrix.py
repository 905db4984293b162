"""Confusion matrices: a row per true class, a column per predicted one."""

from __future__ import annotations

import base64
import math
from typing import Any

from fnn.runs.report import svg
from fnn.runs.report.images import shares
from fnn.tree import Array

_CELL = 34.0
_SIDE = 420.0
_CHARACTER = 7.6


def confusion(matrix: Array, names: list[str], title: str) -> str:
    """Draw a confusion matrix, shaded by the share of the row so that rare classes can be read.

    Args:
        matrix: Counts, (n, n).
        names: One per class.
        title: What it is, in words.
    """
    n = len(matrix)
    side, edge = n * _CELL, _edge(names)
    content = [_axes(side, edge)]
    content += [_names(i, name, _CELL, edge) for i, name in enumerate(names)]
    for i in range(n):
        total = int(matrix[i].sum()) or 1
        for j in range(n):
            count = int(matrix[i, j])
            content.append(_cell(i, j, count, count / total, names, edge))
    return _drawn(matrix, side + edge + 2, content, title)


def large_confusion(matrix: Array, names: list[str], title: str) -> str:
    """Draw a confusion matrix of many classes, a pixel per pair, with every k-th name."""
    n = len(matrix)
    edge = _edge(names)
    cell = _SIDE / n
    every = -(-n // 12)
    content = [_axes(_SIDE, edge)]
    content += [_names(i, names[i], cell, edge) for i in range(0, n, every)]
    data = base64.b64encode(shares(matrix)).decode()
    place: dict[str, Any] = {"x": edge, "y": edge, "width": _SIDE, "height": _SIDE}
    content.append(svg.tag("rect", klass="cell", **place))
    link = f"data:image/png;base64,{data}"
    content.append(svg.tag("image", href=link, preserveAspectRatio="none", klass="pixels", **place))
    return _drawn(matrix, _SIDE + edge + 2, content, title)


def _edge(names: list[str]) -> float:
    """Return how much room the longest name takes before the matrix."""
    return 28 + _CHARACTER * max(2, *map(len, names))


def _axes(side: float, edge: float) -> str:
    predicted = svg.text(edge + side / 2, 12, "predicted", text_anchor="middle", klass="tick")
    turned = f"rotate(-90 12 {edge + side / 2:.1f})"
    true = svg.text(12, edge + side / 2, "true", text_anchor="middle", klass="tick", transform=turned)
    return predicted + true


def _names(i: int, name: str, cell: float, edge: float) -> str:
    """Write a class before its row and above its column, upright if it is long."""
    middle = edge + (i + 0.5) * cell
    row = svg.text(edge - 8, middle + 4, name, text_anchor="end", klass="class")
    if len(name) <= 2:
        return row + svg.text(middle, edge - 8, name, text_anchor="middle", klass="class")
    turned = f"rotate(-90 {middle + 4:.1f} {edge - 8:.1f})"
    return row + svg.text(middle + 4, edge - 8, name, klass="class", transform=turned)


def _drawn(matrix: Array, width: float, content: list[str], title: str) -> str:
    right, total = int(matrix.trace()), int(matrix.sum())
    description = f"{right:,} of {total:,} right; rows are true classes, columns predicted ones"
    return svg.drawing(width, width, "".join(content), title=title, description=description)


def _cell(i: int, j: int, count: int, share: float, names: list[str], edge: float) -> str:
    x, y = edge + j * _CELL, edge + i * _CELL
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
