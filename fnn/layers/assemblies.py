"""Networks that are written often, assembled from layers."""

from __future__ import annotations

from collections.abc import Sequence

from fnn.errors import OptionError
from fnn.layers.activation import ACTIVATIONS
from fnn.layers.chains import check_layer
from fnn.layers.combinators import serial
from fnn.layers.contract import Layer
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.initializers import Initializer, glorot_uniform, zeros
from fnn.options import flag, integer, real


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
