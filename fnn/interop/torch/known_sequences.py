"""What modules of PyTorch over time are here: recurrent layers, attention, blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn import layers as fnn
from fnn.interop.torch.arrays import torch
from fnn.interop.torch.known import Entry, Read, of, refuse, same, turned
from fnn.layers.contract import Layer

nn: Any = torch.nn


def _summed(path: str, *names: str) -> Entry:
    """Return a bias that is the sum of two; the second becomes zero."""
    return Entry(path, names, lambda a, b: a + b, lambda a: (a, np.zeros_like(a)))


def _weights(kind: Any, prefix: str, suffix: str) -> tuple[Entry, ...]:
    w_in, w_state = (turned(f"{prefix}w_{own}", f"weight_{n}_{suffix}") for own, n in _SIDES)
    biases = tuple(f"bias_{n}_{suffix}" for _, n in _SIDES)
    if kind is nn.GRU:
        b, b_state = (
            same(f"{prefix}{own}", n) for own, n in zip(("b", "b_state"), biases, strict=True)
        )
        return w_in, w_state, b, b_state
    return w_in, w_state, _summed(f"{prefix}b", *biases)


_SIDES = (("in", "ih"), ("state", "hh"))


@of(nn.LSTM, nn.GRU, nn.RNN)
def recurrent(module: Any) -> Read:
    """Run one or more recurrent layers over time."""
    kind = type(module)
    if not module.batch_first or not module.bias or getattr(module, "proj_size", False):
        raise refuse(module, "time before the batch, no bias, or a projection")

    def make() -> Layer:
        if kind is nn.RNN:
            return fnn.RNN(module.hidden_size, activation=module.nonlinearity)
        return (fnn.LSTM if kind is nn.LSTM else fnn.GRU)(module.hidden_size)

    layers: list[Layer] = []
    entries: list[Entry] = []
    names = {nn.LSTM: "lstm", nn.GRU: "gru", nn.RNN: "rnn"}
    for i in range(module.num_layers):
        if i and module.dropout:
            layers.append(fnn.Dropout(module.dropout))
        if module.bidirectional:
            layers.append(fnn.bidirectional(make()))
            place = f"bidirectional_{i}/" if module.num_layers > 1 else ""
            entries += _weights(kind, f"{place}forward/", f"l{i}")
            entries += _weights(kind, f"{place}backward/", f"l{i}_reverse")
        else:
            layers.append(make())
            place = f"{names[kind]}_{i}/" if module.num_layers > 1 else ""
            entries += _weights(kind, place, f"l{i}")
    return Read(layers[0] if len(layers) == 1 else fnn.serial(*layers), tuple(entries))


def _attention(module: Any, path: str, name: str) -> tuple[Entry, ...]:
    """Return the weights; a bias of the keys changes nothing and has no place here."""
    n = module.embed_dim
    at = {"q": 0, "k": n, "v": 2 * n}
    found = [turned(f"{path}w_{each}", f"{name}in_proj_weight[{i}:{i + n}]") for each, i in at.items()]
    found.append(turned(f"{path}w_o", f"{name}out_proj.weight"))
    if module.in_proj_bias is not None:
        rows = [(each, at[each]) for each in "qv"]
        found += [same(f"{path}b_{each}", f"{name}in_proj_bias[{i}:{i + n}]") for each, i in rows]
        found.append(same(f"{path}b_o", f"{name}out_proj.bias"))
    return tuple(found)


@of(nn.MultiheadAttention)
def multihead_attention(module: Any) -> Read:
    """Attend, of x to itself."""
    is_plain = module.batch_first and module.kdim == module.vdim == module.embed_dim
    if not is_plain or module.bias_k is not None or module.add_zero_attn:
        raise refuse(module, "time before the batch, other widths, or further keys")
    bias = module.in_proj_bias is not None
    layer = fnn.MultiHeadAttention(module.num_heads, dropout=module.dropout, bias=bias)
    return Read(layer, _attention(module, "", ""))


@of(nn.TransformerEncoderLayer)
def transformer_encoder_layer(module: Any) -> Read:
    """Attend, then transform every step by itself."""
    activation = {torch.nn.functional.relu: "relu", torch.nn.functional.gelu: "gelu"}.get(
        module.activation
    )
    attention, norms = module.self_attn, (module.norm1, module.norm2)
    if activation is None or not attention.batch_first or attention.in_proj_bias is None:
        raise refuse(module, "another activation, time before the batch, or no bias")
    if any(norm.eps != 1e-5 for norm in norms):
        raise refuse(module, "another eps than 1e-5")
    layer = fnn.TransformerBlock(
        attention.num_heads, width_mlp=module.linear1.out_features, dropout=module.dropout.p,
        norm="pre" if module.norm_first else "post", activation=activation,
    )  # fmt: skip
    entries = [*_attention(attention, "attention/", "self_attn.")]
    for i in (1, 2):
        entries += [
            same(f"norm_{i}/scale", f"norm{i}.weight"),
            same(f"norm_{i}/shift", f"norm{i}.bias"),
            turned(f"mlp/dense_{i - 1}/w", f"linear{i}.weight"),
            same(f"mlp/dense_{i - 1}/b", f"linear{i}.bias"),
        ]
    return Read(layer, tuple(entries))
