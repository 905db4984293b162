"""The table of further layers over images."""

from __future__ import annotations

from fnn.layers import (
    AdaptiveAvgPool,
    AvgPool,
    Conv,
    ConvTranspose,
    DepthwiseConv,
    GlobalMaxPool,
    MaxPool,
    MinPool,
    Pad,
    PixelShuffle,
    SeparableConv,
    SumPool,
    Upsample,
)

CASES = [
    (Conv(2, 2), (1, 3, 2, 3)),
    (Conv(2, (2, 1, 2), stride=(1, 2, 1), padding="same", groups=2), (2, 2, 3, 2)),
    (Conv(2, 2, padding="causal", dilation=2), (2, 4)),
    (Conv(1, 3, padding="reflect"), (2, 4, 3)),
    (Conv(2, 3, padding="circular", stride=2), (1, 5)),
    (Conv(1, (2, 3), padding="edge", dilation=(1, 2)), (1, 3, 5)),
    (DepthwiseConv(2, multiplier=2), (2, 3, 3)),
    (DepthwiseConv(3, padding="same", stride=2, bias=False), (3, 4)),
    (SeparableConv(2, 2), (2, 3, 3)),
    (ConvTranspose(2, 2), (1, 3)),
    (ConvTranspose(2, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 2, 3)),
    (ConvTranspose(1, (2, 3), stride=(3, 2), dilation=(2, 1), padding=((1, 0), (0, 2)), bias=False),
     (2, 2, 3)),
    (MaxPool(2), (1, 2, 3, 2)),
    (AvgPool(2, stride=1), (1, 2, 2, 2)),
    (MinPool(2, stride=1, padding=1), (2, 3, 3)),
    (SumPool(2), (2, 4, 3)),
    (SumPool(3, stride=2, padding="same", ceil=True), (1, 5)),
    (GlobalMaxPool(), (2, 3, 2)),
    (AdaptiveAvgPool((2, 3)), (1, 3, 4)),
    (Upsample(2), (2, 2, 3)),
    (Upsample((2, 3), "bilinear"), (1, 3, 2)),
    (Upsample(3, "bilinear"), (2, 1)),
    (PixelShuffle(2), (4, 2, 1)),
    (Pad(1), (1, 2, 2)),
    (Pad(((1, 2),), mode="reflect"), (2, 3)),
    (Pad(((2, 1), (0, 3)), mode="circular"), (1, 2, 3)),
    (Pad(2, mode="edge"), (1, 2)),
]  # fmt: skip
VALUE_CASES = []
