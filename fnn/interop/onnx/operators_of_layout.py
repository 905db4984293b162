"""Operators that lay arrays out otherwise. Where the batch is, is noted; examples alone are changed."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from fnn.errors import DataError
from fnn.interop.onnx.folding import axes_of
from fnn.interop.onnx.importing import Reader, Tensor, operator
from fnn.interop.onnx.operators_of_numbers import array, optional, own_axis, tensor
from fnn.interop.onnx.reading import Constant, Node


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
    """Read the sizes; 0 stands for a batch of any size, and for its products with others."""
    x = tensor(operands[0])
    sizes = [n or reader.batch or 0 for n in dims_of(x)]
    start, end = node.attributes.get("start", 0), node.attributes.get("end", len(sizes))
    return Constant(np.array(sizes[start:end], np.int64))


@operator("Reshape")
def reshape(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read another shape of examples; rows of examples among the batch are an axis of their own."""
    x = tensor(operands[0])
    given = operands[1] if len(operands) > 1 else Constant(np.array(node.attributes["shape"]))
    target = [int(n) for n in array(given, "the shape").reshape(-1)]
    if node.attributes.get("allowzero") and 0 in target and reader.batch is not None:
        raise DataError("expected a shape in which 0 stands for what is there, got allowzero")
    ways = (_beside_lead, _in_place) if x.is_outer else (_in_place, _joined)
    for way in ways:
        if target and (y := way(reader, x, target)):
            return y
    raise DataError(f"expected a shape that keeps the batch, got {target} of {dims_of(x)}")


def _is_batch(reader: Reader, size: int, rows: int) -> bool:
    """Return whether a size stands for the batch, so many rows of each example in it."""
    return size in (0, -1) or size == (reader.batch or 0) * rows


def _rest(x: Tensor, target: list[int], at: int, count: int) -> tuple[int, ...] | None:
    """Return the sizes behind the batch, with what 0 and -1 stand for; None if they are none."""
    dims = dims_of(x)
    sizes = [
        (dims[i] if i < len(dims) else None) if n == 0 else n for i, n in enumerate(target) if i > at
    ]
    known = [n for n in sizes if n is not None and n > 0]
    if len(sizes) - len(known) > (-1 in sizes) or (-1 in sizes and count % math.prod(known)):
        return None
    return tuple(count // math.prod(known) if n == -1 else int(n or 0) for n in sizes)


def _begins(target: list[int], sizes: tuple[int, ...]) -> bool:
    """Return whether a shape begins with these sizes."""
    return len(target) > len(sizes) and all(t in (0, n) for t, n in zip(target, sizes, strict=False))


def _in_place(reader: Reader, x: Tensor, target: list[int]) -> Tensor | None:
    """Return a shape with the batch where it is; rows may come out of it, or go into it."""
    at, before, after = x.batch, x.shape[: x.batch], x.shape[x.batch :]
    row, whole = math.prod(after), math.prod(after) * math.prod(x.lead)
    rest = _rest(x, target, at, row)
    if not _begins(target, before) or rest is None or (-1 in target[at + 1 :] and target[at] == -1):
        return None
    count = math.prod(rest)
    if count == row and _is_batch(reader, target[at], math.prod(x.lead)):
        return relaid(reader, x, [*before, None, *rest])
    rows = whole // count if count else 0
    if x.is_outer or not count or whole % count or not _is_batch(reader, target[at], rows):
        return None
    # Beside one another: (before, lead, after).
    n, m = len(x.lead), at
    open_ = attrs.evolve(x, shape=(*x.lead, *x.shape), lead=(), batch=0)
    order = (0, *range(n + 1, n + m + 1), *range(1, n + 1), *range(n + m + 1, len(open_.shape) + 1))
    y = reader.transposed(open_, order)
    if count == whole:
        return relaid(reader, y, [*before, None, *rest])
    y = reader.arranged(y, (*before, rows, *rest))
    order = (0, m + 1, *range(1, m + 1), *range(m + 2, len(y.shape) + 1))
    y = reader.transposed(y, order)
    return attrs.evolve(y, shape=(*before, *rest), lead=(rows,), batch=at)


def _joined(reader: Reader, x: Tensor, target: list[int]) -> Tensor | None:
    """Return rows: what is before the batch, and the batch, as one axis."""
    before, after = x.shape[: x.batch], x.shape[x.batch :]
    rest = _rest(attrs.evolve(x, shape=after, batch=0), target, 0, math.prod(after))
    if x.lead or not before or rest is None or math.prod(rest) != math.prod(after):
        return None
    if not _is_batch(reader, target[0], math.prod(before)):
        return None
    y = reader.arranged(attrs.evolve(x, batch=0), (*before, *rest))
    return attrs.evolve(y, shape=rest, lead=before, is_outer=True)


def _beside_lead(reader: Reader, x: Tensor, target: list[int]) -> Tensor | None:
    """Return what `_joined` made rows of."""
    at, row = len(x.lead), math.prod(x.shape)
    if x.batch or not _begins(target, x.lead) or not _is_batch(reader, target[at], 1):
        return None
    rest = tuple(target[at + 1 :])
    if -1 in rest and rest.count(-1) == 1 and 0 not in rest and target[at] != -1:
        known = math.prod(n for n in rest if n != -1)
        rest = tuple(row // known if n == -1 else n for n in rest)
    if math.prod(rest) != row or min(rest, default=1) < 1:
        return None
    open_ = attrs.evolve(x, shape=(*x.lead, *x.shape), lead=(), is_outer=False)
    return attrs.evolve(reader.arranged(open_, (*x.lead, *rest)), batch=at)


@operator("Flatten")
def flatten(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read rows; axes before the one that is named are among the batch."""
    x = tensor(operands[0])
    axis = own_axis(x, node.attributes.get("axis", 1))
    if x.batch or x.is_outer:
        raise DataError("expected the batch on the first axis, got it on another")
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
    return attrs.evolve(y, batch=list(order).index(x.batch))


@operator("Expand")
def expand(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read nothing where all sizes are there already."""
    x, sizes = tensor(operands[0]), array(operands[1], "the shape").reshape(-1)
    wanted = [1] * (x.n_axes - len(sizes)) + [int(n) for n in sizes]
    if len(wanted) > x.n_axes or any(
        w not in ((0, 1, reader.batch) if n is None else (1, n))
        for w, n in zip(wanted, dims_of(x), strict=True)
    ):
        raise DataError(f"expected the shape that is there, got {wanted}")
    return x
