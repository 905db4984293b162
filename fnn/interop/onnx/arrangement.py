"""Layers for operators that lay arrays out otherwise, reduce, order or multiply them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.interop.onnx.arithmetic import joint_shape, lessened
from fnn.kernels.values import is_integer, is_tuple_of_shapes
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer, Traits
from fnn.layers.making import make_layer
from fnn.options import axis_of, flag, integer
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array

_MOVES = Traits(takes_integers=True)


def _moving(name: str, shapes: Any, f: Any, f_vjp: Any) -> Layer:
    """Make a layer of what only moves numbers: y = f(x), dx = f_vjp(x, dy); integers too."""

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            return EMPTY, None if is_integer(x) or not need_dx else f_vjp(x, dy)

        return f(x), state, pullback

    return make_layer(name, shapes, fwd, traits=_MOVES, flops=0)


def _at(in_shape: Shape, axis: int) -> int:
    """Return where in the shape of an example an axis is, the batch being axis 0."""
    at = axis - 1 if axis > 0 else len(in_shape) + axis
    if is_tuple_of_shapes(in_shape) or not 0 <= at < len(in_shape):
        raise ShapeError(f"expected an axis {axis}, got in_shape={in_shape}")
    return at


@constructor
def Transpose(axes: tuple[int, ...]) -> Layer:
    """Order axes otherwise: axis i of y is `axes[i]` of x, the batch being axis 0, which stays."""
    order = tuple(integer("Transpose", "axes", each, least=0) for each in axes)
    if not order or order[0] != 0 or sorted(order) != list(range(len(order))):
        raise OptionError(f"axes: expected 0 and the others, got {axes!r}", path=("Transpose",))
    back = tuple(int(each) for each in np.argsort(order))

    def shapes(in_shape: Shape) -> Any:
        if len(in_shape) != len(order) - 1 or is_tuple_of_shapes(in_shape):
            raise ShapeError(f"expected {len(order) - 1} axes per example, got in_shape={in_shape}")
        return tuple(in_shape[each - 1] for each in order[1:]), {}, {}

    return _moving("transpose", shapes, lambda x: x.transpose(order), lambda x, dy: dy.transpose(back))


@constructor
def Arrange(shape: Shape) -> Layer:
    """Give every example a shape in row-major order, as `Reshape`; integers too, and () is one."""
    out = tuple(integer("Arrange", "shape", each) for each in shape)

    def shapes(in_shape: Shape) -> Any:
        if is_tuple_of_shapes(in_shape) or math.prod(in_shape) != math.prod(out):
            raise ShapeError(f"expected examples that fill {out}, got in_shape={in_shape}")
        return out, {}, {}

    return _moving(
        "arrange",
        shapes,
        lambda x: x.reshape(len(x), *out),
        lambda x, dy: dy.reshape(x.shape),
    )


@constructor
def Take(indices: Any, *, axis: int = -1) -> Layer:
    """Take places along an axis, in the order of `indices`, a tuple, or one place, whose axis goes.

    Args:
        indices: The places, from 0; one may be taken again.
        axis: The axis, the batch being axis 0.
    """
    axis = axis_of("Take", axis, "an axis of the examples")
    places = np.array(indices)
    if places.ndim > 1 or places.dtype.kind not in "iu" or (places.size and places.min() < 0):
        raise OptionError(f"indices: expected places, got {indices!r:.80}", path=("Take",))

    def shapes(in_shape: Shape) -> Any:
        at = _at(in_shape, axis)
        if not places.size or places.max() >= in_shape[at]:
            raise ShapeError(f"expected places within {in_shape[at]}, got {indices!r:.80}")
        return (*in_shape[:at], *places.shape, *in_shape[at + 1 :]), {}, {}

    def f_vjp(x: Array, dy: Array) -> Array:
        at = axis % x.ndim
        dx = np.zeros(x.shape, dy.dtype)
        rows = dy if places.ndim else np.expand_dims(dy, at)
        np.add.at(np.moveaxis(dx, at, 0), places.reshape(-1), np.moveaxis(rows, at, 0))
        return dx

    return _moving("take", shapes, lambda x: np.take(x, places, axis=axis), f_vjp)


@constructor
def Cut(start: int, stop: int, *, step: int = 1, axis: int = -1) -> Layer:
    """Take every `step`-th place from `start` to before `stop` along an axis, backwards below 0.

    Args:
        start, stop: From 0; a stop of -1 is before the first, for steps backwards.
        step: Any integer but 0.
        axis: The axis, the batch being axis 0.
    """
    axis = axis_of("Cut", axis, "an axis of the examples")
    start, stop = integer("Cut", "start", start, least=0), integer("Cut", "stop", stop, least=-1)
    step = integer("Cut", "step", step, least=-(1 << 62))
    if not step:
        raise OptionError("step: expected an integer other than 0, got 0", path=("Cut",))
    ends = slice(start, None if stop < 0 else stop, step)

    def shapes(in_shape: Shape) -> Any:
        at = _at(in_shape, axis)
        n = len(range(*ends.indices(in_shape[at])))
        if not n:
            raise ShapeError(f"expected a place or more of {in_shape[at]}, got {start}:{stop}:{step}")
        return (*in_shape[:at], n, *in_shape[at + 1 :]), {}, {}

    def part(x: Array) -> Array:
        index: list[Any] = [slice(None)] * x.ndim
        index[axis] = ends
        return x[tuple(index)]

    def f_vjp(x: Array, dy: Array) -> Array:
        dx = np.zeros(x.shape, dy.dtype)
        part(dx)[...] = dy
        return dx

    return _moving("cut", shapes, part, f_vjp)


@constructor
def Pads(pairs: tuple[tuple[int, int], ...], *, value: float = 0.0) -> Layer:
    """Put a number around: one (before, after) pair for each axis but the batch's."""
    value = value if math.isinf(value) else float(value)

    def shapes(in_shape: Shape) -> Any:
        if len(pairs) != len(in_shape):
            raise ShapeError(f"expected {len(pairs)} axes per example, got in_shape={in_shape}")
        return tuple(n + a + b for n, (a, b) in zip(in_shape, pairs, strict=True)), {}, {}

    def f(x: Array) -> Array:
        return np.pad(x, ((0, 0), *pairs), constant_values=x.dtype.type(value))

    def f_vjp(x: Array, dy: Array) -> Array:
        inside = (slice(a, a + n) for n, (a, _) in zip(x.shape[1:], pairs, strict=True))
        return dy[(slice(None), *inside)].copy()

    return _moving("pads", shapes, f, f_vjp)


