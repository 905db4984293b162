"""Where the layers of a network stand in its picture: nested as they are composed, and how large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from fnn.layers.summaries import Summary, SummaryRow

MOST_LAYERS = 64
"""How many layers are drawn; the others are counted."""
_MOST_SIDE_BY_SIDE, _DEEPEST = 4.0, 6
"""How many boxes stand beside one another, and how many frames are around one, at most."""

WIDTH, HEIGHT, GAP, PAD, BUS = 270.0, 46.0, 22.0, 14.0, 20.0
"""Of a box; between boxes, within frames, and for the lines that lead to branches and from them."""
_LINE = WIDTH / 6
SIDES = ("residual", "branch", "parallel")


@attrs.frozen
class Node:
    """A layer as it is drawn.

    Attributes:
        row: What the summary says of it; None for what only counts layers that are not drawn.
        inside: What it is made of.
        more: How many layers there are that are not drawn.
        layout: How its parts are drawn: as they are wired, "parts" where that is not known or would be
            too wide; empty without parts.
        breadth: How many boxes stand beside one another in it.
    """

    row: SummaryRow | None
    inside: tuple[Node, ...] = ()
    more: int = 0
    layout: str = ""
    breadth: float = 1.0

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.row.path.rpartition("/")[2] if self.row else ""


Column: TypeAlias = tuple[Node, ...]


def nodes_of(found: Summary) -> Column:
    """Return the first layers of a network, nested as they are composed, and how many are left out."""
    rows = found.rows[:MOST_LAYERS]
    left = len(found.rows) - len(rows)
    return (*_nested(rows, 0), *([Node(None, more=left)] if left else []))


def _nested(rows: Sequence[SummaryRow], depth: int) -> list[Node]:
    found: list[Node] = []
    at = 0
    while at < len(rows):
        end = at + 1
        while end < len(rows) and rows[end].depth > rows[at].depth:
            end += 1
        below = rows[at + 1 : end]
        if depth < _DEEPEST:
            found.append(_laid_out(Node(rows[at], tuple(_nested(below, depth + 1)))))
        else:
            found.append(Node(rows[at], (), len(below)))
        at = end
    return found


def _laid_out(node: Node) -> Node:
    """Return a layer whose parts are laid out already with its own layout."""
    if node.row is None or not node.inside:
        return node
    how, widest = node.row.wiring or "parts", max(each.breadth for each in node.inside)
    if how in SIDES:
        columns = columns_of(node)
        abreast = sum(
            max([each.breadth for each in column], default=_LINE / WIDTH) for column in columns
        )
        if abreast <= _MOST_SIDE_BY_SIDE:
            return attrs.evolve(node, layout=how, breadth=max(abreast, widest))
        how = "parts"
    return attrs.evolve(node, layout=how, breadth=widest)


def columns_of(node: Node) -> list[Column]:
    """Return what stands side by side in a layer; an empty column is a line past the others."""
    if node.row and node.row.wiring == "residual":
        body = tuple(each for each in node.inside if each.name != "shortcut")
        return [body, tuple(each for each in node.inside if each.name == "shortcut")]
    merge = merge_of(node)
    return [(each,) for each in node.inside if each is not merge]


def merge_of(node: Node) -> Node | None:
    """Return the layer that gets what the branches of a layer give, if it is one of its parts."""
    if not (node.row and node.row.wiring == "branch"):
        return None
    return next((each for each in node.inside if each.name == "merge"), None)


def size_of(node: Node) -> tuple[float, float]:
    """Return width and height of a layer."""
    if not node.inside:
        return WIDTH, HEIGHT
    if node.layout in SIDES:
        sizes = [column_size(column) for column in columns_of(node)]
        width = sum(wide for wide, _ in sizes) + PAD * (len(sizes) - 1)
        height = max(high for _, high in sizes) + 2 * BUS
        merge = merge_of(node)
        if merge is not None:
            wide, high = size_of(merge)
            width, height = max(width, wide), height + high + GAP
    else:
        width, height = column_size(node.inside)
        width += 2 * BUS if node.layout == "shared" else 0
    return width + 2 * PAD, HEIGHT + height + PAD


def column_size(column: Column) -> tuple[float, float]:
    """Return width and height of layers one below the other."""
    if not column:
        return _LINE, 0.0
    sizes = [size_of(node) for node in column]
    return max(wide for wide, _ in sizes), sum(high for _, high in sizes) + GAP * (len(sizes) - 1)
