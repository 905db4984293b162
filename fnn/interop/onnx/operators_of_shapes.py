"""Operators that lay arrays out otherwise, take parts of them, join them, or reduce their axes."""

from __future__ import annotations

import itertools
import math
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


def dims_of(x: Tensor) -> list[int | None]:
    """Return the sizes of the model's array; None stands for the batch."""
    dims: list[int | None] = list(x.shape)
    dims.insert(x.batch, None)
    return dims


def relaid(reader: Reader, x: Tensor, dims: list[int | None]) -> Tensor:
    """Return a tensor with other sizes, in one of which is the batch, None, as it is."""
    y = reader.arranged(attrs.evolve(x, batch=0), tuple(n for n in dims if n is not None))
    return attrs.evolve(y, batch=dims.index(None))


@operator("Shape")
def shape(reader: Reader, node: Node, operands: list[Any]) -> Constant:
    """Read the sizes; 0 stands for the batch, which is what `Reshape` takes for leaving it as it is."""
    x = tensor(operands[0])
    if x.lead:
        raise DataError("expected an array whose batch is the examples")
    sizes = [n or 0 for n in dims_of(x)]
    start, end = node.attributes.get("start", 0), node.attributes.get("end", len(sizes))
    return Constant(np.array(sizes[start:end], np.int64))


