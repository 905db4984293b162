"""Rules of layers over images (batch, channels, *space): convolutions, pools, padding and resizing."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fnn.interop.arrays import functions as a
from fnn.interop.arrays.plain import plain
from fnn.interop.arrays.translating import Run, rules
from fnn.interop.rules import options_of
from fnn.kernels.padding import resized
from fnn.kernels.pooling import average_pool, sum_pool
from fnn.kernels.windows import Windows, cached_windows, pool_windows
from fnn.layers import pooling
from fnn.layers.contract import Layer
from fnn.layers.convolution import FILLED, Conv, ConvTranspose, DepthwiseConv
from fnn.layers.resizing import AdaptiveAvgPool, Pad, PixelShuffle, Upsample
from fnn.options import each_size, padding_of, sizes


def _with_bias(y: Any, params: Any) -> Any:
    return y + params["b"].reshape(-1, *(1,) * (y.ndim - 2)) if "b" in params else y


# --- convolutions -----------------------------------------------------------------------------


@rules.of(Conv, DepthwiseConv)
def conv(layer: Layer) -> Run:
    """Convolve over space."""
    o = options_of(layer)
    places: Any = each_size("", window=o.window, stride=o.stride, dilation=o.dilation)
    window, stride, dilation = places
    padding = padding_of("", o.padding, also=("causal", *FILLED))
    fill = padding if padding in FILLED else None
    windows_over = cached_windows(window, stride, "same" if fill else padding, dilation)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        w, geometry = params["w"], windows_over(x.shape[2:])
        y = a.conv(
            a.pad_images(x, geometry.pads, fill) if fill else x,
            w,
            stride=geometry.stride,
            pads=((0, 0),) * len(geometry.pads) if fill else geometry.pads,
            dilation=geometry.dilation,
            groups=x.shape[1] // w.shape[1],
        )
        return _with_bias(y, params), state

    return run


@rules.of(ConvTranspose)
def conv_transpose(layer: Layer) -> Run:
    """Spread every value over a window: a convolution over what lies apart by the stride."""
    o = options_of(layer)
    padding = padding_of("", o.padding)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        w, n_axes = params["w"], x.ndim - 2
        stride, dilation, more = (
            sizes("", name, value, n_axes, least=least)
            for name, value, least in (
                ("stride", o.stride, 1),
                ("dilation", o.dilation, 1),
                ("output_padding", o.output_padding, 0),
            )
        )
        rows = 0 if padding == "valid" else padding
        pads = rows if isinstance(rows, tuple) else ((rows, rows),) * n_axes
        spans = [d * (k - 1) for d, k in zip(dilation, w.shape[2:], strict=True)]
        around = [
            (span - before, span - after + m)
            for span, (before, after), m in zip(spans, pads, more, strict=True)
        ]
        # From (in, out / groups) to (out, in / groups), and the window turned round.
        by_group = w.reshape(o.groups, w.shape[0] // o.groups, *w.shape[1:]).swapaxes(1, 2)
        kernel = a.flip(by_group.reshape(-1, *by_group.shape[2:]), tuple(range(2, w.ndim)))
        y = a.conv(
            x,
            kernel,
            stride=(1,) * n_axes,
            pads=around,
            apart=stride,
            dilation=dilation,
            groups=o.groups,
        )
        return _with_bias(y, params), state

    return run


# --- pools ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _inverse_counts(geometry: Windows, count_padding: bool) -> Any:
    """Return one by how many values each window is the mean over."""
    image = np.ones((1, 1, *geometry.space))
    mean = average_pool(image, geometry, count_padding=count_padding)
    return np.ascontiguousarray(mean / sum_pool(image, geometry))


@rules.of(pooling.MaxPool, pooling.MinPool, pooling.SumPool, pooling.AvgPool)
def pool(layer: Layer) -> Run:
    """Take the largest, the smallest, the sum or the mean of every window."""
    o, kind = options_of(layer), layer.made_by().call
    stride = o.window if o.stride is None else o.stride
    places: Any = each_size("", window=o.window, stride=stride, dilation=o.dilation)
    window, stride, dilation = places
    given = window, stride, padding_of("", o.padding), dilation, o.ceil
    windows_over = cached_windows(*given, make=pool_windows)

    def f(x: Any) -> Any:
        geometry = windows_over(x.shape[2:])
        if kind is pooling.MaxPool:
            return a.window_max(x, geometry)
        if kind is pooling.MinPool:
            return -a.window_max(-x, geometry)
        total = a.window_sum(x, geometry)
        if kind is pooling.SumPool:
            return total
        return total * a.constant(_inverse_counts(geometry, o.count_padding), x)

    return plain(f)


@rules.of(pooling.GlobalAvgPool)
def global_avg_pool(layer: Layer) -> Run:
    """Take the mean over all of space."""
    return plain(lambda x: x.mean(axis=tuple(range(2, x.ndim))))


@rules.of(pooling.GlobalMaxPool)
def global_max_pool(layer: Layer) -> Run:
    """Take the largest value over all of space, of equal ones the first."""

    def f(x: Any) -> Any:
        rows = x.reshape(*x.shape[:2], -1)
        return a.take_along_axis(rows, a.argmax(rows, axis=2, keepdims=True), 2)[..., 0]

    return plain(f)


# --- sizes ------------------------------------------------------------------------------------


@rules.of(Pad)
def pad(layer: Layer) -> Run:
    """Add rows around images."""
    o = options_of(layer)
    padding: Any = padding_of("Pad", o.padding)

    def f(x: Any) -> Any:
        pads = padding if isinstance(padding, tuple) else ((padding, padding),) * (x.ndim - 2)
        return a.pad_images(x, pads, o.mode)

    return plain(f)


@functools.lru_cache(maxsize=64)
def _weights(n: int, n_out: int, kind: Any) -> Any:
    """Return the matrix (n, n_out) that resizes a row of n values."""
    return resized(np.eye(n)[None], (n_out,), kind)[0]


def _resized(x: Any, out: tuple[int, ...], kind: str) -> Any:
    for axis, n_out in enumerate(out, start=2):
        if kind == "nearest":
            x = a.repeat(x, n_out // x.shape[axis], axis)
        else:
            weights = a.constant(_weights(x.shape[axis], n_out, kind), x)
            x = a.moveaxis(a.moveaxis(x, axis, -1) @ weights, -1, axis)
    return x


@rules.of(Upsample)
def upsample(layer: Layer) -> Run:
    """Make images larger."""
    mode = options_of(layer).mode
    shapes: Any = layer.shapes
    return plain(lambda x: _resized(x, shapes(x.shape[1:])[0][1:], mode))


@rules.of(AdaptiveAvgPool)
def adaptive_avg_pool(layer: Layer) -> Run:
    """Take means over windows that cut space into parts."""
    shapes: Any = layer.shapes
    return plain(lambda x: _resized(x, shapes(x.shape[1:])[0][1:], "adaptive"))


@rules.of(PixelShuffle)
def pixel_shuffle(layer: Layer) -> Run:
    """Make space of channels."""
    r = options_of(layer).factor

    def f(x: Any) -> Any:
        n, channels, height, width = x.shape
        parts = x.reshape(n, channels // (r * r), r, r, height, width)
        return a.transpose(parts, (0, 1, 4, 2, 5, 3)).reshape(n, -1, height * r, width * r)

    return plain(f)
