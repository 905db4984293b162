"""Strategies for layers over images: convolutions and pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from fnn.layers.assemblies import SeparableConv
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.convolution import Conv, ConvTranspose, DepthwiseConv
from fnn.layers.pooling import AvgPool, GlobalAvgPool, GlobalMaxPool, MaxPool, MinPool, SumPool
from fnn.layers.resizing import AdaptiveAvgPool, Pad, PixelShuffle, Upsample
from fnn.testing.strategies.of_options import (
    Layers,
    Maker,
    Rows,
    initializers,
    laid,
    options,
    pads,
    per_axis,
    plain,
)


@st.composite
def _conv(draw: st.DrawFn, in_shape: Shape) -> Layer:
    n_in, sides = in_shape[0], in_shape[1:]
    is_one = draw(st.just(True) | st.just(False))
    padding = draw(pads(sides, (2,) * len(sides)))
    padded = laid(padding, sides, 5)
    window, sizes = per_axis(draw, is_one, padded)
    # The last value of a window, at (k - 1) d, must lie inside too.
    room = tuple((n - 1) // (k - 1) if k > 1 else 2 for n, k in zip(padded, sizes, strict=True))
    dilation, _ = per_axis(draw, is_one, room, cap=2)
    stride, _ = per_axis(draw, is_one, (3,) * len(sides))
    groups = draw(st.sampled_from([g for g in range(1, n_in + 1) if n_in % g == 0]))
    channels = groups * draw(st.integers(1, max(1, 4 // groups)))
    given = options(bias=st.booleans(), init_w=initializers(), init_b=initializers())
    placed = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Conv(channels, window, **placed, **draw(given))


def _pool(make: Callable[..., Layer], **more: st.SearchStrategy[Any]) -> Maker:
    @st.composite
    def pool(draw: st.DrawFn, in_shape: Shape) -> Layer:
        sides = in_shape[1:]
        is_one = draw(st.just(True) | st.just(False))
        window, sizes = per_axis(draw, is_one, sides)
        given = draw(options(stride=st.just(None), ceil=st.booleans(), **more))
        if "stride" not in given:
            given["stride"], _ = per_axis(draw, is_one, (3,) * len(sides))
        if all(2 * k - 1 <= n for k, n in zip(sizes, sides, strict=True)) and draw(st.booleans()):
            return make(window, dilation=2, **given)  # Padded, it could see padding alone.
        # Less than the window on each side, for the same reason.
        padding = draw(pads(sides, tuple(k - 1 for k in sizes)))
        return make(window, padding=padding, **given)

    return pool


def _depthwise(in_shape: Shape) -> Layers:
    given = options(padding=st.just("same"), bias=st.just(False), multiplier=st.just(2))
    windows = st.integers(1, min(in_shape[1:]))
    return st.builds(lambda window, more: DepthwiseConv(min(window, 3), **more), windows, given)


def _transposed(in_shape: Shape) -> Layers:
    # Images that have grown large are left as they are.
    stride = st.integers(1, 2 if max(in_shape[1:]) < 5 else 1)
    given = options(dilation=st.just(2), bias=st.just(False), init_w=initializers())
    return st.builds(
        lambda n, window, stride, more: ConvTranspose(n, window, stride=stride, **more),
        st.integers(1, 3), st.integers(1, 2), stride, given,
    )  # fmt: skip


def _filled(in_shape: Shape) -> Layers:
    modes = st.sampled_from(["reflect", "circular", "edge"] if min(in_shape[1:]) > 1 else ["edge"])
    return st.builds(lambda n, mode: Conv(n, 3, padding=mode), st.integers(1, 3), modes)


def _upsample(in_shape: Shape) -> Layers:
    factors = st.integers(1, 2 if max(in_shape[1:]) < 5 else 1)
    return st.builds(Upsample, factors, st.sampled_from(["nearest", "bilinear"]))


def _separable(in_shape: Shape) -> Layers:
    given = options(padding=st.just("same"), bias=st.just(False), multiplier=st.just(2))
    windows = st.integers(1, min(3, *in_shape[1:]))
    return st.builds(lambda n, k, more: SeparableConv(n, k, **more), st.integers(1, 3), windows, given)


def _padded(in_shape: Shape) -> Layers:
    sides = in_shape[1:]
    modes = ["zeros", "edge"] + (["reflect", "circular"] if min(sides) > 1 else [])
    return st.builds(
        lambda padding, mode: Pad(padding, mode=mode),
        pads(sides, (1,) * len(sides)).filter(lambda padding: not isinstance(padding, str)),
        st.sampled_from(modes),
    )


def _shuffle(in_shape: Shape) -> Layers:
    fits = in_shape[0] % 2 ** len(in_shape[1:]) == 0 and max(in_shape[1:]) < 5
    return st.builds(PixelShuffle, st.integers(1, 2 if fits else 1))


ROWS: Rows = {
    "SeparableConv": (2, 1, _separable),
    "Pad": (2, 1, _padded),
    "PixelShuffle": (range(3, 4), 1, _shuffle),
    "GlobalMaxPool": (2, 1, plain(GlobalMaxPool)),
    "AdaptiveAvgPool": (2, 1, lambda in_shape: st.builds(AdaptiveAvgPool, st.integers(1, 3))),
    "MinPool": (2, 1, _pool(MinPool)),
    "SumPool": (2, 1, _pool(SumPool)),
    "Upsample": (2, 1, _upsample),
    "DepthwiseConv": (2, 1, _depthwise),
    "ConvTranspose": (2, 1, _transposed),
    "GlobalAvgPool": (2, 1, plain(GlobalAvgPool)),
    "AvgPool": (2, 2, _pool(AvgPool, count_padding=st.booleans())),
    "MaxPool": (2, 2, _pool(MaxPool)),
    "Conv": (2, 3, lambda in_shape: st.one_of(_conv(in_shape), _conv(in_shape), _filled(in_shape))),
}
