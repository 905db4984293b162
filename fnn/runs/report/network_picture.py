"""A picture of a network: layers as boxes, compositions as frames around them, branches side by side.

Lines go from top to bottom. A double line carries a tuple of arrays; a dashed frame holds a layer that
is applied several times with the same weights.
"""

from __future__ import annotations

from fnn.files import shown
from fnn.kernels.values import is_tuple_of_shapes
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.describing import columns, shape_text
from fnn.layers.summaries import Summary, summary
from fnn.runs.report import svg
from fnn.runs.report.network_layout import (
    BUS,
    GAP,
    HEIGHT,
    LETTER,
    PAD,
    SIDES,
    SMALL_LETTER,
    SUM,
    arranged,
    column_size,
    columns_of,
    merge_of,
    size_of,
)
from fnn.runs.report.network_nodes import Column, Node
from fnn.runs.report.parts import clip, number

_SVG = "http://www.w3.org/2000/svg"
_MARGIN = 16.0
_LONGEST_SHAPE = 20
_DASHED = ("shared", "tied")


def network_svg(net: Layer, in_shape: Shape) -> str:
    """Return a picture of a network as SVG: a pure function of the network and of the shape it gets.

        pathlib.Path("network.svg").write_text(network_svg(net, (1, 28, 28)), "utf-8")

    Every layer has a box with its kind, its name, the shape of what it makes of one example, and how
    many parameters it has; boxes with parameters are tinted. Layers that repeat are drawn once and
    counted, and so are those beyond the first 64. The file needs no other and follows the reader's
    choice of light or dark.

    Args:
        net: The network. Its layers are asked for their shapes; no weights are drawn.
        in_shape: Shape of one example, or the tuple of the shapes of its arrays.

    Raises:
        OptionError: If `net` is no layer.
        ShapeError: If a layer cannot take what comes.
    """
    return _drawn(summary(net, in_shape), _MARGIN, svg.style_sheet("network.css"))


def picture(found: Summary) -> str:
    """Return the picture of the layers in a summary, for a page that has the style sheet."""
    return _drawn(found, 1.0)


def _drawn(found: Summary, margin: float, style: str = "") -> str:
    column = arranged(found)
    width, height = column_size(column)
    wide, high = width + 2 * margin, height + 2 * margin
    names = ", ".join(_fit(row.path, 60) for row in found.rows[:20])
    weights = number(sum(row.parameters for row in found.rows))
    described = f"{len(found.rows):,} layers with {weights} parameters: {names}"
    content = _column(column, margin, margin, width, ())
    if style:
        ground = svg.tag("rect", width=wide, height=high, rx=10, fill="none", klass="ground")
        content = svg.tag("style", style) + ground + content
    return svg.drawing(
        wide, high, content, title="The network", description=clip(described),
        klass="network", xmlns=_SVG if style else None,
    )  # fmt: skip


def _fit(text: str, most: int) -> str:
    """Return text that is as wide as so many letters at most, once it is shown."""
    text = shown(text)
    if columns(text) <= most:
        return text
    while columns(text) >= max(most, 1):
        text = text[: min(len(text) - 1, most)]
    return f"{text}…"


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
            content += _line(x + width / 2, y - GAP, y, came, arrow=not node.is_bare)
        content += _node(node, x + (width - wide) / 2, y, came)
        came = node.row.out_shape if node.row else came
        y += high + GAP
    return content


def _node(node: Node, x: float, y: float, came: Shape) -> str:
    width, height = size_of(node)
    if node.row is None:
        return svg.text(x + width / 2, y + 14, node.words, text_anchor="middle", klass="about")
    if node.is_bare:
        return _branches(node, x, y, came)
    row = node.row
    shape = shape_text(row.out_shape)
    weights = node.weights
    count = f"{node.more:,} layers inside" if node.more else weights
    right = clip(shape, _LONGEST_SHAPE)
    left = _fit(row.kind, int((width - 26 - SMALL_LETTER * len(right)) / LETTER))
    about = _fit(node.about, int((width - 36) / SMALL_LETTER) - len(count))
    dashed = " dashed" if row.wiring in _DASHED else ""
    kind = f"frame{dashed}" if node.inside else f"box{' weights' if row.parameters else ''}"
    content = svg.hint(clip(" · ".join(filter(None, (row.path, row.kind, shape, weights)))))
    content += svg.tag(
        "rect", x=float(x), y=float(y), width=width, height=height, rx=7,
        # Where no style sheet says otherwise a rectangle is black.
        fill="none", stroke="currentColor", klass=kind,
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
    ways, merge = columns_of(node), merge_of(node)
    sizes = [column_size(column) for column in ways]
    used = sum(wide for wide, _ in sizes) + PAD * (len(sizes) - 1)
    width = size_of(node)[0]
    high = max(high for _, high in sizes)
    bottom = top + high + 2 * BUS
    is_split = node.layout == "parallel"
    content, middles, i = "", [], 0
    at = x + (width - used) / 2
    for column, (wide, own) in zip(ways, sizes, strict=True):
        shape = came
        if is_split:
            shape = came[i] if is_tuple_of_shapes(came) and i < len(came) else ()
            i += sum(each.beside for each in column)
        elif node.is_bare and is_tuple_of_shapes(came):
            # The mask of a transformer block goes to attention alone.
            shape = came if column and column[0].name == "attention" else came[0]
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
        circle = svg.tag(
            "circle", cx=centre, cy=bottom, r=SUM, fill="none", stroke="currentColor", klass="sum"
        )
        content += circle + svg.text(centre, bottom + 4, "+", text_anchor="middle", klass="kind")
    start = bottom + (SUM if node.layout == "residual" else 0)
    # What leaves the frame goes on below it.
    return content if node.is_bare else content + _line(centre, start, bottom + PAD, node.row.out_shape)


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
