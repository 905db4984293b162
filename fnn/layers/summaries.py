"""What a network is made of: every layer with its shape, parameters and cost, as a table."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from fnn import tree
from fnn.errors import OptionError, ShapeError
from fnn.files import markup, shown
from fnn.keys import Key
from fnn.layers.calls import ChildInit, Shape, checked_shape, init_child, noted_inits
from fnn.layers.chains import asked_once, parts_of
from fnn.layers.combinators import serial
from fnn.layers.contract import Layer
from fnn.layers.describing import columns, kind_of, largest_made, shape_text
from fnn.layers.initializers import shapes_only
from fnn.layers.repetition import shared
from fnn.layers.wiring import bare, kept_numbers, wiring
from fnn.layers.wrapping import remat

_HEAD = ("layer", "kind", "output", "parameters", "FLOPs", "state", "activation bytes")
_BYTES = 4
_LONGEST_PATH, _DEEPEST = 60, 12
"""Of a path in a table its end is shown, and so many compositions are told by indentation."""


@attrs.frozen
class SummaryRow:
    """One layer of a network; a composition's row counts only what it adds to its children.

    Attributes:
        path: Where the layer's entries stand in params and state.
        depth: How many compositions with a row of their own it is inside.
        kind: Its constructor and options, initializers left out.
        out_shape: Shape of what one example becomes.
        parameters: How many numbers it has in params; those of `frozen` layers stand still.
        flops: Operations per example in evaluation; None if the layer does not say.
        state: How many numbers are carried.
        activations: How many numbers of one example a training step keeps of it for the way back; None
            if that was not recorded. See `summary`.
        wiring: How its parts are fed, one of `fnn.layers.wiring.WIRINGS`; empty without parts.
    """

    path: str
    depth: int
    kind: str
    out_shape: Shape
    parameters: int
    flops: int | None
    state: int
    activations: int | None = None
    wiring: str = ""


@attrs.frozen(repr=False)
class Summary:
    """The layers of a network in order; prints as an aligned table.

    Attributes:
        in_shape: Shape of one example.
        rows: One per layer.
    """

    in_shape: Shape
    rows: tuple[SummaryRow, ...]

    @property
    def parameters(self) -> int:
        """How many numbers there are in params in all."""
        return sum(row.parameters for row in self.rows)

    @property
    def state(self) -> int:
        """How many numbers are carried in all."""
        return sum(row.state for row in self.rows)

    @property
    def flops(self) -> int:
        """Operations per example of the layers whose cost is known."""
        return sum(row.flops or 0 for row in self.rows)

    @property
    def activation_bytes(self) -> int | None:
        """Bytes per example, in float32, that a training step keeps; None if it was not recorded."""
        found = [row.activations for row in self.rows]
        return None if None in found else _BYTES * sum(each or 0 for each in found)

    @property
    def is_complete(self) -> bool:
        """Whether the cost of every layer is known."""
        return all(row.flops is not None for row in self.rows)

    def cells(self) -> list[tuple[str, ...]]:
        """Return the table as text: the head, a line per layer, the total."""
        lines: list[tuple[str, ...]] = [_HEAD]
        for row in self.rows:
            path = shown(row.path)
            path = path if len(path) <= _LONGEST_PATH else "…" + path[1 - _LONGEST_PATH :]
            name = "  " * min(row.depth, _DEEPEST) + path
            kept = None if row.activations is None else _BYTES * row.activations
            numbers = (row.parameters, row.flops, row.state, kept)
            lines.append((name, shown(row.kind), shape_text(row.out_shape), *map(_number, numbers)))
        flops = ("" if self.is_complete else "≥ ") + f"{self.flops:,}"
        ends = (_number(self.parameters), flops, _number(self.state), _number(self.activation_bytes))
        return [*lines, ("total", "", "", *ends)]

    def _repr_html_(self) -> str:
        """Return the table, for notebooks."""
        head, *rows = self.cells()
        title = f"<div>input {markup.escaped(shape_text(self.in_shape))}</div>"
        return title + markup.table(head, rows, texts=3)

    def __repr__(self) -> str:
        lines = self.cells()
        widths = [max(map(columns, column)) for column in zip(*lines, strict=True)]

        def aligned(i: int, cell: str) -> str:
            blanks = " " * (widths[i] - columns(cell))
            return blanks + cell if i > 2 else cell + blanks

        head, *body, total = ["  ".join(map(aligned, range(len(line)), line)) for line in lines]
        rule = "─" * len(head)
        return "\n".join([f"input {shape_text(self.in_shape)}", head, rule, *body, rule, total])


def summary(net: Layer, in_shape: Shape, *, most: int | None = None) -> Summary:
    """Return what every layer of `net` makes of an example, how many numbers it has and what it costs.

    FLOPs are those of one example in evaluation. A multiplication with its addition counts as 2 (a
    bias is where adding begins and costs nothing), padding as if it were data, each value that a
    pooling window looks at as 1, any function of a single number as 1, batch normalisation as 2 per
    value, softmax as 5 (largest, difference, exp, sum, quotient), and what only changes the shape
    as 0. Layers of one's own with `elementwise` count 1 per value; what `make_layer` makes counts what
    its `flops` says, and is shown as "–" without, and the total is then a lower bound.

    Activation bytes are what a training step keeps of one example for the way back, in float32: what
    comes out of a layer, and what it keeps besides (masks, what was standardised, the gates of a
    recurrence, the weights of attention); nothing of what only sees its input in another way, such as
    `Flatten`. Times the batch size that is mostly within a tenth of what is measured. The examples,
    parameters, gradients, the optimizer's memory and what is there for a moment come on top. A layer
    applied n times counts n times; of what `remat` is around what comes out counts alone, and the rest
    is there while the way back passes it. A layer of one's own keeps what its `keeps` says, or what
    comes out.

    Args:
        net: The network. Its layers are asked for their shapes; no weights are drawn.
        in_shape: Shape of one example, or the tuple of the shapes of its arrays.
        most: The most numbers that an example may become, or be padded to; a guard for recipes of
            strangers.

    Raises:
        OptionError: If `net` is no layer.
        ShapeError: If a layer cannot take what comes, or makes more numbers than `most`.
    """
    if not isinstance(net, Layer):
        raise OptionError(f"summary: expected a Layer, got {net!r:.80}")
    shape = tuple(in_shape)
    with shapes_only(), noted_inits() as calls:
        init_child(net.name, net, Key.of(0), checked_shape(shape))
    [whole] = calls
    # A chain of layers that is the whole network has no row of its own.
    call = bare(net).recipe.call
    is_chain = net.members == "chain" and call is not shared and (net.children or call is serial)
    # With `remat` around it, its own row says what is kept.
    is_chain = is_chain and remat not in bare(net).around
    outer = whole.below if is_chain else calls
    below = None if is_chain else ""
    with asked_once(whole):
        rows = [r for each in outer for r in _rows(each, each.layer, each.name, below, 0, most, True)]
    return Summary(shape, tuple(rows))


def _rows(
    call: ChildInit,
    layer: Layer,
    path: str,
    below: str | None,
    depth: int,
    most: int | None,
    keeps: bool,
) -> Iterator[SummaryRow]:
    """Yield the row of a layer, and those of the layers that it is made of, at `below` or its path."""
    inner = parts_of(call, layer)
    own, carried = (
        tree.size(getattr(call, name)) - sum(tree.size(getattr(child, name)) for child, _ in inner)
        for name in ("params", "state")
    )
    if most is not None and (largest := largest_made(call, layer)) > most:
        raise ShapeError(f"{path}: expected at most {most} numbers per example, got {largest}")
    flops = layer.flops and layer.flops(call.in_shape, call.out_shape, call.params)
    kept = kept_numbers(call, layer) if keeps else 0
    # Nothing of what a layer that runs again on the way back is made of.
    keeps = keeps and remat not in bare(layer).around
    kept -= sum(kept_numbers(*part) for part in inner) if keeps else 0
    shape, how = tuple(call.out_shape), wiring(call, layer)
    # Over an axis of size 0 the parts have numbers, and the whole none.
    kept = max(kept, 0)
    yield SummaryRow(path, depth, kind_of(layer), shape, own, flops, carried, kept, how)
    prefix = f"{path}/" if below is None else below
    for child, part in inner:
        place = f"{prefix}{child.name}"
        yield from _rows(child, part, place, None, depth + 1, most, keeps)


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