@operator("Reshape")
def reshape(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read another shape of examples; rows of examples among the batch are an axis of their own."""
    x = tensor(operands[0])
    given = operands[1] if len(operands) > 1 else Constant(np.array(node.attributes["shape"]))
    target = [int(n) for n in array(given, "the shape").reshape(-1)]
    if node.attributes.get("allowzero") and 0 in target:
        raise DataError("expected a shape in which 0 stands for what is there, got allowzero")
    dims = dims_of(x)
    if x.batch:
        return _reshaped_around(reader, x, dims, target)
    first, *rest = target or [1]
    rest = [_copied(dims, i) if n == 0 else n for i, n in enumerate(rest, start=1)]
    row, whole = math.prod(x.shape), math.prod(x.shape) * math.prod(x.lead)
    is_batch = first == 0 or (first == reader.batch and not x.lead)
    if is_batch:
        return reader.arranged(x, _filled(rest, row))
    if first != -1 or -1 in rest:
        raise DataError(f"expected a shape that keeps the batch first, got {target}")
    count = math.prod(rest)
    if count == row:
        return reader.arranged(x, tuple(rest))
    unfolded = attrs.evolve(x, shape=(*x.lead, *x.shape), lead=())
    if count == whole:
        return reader.arranged(unfolded, tuple(rest))
    if not count or whole % count:
        raise DataError(f"expected a shape of examples of {row} numbers, got {target}")
    y = reader.arranged(unfolded, (whole // count, *rest))
    return attrs.evolve(y, shape=tuple(rest), lead=(whole // count,))


def _copied(dims: list[int | None], at: int) -> int:
    if not (at < len(dims) and (n := dims[at])):
        raise DataError(f"expected a shape of at most {len(dims)} sizes that are copied")
    return n


def _filled(sizes: list[int], count: int) -> tuple[int, ...]:
    """Return the sizes with what -1 stands for."""
    known = math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) > 1 or any(n < -1 for n in sizes) or not known or count % known:
        raise DataError(f"expected a shape of {count} numbers, got {sizes}")
    whole = tuple(count // known if n == -1 else n for n in sizes)
    if math.prod(whole) != count:
        raise DataError(f"expected a shape of {count} numbers, got {sizes}")
    return whole


def _reshaped_around(reader: Reader, x: Tensor, dims: list[int | None], target: list[int]) -> Tensor:
    """Return another shape where the batch is behind other axes: it has to stay where it is."""
    at = x.batch
    before_stays = (
        all(t in (0, n) for t, n in zip(target[:at], dims[:at], strict=False)) and len(target) > at
    )
    if not before_stays or target[at] not in (0, reader.batch):
        raise DataError(f"expected a shape that leaves the batch on axis {at}, got {target}")
    after = [_copied(dims, i) if n == 0 else n for i, n in enumerate(target[at + 1 :], start=at + 1)]
    rest = _filled(after, math.prod(x.shape[at:]))
    return relaid(reader, x, [*x.shape[:at], None, *rest])


@operator("Flatten")
def flatten(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read rows; axes before the one that is named are among the batch."""
    x = tensor(operands[0])
    axis = own_axis(x, node.attributes.get("axis", 1))
    before, after = x.shape[: axis - 1], x.shape[axis - 1 :]
    y = reader.arranged(x, (*before, math.prod(after)))
    return attrs.evolve(y, shape=y.shape[-1:], lead=(*x.lead, *before))


@operator("Squeeze", "Unsqueeze")
def axes_of_one(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read axes of size 1 that go, or come."""
    x = tensor(operands[0])
    given = optional(operands, 1)
    axes = axes_of(node, None if given is None else array(given, "the axes"))
    dims = dims_of(x)
    if node.operator == "Unsqueeze":
        n_axes = len(dims) + len(axes or ())
        places = {axis % n_axes for axis in axes or ()}
        rest = iter(dims)
        return relaid(reader, x, [1 if i in places else next(rest) for i in range(n_axes)])
    ones = [i for i, n in enumerate(dims) if n == 1]
    places = {axis % len(dims) for axis in (ones if axes is None else axes)}
    if any(dims[i] != 1 for i in places):
        raise DataError(f"expected axes of size 1, got {sorted(places)} of {dims}")
    return relaid(reader, x, [n for i, n in enumerate(dims) if i not in places])


@operator("Transpose")
def transpose(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read an order of axes; where the batch is to be is noted, and nothing is moved for it."""
    x = tensor(operands[0])
    order = node.attributes.get("perm") or list(range(x.n_axes))[::-1]
    if sorted(order) != list(range(x.n_axes)):
        raise DataError(f"expected an order of {x.n_axes} axes, got {order}")
    own = [axis + 1 if axis < x.batch else axis for axis in order if axis != x.batch]
    y = reader.transposed(attrs.evolve(x, batch=0), (0, *own))
    return attrs.evolve(y, batch=order.index(x.batch))


@operator("Expand")
def expand(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read nothing where all sizes are there already."""
    x, sizes = tensor(operands[0]), array(operands[1], "the shape").reshape(-1)
    wanted = [1] * (x.n_axes - len(sizes)) + [int(n) for n in sizes]
    if len(wanted) > x.n_axes or any(
        w not in (1, 0 if n is None else n) for w, n in zip(wanted, dims_of(x), strict=True)
    ):
        raise DataError(f"expected the shape that is there, got {wanted}")
    return x


# --- parts ------------------------------------------------------------------------------------


@operator("Slice")
def cut(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read parts along axes."""
    x = tensor(operands[0])
    bounds = [None if each is None else array(each, "the bounds") for each in operands]
    for axis, start, end, step in cuts_of(node, bounds, x.n_axes):
        at = own_axis(x, axis)
        n = x.shape[at - 1]
        ends = slice(start, None if step < 0 and end < -n else end, step)
        places = range(*ends.indices(n))
        if places == range(n):
            continue
        layer = Cut(places.start, max(places.stop, -1), step=places.step, axis=from_the_end(x, at))
        x = reader.add(layer, x, kind=x.kind)
    return x


@operator("Split")
def split(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read parts one after the other."""
    x = tensor(operands[0])
    at, count = own_axis(x, node.attributes.get("axis", 0)), len(node.outputs)
    n = x.shape[at - 1]
    given = optional(operands, 1)
    sizes = node.attributes.get("split") if given is None else array(given, "the sizes").tolist()
    if sizes is None:
        each = -(-n // count)
        sizes = [each] * (count - 1) + [n - each * (count - 1)]
    if len(sizes) != count or sum(sizes) != n or min(sizes) < 1:
        raise DataError(f"expected {count} sizes of {n} together, got {sizes}")
    ends = np.cumsum([0, *sizes]).tolist()
    axis = from_the_end(x, at)
    return tuple(
        reader.add(Cut(start, end, axis=axis), x, kind=x.kind)
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
    index = np.where(index < 0, index + x.shape[at - 1], index)
    flat = index.reshape(-1) if index.ndim > 1 else index
    y = reader.add(Take(flat.tolist(), axis=from_the_end(x, at)), x, kind=x.kind)
    if index.ndim < 2:
        return y
    return reader.arranged(y, (*x.shape[: at - 1], *index.shape, *x.shape[at:]))


@operator("Concat")
def concat(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read arrays one after the other; constants stand in every example."""
    like = next(each for each in operands if isinstance(each, Tensor))
    axis = from_the_end(like, node.attributes["axis"])
    parts = [held(reader, each, like) if isinstance(each, Constant) else each for each in operands]
    if {each.kind for each in parts} != {"f"}:
        raise DataError("expected floating numbers, got integers")
    if len(parts) == 1:
        return like
    return reader.add(fan_in("concat", axis=axis), tuple(parts))


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
    kind, keep = _KINDS[node.operator], bool(node.attributes.get("keepdims", 1))
    whole = {"mean": GlobalAvgPool, "max": GlobalMaxPool}.get(kind)
    if whole and at == list(range(2, x.n_axes)) and not keep:
        return reader.add(whole(), x)
    layer = Reduce(kind, tuple(from_the_end(x, each) for each in at), keep=keep)
    return reader.add(layer, x)


def is_zero(operand: Operand) -> bool:
    """Return whether an operand is left out, or a constant of zeros."""
    return operand is None or (isinstance(operand, Constant) and not operand.array.any())
