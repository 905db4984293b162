"""A picture of a network: layers as boxes, compositions as frames around them, branches side by side.

Lines go from top to bottom. A double line carries a tuple of arrays; a dashed frame holds a layer that
is applied several times with the same weights.
"""

from __future__ import annotations

from fnn.kernels.values import is_tuple_of_shapes
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.describing import shape_text
from fnn.layers.summaries import Summary, SummaryRow, summary
from fnn.runs.report import svg
from fnn.runs.report.network_layout import (
    BUS,
    GAP,
    HEIGHT,
    PAD,
    SIDES,
    Column,
    Node,
    column_size,
    columns_of,
    merge_of,
    nodes_of,
    size_of,
)
from fnn.runs.report.parts import clip, number

# As wide as letters are on average in the widest of the usual fonts.
_LETTER, _SMALL_LETTER = 7.7, 6.4
_LONGEST_SHAPE = 20
_FEEDS = {
    "shared": "the same weights each time",
    "branch": "each branch gets all of it",
    "parallel": "each branch gets an array of its own",
    "residual": "added to what comes in",
}


_SVG = "http://www.w3.org/2000/svg"


def network_svg(net: Layer, in_shape: Shape) -> str:
    """Return a picture of a network as SVG: a pure function of the network and of the shape it gets.

    Every layer has a box with its kind, its name, the shape of what it makes of one example, and how
    many parameters it has; beyond 64 layers the others are counted. It has the colours of a report's
    style sheet, and without one those of the text around it.

    Args:
        net: The network. Its layers are asked for their shapes; no weights are drawn.
        in_shape: Shape of one example, or the tuple of the shapes of its arrays.

    Raises:
        OptionError: If `net` is no layer.
        ShapeError: If a layer cannot take what comes.
    """
    # As a file of its own it has to say what it is; inside a page that goes without saying.
    return picture(summary(net, in_shape)).replace("<svg ", f'<svg xmlns="{_SVG}" ', 1)


def picture(found: Summary) -> str:
    """Return the picture of the layers in a summary."""
    start = Node(SummaryRow("one example", 0, "input", found.in_shape, 0, None, 0))
    chain = (start, *nodes_of(found))
    width, height = column_size(chain)
    names = ", ".join(clip(row.path, 60) for row in found.rows[:20])
    weights = number(sum(row.parameters for row in found.rows))
    described = f"{len(found.rows):,} layers with {weights} parameters: {names}"
    content = _column(chain, 1, 1, width, ())
    return svg.drawing(width + 2, height + 2, content, title="The network", description=clip(described))


def _column(column: Column, x: float, y: float, width: float, came: Shape, linked: bool = True) -> str:
    """Draw layers one below the other, in the middle of a width; an arrow leads from each to the next.

    Args:
        column: The layers.
        x, y, width: Where.
        came: Shape of what the first gets; empty if no line is to say.
        linked: Whether they are fed by one another.
    """
    content = ""
    for i, node in enumerate(column):
        wide, high = size_of(node)
        if i and linked:
            content += _line(x + width / 2, y - GAP, y, came, arrow=True)
        content += _node(node, x + (width - wide) / 2, y, came)
        came = node.row.out_shape if node.row else came
        y += high + GAP
    return content


def _node(node: Node, x: float, y: float, came: Shape) -> str:
    width, height = size_of(node)
    if node.row is None:
        words = f"… and {node.more:,} more layers"
        return svg.text(x + width / 2, y + height / 2, words, text_anchor="middle", klass="about")
    row = node.row
    shape = shape_text(row.out_shape)
    weights = f"{number(row.parameters)} parameters" if row.parameters else ""
    note = _FEEDS.get(row.wiring, "") if node.inside else ""
    count = f"{node.more:,} layers inside" if node.more else weights
    right = clip(shape, _LONGEST_SHAPE)
    left = clip(row.kind, int((width - 24) / _LETTER) - len(right))
    about = f"{node.name}: {note}" if note else node.name
    about = clip(about, int((width - 24) / _SMALL_LETTER) - len(count))
    dashed = " dashed" if row.wiring == "shared" else ""
    content = svg.hint(clip(" · ".join(filter(None, (row.path, row.kind, shape, weights)))))
    content += svg.tag(
        "rect", x=float(x), y=float(y), width=width, height=height, rx=7,
        # Where no style sheet says otherwise a rectangle is black.
        fill="none", stroke="currentColor", klass=f"frame{dashed}" if node.inside else "box",
    )  # fmt: skip
    end = x + width - 10
    content += svg.text(x + 10, y + 19, left, klass="kind")
    content += svg.text(end, y + 19, right, text_anchor="end")
    content += svg.text(x + 10, y + 36, about, klass="about") if about else ""
    content += svg.text(end, y + 36, count, text_anchor="end", klass="about") if count else ""
    return svg.tag("g", content) + (_inside(node, x, y, came) if node.inside else "")


