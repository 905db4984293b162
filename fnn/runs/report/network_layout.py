"""How the layers of a network lie in its picture, below or beside one another, and their sizes."""

from __future__ import annotations

import attrs

from fnn.layers.describing import columns, shape_text
from fnn.layers.summaries import Summary, SummaryRow
from fnn.runs.report.network_nodes import Column, Node, nodes_of

_WIDEST = 1100.0
"""How wide boxes beside one another may be together, at most."""

WIDTHS, HEIGHT, GAP, PAD, BUS = (220.0, 350.0), 46.0, 22.0, 14.0, 20.0
"""Of a box, at least and at most; between boxes, within frames, and for the lines that lead to branches
and from them."""
SUM, LINE = 8.0, 45.0
"""The radius of a sum; how wide a line past other layers is."""
LETTER, SMALL_LETTER = 7.7, 6.7
"""As wide as letters are on average in the widest of the usual fonts."""
SIDES = ("residual", "branch", "parallel")
_BLOCKS = {
    "pre_norm": (("norm_1", "attention", "dropout_1"), ("norm_2", "mlp", "dropout_2")),
    "post_norm": (("attention", "dropout_1"), "norm_1", ("mlp", "dropout_2"), "norm_2"),
}
"""The parts of a transformer block as they run; those that are added to what came before together."""
_NEEDED = {"norm_1", "attention", "norm_2", "mlp"}
_KNOWN = _NEEDED | {"dropout_1", "dropout_2"}


def arranged(found: Summary) -> Column:
    """Return the input and the layers of a network with how they are laid out."""
    column = nodes_of(found)
    width = max(_wanted(column))
    return tuple(_laid_out(node, min(max(width, WIDTHS[0]), WIDTHS[1])) for node in column)


def _wanted(column: Column) -> list[float]:
    """Return how wide the boxes in a column had best be."""
    found = [WIDTHS[0]]
    for node in column:
        if node.inside:
            found += _wanted(node.inside)
            letters = columns(node.about) + len(node.weights)
            found.append(letters * SMALL_LETTER + 36 - 2 * PAD)
        elif node.row:
            shape = len(shape_text(node.row.out_shape)) * SMALL_LETTER
            found.append(columns(node.row.kind) * LETTER + shape + 40)
    return found


def _laid_out(node: Node, width: float) -> Node:
    """Return a layer with its layout and those of its parts, for boxes of this width."""
    inside = tuple(_laid_out(each, width) for each in node.inside)
    if not inside:
        return attrs.evolve(node, width=width)
    node, how = attrs.evolve(node, inside=inside), node.wiring or "parts"
    is_whole = all(each.layout != "rest" for each in inside)
    if how in _BLOCKS:
        parts = {each.name: each for each in inside}
        if is_whole and _NEEDED <= parts.keys() <= _KNOWN and len(parts) == len(inside):
            column = tuple(_of_block(group, parts) for group in _BLOCKS[how])
            return attrs.evolve(node, inside=column, layout="chain", width=_widest(column))
        how = "parts"
    if how in SIDES:
        across = _across(node)
        if is_whole and across <= _WIDEST:
            return attrs.evolve(node, layout=how, width=max(across, _widest(inside)))
        how = "parts"
    return attrs.evolve(node, layout=how, width=_widest(inside))


def _of_block(group: str | tuple[str, ...], parts: dict[str, Node]) -> Node:
    """Return a part of a transformer block, or those that are added to what came before."""
    if isinstance(group, str):
        return parts[group]
    inside = tuple(parts[name] for name in group if name in parts)
    shape = next((each.row.out_shape for each in reversed(inside) if each.row), ())
    row = SummaryRow("", 0, "", shape, 0, None, 0, wiring="residual")
    node = Node(row, inside, layout="residual", is_bare=True)
    return attrs.evolve(node, width=_across(node))


def _across(node: Node) -> float:
    return sum(_widest(column) for column in columns_of(node))


def _widest(column: Column) -> float:
    return max((each.width for each in column), default=LINE)


def columns_of(node: Node) -> list[Column]:
    """Return what stands side by side in a layer; an empty column is a line past the others."""
    if node.wiring == "residual":
        body = tuple(each for each in node.inside if each.name != "shortcut")
        return [body, tuple(each for each in node.inside if each.name == "shortcut")]
    merge = merge_of(node)
    return [(each,) for each in node.inside if each is not merge]


def merge_of(node: Node) -> Node | None:
    """Return the layer that gets what the branches of a layer give, if it is one of its parts."""
    if node.wiring != "branch":
        return None
    return next((each for each in node.inside if each.name == "merge"), None)


def size_of(node: Node) -> tuple[float, float]:
    """Return width and height of a layer."""
    if not node.inside:
        return node.width, HEIGHT if node.row else BUS
    if node.layout in SIDES:
        sizes = [column_size(column) for column in columns_of(node)]
        width = sum(wide for wide, _ in sizes) + PAD * (len(sizes) - 1)
        height = max(high for _, high in sizes) + 2 * BUS
        merge = merge_of(node)
        if merge is not None:
            wide, high = size_of(merge)
            width, height = max(width, wide), height + high + GAP
        if node.is_bare:
            return width, height + SUM
    else:
        width, height = column_size(node.inside)
        width += 2 * BUS if node.layout == "shared" else 0
    return width + 2 * PAD, HEIGHT + height + PAD


def column_size(column: Column) -> tuple[float, float]:
    """Return width and height of layers one below the other."""
    if not column:
        return LINE, 0.0
    sizes = [size_of(node) for node in column]
    return max(wide for wide, _ in sizes), sum(high for _, high in sizes) + GAP * (len(sizes) - 1)
