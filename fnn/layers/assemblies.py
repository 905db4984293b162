"""Networks that are written often, assembled from layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from fnn.errors import OptionError
from fnn.kernels.windows import Padding, Sizes
from fnn.layers.activation import ACTIVATIONS
from fnn.layers.chains import check_layer
from fnn.layers.combinators import named, serial
from fnn.layers.contract import Layer
from fnn.layers.convolution import Conv, DepthwiseConv
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.initializers import Initializer, glorot_uniform, zeros
from fnn.options import flag, integer, real
from fnn.recipe import constructor


def mlp(
    widths: Sequence[int],
    *,
    activation: str | Layer = "relu",
    norm: Layer | None = None,
    dropout: float = 0.0,
    activate_last: bool = False,
    bias: bool = True,
    init_w: Initializer = glorot_uniform,
    init_b: Initializer = zeros,
) -> Layer:
    """Chain affine maps of these widths with a nonlinearity between them, in a `serial`.

    Each but the last is `Dense(width)`, the norm, the activation, and dropout. `mlp((300, 10))` is
    `serial(Dense(300), Relu(), Dense(10))`.

    Args:
        widths: Widths of the layers, the last that of what comes out.
        activation: By name or as a layer.
        norm: A layer behind each affine map but the last, such as `BatchNorm()` or `LayerNorm()`.
        dropout: With what probability numbers are dropped behind each activation.
        activate_last: Whether the last affine map is followed by the same.
        bias, init_w, init_b: As in `Dense`.
    """
    if isinstance(widths, str | bytes) or not isinstance(widths, Sequence) or not widths:
        raise OptionError(f"widths: expected one or more integers, got {widths!r}", path=("mlp",))
    widths = [integer("mlp", "widths", width) for width in widths]
    rate = real("mlp", "dropout", dropout, least=0, below=1)
    activate_last = flag("mlp", "activate_last", activate_last)
    bend = ACTIVATIONS[activation]() if isinstance(activation, str) else activation
    check_layer("mlp", "activation", bend)
    behind = [bend, *([Dropout(rate)] if rate else [])]
    if norm is not None:
        check_layer("mlp", "norm", norm)
        behind = [norm, *behind]
    layers: list[Layer] = []
    for i, width in enumerate(widths):
        layers.append(Dense(width, bias=bias, init_w=init_w, init_b=init_b))
        if activate_last or i + 1 < len(widths):
            layers += behind
    return serial(*layers)


@constructor
def SeparableConv(
    channels: int,
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
    """Convolve every channel by itself, then mix channels at every place.

    Args:
        channels: Number of output channels.
        window, multiplier, stride, padding, dilation: As in `DepthwiseConv`.
        bias: Whether the second part adds b.
        init_w, init_b: Draw the weights of both.

    Params:
        depthwise: w (in_channels · multiplier, 1, *window), as of `DepthwiseConv`.
        pointwise: w (channels, in_channels · multiplier, *1) and b (channels,), as of `Conv`.

    References: Chollet (2017), "Xception", section 2.
    """
    places: Any = {"stride": stride, "padding": padding, "dilation": dilation, "init_w": init_w}
    deep = DepthwiseConv(window, multiplier=multiplier, bias=False, **places)
    point = Conv(channels, 1, bias=bias, init_w=init_w, init_b=init_b)
    whole = serial(named("depthwise", deep), named("pointwise", point))
    return attrs.evolve(whole, name="separable_conv")
