"""Strategies for layers over sequences (time, features)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from fnn.layers.attention.blocks import TransformerBlock
from fnn.layers.attention.heads import MultiHeadAttention
from fnn.layers.attention.positions import LearnedPositions, RotaryPositions, SinusoidalPositions
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.recurrent.both_ways import bidirectional
from fnn.layers.recurrent.over_time import GRU, LSTM, RNN
from fnn.testing.strategies.of_options import Layers, Maker, Rows, initializers, options, plain

SEQUENCE = range(2, 3)
"""How many axes an example has: time and features."""


def _recurrent(make: Callable[..., Layer], **more: st.SearchStrategy[Any]) -> Maker:
    def over(in_shape: Shape) -> Layers:
        flags = {"reverse": st.booleans(), "last": st.booleans(), "init_w_in": initializers()}
        return st.builds(lambda n, given: make(n, **given), st.integers(1, 3), options(**flags, **more))

    return over


def _heads(in_shape: Shape) -> st.SearchStrategy[int]:
    return st.sampled_from([n for n in range(1, in_shape[1] + 1) if in_shape[1] % n == 0])


def _attention(in_shape: Shape) -> Layers:
    given = options(causal=st.booleans(), bias=st.just(False), dropout=st.just(0.25))
    return st.builds(lambda heads, more: MultiHeadAttention(heads, **more), _heads(in_shape), given)


def _block(in_shape: Shape) -> Layers:
    given = options(causal=st.booleans(), activation=st.sampled_from(["tanh", "sigmoid"]))
    # Over one or two features a norm makes a constant.
    norm = st.sampled_from(["pre", "post"] if in_shape[1] > 2 else ["pre"])
    return st.builds(
        lambda heads, norm, more: TransformerBlock(heads, width_mlp=3, norm=norm, **more),
        _heads(in_shape), norm, given,
    )  # fmt: skip


def _length(in_shape: Shape) -> Layers:
    return st.builds(LearnedPositions, st.integers(max(1, in_shape[0]), in_shape[0] + 2))


def _both(in_shape: Shape) -> Layers:
    merge = st.sampled_from(["concat", "sum", "mean"])
    return st.builds(lambda n, merge: bidirectional(GRU(n), merge), st.integers(1, 2), merge)


def _rotary(in_shape: Shape) -> Layers:
    return st.nothing() if in_shape[1] % 2 else st.builds(RotaryPositions)


ROWS: Rows = {
    "RotaryPositions": (SEQUENCE, 1, _rotary),
    "bidirectional": (SEQUENCE, 1, _both),
    "SinusoidalPositions": (SEQUENCE, 1, plain(SinusoidalPositions)),
    "LearnedPositions": (SEQUENCE, 1, _length),
    "MultiHeadAttention": (SEQUENCE, 1, _attention),
    "TransformerBlock": (SEQUENCE, 1, _block),
    "RNN": (SEQUENCE, 1, _recurrent(RNN)),
    "LSTM": (SEQUENCE, 1, _recurrent(LSTM, forget_bias=st.sampled_from([0.0, 2.0]))),
    "GRU": (SEQUENCE, 1, _recurrent(GRU)),
}
