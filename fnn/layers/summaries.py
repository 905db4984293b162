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
from fnn.layers.branching import branch, parallel
from fnn.layers.calls import ChildInit, Shape, checked_shape, init_child, noted_inits
from fnn.layers.chains import asked_once, parts_of
from fnn.layers.combinators import frozen, named, residual, serial
from fnn.layers.contract import Layer
from fnn.layers.initializers import shapes_only
from fnn.layers.making import elementwise, make_layer
from fnn.layers.reparametrization import spectral_norm, weight_norm
from fnn.layers.repetition import repeat, shared
from fnn.layers.wrapping import remat, vmap
from fnn.recipe import Recipe

_HEAD = ("layer", "kind", "output", "parameters", "FLOPs", "state")


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
    """

    path: str
    depth: int
    kind: str
    out_shape: Shape
    parameters: int
    flops: int | None
    state: int


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
    def is_complete(self) -> bool:
        """Whether the cost of every layer is known."""
        return all(row.flops is not None for row in self.rows)

    def cells(self) -> list[tuple[str, ...]]:
        """Return the table as text: the head, a line per layer, the total."""
        lines: list[tuple[str, ...]] = [_HEAD]
        for row in self.rows:
            name = "  " * row.depth + row.path
            flops = "–" if row.flops is None else f"{row.flops:,}"
            lines.append(
                (name, row.kind, _shape(row.out_shape), f"{row.parameters:,}", flops, f"{row.state:,}")
            )
        flops = ("" if self.is_complete else "≥ ") + f"{self.flops:,}"
        total = ("total", "", "", f"{self.parameters:,}", flops, f"{self.state:,}")
        return [*lines, total]

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
            [f"input {_shape(self.in_shape)}", shown[0], rule, *shown[1:-1], rule, shown[-1]]
        )


def summary(net: Layer, in_shape: Shape, *, most: int | None = None) -> Summary:
    """Return what every layer of `net` makes of an example, how many numbers it has and what it costs.

    FLOPs are those of one example in evaluation. A multiplication with its addition counts as 2 (a
    bias is where adding begins and costs nothing), padding as if it were data, each value that a
    pooling window looks at as 1, any function of a single number as 1, batch normalisation as 2 per
    value, softmax as 5 (largest, difference, exp, sum, quotient), and what only changes the shape
    as 0. Layers of one's own with `elementwise` count 1 per value; what `make_layer` makes counts what
    its `flops` says, and is shown as "–" without, and the total is then a lower bound.

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
    call = _call(net).call
    is_chain = net.members == "chain" and call is not shared and (net.children or call is serial)
    shown = whole.below if is_chain else calls
    below = "" if shown is calls else None
    with asked_once(whole):
        rows = [row for call in shown for row in _rows(call, call.layer, call.name, below, 0, most)]
    return Summary(shape, tuple(rows))


def _rows(
    call: ChildInit, layer: Layer, path: str, below: str | None, depth: int, most: int | None
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
    yield SummaryRow(path, depth, _kind(layer), tuple(call.out_shape), own, flops, carried)
    prefix = f"{path}/" if below is None else below
    for child, part in inner:
        place = f"{prefix}{child.name}"
        yield from _rows(child, part, place, None, depth + 1, most)


def _call(layer: Layer) -> Recipe:
    """Return the call that made a layer, without the names and the wrappers around it."""
    recipe = layer.made_by()
    while recipe.call in (named, *_AROUND):
        recipe = recipe.args[recipe.call is named].made_by()
    return recipe


def _kind(layer: Layer) -> str:
    recipe = layer.made_by()
    while recipe.call is named:
        recipe = recipe.args[1].made_by()
    if recipe.call in _COMPOSED:  # What they are made of has rows of its own.
        given = [value for value in recipe.args if not isinstance(value, Layer)]
        more = {name: value for name, value in recipe.kwargs.items() if not isinstance(value, Layer)}
        return repr(Recipe(recipe.call, tuple(given), more)).removesuffix("()")
    if recipe.call in (elementwise, make_layer, Layer):
        # Made of functions, whose names say less than the one that the layer was given.
        return layer.name
    options = {name: value for name, value in recipe.kwargs.items() if not name.startswith("init_")}
    args = recipe.args
    if recipe.call in _AROUND:
        args = (_Text(_kind(args[0])), *args[1:])
    return repr(Recipe(recipe.call, args, options))


_AROUND = (frozen, remat, vmap, weight_norm, spectral_norm)
_COMPOSED = (serial, residual, branch, parallel, repeat, shared)


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
    made, numbers = _call(layer), count_numbers(call.out_shape)
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


def _shape(shape: Shape) -> str:
    if is_tuple_of_shapes(shape):
        return ", ".join(map(_shape, shape))
    return "×".join(map(str, shape)) or "()"
