"""What a picture of a network shows: layers nested as they are composed, what repeats once and counted.

So a deep network of equal blocks stays a small picture, and no network makes one of any size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs

from fnn.layers.summaries import Summary, SummaryRow
from fnn.runs.report.parts import number

MOST_LAYERS = 64
"""How many layers are drawn; the others are counted."""
_DEEPEST, _MOST_ABREAST = 6, 5
"""How many frames are around a layer, and how many equal parts stand beside one another, at most."""
_LEAST_TIMES, _LONGEST_PATTERN = 3, 8
"""How often layers repeat before they are drawn once, and how many repeat together, at most."""
_FEEDS = {
    "shared": "the same weights each time",
    "tied": "its weights also score",
    "branch": "each branch gets all of it",
    "parallel": "each branch gets an array of its own",
    "residual": "added to what comes in",
}


@attrs.frozen
class Node:
    """A layer as it is drawn.

    Attributes:
        row: What the summary says of it; None for what only counts layers that are not drawn.
        inside: What it is made of.
        more: How many layers there are that are not drawn.
        words: What counts them says.
        beside: How many layers beside one another it stands for.
        layout: How its parts are drawn: as they are wired, "parts" where that is not known or would be
            too wide; empty without parts. "rest" if it counts what there was no room for.
        width: Of its own box, or of the boxes that stand beside one another in it.
        is_bare: Whether it is no layer with a frame, but only a sum of some and what came before.
    """

    row: SummaryRow | None
    inside: Column = ()
    more: int = 0
    words: str = ""
    beside: int = 1
    layout: str = ""
    width: float = 0.0
    is_bare: bool = False

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.row.path.rpartition("/")[2] if self.row else ""

    @property
    def about(self) -> str:
        """Its name, and how its parts are fed."""
        note = _FEEDS.get(self.wiring, "") if self.inside else ""
        return f"{self.name}: {note}" if note else self.name

    @property
    def weights(self) -> str:
        """How many parameters it has, in words; empty if it has none."""
        n = self.row.parameters if self.row else 0
        return f"{number(n)} parameter{'s' * (n > 1)}" if n else ""

    @property
    def wiring(self) -> str:
        """How its parts are fed."""
        return self.row.wiring if self.row else ""


Column: TypeAlias = tuple[Node, ...]


def nodes_of(found: Summary) -> Column:
    """Return the input and the layers of a network, nested as they are composed."""
    start = Node(SummaryRow("one example", 0, "input", found.in_shape, 0, None, 0))
    return (start, *_first(_folded(_nested(found.rows, 0)), [MOST_LAYERS]))


def _nested(rows: Sequence[SummaryRow], depth: int) -> Column:
    found: list[Node] = []
    at = 0
    while at < len(rows):
        end = at + 1
        while end < len(rows) and rows[end].depth > rows[at].depth:
            end += 1
        below, row = rows[at + 1 : end], rows[at]
        if depth < _DEEPEST:
            inside = _nested(below, depth + 1)
            is_side_by_side = row.wiring in ("branch", "parallel") and len(inside) <= _MOST_ABREAST
            found.append(Node(row, inside if is_side_by_side else _folded(inside)))
        else:
            found.append(Node(row, more=len(below)))
        at = end
    return tuple(found)


def _folded(column: Column) -> Column:
    """Return a column in which layers that repeat stand once, followed by how often they do."""
    marks = list(map(_mark, column))
    found: list[Node] = []
    at = 0
    while at < len(column):
        for size in range(1, _LONGEST_PATTERN + 1):
            pattern, times = marks[at : at + size], 1
            while marks[at + times * size : at + (times + 1) * size] == pattern:
                times += 1
            if times >= _LEAST_TIMES:
                more = sum(map(_count, column[at + size : at + times * size]))
                again = f"… {times - 1:,} more like it"
                if size > 1:
                    again = f"… these {size} layers {times - 1:,} more times"
                rest = Node(None, more=more, words=again, beside=(times - 1) * size)
                found += [*column[at : at + size], rest]
                at += times * size
                break
        else:
            found.append(column[at])
            at += 1
    return tuple(found)


def _mark(node: Node) -> Any:
    """Return what is equal for layers that look alike: all but how they are counted."""
    row = node.row
    if row is None:
        return node.words
    seen = row.kind, row.out_shape, row.parameters, row.wiring, re.sub(r"\d+$", "", node.name)
    return (*seen, node.more, tuple(map(_mark, node.inside)))


def _count(node: Node) -> int:
    """Return how many layers a node is and has inside."""
    return (node.row is not None) + node.more + sum(map(_count, node.inside))


def _first(column: Column, left: list[int]) -> Column:
    """Return as many layers as are `left` to be drawn, and how many those beyond are."""
    found: list[Node] = []
    for i, node in enumerate(column):
        if node.row is not None:
            if not left[0]:
                more = sum(map(_count, column[i:]))
                words = f"… and {more:,} more layer{'s' * (more > 1)}"
                return (*found, Node(None, more=more, words=words, layout="rest"))
            left[0] -= 1
        found.append(attrs.evolve(node, inside=_first(node.inside, left)))
    return tuple(found)
