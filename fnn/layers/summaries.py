"""What a network is made of: every layer with its shape, parameters and cost, as a table."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import attrs

from fnn import tree
from fnn.errors import OptionError, ShapeError
from fnn.kernels.values import count_numbers, is_tuple_of_shapes
from fnn.keys import Key
from fnn.layers.calls import ChildInit, Shape, checked_shape, init_child, noted_inits
from fnn.layers.chains import asked_once, parts_of
from fnn.layers.combinators import named, serial
from fnn.layers.contract import Layer
from fnn.layers.initializers import shapes_only
from fnn.layers.making import elementwise, make_layer
from fnn.layers.repetition import shared
from fnn.layers.wiring import AROUND, COMPOSED, bare, kept_numbers, wiring
from fnn.layers.wrapping import remat
from fnn.recipe import Recipe

_HEAD = ("layer", "kind", "output", "parameters", "FLOPs", "state", "activation bytes")
_BYTES = 4


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
        activations: How many numbers it gives of one example and a training step keeps for the way
            back; None if that was not recorded. See `summary`.
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
        """Bytes per example in float32 of all that the layers give; None if it was not recorded."""
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
            name = "  " * row.depth + row.path
            kept = None if row.activations is None else _BYTES * row.activations
            numbers = (row.parameters, row.flops, row.state, kept)
            lines.append((name, row.kind, shape_text(row.out_shape), *map(_number, numbers)))
        flops = ("" if self.is_complete else "≥ ") + f"{self.flops:,}"
        ends = (_number(self.parameters), flops, _number(self.state), _number(self.activation_bytes))
        return [*lines, ("total", "", "", *ends)]

    def __repr__(self) -> str:
        lines = self.cells()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = [
            "  ".join(
                cell.rjust(width) if i > 2 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        rule = "─" * len(shown[0])
        return "\n".join(
            [f"input {shape_text(self.in_shape)}", shown[0], rule, *shown[1:-1], rule, shown[-1]]
        )


def summary(net: Layer, in_shape: Shape, *, most: int | None = None) -> Summary:
    """Return what every layer of `net` makes of an example, how many numbers it has and what it costs.

    FLOPs are those of one example in evaluation. A multiplication with its addition counts as 2 (a
    bias is where adding begins and costs nothing), padding as if it were data, each value that a
    pooling window looks at as 1, any function of a single number as 1, batch normalisation as 2 per
    value, softmax as 5 (largest, difference, exp, sum, quotient), and what only changes the shape
    as 0. Layers of one's own with `elementwise` count 1 per value; what `make_layer` makes counts what
    its `flops` says, and is shown as "–" without, and the total is then a lower bound.

    Activation bytes are those of what every layer gives of one example, in float32: about what a
    training step keeps for the way back, times the batch size. Parameters, gradients and the
    optimizer's memory come on top, and what a layer keeps besides its output (masks, the windows of a
    convolution, the weights of attention); what shares its memory with its input, such as `Flatten`,
    counts all the same. A layer applied n times counts n times, and what `remat` is around not at all.

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
    shown = whole.below if is_chain else calls
    below = "" if shown is calls else None
    with asked_once(whole):
        # Around the whole network `remat` spares nothing: all of it is there again on the way back.
        rows = [r for each in shown for r in _rows(each, each.layer, each.name, below, 0, most, True)]
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
    if most is not None and (largest := _largest(call, layer)) > most:
        raise ShapeError(f"{path}: expected at most {most} numbers per example, got {largest}")
    flops = layer.flops and layer.flops(call.in_shape, call.out_shape, call.params)
    kept = kept_numbers(call, layer) if keeps else 0
    # Nothing of what a layer that runs again on the way back is made of.
    keeps = keeps and remat not in bare(layer).around
    kept -= sum(kept_numbers(*part) for part in inner) if keeps else 0
    shape, how = tuple(call.out_shape), wiring(call, layer)
    yield SummaryRow(path, depth, _kind(layer), shape, own, flops, carried, kept, how)
    prefix = f"{path}/" if below is None else below
    for child, part in inner:
        place = f"{prefix}{child.name}"
        yield from _rows(child, part, place, None, depth + 1, most, keeps)


def _kind(layer: Layer) -> str:
    recipe = layer.made_by()
    while recipe.call is named:
        recipe = recipe.args[1].made_by()
    if recipe.call in COMPOSED:  # What they are made of has rows of its own.
        given = [value for value in recipe.args if not isinstance(value, Layer)]
        more = {name: value for name, value in recipe.kwargs.items() if not isinstance(value, Layer)}
        return repr(Recipe(recipe.call, tuple(given), more)).removesuffix("()")
    if recipe.call in (elementwise, make_layer, Layer):
        # Made of functions, whose names say less than the one that the layer was given.
        return layer.name
    options = {name: value for name, value in recipe.kwargs.items() if not name.startswith("init_")}
    args = recipe.args
    if recipe.call in AROUND:
        args = (_Text(_kind(args[0])), *args[1:])
    return repr(Recipe(recipe.call, args, options))


class _Text(str):
    """Text that stands for itself where a value is printed."""

    __slots__ = ()
    __repr__ = str.__str__


_PLACE = 64
"""Numbers that would take the memory of where the values of one place of all windows lie."""


def _largest(call: ChildInit, layer: Layer) -> int:
    """Return a bound on how many numbers a layer makes of an example, whatever its options are.

    Options that are sizes of windows or padding tell it by their types: an image is padded by no more
    than the product of the sizes and twice the padding, and every place in a window has an index.
    """
    made, numbers = bare(layer).recipe, count_numbers(call.out_shape)
    names = inspect.signature(made.call).parameters
    sizes, window, pads = [], 1, [0]
    for name, value in inspect.signature(made.call).bind(*made.args, **made.kwargs).arguments.items():
        kind = str(names[name].annotation)
        if "Sizes" in kind:
            sizes.append(max(_integers(value), default=1))
            window = sizes[-1] if names[name].default is inspect.Parameter.empty else window
        elif "Padding" in kind:
            pads.append(max(_integers(value), default=0))
    if not sizes or is_tuple_of_shapes(call.in_shape):
        return numbers
    more = math.prod(sizes) + 2 * max(pads)
    n_channels, *space = call.in_shape
    padded = n_channels * math.prod(n + more for n in space)
    return max(numbers, padded, _PLACE * window ** len(space))


def _integers(value: Any) -> Iterator[int]:
    if isinstance(value, tuple):
        for each in value:
            yield from _integers(each)
    elif isinstance(value, int):
        yield value


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def shape_text(shape: Shape) -> str:
    """Return a shape as it is read: "3×28×28", of a tuple "16, 16"."""
    if is_tuple_of_shapes(shape):
        return ", ".join(map(shape_text, shape))
    return "×".join(map(str, shape)) or "()"
