"""Nodes that compute with what the model holds: shapes, masks and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fnn.errors import DataError
from fnn.interop.onnx.reading import Constant, Model, Node, onnx
from fnn.tree import Array

MOST_NUMBERS = 1 << 24
"""How many numbers a node may make of constants."""

_PAIRS: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Pow": np.power,
    "Mod": np.mod,
    "Max": np.maximum,
    "Min": np.minimum,
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Where": np.where,
}
_EACH: dict[str, Callable[..., Any]] = {
    "Identity": lambda x: x,
    "Neg": np.negative,
    "Sqrt": np.sqrt,
    "Exp": np.exp,
    "Log": np.log,
    "Reciprocal": np.reciprocal,
    "Not": np.logical_not,
    "Abs": np.abs,
    "Floor": np.floor,
    "Ceil": np.ceil,
}


def folded(node: Node, operands: Sequence[Any], model: Model) -> Constant:
    """Return what a node makes of constants.

    Raises:
        DataError: If it is none of those that are computed so, or makes very many numbers.
    """
    arrays = [None if each is None else each.array for each in operands]
    trained = any(each is not None and each.trained for each in operands)
    with np.errstate(all="ignore"):
        array = np.asarray(_computed(node, arrays, model))
    return Constant(array, trained and array.dtype.kind == "f")


def _computed(node: Node, arrays: list[Any], model: Model) -> Any:
    kind, first = node.operator, arrays[0]
    if kind in _PAIRS:
        _check_size(np.broadcast_shapes(*(each.shape for each in arrays)))
        return _PAIRS[kind](*arrays)
    if kind in _EACH:
        return _EACH[kind](first)
    if kind == "Div":
        _check_size(np.broadcast_shapes(*(each.shape for each in arrays)))
        return first // arrays[1] if first.dtype.kind == "i" else first / arrays[1]
    fold = _FOLDS.get(kind)
    if fold is None:
        raise DataError(f"expected an operator that is computed of constants, got {kind}")
    return fold(node, arrays, model)


def _check_size(shape: Sequence[Any]) -> tuple[int, ...]:
    sizes = tuple(map(int, shape))
    if any(n < 0 for n in sizes) or math.prod(sizes) > MOST_NUMBERS or len(sizes) > 32:
        raise DataError(f"expected at most {MOST_NUMBERS:,} numbers, got the shape {sizes[:33]}")
    return sizes


def axes_of(node: Node, operand: Any) -> list[int] | None:
    """Return the axes that a node names, as attribute or as input; None if it names none."""
    given = node.attributes.get("axes") if operand is None else operand
    return None if given is None else [int(each) for each in np.ravel(given)]


def cuts_of(node: Node, arrays: Sequence[Any], n_axes: int) -> list[tuple[int, int, int, int]]:
    """Return (axis, start, end, step) of a slice, as it stands there."""
    if "starts" in node.attributes:
        starts, ends = node.attributes["starts"], node.attributes["ends"]
        axes, steps = node.attributes.get("axes"), None
    else:
        starts, ends, axes, steps = (*arrays[1:], None, None)[:4]
    starts = np.ravel(starts).tolist()
    axes = range(len(starts)) if axes is None else np.ravel(axes).tolist()
    steps = [1] * len(starts) if steps is None else np.ravel(steps).tolist()
    rows = list(zip(axes, starts, np.ravel(ends).tolist(), steps, strict=True))
    if any(not -n_axes <= axis < n_axes or not step for axis, *_, step in rows):
        raise DataError(f"expected axes of {n_axes} and steps, got {rows}")
    return [(axis % n_axes, start, end, step) for axis, start, end, step in rows]


def _slice(node: Node, arrays: list[Any], model: Model) -> Array:
    x: Array = arrays[0]
    for axis, start, end, step in cuts_of(node, arrays, x.ndim):
        index: list[Any] = [slice(None)] * x.ndim
        index[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
        x = x[tuple(index)]
    return x


def _reshape(node: Node, arrays: list[Any], model: Model) -> Array:
    x, shape = arrays[0], [int(n) for n in np.ravel(arrays[1])]
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)])


def _unsqueeze(node: Node, arrays: list[Any], model: Model) -> Array:
    return np.expand_dims(arrays[0], tuple(axes_of(node, _second(arrays)) or ()))


def _squeeze(node: Node, arrays: list[Any], model: Model) -> Array:
    axes = axes_of(node, _second(arrays))
    return np.squeeze(arrays[0], None if axes is None else tuple(axes))


def _second(arrays: list[Any]) -> Any:
    return arrays[1] if len(arrays) > 1 else None


def _concat(node: Node, arrays: list[Any], model: Model) -> Array:
    _check_size([sum(each.size for each in arrays)])
    return np.concatenate(arrays, axis=node.attributes["axis"])


def _gather(node: Node, arrays: list[Any], model: Model) -> Array:
    x, places = arrays
    axis = node.attributes.get("axis", 0)
    _check_size([x.size // max(x.shape[axis], 1), places.size])
    return np.take(x, places, axis=axis)


def _of_shape(node: Node, arrays: list[Any], model: Model) -> Array:
    shape = _check_size(np.ravel(arrays[0]).tolist())
    value = node.attributes.get("value")
    fill = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return np.full(shape, fill.reshape(-1)[0])


def _expand(node: Node, arrays: list[Any], model: Model) -> Array:
    x, shape = arrays[0], tuple(int(n) for n in np.ravel(arrays[1]))
    return np.broadcast_to(x, _check_size(np.broadcast_shapes(x.shape, shape))).copy()


def _range(node: Node, arrays: list[Any], model: Model) -> Array:
    start, stop, step = (each.reshape(-1)[0] for each in arrays)
    _check_size([max(0, math.ceil((stop - start) / step))])
    return np.arange(start, stop, step)


def _cast(node: Node, arrays: list[Any], model: Model) -> Array:
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attributes["to"]))
    if dtype.kind == "f":
        return arrays[0].astype(model.dtype if dtype != np.float16 else dtype)
    return arrays[0].astype(np.int64 if dtype.kind in "iu" else dtype)


def _transpose(node: Node, arrays: list[Any], model: Model) -> Array:
    turned: Array = arrays[0].transpose(node.attributes.get("perm"))
    return turned


_FOLDS: dict[str, Callable[[Node, list[Any], Model], Any]] = {
    "Slice": _slice,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": _concat,
    "Gather": _gather,
    "ConstantOfShape": _of_shape,
    "Expand": _expand,
    "Range": _range,
    "Cast": _cast,
    "Transpose": _transpose,
    "Shape": lambda node, arrays, model: np.array(arrays[0].shape),
}
