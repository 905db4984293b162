"""What a network is made of: every layer with its shape, parameters and cost, as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from fnn import tree
from fnn.errors import OptionError, ShapeError
from fnn.kernels.parts import is_tuple_of_shapes
from fnn.keys import Key
from fnn.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Identity,
    LeakyRelu,
    LogSoftmax,
    MaxPool,
    Relu,
    Reshape,
    Sigmoid,
    Softmax,
    Tanh,
    elementwise,
    make_layer,
)
from fnn.layers.combinators import frozen, named, residual, serial
from fnn.layers.contract import Layer, Shape
from fnn.layers.convolution import lay
from fnn.layers.initializers import shapes_only
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
        flops: Operations per example in evaluation; None if its kind is not known here.
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
    as 0. Layers of one's own with `elementwise` count 1 per value; what `make_layer` makes is not
    known and shown as "–", and the total is then a lower bound.

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
    rows: list[SummaryRow] = []
    shape = tuple(in_shape)
    with shapes_only():
        if _call(net).call is serial:
            _follow(net.children, shape, "", 0, most, rows)
        else:
            _add(net, shape, net.name, "", 0, most, rows)
    return Summary(shape, tuple(rows))


def _call(layer: Layer) -> Recipe:
    """Return the innermost call that is known here: what a constructor of one's own makes counts."""
    recipe = layer.made_by()
    while True:
        if recipe.call in (named, frozen):
            recipe = recipe.args[-1].made_by()
        elif recipe.call not in _KNOWN and recipe.below is not None:
            recipe = recipe.below
        else:
            return recipe


def _kind(layer: Layer) -> str:
    recipe = layer.made_by()
    while recipe.call is named:
        recipe = recipe.args[1].made_by()
    if recipe.call is frozen:
        return f"frozen({_kind(recipe.args[0])})"
    if recipe.call in (serial, residual):
        return recipe.call.__name__
    if recipe.call in (elementwise, make_layer, Layer):
        # Made of functions, whose names say less than the one that the layer was given.
        return layer.name
    options = {name: value for name, value in recipe.kwargs.items() if not name.startswith("init_")}
    return repr(Recipe(recipe.call, recipe.args, options))


def _follow(
    children: tuple[tuple[str, Layer], ...],
    shape: Shape,
    prefix: str,
    depth: int,
    most: int | None,
    rows: list[SummaryRow],
) -> Shape:
    for name, child in children:
        path = f"{prefix}{name}"
        shape = _add(child, shape, path, f"{path}/", depth, most, rows)
    return shape


def _add(
    layer: Layer,
    shape: Shape,
    path: str,
    prefix: str,
    depth: int,
    most: int | None,
    rows: list[SummaryRow],
) -> Shape:
    """Append the rows of a layer that gets examples of `shape`; return the shape of what comes out."""
    recipe = _call(layer)
    kind = _kind(layer)
    if recipe.call not in (serial, residual):
        out, params, state = layer.init(Key.of(0), shape)
        if most is not None and (largest := max(_size(out), _inside(recipe, shape))) > most:
            raise ShapeError(f"{path}: expected at most {most} numbers per example, got {largest}")
        count = _FLOPS.get(recipe.call)
        flops = None if count is None else count(recipe, shape, out, params)
        rows.append(SummaryRow(path, depth, kind, out, tree.size(params), flops, tree.size(state)))
        return out
    at = len(rows)
    body = [(name, child) for name, child in layer.children if name != "shortcut"]
    out = _follow(tuple(body), shape, prefix, depth + 1, most, rows)
    if recipe.call is residual:
        side = [(name, child) for name, child in layer.children if name == "shortcut"]
        end = _follow(tuple(side), shape, prefix, depth + 1, most, rows)
        if end != out:
            raise ShapeError(f"{path}: expected both ways to end in one shape, got {out} + {end}")
    flops = _size(out) if recipe.call is residual else 0
    rows.insert(at, SummaryRow(path, depth, kind, out, 0, flops, 0))
    return out


def _sizes(shape: Any) -> Iterator[int]:
    """Yield how many numbers each array of a layer that hands out several has."""
    if is_tuple_of_shapes(shape):
        for part in shape:
            yield from _sizes(part)
    else:
        yield math.prod(shape)


def _size(shape: Any) -> int:
    return sum(_sizes(shape))


def _shape(shape: Shape) -> str:
    if is_tuple_of_shapes(shape):
        return ", ".join(map(_shape, shape))
    return "×".join(map(str, shape)) or "()"


# --- costs by constructor -------------------------------------------------------------------

Count = Callable[[Recipe, Shape, Shape, Any], int]


def _per_value(cost: int) -> Count:
    return lambda recipe, shape, out, params: cost * _size(shape)


def _affine(recipe: Recipe, shape: Shape, out: Shape, params: Any) -> int:
    return 2 * params["w"].size * math.prod(shape[:-1])


def _convolution(recipe: Recipe, shape: Shape, out: Shape, params: Any) -> int:
    # Every place of the output uses each kernel once, and a kernel sees the channels of its group only.
    return 2 * params["w"].size * math.prod(out[1:])


def _inside(recipe: Recipe, shape: Shape) -> int:
    """Return how many numbers a layer makes of an example on the way to what comes out."""
    if recipe.call not in (Conv, MaxPool, AvgPool):
        return 0
    window, given = recipe.args[-1], recipe.kwargs
    stride = given.get("stride", 1 if recipe.call is Conv else window)
    options = (given.get("padding", "valid"), given.get("dilation", 1), given.get("ceil", False))
    at = lay(shape[1:], window, stride, *options)
    return max(shape[0] * math.prod(at.padded), _PLACE * math.prod(at.size))


_PLACE = 64
"""Numbers that would take the memory of where the values of one place of all windows lie."""


def _pooling(recipe: Recipe, shape: Shape, out: Shape, params: Any) -> int:
    window = recipe.args[0]
    values = window ** (len(out) - 1) if isinstance(window, int) else math.prod(window)
    return math.prod(out) * values


_FLOPS: dict[Any, Count] = {
    Dense: _affine,
    Conv: _convolution,
    MaxPool: _pooling,
    AvgPool: _pooling,
    GlobalAvgPool: _per_value(1),
    BatchNorm: _per_value(2),
    **dict.fromkeys((Relu, LeakyRelu, Sigmoid, Tanh, elementwise), _per_value(1)),
    **dict.fromkeys((Softmax, LogSoftmax), _per_value(5)),
    **dict.fromkeys((Identity, Dropout, Flatten, Reshape), _per_value(0)),
}
_KNOWN = {*_FLOPS, serial, residual, make_layer, Layer}
