"""Fans: one value handed on several times, and several arrays made one."""

from __future__ import annotations

from typing import Any

import attrs

from fnn.errors import OptionError, ShapeError
from fnn.kernels.checks import check_precision
from fnn.kernels.merging import MERGES, added
from fnn.kernels.values import count_numbers, is_tuple_of_shapes
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer, Traits
from fnn.layers.making import make_layer
from fnn.options import axis_of, integer
from fnn.recipe import Recipe, constructor
from fnn.tree import EMPTY

MOST_ARRAYS = 4096
"""How many arrays a value may have: fans in a row multiply them."""

MOST_NESTED = 16
"""How deep the tuples of a value may be nested in one another."""


@constructor
def fan_out(n: int) -> Layer:
    """Hand on x n times: y = (x, …, x); dx is the sum of the n cotangents.

    Of a tuple the whole is handed on n times; integers have no derivative.

    Raises:
        OptionError: If n is not an integer of 1 or more.
        ShapeError: If y would have more than 4,096 arrays.
    """
    n = integer("fan_out", "n", n)

    def shapes(in_shape: Shape) -> Any:
        if (arrays := n * _count_arrays(in_shape)) > MOST_ARRAYS:
            raise ShapeError(f"expected at most {MOST_ARRAYS:,} arrays to be made, got {arrays:,}")
        if _depth(in_shape) >= MOST_NESTED:
            raise ShapeError(f"expected tuples nested at most {MOST_NESTED} deep, got one more")
        return (in_shape,) * n, {}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            return EMPTY, added(dy) if need_dx else None

        return (x,) * n, state, pullback

    traits = Traits(takes_integers=True, takes_tuples=True)
    return make_layer("fan_out", shapes, fwd, traits=traits, flops=0, keeps=0, members="fold")


def _count_arrays(shape: Shape) -> int:
    return sum(map(_count_arrays, shape)) if is_tuple_of_shapes(shape) else 1


def _depth(shape: Shape) -> int:
    return 1 + max(map(_depth, shape)) if is_tuple_of_shapes(shape) else 0


@constructor
def fan_in(merge: str, *, axis: int = 1) -> Layer:
    """Make one array of a tuple of them: y = x_1 + … + x_n, or their mean, product, and so on.

    Args:
        merge: "sum", "mean" (the sum divided by n), "product", "max" (number by number; of equal ones
            the first has the whole derivative) or "concat" (one after the other along `axis`).
        axis: Axis of "concat", the batch being axis 0; -1 is the last. No other merge has one.

    Raises:
        OptionError: If there is no such merge, or an axis without need of one.
        ShapeError: If x is no tuple of arrays, or their shapes differ, along `axis` excepted.
    """
    return merging_layer("fan_in", merge, axis)


def merging_layer(who: str, merge: Any, axis: Any) -> Layer:
    """Return what `fan_in` does, for somebody whom errors are to name."""
    if not isinstance(merge, str) or merge not in MERGES:
        expected = f"one of {', '.join(map(repr, MERGES))}"
        expected += " or a Layer" if who != "fan_in" else ""
        raise OptionError(f"merge: expected {expected}, got {merge!r}", path=(who,))
    axis = axis_of(who, axis, "an axis of the examples")
    if merge != "concat" and axis != 1:
        raise OptionError(f"axis: expected none, as {merge!r} has no axis, got {axis}", path=(who,))
    forward, back = MERGES[merge]

    def shapes(in_shape: Shape) -> Any:
        if not is_tuple_of_shapes(in_shape) or any(map(is_tuple_of_shapes, in_shape)):
            raise ShapeError(f"expected a tuple of arrays, got in_shape={in_shape}")
        first = tuple(in_shape[0])
        at = axis - 1 if axis > 0 else len(first) + axis
        if merge == "concat" and not 0 <= at < len(first):
            raise ShapeError(f"expected an axis {axis} to concatenate along, got in_shape={in_shape}")
        for i, shape in enumerate(in_shape):
            is_like = len(shape) == len(first) and all(
                a == b or (merge == "concat" and k == at)
                for k, (a, b) in enumerate(zip(first, shape, strict=True))
            )
            if not is_like:  # They would broadcast, silently.
                but = f" but for axis {axis}" if merge == "concat" else ""
                got = f"{first} and, of part {i}, {tuple(shape)}"
                raise ShapeError(f"expected arrays of one shape{but}, got examples of {got}")
        if merge != "concat":
            return first, {}, {}
        whole = sum(shape[at] for shape in in_shape)
        return (*first[:at], whole, *first[at + 1 :]), {}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        for part in x[1:]:
            check_precision(part, x[0], "part 0")
        y, kept = forward(x, axis)

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            return EMPTY, back(x, kept, dy, axis) if need_dx else None

        return y, state, pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        if merge == "concat":
            return 0
        more = count_numbers(out_shape) if merge == "mean" else 0
        return count_numbers(in_shape) - count_numbers(out_shape) + more

    traits = Traits(has_kinks=merge == "max", takes_tuples=True)
    layer = make_layer("fan_in", shapes, fwd, traits=traits, flops=flops, members="fold")
    # Also where another than `fan_in` asked: whoever takes the network apart knows what it is.
    return attrs.evolve(layer, recipe=Recipe.of(fan_in, (merge,), {"axis": axis}))
