"""Pooling layers over images (batch, channels, *space)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from fnn.kernels import pooling
from fnn.kernels.windows import Padding, Sizes, cached_windows, image_shape, pool_windows
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer, Traits
from fnn.layers.making import fwd_of, make_layer
from fnn.options import each_size, flag, padding_of
from fnn.recipe import constructor


def _pool(who: str, name: str, pool: Any, pool_vjp: Any, *options: Any, kinks: bool = False) -> Layer:
    """Make a pooling layer of `pool(x, at)`, which returns y, and `pool_vjp(x, y, dy, at)`, dx."""
    window, stride, padding, dilation, ceil = options
    stride = window if stride is None else stride
    window, stride, dilation = each_size(who, window=window, stride=stride, dilation=dilation)
    padding, ceil = padding_of(who, padding), flag(who, "ceil", ceil)
    windows_over = cached_windows(window, stride, padding, dilation, ceil, make=pool_windows)

    def shapes(in_shape: Shape) -> Any:
        channels, space = image_shape(in_shape)
        return (channels, *windows_over(space).out), {}, {}

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        return math.prod(out_shape) * math.prod(windows_over(in_shape[1:]).size)

    fwd = fwd_of(
        lambda x: pool(x, windows_over(x.shape[2:])),
        lambda x, y, dy: pool_vjp(x, y, dy, windows_over(x.shape[2:])),
    )
    return make_layer(name, shapes, fwd, traits=Traits(has_kinks=kinks), flops=flops, members="fold")


def _over_space(in_shape: Shape) -> Any:
    return image_shape(in_shape, least=1)[:1], {}, {}


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
    options = window, stride, padding, dilation, ceil
    return _pool("MaxPool", "max_pool", pooling.max_pool, pooling.max_pool_vjp, *options, kinks=True)


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

    count: Any = {"count_padding": flag("AvgPool", "count_padding", count_padding)}
    functions = partial(pooling.average_pool, **count), partial(pooling.average_pool_vjp, **count)
    return _pool("AvgPool", "avg_pool", *functions, window, stride, padding, dilation, ceil)


@constructor
def GlobalAvgPool() -> Layer:
    """Take the mean over all of space: (batch, channels, *space) to (batch, channels).

    Raises:
        ShapeError: If the examples have no spatial axis.
    """
    fwd = fwd_of(pooling.global_average_pool, pooling.global_average_pool_vjp)
    return make_layer("global_avg_pool", _over_space, fwd, flops=1, members="fold")


@constructor
def MinPool(
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    ceil: bool = False,
) -> Layer:
    """Take the smallest value of every window: y[n, c, i] = min_k x[n, c, at i + k].

    Padding counts as inf. Where values tie, the whole derivative goes to the first of them in
    row-major order. Arguments and errors are those of `MaxPool`.
    """
    options = window, stride, padding, dilation, ceil
    return _pool("MinPool", "min_pool", pooling.min_pool, pooling.min_pool_vjp, *options, kinks=True)


@constructor
def SumPool(
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    ceil: bool = False,
) -> Layer:
    """Take the sum of every window: y[n, c, i] = Σ_k x[n, c, at i + k].

    Arguments and errors are those of `MaxPool`.
    """
    options = window, stride, padding, dilation, ceil
    return _pool("SumPool", "sum_pool", pooling.sum_pool, pooling.sum_pool_vjp, *options)


@constructor
def GlobalMaxPool() -> Layer:
    """Take the largest value over all of space: (batch, channels, *space) to (batch, channels).

    Where values tie, the whole derivative goes to the first of them in row-major order.

    Raises:
        ShapeError: If the examples have no spatial axis.
    """
    fwd = fwd_of(pooling.global_max_pool, pooling.global_max_pool_vjp)
    traits = Traits(has_kinks=True)
    return make_layer("global_max_pool", _over_space, fwd, traits=traits, flops=1, members="fold")
