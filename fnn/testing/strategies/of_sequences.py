"""Strategies for layers over sequences (time, features)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.recurrent.over_time import GRU, LSTM, RNN
from fnn.testing.strategies.of_options import Layers, Maker, Rows, initializers, options

SEQUENCE = range(2, 3)
"""How many axes an example has: time and features."""


def _recurrent(make: Callable[..., Layer], **more: st.SearchStrategy[Any]) -> Maker:
    def over(in_shape: Shape) -> Layers:
        flags = {"reverse": st.booleans(), "last": st.booleans(), "init_w_in": initializers()}
        return st.builds(lambda n, given: make(n, **given), st.integers(1, 3), options(**flags, **more))

    return over


ROWS: Rows = {
    "RNN": (SEQUENCE, 1, _recurrent(RNN)),
    "LSTM": (SEQUENCE, 1, _recurrent(LSTM, forget_bias=st.sampled_from([0.0, 2.0]))),
    "GRU": (SEQUENCE, 1, _recurrent(GRU)),
}
