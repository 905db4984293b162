"""Operators that take parts of arrays, join them, or reduce their axes."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import numpy as np

from fnn.errors import DataError
from fnn.interop.onnx.arrangement import Cut, Pads, Reduce, Take
from fnn.interop.onnx.folding import axes_of, cuts_of
from fnn.interop.onnx.importing import Operand, Reader, Tensor, operator
from fnn.interop.onnx.operators_of_numbers import (
    array,
    from_the_end,
    held,
    optional,
    own_axis,
    plain,
    tensor,
)
from fnn.interop.onnx.reading import Constant, Node
from fnn.layers.embedding import Embedding
from fnn.layers.fans import fan_in
from fnn.layers.pooling import GlobalAvgPool, GlobalMaxPool
from fnn.layers.resizing import Pad

# --- parts ------------------------------------------------------------------------------------


@operator("Slice")
def cut(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read parts along axes."""
    x = tensor(operands[0])
    bounds = [None if each is None else array(each, "the bounds") for each in operands[1:]]
    for axis, start, end, step in cuts_of(node, [None, *bounds], x.n_axes):
        at = own_axis(x, axis)
        n = x.shape[at - 1]
        ends = slice(start, None if step < 0 and end < -n else end, step)
        places = range(*ends.indices(n))
        if places == range(n):
            continue
        layer = Cut(places.start, max(places.stop, -1), step=places.step, axis=from_the_end(x, axis))
        x = reader.each(layer, x, kind=x.kind)
    return x


@operator("Split")
def split(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read parts one after the other."""
    x = tensor(operands[0])
    named = node.attributes.get("axis", 0)
    at, count = own_axis(x, named), len(node.outputs)
    n = x.shape[at - 1]
    given = optional(operands, 1)
    sizes = node.attributes.get("split") if given is None else array(given, "the sizes").tolist()
    if sizes is None:
        each = -(-n // count)
        sizes = [each] * (count - 1) + [n - each * (count - 1)]
    if len(sizes) != count or sum(sizes) != n or min(sizes) < 1:
        raise DataError(f"expected {count} sizes of {n} together, got {sizes}")
    ends = np.cumsum([0, *sizes]).tolist()
    axis = from_the_end(x, named)
    return tuple(
        reader.each(Cut(start, end, axis=axis), x, kind=x.kind)
        for start, end in itertools.pairwise(ends)
    )


@operator("Gather")
def gather(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read rows of a table for tokens, or places along an axis."""
    data, places = operands
    axis = node.attributes.get("axis", 0)
    if isinstance(data, Constant):
        table, tokens = data.array, tensor(places)
        if table.ndim != 2 or axis not in (0, -2) or table.dtype.kind != "f" or tokens.batch:
            raise DataError(f"expected rows of a matrix, got axis {axis} of {table.shape}")
        layer = Embedding(*table.shape)
        return reader.add(layer, tokens, params={"w": table.copy()})
    x, at = data, own_axis(data, axis)
    index = array(places, "the places")
    if not index.ndim and x.shape[at - 1] == 1 and index in (0, -1):
        y = reader.arranged(attrs.evolve(x, batch=0), (*x.shape[: at - 1], *x.shape[at:]))
        return attrs.evolve(y, batch=x.batch - (axis % x.n_axes < x.batch))
    index = np.where(index < 0, index + x.shape[at - 1], index)
    flat = index.reshape(-1) if index.ndim > 1 else index
    y = reader.each(Take(flat.tolist(), axis=from_the_end(x, axis)), x, kind=x.kind)
    if not index.ndim:
        return attrs.evolve(y, batch=x.batch - (axis % x.n_axes < x.batch))
    if index.ndim == 1:
        return y
    return reader.arranged(attrs.evolve(y, batch=0), (*x.shape[: at - 1], *index.shape, *x.shape[at:]))


@operator("Concat")
def concat(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read arrays one after the other; constants stand in every example."""
    like = next(each for each in operands if isinstance(each, Tensor))
    named = node.attributes["axis"]
    axis = 1 if own_axis(like, named) == 1 else from_the_end(like, named)
    parts = [held(reader, each, like) if isinstance(each, Constant) else each for each in operands]
    if {each.kind for each in parts} != {"f"}:
        raise DataError("expected floating numbers, got integers")
    if len(parts) == 1:
        return like
    return reader.together(fan_in("concat", axis=axis), parts)


MODES = {"reflect": "reflect", "edge": "edge", "wrap": "circular"}


@operator("Pad")
def pad(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read rows around an image, or numbers around any array."""
    x, given = tensor(operands[0]), optional(operands, 1)
    rows = array(given, "the pads").tolist() if given is not None else node.attributes["pads"]
    fill, named = optional(operands, 2), optional(operands, 3)
    value = _number(node.attributes.get("value", 0.0) if fill is None else array(fill, "the value"))
    given_axes = range(x.n_axes) if named is None else array(named, "the axes").reshape(-1)
    axes = [int(axis) % x.n_axes for axis in given_axes]
    pairs = [(0, 0)] * x.n_axes
    for axis, before, after in zip(axes, rows[: len(rows) // 2], rows[len(rows) // 2 :], strict=True):
        pairs[axis] = before, after
    mode = node.attributes.get("mode", "constant")
    if x.batch or any(pairs[0]) or min(map(min, pairs)) < 0:
        raise DataError(f"expected rows around examples, got {pairs}")
    own = tuple(pairs[1:])
    is_image = x.n_axes > 2 and not any(pairs[1])
    if is_image and (mode != "constant" or not value):
        layer = Pad(own[1:], mode=MODES.get(mode, "zeros"))
    elif mode == "constant":
        layer = Pads(own, value=value)
    else:
        raise DataError(f"expected {mode} padding along the axes of an image, got {pairs}")
    return reader.add(layer, x)


def _number(value: Any) -> float:
    return plain(value) if np.size(value) else 0.0


# --- reductions -------------------------------------------------------------------------------

_KINDS = {"ReduceSum": "sum", "ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min"}


@operator(*_KINDS)
def reduced(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read what is reduced over axes of the examples."""
    x, given = tensor(operands[0]), optional(operands, 1)
    axes = axes_of(node, None if given is None else array(given, "the axes"))
    if not axes:
        raise DataError("expected axes of the examples, got none: all of them and the batch")
    at = sorted(own_axis(x, axis) for axis in axes)
    kind, keep = _KINDS[node.operator], node.attributes.get("keepdims", 1) == 1
    whole = {"mean": GlobalAvgPool, "max": GlobalMaxPool}.get(kind)
    if whole and at == list(range(2, x.n_axes)) and not (keep or x.batch):
        return reader.each(whole(), x)
    last = x.n_axes - 1
    own = tuple(-1 if axis == last else axis for axis in at)
    y = reader.each(Reduce(kind, own, keep=keep), x)
    gone = sum(axis % x.n_axes < x.batch for axis in axes)
    return y if keep else attrs.evolve(y, batch=x.batch - gone)


def is_zero(operand: Operand) -> bool:
    """Return whether an operand is left out, or a constant of zeros."""
    return operand is None or (isinstance(operand, Constant) and not operand.array.any())
