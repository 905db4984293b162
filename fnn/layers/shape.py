"""Layers that only change an example's shape."""

from __future__ import annotations

import functools
import math
from typing import Any

from fnn.errors import OptionError, ShapeError
from fnn.kernels.checks import check_array, check_shape
from fnn.keys import Key
from fnn.layers.contract import Layer, Pullback, Shape
from fnn.layers.convolution import MOST_SHAPES
from fnn.options import integer
from fnn.recipe import constructor
from fnn.tree import EMPTY, TreeLike


def _reshaped(name: str, out_shape: Any) -> Layer:
    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        check_shape(in_shape)
        return out_shape(tuple(in_shape)), EMPTY, EMPTY

    # Once per shape, not at every call.
    laid = functools.lru_cache(maxsize=MOST_SHAPES)(out_shape)

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        check_array(x)
        return x.reshape(x.shape[0], *laid(x.shape[1:])), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        y, state = apply(params, state, x)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            return EMPTY, dy.reshape(x.shape) if need_dx else None

        return y, state, pullback

    return Layer(name, init, apply, vjp)


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