def _inside(node: Node, x: float, y: float, came: Shape) -> str:
    """Draw what is inside the frame of a layer that stands at (x, y)."""
    width, height = size_of(node)
    how, top = node.layout, y + HEIGHT
    if how in SIDES:
        return _branches(node, x, top, came)
    content = _column(node.inside, x, top, width, came, linked=how != "parts")
    if how == "shared":
        # From the end back to the start.
        low, right = y + height - PAD / 2, x + width - PAD
        middle, edge = x + width / 2, x + width / 2 + size_of(node.inside[0])[0] / 2
        start = y + height - PAD
        turn = f"M{middle:.1f} {start:.1f}V{low:.1f}H{right:.1f}V{top + 12:.1f}H{edge + 5:.1f}"
        content += _stroke(turn, dashed=True) + _head(edge, top + 12, dx=1)
    return content


def _branches(node: Node, x: float, top: float, came: Shape) -> str:
    """Draw the parts of a layer side by side, with what leads to them and from them."""
    assert node.row is not None
    columns, merge = columns_of(node), merge_of(node)
    sizes = [column_size(column) for column in columns]
    used = sum(wide for wide, _ in sizes) + PAD * (len(sizes) - 1)
    width = size_of(node)[0]
    high = max(high for _, high in sizes)
    bottom = top + high + 2 * BUS
    is_split = node.layout == "parallel"
    content, middles = "", []
    at = x + (width - used) / 2
    for i, (column, (wide, own)) in enumerate(zip(columns, sizes, strict=True)):
        shape = came
        if is_split:
            shape = came[i] if is_tuple_of_shapes(came) and i < len(came) else ()
        middle = at + wide / 2
        content += _line(middle, top, top + BUS, shape, arrow=bool(column))
        content += _column(column, at, top + BUS, wide, shape)
        gives = column[-1].row.out_shape if column and column[-1].row else shape
        content += _line(middle, top + BUS + own, bottom, gives)
        middles.append(middle)
        at += wide + PAD
    wires = (2.0, -2.0) if is_split else (0.0,)
    content += "".join(
        _stroke(f"M{middles[0]:.1f} {edge + off:.1f}H{middles[-1]:.1f}")
        for edge in (top, bottom)
        for off in wires
        if len(middles) > 1
    )
    centre = x + width / 2
    if merge is not None:
        content += _line(centre, bottom, bottom + GAP, ((), ()), arrow=True)
        return content + _column((merge,), x, bottom + GAP, width, ((), ()))
    if node.layout == "residual":
        circle = svg.tag("circle", cx=centre, cy=bottom, r=8, klass="sum")
        content += circle + svg.text(centre, bottom + 4, "+", text_anchor="middle", klass="kind")
    return content


def _line(x: float, start: float, end: float, shape: Shape, *, arrow: bool = False) -> str:
    """Draw a line downwards that carries an array, or a tuple of them, of this shape."""
    reach = end - 5 if arrow else end
    offsets = (-2.0, 2.0) if is_tuple_of_shapes(shape) else (0.0,)
    lines = "".join(_stroke(f"M{x + off:.1f} {start:.1f}V{reach:.1f}") for off in offsets)
    return lines + (_head(x, end, dy=1) if arrow else "")


def _stroke(d: str, *, dashed: bool = False) -> str:
    kind = "edge dashed" if dashed else "edge"
    return svg.tag("path", d=d, fill="none", stroke="currentColor", klass=kind)


def _head(x: float, y: float, *, dx: int = 0, dy: int = 0) -> str:
    """Draw the head of an arrow whose tip is at (x, y): from above (dy), or from the right (dx)."""
    a, b = (x - 4 * dy + 6 * dx, y - 6 * dy - 4 * dx), (x + 4 * dy + 6 * dx, y - 6 * dy + 4 * dx)
    points = "L".join(f"{px:.1f} {py:.1f}" for px, py in ((x, y), a, b))
    return svg.tag("path", d=f"M{points}Z", fill="currentColor", klass="tip")
