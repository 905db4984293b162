"""PyTorch's modules for texts and residual networks, with our first weights.

Each is made from the shape of what comes in, the numbers of the layer, and its weights; it is returned
with the shape of what goes out.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

torch: Any = import_module("torch")
nn: Any = torch.nn
Shape = tuple[int, ...]
Made = tuple[Any, Shape]


def filled(module: Any, **values: Any) -> Any:
    """Return a module with these values in its parameters."""
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(torch.from_numpy(np.ascontiguousarray(value)))
    return module


def embedding(shape: Shape, n: int, width: int, *, params: Any) -> Made:
    """Return a row of a matrix for every integer."""
    return filled(nn.Embedding(n, width), weight=params["w"]), (*shape, width)


class Positions(nn.Module):  # type: ignore[misc]
    """Adds a learned row to every place."""

    def __init__(self, w: Any) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.from_numpy(w.copy()))

    def forward(self, x: Any) -> Any:
        """Return the sums."""
        return x + self.w


def positions(shape: Shape, n: int, *, params: Any) -> Made:
    """Return what adds a learned row to every place."""
    return Positions(params["w"]), shape


class Outputs(nn.Module):  # type: ignore[misc]
    """An LSTM without the state that it ends in."""

    def __init__(self, lstm: Any) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, x: Any) -> Any:
        """Return the outputs at all times."""
        return self.lstm(x)[0]


def lstm(shape: Shape, units: int, *, params: Any) -> Made:
    """Return an LSTM; of its two biases one stays zero."""
    made = nn.LSTM(shape[-1], units, batch_first=True)
    filled(
        made,
        weight_ih_l0=params["w_in"].T,
        weight_hh_l0=params["w_state"].T,
        bias_ih_l0=params["b"],
        bias_hh_l0=0 * params["b"],
    )
    made.bias_hh_l0.requires_grad_(False)
    return Outputs(made), (*shape[:-1], units)


class Causal(nn.Module):  # type: ignore[misc]
    """A block of a transformer that sees nothing of the future."""

    def __init__(self, block: Any, length: int) -> None:
        super().__init__()
        self.block = block
        self.hides = nn.Transformer.generate_square_subsequent_mask(length)

    def forward(self, x: Any) -> Any:
        """Return the outputs at all places."""
        return self.block(x, src_mask=self.hides, is_causal=True)


def block(shape: Shape, heads: int, *, params: Any) -> Made:
    """Return a block that normalizes first; the bias of the keys, which changes nothing, is zero."""
    length, width = shape
    made = nn.TransformerEncoderLayer(
        width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
    )
    own, mlp = params["attention"], params["mlp"]
    filled(
        made.self_attn,
        in_proj_weight=np.concatenate([own[f"w_{each}"].T for each in "qkv"]),
        in_proj_bias=np.concatenate([own["b_q"], 0 * own["b_q"], own["b_v"]]),
    )
    filled(made.self_attn.out_proj, weight=own["w_o"].T, bias=own["b_o"])
    for i in (1, 2):
        norm, dense = params[f"norm_{i}"], mlp[f"dense_{i - 1}"]
        filled(getattr(made, f"norm{i}"), weight=norm["scale"], bias=norm["shift"])
        filled(getattr(made, f"linear{i}"), weight=dense["w"].T, bias=dense["b"])
    return Causal(made, length), shape


def layer_norm(shape: Shape, *, params: Any) -> Made:
    """Return a normalization of every place."""
    made = nn.LayerNorm(shape[-1])
    return filled(made, weight=params["scale"], bias=params["shift"]), shape


class Residual(nn.Module):  # type: ignore[misc]
    """Adds what comes in to what goes out."""

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        self.inner = nn.Sequential(*modules)

    def forward(self, x: Any) -> Any:
        """Return the sum."""
        return x + self.inner(x)


def stage(shape: Shape, width: int, *, params: Any) -> Made:
    """Return a stage of `resnet.py`."""

    def convolution(n: int, own: Any) -> Any:
        conv = filled(nn.Conv2d(n, width, 3, padding=1, bias=False), weight=own["conv_0"]["w"])
        return nn.Sequential(conv, nn.BatchNorm2d(width))

    first, block = params["serial_0"], params["residual_0"]
    inner = convolution(width, block["serial_0"]), nn.ReLU(), convolution(width, block["serial_1"])
    made = nn.Sequential(
        convolution(shape[0], first), nn.MaxPool2d(2), nn.ReLU(), Residual(*inner), nn.ReLU()
    )
    return made, (width, *(n // 2 for n in shape[1:]))


def global_max_pool(shape: Shape, *, params: Any) -> Made:
    """Return the largest number of every channel."""
    return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), shape[:1]


MODULES: dict[str, Callable[..., Made]] = {
    each.__name__: each
    for each in (embedding, positions, lstm, block, layer_norm, stage, global_max_pool)
}
"""By the names that the workloads have for them."""
