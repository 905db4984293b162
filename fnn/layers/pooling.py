"""Pooling layers over images (batch, channels, *space)."""

from __future__ import annotations

import functools
from typing import Any

from fnn.errors import ShapeError
from fnn.kernels.checks import check_array, check_shape
from fnn.kernels.pooling import (
    average_pool,
    average_pool_vjp,
    global_average_pool,
    global_average_pool_vjp,
    max_pool,
    max_pool_vjp,
)
from fnn.kernels.windows import Windows
from fnn.keys import Key
from fnn.layers.contract import Layer, Pullback, Shape, Traits
from fnn.layers.convolution import MOST_SHAPES, Padding, Sizes, check_padding, check_sizes, lay
from fnn.options import flag
from fnn.recipe import constructor
from fnn.tree import EMPTY, TreeLike


def _pool(
    who: str,
    name: str,
    window: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil: Any,
    pool: Any,
    pool_vjp: Any,
) -> Layer:
    """Make a pooling layer of `pool(x, at)`, which returns y, and `pool_vjp(x, y, dy, at)`, dx."""
    window = check_sizes(who, "window", window)
    stride = window if stride is None else check_sizes(who, "stride", stride)
    padding, dilation = check_padding(who, padding), check_sizes(who, "dilation", dilation)
    ceil = flag(who, "ceil", ceil)

    @functools.lru_cache(maxsize=MOST_SHAPES)
    def laid(space: Shape) -> Windows:
        at = lay(space, window, stride, padding, dilation, ceil)
        asked = [(a, b - over) for (a, b), over in zip(at.pads, at.over, strict=True)]
        # Else a window could lie in the padding alone: -inf, or a mean over nothing.
        if any(side >= e for pair, e in zip(asked, at.extents(), strict=True) for side in pair):
            raise ShapeError(
                f"expected less padding than the window {at.extents()}, got {tuple(asked)}"
            )
        if at.misses():
            raise ShapeError(f"expected windows that all meet the image {space}, got {at.pads} padding")
        return at

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        check_shape(in_shape)
        if len(in_shape) < 2:
            raise ShapeError(f"expected examples (channels, *space), got in_shape={in_shape}")
        return (in_shape[0], *laid(in_shape[1:]).out), EMPTY, EMPTY

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        check_array(x, 3)
        return pool(x, laid(x.shape[2:])), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        check_array(x, 3)
        at = laid(x.shape[2:])
        y = pool(x, at)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            return EMPTY, pool_vjp(x, y, dy, at) if need_dx else None

        return y, state, pullback

    return Layer(name, init, apply, vjp, traits=Traits(has_kinks=name == "max_pool"))


@constructor
def MaxPool(
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    ceil: bool = False,
) -> Layer:
    """Take the largest value of every window: y[n, c, i] = max_k x[n, c, at i + k].

    Rows that fill no whole window are left out ("valid"), unless `ceil` is True. Padding counts as
    -inf. Where values tie, the whole derivative goes to the first of them in row-major order.

    Args:
        window: Size along each spatial axis; one integer applies to every axis.
        stride: Step between windows, the window's size by default.
        padding: As for `Conv`, less than the window on each side.
        dilation: Step between the values inside a window.
        ceil: Whether rows at the end that fill no whole window get one, as far as it begins within
            the image or the padding before it; what it lacks never counts.

    Raises:
        OptionError: If an option is out of range or has another number of axes.
        ShapeError: If the window is larger than the padded image, or the padding than the window.
    """
    options = (window, stride, padding, dilation, ceil)
    return _pool("MaxPool", "max_pool", *options, max_pool, max_pool_vjp)


@constructor
def AvgPool(
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    ceil: bool = False,
    count_padding: bool = False,
) -> Layer:
    """Take the mean of every window: y[n, c, i] = mean_k x[n, c, at i + k].

    Args:
        window: Size along each spatial axis; one integer applies to every axis.
        stride: Step between windows, the window's size by default.
        padding: As for `Conv`, less than the window on each side.
        dilation: Step between the values inside a window.
        ceil: Whether rows at the end that fill no whole window get one, as far as it begins within
            the image or the padding before it; what it lacks never counts.
        count_padding: Whether the padding's zeros count in the mean.

    Raises:
        OptionError: If an option is out of range or has another number of axes.
        ShapeError: If the window is larger than the padded image, or the padding than the window.
    """

    def pool(x: Any, at: Windows) -> Any:
        return average_pool(x, at, count_padding=count_padding)

    def pool_vjp(x: Any, y: Any, dy: Any, at: Windows) -> Any:
        return average_pool_vjp(x, dy, at, count_padding=count_padding)

    return _pool("AvgPool", "avg_pool", window, stride, padding, dilation, ceil, pool, pool_vjp)


@constructor
def GlobalAvgPool() -> Layer:
    """Take the mean over all of space: (batch, channels, *space) to (batch, channels).

    Raises:
        ShapeError: If the examples have no spatial axis.
    """

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        check_shape(in_shape)
        if len(in_shape) < 2 or 0 in in_shape:
            raise ShapeError(f"expected examples (channels, *space), got in_shape={in_shape}")
        return in_shape[:1], EMPTY, EMPTY

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        check_array(x, 3)
        if 0 in x.shape[2:]:
            raise ShapeError(f"expected images of 1 or more values, got {x.shape}")
        return global_average_pool(x), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        y, state = apply(params, state, x)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            return EMPTY, global_average_pool_vjp(x, dy) if need_dx else None

        return y, state, pullback

    return Layer("global_avg_pool", init, apply, vjp)
