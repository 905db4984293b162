"""Convolution layers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import attrs

from fnn.errors import OptionError, ShapeError
from fnn.kernels.convolution import (
    convolution,
    convolution_vjp,
    transposed_convolution,
    transposed_convolution_vjp,
)
from fnn.kernels.padding import MODES, check_pads, padded, padded_vjp
from fnn.kernels.windows import (
    Padding,
    Sizes,
    batch_first,
    batch_last,
    cached_windows,
    image_shape,
    windows,
)
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.initializers import Initializer, glorot_uniform, zeros
from fnn.layers.making import Leaf, make_layer
from fnn.options import each_size, flag, integer, padding_of, sizes
from fnn.recipe import constructor
from fnn.tree import EMPTY, Tree

FILLED = tuple(mode for mode in MODES if mode != "zeros")
"""Paddings by what the image holds."""


def _convolving(
    who: str,
    name: str,
    counts: Callable[[int], tuple[int, int]],
    places: tuple[Any, Any, Any, Any],
    bias: Any,
    inits: tuple[Initializer, Initializer],
) -> Layer:
    """Make a convolution; `counts` tells from the input's channels its own, and the groups."""
    window, stride, padding, dilation = places
    window, stride, dilation = each_size(who, window=window, stride=stride, dilation=dilation)
    padding, bias = padding_of(who, padding, also=("causal", *FILLED)), flag(who, "bias", bias)
    fill: Any = padding if padding in FILLED else None
    windows_over = cached_windows(window, stride, "valid" if fill else padding, dilation)
    same_over = cached_windows(window, stride, "same", dilation)
    init_w, init_b = inits

    def shapes(in_shape: Shape) -> Any:
        n_in, space = image_shape(in_shape)
        channels, groups = counts(n_in)
        if n_in < 1 or n_in % groups:
            raise ShapeError(f"expected channels in multiples of groups={groups}, got {in_shape}")
        if fill:
            check_pads(space, same_over(space).pads, fill)
            space = same_over(space).padded
        geometry = windows_over(space)
        area = math.prod(geometry.size)
        fans = n_in // groups * area, channels // groups * area
        leaves = {"w": Leaf((channels, n_in // groups, *geometry.size), init_w, fans)}
        leaves |= {"b": Leaf((channels,), init_b, fans)} if bias else {}
        return (channels, *geometry.out), leaves, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        w = params["w"]
        groups = x.shape[1] // w.shape[1]
        pads = same_over(x.shape[2:]).pads if fill else None
        if pads:
            x = padded(x, pads, fill)
        geometry = windows_over(x.shape[2:])
        if train:
            x = batch_first(batch_last(x))  # Once, and not again on the way back.

        def pullback(dy: Any, *, need_dx: bool = True, need_dparams: bool = True) -> Any:
            needs = {"bias": bias, "need_dx": need_dx, "need_dw": need_dparams}
            dw, db, dx = convolution_vjp(x, w, dy, geometry, groups, **needs)
            if pads and dx is not None:
                dx = padded_vjp(dx, pads, fill)
            if not need_dparams:
                return EMPTY, dx
            return Tree.own({"w": dw, "b": db} if bias else {"w": dw}), dx

        return convolution(x, w, params["b"] if bias else None, geometry, groups), state, pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        # At every place of the output each kernel is used once, over the channels of its group.
        return 2 * math.prod(params["w"].shape) * math.prod(out_shape[1:])

    return make_layer(name, shapes, fwd, flops=flops)


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
    shape (in_channels, *space) with one, two or three spatial axes (more work too); an option of one
    integer applies to every axis.

    Args:
        channels: Number of output channels, a multiple of `groups`.
        window: Size of the kernels along each spatial axis.
        stride: Step between windows.
        padding: "valid" (none), "same" (ceil(n / stride) outputs, the odd row of zeros at the
            end), rows of zeros at every end, or one (before, after) pair per axis. "reflect",
            "circular" and "edge" pad as "same" does, by what the image holds: mirrored without its
            edge, from its other end, or the edge repeated. "causal", along one axis, puts all
            zeros before, so that no output sees what is later.
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
    if channels % groups:
        message = f"channels: expected a multiple of groups={groups}, got {channels}"
        raise OptionError(message, path=("Conv",))
    places = window, stride, padding, dilation
    return _convolving("Conv", "conv", lambda n: (channels, groups), places, bias, (init_w, init_b))


@constructor
def DepthwiseConv(
    window: Sizes,
    *,
    multiplier: int = 1,
    stride: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    bias: bool = True,
    init_w: Initializer = glorot_uniform,
    init_b: Initializer = zeros,
) -> Layer:
    """Convolve every channel by itself: y[n, c m + j] = Σ_k w[c m + j, 0, k] x[n, c, at k] + b.

    Args:
        window: Size of the kernels along each spatial axis.
        multiplier: How many channels become of each, m.
        stride, padding, dilation, bias, init_w, init_b: As in `Conv`.

    Params:
        w: Kernels, shape (channels · multiplier, 1, *window).
        b: Biases, shape (channels · multiplier,); absent if `bias` is False.

    Raises:
        OptionError, ShapeError, DTypeError, TreeError: As `Conv` does.
    """
    multiplier = integer("DepthwiseConv", "multiplier", multiplier)
    places, inits = (window, stride, padding, dilation), (init_w, init_b)
    counts = lambda n: (n * multiplier, max(n, 1))  # noqa: E731
    return _convolving("DepthwiseConv", "depthwise_conv", counts, places, bias, inits)


@constructor
def ConvTranspose(
    channels: int,
    window: Sizes,
    *,
    stride: Sizes = 1,
    padding: Padding = "valid",
    output_padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
    init_w: Initializer = glorot_uniform,
    init_b: Initializer = zeros,
) -> Layer:
    """Spread every value over a window: the derivative of a convolution in its image, and b added.

    n rows become (n - 1) stride - before - after + dilation (window - 1) + 1 + output_padding: as many
    as a `Conv` with the same options makes n of.

    Args:
        channels: Number of output channels, a multiple of `groups`.
        window: Size of the kernels along each spatial axis.
        stride: Step between windows in the output.
        padding: Rows that are cut off at every end, or one (before, after) pair per axis; "valid" is 0.
        output_padding: Rows more at the end, less than the stride: which of the sizes that a
            convolution makes n of is meant.
        dilation: Step between the values inside a window.
        groups: Number of groups; output channels of one group come from the input channels of it alone.
        bias: Whether to add b.
        init_w: Draws w; fan_in counts the channels, and fan_out the window's values too.
        init_b: Draws b.

    Params:
        w: Kernels, shape (in_channels, channels / groups, *window).
        b: Biases, shape (channels,); absent if `bias` is False.

    Raises:
        OptionError: If an option is out of range or has another number of axes.
        ShapeError: If nothing is left of the padding, or the input's channels are not those of w.

    References: Dumoulin & Visin (2016), "A guide to convolution arithmetic", chapter 4.
    """
    who = "ConvTranspose"
    channels, groups = integer(who, "channels", channels), integer(who, "groups", groups)
    window, stride, dilation = each_size(who, window=window, stride=stride, dilation=dilation)
    (output_padding,) = each_size(who, least=0, output_padding=output_padding)
    padding, bias = padding_of(who, padding), flag(who, "bias", bias)
    if padding == "same":
        raise OptionError("padding: expected rows to cut off, got 'same'", path=(who,))
    if channels % groups:
        message = f"channels: expected a multiple of groups={groups}, got {channels}"
        raise OptionError(message, path=(who,))

    @functools.lru_cache(maxsize=64)
    def windows_under(space: tuple[int, ...]) -> Any:
        """Return the windows over the image that comes out, of which there is one for every value."""
        n_axes = len(space)
        size, step, gap, more = (
            sizes("", name, value, n_axes, least=least)
            for name, value, least in (
                ("window", window, 1),
                ("stride", stride, 1),
                ("dilation", dilation, 1),
                ("output_padding", output_padding, 0),
            )
        )
        if any(m >= max(s, d) for m, s, d in zip(more, step, gap, strict=True)):
            expected = f"output_padding: expected less than the stride {step} or the dilation {gap}"
            raise OptionError(f"{expected}, got {more}")
        rows = 0 if padding == "valid" else padding
        pads = padding if isinstance(padding, tuple) else ((rows, rows),) * n_axes
        if len(pads) != n_axes:
            raise OptionError(f"padding: expected {n_axes} pairs, got {padding!r}")
        out = tuple(
            (n - 1) * s - sum(pair) + d * (k - 1) + 1 + m
            for n, s, pair, d, k, m in zip(space, step, pads, gap, size, more, strict=True)
        )
        if min(out) < 1:
            raise ShapeError(f"expected less padding for images of {space}, got {pads}: {out} is left")
        # What output_padding adds is seen by no window.
        inner = windows(out, size, step, pads, gap)
        return attrs.evolve(inner, out=space)

    def shapes(in_shape: Shape) -> Any:
        n_in, space = image_shape(in_shape, least=1)
        if n_in < 1 or n_in % groups:
            raise ShapeError(f"expected channels in multiples of groups={groups}, got {in_shape}")
        geometry = windows_under(space)
        area = math.prod(geometry.size)
        fans = n_in // groups, channels // groups * area
        leaves = {"w": Leaf((n_in, channels // groups, *geometry.size), init_w, fans)}
        leaves |= {"b": Leaf((channels,), init_b, fans)} if bias else {}
        return (channels, *geometry.space), leaves, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        w, geometry = params["w"], windows_under(x.shape[2:])

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            needs = {"bias": bias, "need_dx": need_dx}
            dw, db, dx = transposed_convolution_vjp(x, w, dy, geometry, groups, **needs)
            return Tree.own({"w": dw, "b": db} if bias else {"w": dw}), dx

        b = params["b"] if bias else None
        return transposed_convolution(x, w, b, geometry, groups), state, pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        return 2 * math.prod(params["w"].shape) * math.prod(in_shape[1:])

    return make_layer("conv_transpose", shapes, fwd, flops=flops)
