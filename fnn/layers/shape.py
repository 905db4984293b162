"""Layers that only change an example's shape."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from fnn.errors import OptionError, ShapeError
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.making import fwd_of, make_layer
from fnn.options import integer
from fnn.recipe import constructor


def _reshaped(name: str, out_shape: Callable[[Shape], Shape]) -> Layer:
    @functools.lru_cache(maxsize=64)  # Once per shape, not at every call.
    def batched(shape: Shape) -> Shape:
        return (shape[0], *out_shape(shape[1:]))

    def shapes(in_shape: Shape) -> Any:
        return out_shape(in_shape), {}, {}

    fwd = fwd_of(lambda x: x.reshape(batched(x.shape)), lambda x, y, dy: dy.reshape(x.shape))
    return make_layer(name, shapes, fwd, flops=0, keeps=0, members="fold")


@constructor
def Flatten(*, start: int = 1) -> Layer:
    """Lay every example's numbers in a row, in row-major order: (batch, ...) to (batch, n).

    Args:
        start: First axis that is joined with those after it, the batch being axis 0; axes before it
            stay. An array that has no such axis gets one of size 1.

    Raises:
        OptionError: If `start` is not an integer of 1 or more.
        ShapeError: If an example has fewer than start - 1 axes.
    """
    start = integer("Flatten", "start", start)

    def out_shape(in_shape: Shape) -> Shape:
        if len(in_shape) < start - 1:
            raise ShapeError(f"expected {start - 1} or more axes per example, got {in_shape}")
        return (*in_shape[: start - 1], math.prod(in_shape[start - 1 :]))

    return _reshaped("flatten", out_shape)


@constructor
def Reshape(shape: Shape) -> Layer:
    """Give every example `shape`, in row-major order; one axis may be -1 and follows from the rest.

    Raises:
        OptionError: If an axis is neither -1 nor 1 or more, or two are -1.
        ShapeError: If the numbers of an example do not fill the shape.
    """
    given = shape if isinstance(shape, tuple | list) else (shape,)
    axes = tuple(integer("Reshape", "shape", n, least=-1) for n in given)
    if 0 in axes or axes.count(-1) > 1:
        raise OptionError(
            f"shape: expected axes of 1 or more, one of them -1, got {shape}", path=("Reshape",)
        )
    known = math.prod(n for n in axes if n != -1)

    def out_shape(in_shape: Shape) -> Shape:
        size = math.prod(in_shape)
        if size % known or (-1 not in axes and size != known):
            raise ShapeError(f"expected examples that fill {axes}, got {in_shape} ({size} numbers)")
        return tuple(size // known if n == -1 else n for n in axes)

    return _reshaped("reshape", out_shape)
