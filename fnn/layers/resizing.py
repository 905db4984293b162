"""Layers that change the size of images: padding, upsampling, and channels made space."""

from __future__ import annotations

from typing import Any

from fnn.errors import OptionError, ShapeError
from fnn.kernels.padding import MODES, check_pads, padded, padded_vjp, resized, resized_vjp
from fnn.kernels.windows import Padding, Sizes, image_shape
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.making import fwd_of, make_layer
from fnn.options import each_size, integer, padding_of, sizes
from fnn.recipe import constructor
from fnn.tree import Array


@constructor
def Pad(padding: Padding, *, mode: str = "zeros") -> Layer:
    """Add rows around images (batch, channels, *space).

    Args:
        padding: Rows at every end, or one (before, after) pair per axis.
        mode: "zeros", "reflect" (mirrored without the edge), "circular" (from the other end) or "edge"
            (repeated).

    Raises:
        OptionError: If an option is out of range or has another number of axes.
        ShapeError: If an image has too few rows to be padded so.
    """
    padding = padding_of("Pad", padding)
    if mode not in MODES:
        raise OptionError(f"mode: expected one of {MODES}, got {mode!r}", path=("Pad",))
    if isinstance(padding, str):
        raise OptionError(f"padding: expected rows, got {padding!r}", path=("Pad",))

    def pads_of(space: tuple[int, ...]) -> Any:
        pads = padding if isinstance(padding, tuple) else ((padding, padding),) * len(space)
        if len(pads) != len(space):
            raise OptionError(f"padding: expected {len(space)} pairs, got {padding!r}")
        return pads

    def shapes(in_shape: Shape) -> Any:
        channels, space = image_shape(in_shape)
        pads = pads_of(space)
        check_pads(space, pads, mode)
        return (channels, *(n + a + b for n, (a, b) in zip(space, pads, strict=True))), {}, {}

    def f(x: Array) -> Array:
        return padded(x, pads_of(x.shape[2:]), mode)

    def f_vjp(x: Array, y: Array, dy: Array) -> Array:
        return padded_vjp(dy, pads_of(x.shape[2:]), mode)

    return make_layer("pad", shapes, fwd_of(f, f_vjp), flops=0, members="fold")


@constructor
def Upsample(factor: Sizes, mode: str = "nearest") -> Layer:
    """Make images larger: (batch, channels, *space) to (batch, channels, *(factor · space)).

    Args:
        factor: By how much along each spatial axis; one integer applies to every axis.
        mode: "nearest" repeats every value; "bilinear" (linear along each axis, however many there
            are) weighs the two nearest by their distance, the centres of all values on one scale and
            the edge repeated.

    Raises:
        OptionError: If an option is out of range or has another number of axes.
        ShapeError: If the examples have no spatial axis.
    """
    (factor,) = each_size("Upsample", factor=factor)
    if mode not in ("nearest", "bilinear"):
        expected = "mode: expected 'nearest' or 'bilinear'"
        raise OptionError(f"{expected}, got {mode!r}", path=("Upsample",))
    kind: Any = mode

    def out(space: tuple[int, ...]) -> tuple[int, ...]:
        factors = sizes("", "factor", factor, len(space))
        return tuple(n * times for n, times in zip(space, factors, strict=True))

    def shapes(in_shape: Shape) -> Any:
        channels, space = image_shape(in_shape, least=1)
        return (channels, *out(space)), {}, {}

    fwd = fwd_of(
        lambda x: resized(x, out(x.shape[2:]), kind),
        lambda x, y, dy: resized_vjp(dy, x.shape[2:], kind),
    )
    return make_layer("upsample", shapes, fwd, flops=4, members="fold")


@constructor
def AdaptiveAvgPool(size: Sizes) -> Layer:
    """Take means over windows that cut space into `size` parts.

    Of n rows and m parts, window i is from i n / m to (i + 1) n / m. The beginning is rounded down and
    the end up, so that windows overlap where m does not divide n.

    Args:
        size: How many rows come out along each spatial axis, m; one integer applies to every axis.

    Raises:
        OptionError: If it is out of range or has another number of axes.
        ShapeError: If the examples have no spatial axis.
    """
    (size,) = each_size("AdaptiveAvgPool", size=size)

    def out(space: tuple[int, ...]) -> tuple[int, ...]:
        return sizes("", "size", size, len(space))

    def shapes(in_shape: Shape) -> Any:
        channels, space = image_shape(in_shape, least=1)
        return (channels, *out(space)), {}, {}

    fwd = fwd_of(
        lambda x: resized(x, out(x.shape[2:]), "adaptive"),
        lambda x, y, dy: resized_vjp(dy, x.shape[2:], "adaptive"),
    )
    return make_layer("adaptive_avg_pool", shapes, fwd, flops=1, members="fold")


@constructor
def PixelShuffle(factor: int) -> Layer:
    """Make space of channels: y[n, c, h r + i, w r + j] = x[n, (c r + i) r + j, h, w], r the factor.

    From (batch, channels r², height, width) to (batch, channels, height r, width r).

    Raises:
        OptionError: If the factor is not an integer of 1 or more.
        ShapeError: If the channels are not a multiple of r², or there are other axes.

    References: Shi et al. (2016), "Real-time single image super-resolution", eq. 4.
    """
    r = integer("PixelShuffle", "factor", factor)

    def shapes(in_shape: Shape) -> Any:
        if len(in_shape) != 3 or in_shape[0] < 1 or in_shape[0] % (r * r):
            expected = f"(channels, height, width) with channels in multiples of {r * r}"
            raise ShapeError(f"expected examples {expected}, got in_shape={in_shape}")
        channels, height, width = in_shape
        return (channels // (r * r), height * r, width * r), {}, {}

    def f(x: Array) -> Array:
        n, channels, height, width = x.shape
        parts = x.reshape(n, channels // (r * r), r, r, height, width)
        return parts.transpose(0, 1, 4, 2, 5, 3).reshape(n, parts.shape[1], height * r, width * r)

    def f_vjp(x: Array, y: Array, dy: Array) -> Array:
        n, channels, height, width = x.shape
        parts = dy.reshape(n, channels // (r * r), height, r, width, r)
        return parts.transpose(0, 1, 3, 5, 2, 4).reshape(x.shape)

    return make_layer("pixel_shuffle", shapes, fwd_of(f, f_vjp), flops=0, members="fold")