@constructor
def Reduce(kind: str, axes: tuple[int, ...], *, keep: bool = False) -> Layer:
    """Take a "sum", "mean", "max" or "min" over axes, the batch being axis 0.

    Of equal ones the first has the whole derivative.
    """
    if kind not in ("sum", "mean", "max", "min"):
        expected = "kind: expected 'sum', 'mean', 'max' or 'min'"
        raise OptionError(f"{expected}, got {kind!r}", path=("Reduce",))
    given = tuple(axis_of("Reduce", each, "axes of the examples") for each in axes)
    keep = flag("Reduce", "keep", keep)

    def shapes(in_shape: Shape) -> Any:
        at = {_at(in_shape, axis) for axis in given}
        if any(not in_shape[each] for each in at):
            raise ShapeError(f"expected a number or more to reduce, got in_shape={in_shape}")
        out = (1 if i in at else n for i, n in enumerate(in_shape) if keep or i not in at)
        return tuple(out), {}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        over = tuple(sorted({axis % x.ndim for axis in given}))
        functions: dict[str, Any] = {"sum": np.add, "max": np.maximum, "min": np.minimum}
        whole = functions[kind if kind != "mean" else "sum"].reduce(x, axis=over, keepdims=True)
        n = math.prod(x.shape[axis] for axis in over)
        whole = whole / x.dtype.type(n) if kind == "mean" else whole
        shape = [size for axis, size in enumerate(whole.shape) if keep or axis not in over]

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            wide = dy.reshape(whole.shape)
            if kind in ("sum", "mean"):
                share = wide / n if kind == "mean" else wide
                return EMPTY, np.broadcast_to(share, x.shape).astype(dy.dtype)
            return EMPTY, _first(x == whole, over) * wide

        return whole.reshape(shape), state, pullback

    traits = Traits(has_kinks=kind in ("max", "min"), complex_safe=kind in ("sum", "mean"))
    return make_layer(f"reduce_{kind}", shapes, fwd, traits=traits, flops=1)


def _first(is_one: Array, over: tuple[int, ...]) -> Array:
    """Return True at the first place of those along axes where it is."""
    rest = tuple(axis for axis in range(is_one.ndim) if axis not in over)
    moved = is_one.transpose(*rest, *over)
    rows = moved.reshape(*moved.shape[: len(rest)], -1)
    first = np.zeros(rows.shape, bool)
    np.put_along_axis(first, np.argmax(rows, axis=-1)[..., None], True, axis=-1)
    return first.reshape(moved.shape).transpose(np.argsort((*rest, *over)))


@constructor
def Product() -> Layer:
    """Multiply matrices of the last two axes: y = a b, of the tuple (a, b); axes of size 1 repeat."""

    def shapes(in_shape: Shape) -> Any:
        if not is_tuple_of_shapes(in_shape) or len(in_shape) != 2:
            raise ShapeError(f"expected two arrays, got in_shape={in_shape}")
        a, b = in_shape
        if min(len(a), len(b)) < 2 or a[-1] != b[-2]:
            raise ShapeError(f"expected matrices that multiply, got examples of {a} and {b}")
        return (*joint_shape("product", a[:-2], b[:-2]), a[-2], b[-1]), {}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        a, b = x

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            if not need_dx:
                return EMPTY, None
            da, db = dy @ b.swapaxes(-1, -2), a.swapaxes(-1, -2) @ dy
            return EMPTY, (lessened(da, a.shape), lessened(db, b.shape))

        return a @ b, state, pullback

    return make_layer("product", shapes, fwd, traits=Traits(takes_tuples=True))


@constructor
def Sorted(*, axis: int = -1, largest: bool = True) -> Layer:
    """Order the numbers along an axis, from the largest or from the smallest."""
    axis, largest = axis_of("Sorted", axis, "an axis of the scores"), flag("Sorted", "largest", largest)

    def shapes(in_shape: Shape) -> Any:
        _at(in_shape, axis)
        return in_shape, {}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        order = np.argsort(-x if largest else x, axis=axis, kind="stable")

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            dx = np.zeros(x.shape, dy.dtype)
            np.put_along_axis(dx, order, dy, axis=axis)
            return EMPTY, dx

        return np.take_along_axis(x, order, axis=axis), state, pullback

    return make_layer("sorted", shapes, fwd, traits=Traits(has_kinks=True, complex_safe=False))


@constructor
def RunningSum(*, axis: int = -1) -> Layer:
    """Sum up to each place along an axis: y_k = x_0 + … + x_k."""
    axis = axis_of("RunningSum", axis, "an axis of the examples")

    def shapes(in_shape: Shape) -> Any:
        _at(in_shape, axis)
        return in_shape, {}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            return EMPTY, np.flip(np.cumsum(np.flip(dy, axis), axis=axis), axis).copy()

        return np.cumsum(x, axis=axis), state, pullback

    return make_layer("running_sum", shapes, fwd, flops=1)
