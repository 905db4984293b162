"""Convolution layers."""

from __future__ import annotations

import math
from typing import Any

from fnn.errors import OptionError, ShapeError
from fnn.kernels.convolution import convolution, convolution_vjp
from fnn.kernels.windows import Padding, Sizes, batch_first, batch_last, cached_windows, image_shape
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.initializers import Initializer, glorot_uniform, zeros
from fnn.layers.making import Leaf, make_layer
from fnn.options import each_size, flag, integer, padding_of
from fnn.recipe import constructor
from fnn.tree import EMPTY, Tree


@constructor
def Conv(
    channels: int,
    window: Sizes,
    *,
    stride: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
    init_w: Initializer = glorot_uniform,
    init_b: Initializer = zeros,
) -> Layer:
    """Convolve over space: y[n, o] = Σ_c,k w[o, c, k] x[n, c, at k] + b[o].

    Cross-correlation, as everywhere in the field: the window is not flipped. Examples have the
    shape (in_channels, *space) with one or two spatial axes (more work too); an option of one
    integer applies to every axis.

    Args:
        channels: Number of output channels, a multiple of `groups`.
        window: Size of the kernels along each spatial axis.
        stride: Step between windows.
        padding: "valid" (none), "same" (ceil(n / stride) outputs, the odd row of zeros at the
            end), rows of zeros at every end, or one (before, after) pair per axis.
        dilation: Step between the values inside a window.
        groups: Number of groups; output channels of one group see the input channels of it alone.
        bias: Whether to add b.
        init_w: Draws w; fan_in and fan_out count the window's values of one group.
        init_b: Draws b.

    Params:
        w: Kernels, shape (channels, in_channels / groups, *window).
        b: Biases, shape (channels,); absent if `bias` is False.

    Raises:
        OptionError: If an option is out of range or has another number of axes.
        ShapeError: If the window is larger than the padded image, or the input's channels are
            not those of w.
        DTypeError: If the inputs' precision is not that of w.
        TreeError: If params have other entries.
    """
    channels, groups = integer("Conv", "channels", channels), integer("Conv", "groups", groups)
    window, stride, dilation = each_size("Conv", window=window, stride=stride, dilation=dilation)
    padding, bias = padding_of("Conv", padding), flag("Conv", "bias", bias)
    windows_over = cached_windows(window, stride, padding, dilation)
    if channels % groups:
        message = f"channels: expected a multiple of groups={groups}, got {channels}"
        raise OptionError(message, path=("Conv",))

    def shapes(in_shape: Shape) -> Any:
        n_in, space = image_shape(in_shape)
        if n_in < 1 or n_in % groups:
            raise ShapeError(f"expected channels in multiples of groups={groups}, got {in_shape}")
        geometry = windows_over(space)
        area = math.prod(geometry.size)
        fans = n_in // groups * area, channels // groups * area
        leaves = {"w": Leaf((channels, n_in // groups, *geometry.size), init_w, fans)}
        leaves |= {"b": Leaf((channels,), init_b, fans)} if bias else {}
        return (channels, *geometry.out), leaves, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        w = params["w"]
        geometry = windows_over(x.shape[2:])
        if train:
            x = batch_first(batch_last(x))  # Once, and not again on the way back.

        def pullback(dy: Any, *, need_dx: bool = True, need_dparams: bool = True) -> Any:
            needs = {"bias": bias, "need_dx": need_dx, "need_dw": need_dparams}
            dw, db, dx = convolution_vjp(x, w, dy, geometry, groups, **needs)
            if not need_dparams:
                return EMPTY, dx
            return Tree.own({"w": dw, "b": db} if bias else {"w": dw}), dx

        return convolution(x, w, params["b"] if bias else None, geometry, groups), state, pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        # At every place of the output each kernel is used once, over the channels of its group.
        return 2 * math.prod(params["w"].shape) * math.prod(out_shape[1:])

    return make_layer("conv", shapes, fwd, flops=flops)
