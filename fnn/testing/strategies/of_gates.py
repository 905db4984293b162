"""Strategies for gates, learned activations and noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.dropout import GaussianNoise, SpatialDropout, StochasticDepth
from fnn.layers.gates import GeGlu, Glu, Maxout, PRelu, SwiGlu
from fnn.testing.strategies.of_options import Layers, Maker, Rows, one, options


def _parted(make: Callable[..., Layer], fits: Callable[[int], list[tuple[Any, ...]]]) -> Maker:
    """Return the strategy of what makes one part of several along an axis.

    Args:
        make: The constructor, with an option `axis`.
        fits: From the size of an axis to the arguments that it fits; none where it fits nothing.
    """

    def over(in_shape: Shape) -> Layers:
        ways: list[tuple[tuple[Any, ...], dict[str, int]]]
        ways = [(given, {}) for given in fits(in_shape[-1])]
        ways += [(given, {"axis": i}) for i, n in enumerate(in_shape[:-1], 1) for given in fits(n)]
        if not ways:
            return st.nothing()
        return st.sampled_from(ways).map(lambda way: make(*way[0], **way[1]))

    return over


def _halves(size: int) -> list[tuple[Any, ...]]:
    return [] if size % 2 else [()]


def _pieces(size: int) -> list[tuple[Any, ...]]:
    return [(n,) for n in range(1, size + 1) if size % n == 0]


def _slopes(in_shape: Shape) -> Layers:
    return st.builds(lambda more: PRelu(**more), options(per_channel=st.booleans()))


ROWS: Rows = {
    "Glu": (1, 0, _parted(Glu, _halves)),
    "GeGlu": (1, 0, _parted(GeGlu, _halves)),
    "SwiGlu": (1, 0, _parted(SwiGlu, _halves)),
    "Maxout": (1, 0, _parted(Maxout, _pieces)),
    "PRelu": (1, 0, _slopes),
    "GaussianNoise": (1, 0, one(GaussianNoise, 0.5, 0.1, 0.0)),
    "StochasticDepth": (1, 0, one(StochasticDepth, 0.5, 0.0, 0.25)),
    "SpatialDropout": (2, 0, one(SpatialDropout, 0.5, 0.0, 0.25)),
}
