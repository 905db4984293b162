"""Hypothesis strategies for layers: every public constructor with random valid options."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fnn.keys import Key
from fnn.layers.activation import (
    ACTIVATIONS,
    Identity,
    LeakyRelu,
    LogSoftmax,
    Relu,
    Sigmoid,
    Softmax,
    Tanh,
)
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.making import elementwise, make_layer
from fnn.layers.norm import BatchNorm
from fnn.layers.shape import Flatten, Reshape
from fnn.layers.standardizing import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from fnn.testing.strategies import of_combinators, of_gates, of_images, of_sequences
from fnn.testing.strategies.of_options import Layers, Maker, Rows, initializers, one, options, plain

EPS = [0.1, 1.0, 1e-3]
"""Of norms: the smallest keeps a feature that hardly varies from amplifying rounding."""

# --- layers with options --------------------------------------------------------------------


def _dense(in_shape: Shape) -> Layers:
    more = options(bias=st.booleans(), init_w=initializers(), init_b=initializers())
    return st.builds(lambda width, given: Dense(width, **given), st.integers(1, 4), more)


def _reshape(in_shape: Shape) -> Layers:
    size = math.prod(in_shape)
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    pairs = [(n, size // n) for n in divisors]
    triples = [(a, n // a, size // n) for n in divisors for a in divisors if n % a == 0]
    fixed = st.sampled_from([(size,), *pairs, *triples])
    # One axis may be left to follow from the rest.
    open_ = st.builds(
        lambda s, at: (*s[: at % len(s)], -1, *s[at % len(s) + 1 :]), fixed, st.integers(0, 2)
    )
    return st.builds(Reshape, fixed | open_)


def _batch_norm(in_shape: Shape) -> Layers:
    axes = [axis for axis in range(-len(in_shape), len(in_shape) + 1) if axis]
    more = options(
        axis=st.sampled_from(sorted(axes, key=lambda axis: (axis != 1, abs(axis)))),
        momentum=st.sampled_from([0.9, 0.5, 0.0]),
        scale=st.just(False),
        shift=st.just(False),
    )
    return st.builds(lambda eps, given: BatchNorm(eps=eps, **given), st.sampled_from(EPS), more)


def _layer_norm(make: Callable[..., Layer], **more: st.SearchStrategy[Any]) -> Maker:
    def norm(in_shape: Shape) -> Layers:
        # Several axes: over one or two features a norm makes a constant.
        axes = tuple(range(1, len(in_shape) + 1))
        given = options(scale=st.just(False), **more)
        return st.builds(
            lambda eps, more: make(axis=axes, eps=eps, **more), st.sampled_from(EPS), given
        )

    return norm


def _group_norm(in_shape: Shape) -> Layers:
    groups = [n for n in range(1, in_shape[0] + 1) if in_shape[0] % n == 0]
    given = options(scale=st.just(False), shift=st.just(False))
    eps = st.sampled_from(EPS)
    return st.builds(
        lambda n, eps, more: GroupNorm(n, eps=eps, **more), st.sampled_from(groups), eps, given
    )


def _instance_norm(in_shape: Shape) -> Layers:
    return st.builds(lambda eps: InstanceNorm(eps=eps), st.sampled_from(EPS))


def _over_axis(make: Callable[..., Layer]) -> Maker:
    def over(in_shape: Shape) -> Layers:
        n = len(in_shape)
        axes = st.sampled_from(sorted({*range(1, n + 1), *range(-n, 0)} - {-1}, key=abs) or [-1])
        return st.builds(make) | st.builds(make, axis=axes)

    return over


def _flatten(in_shape: Shape) -> Layers:
    return st.builds(Flatten) | st.builds(Flatten, start=st.integers(1, len(in_shape) + 1))


# --- layers of one's own --------------------------------------------------------------------


def _bend(x: Any) -> Any:
    return np.sqrt(1 + x * x)


def _bend_vjp(x: Any, y: Any, dy: Any) -> Any:
    return x / y * dy


def _gain_init(key: Key, in_shape: Shape) -> Any:
    return in_shape, {"gain": np.ones(in_shape, "float32")}, {"steps": np.zeros(1, "float32")}


def _gain_fwd(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
    def pullback(dy: Any) -> Any:
        return {"gain": (x * dy).sum(axis=0)}, params["gain"] * dy

    moved = {"steps": state["steps"] + 1} if train else state
    return params["gain"] * x, moved, pullback


# --- the table ------------------------------------------------------------------------------


# What takes any shape stands first: choices keep their meaning while a shape changes in shrinking.
LAYERS: Rows = {
    "Identity": (0, 1, plain(Identity)),
    "Tanh": (0, 1, plain(Tanh)),
    "Sigmoid": (0, 1, plain(Sigmoid)),
    "Relu": (0, 1, plain(Relu)),
    "LeakyRelu": (0, 1, one(LeakyRelu, 0.01, 0.3, -0.5, 2.0, 0.0)),
    "Dropout": (0, 1, one(Dropout, 0.5, 0.1, 0.0, 0.25)),
    "Flatten": (0, 1, _flatten),
    "Reshape": (0, 1, _reshape),
    "elementwise": (0, 1, plain(elementwise, "bend", _bend, _bend_vjp)),
    "make_layer": (0, 1, plain(make_layer, "gain", _gain_init, _gain_fwd)),
    "Softmax": (1, 1, _over_axis(Softmax)),
    "LogSoftmax": (1, 1, _over_axis(LogSoftmax)),
    "BatchNorm": (1, 2, _batch_norm),
    "LayerNorm": (1, 1, _layer_norm(LayerNorm, shift=st.just(False))),
    "RMSNorm": (1, 1, _layer_norm(RMSNorm)),
    "GroupNorm": (1, 1, _group_norm),
    "InstanceNorm": (2, 1, _instance_norm),
    "Dense": (1, 3, _dense),
    **of_gates.ROWS,
    **of_images.ROWS,
    **of_sequences.ROWS,
    **of_combinators.ROWS,
}
for _make in map(ACTIVATIONS.__getitem__, ACTIVATIONS):
    # With its defaults, where no row above draws its options; together with the others of no weight,
    # for there are many. What users registered is theirs to draw.
    if getattr(_make, "__module__", "").startswith("fnn.") and _make.__name__ not in LAYERS:
        LAYERS[_make.__name__] = (1, 0, plain(_make))


HEADS = ("Softmax", "LogSoftmax")
"""What stands at the end of a network."""


GROWING = ("Exp", "Square")
"""What a few of in a row take beyond all numbers: tanh of infinity is 1, and its derivative 0 · ∞."""


def layers(in_shape: Shape, *, without: Iterable[str] = ()) -> st.SearchStrategy[Layer]:
    """Return layers that take examples of `in_shape`, every public one, with random valid options.

    Normalisation has an eps of 1e-3 or more: with a smaller one a feature that hardly varies
    amplifies the rounding of whatever stands behind it, and no law about it would be sharp.

    Args:
        in_shape: Shape of one example.
        without: Names of constructors to leave out ("Dropout").
    """
    return _layers(tuple(in_shape), frozenset(without))


def _has(in_shape: Shape, axes: int | range) -> bool:
    return len(in_shape) in axes if isinstance(axes, range) else len(in_shape) >= axes


# Networks ask again and again for the few shapes that they pass through.
@functools.lru_cache(maxsize=256)
def _layers(in_shape: Shape, without: frozenset[str]) -> st.SearchStrategy[Layer]:
    fitting = [
        make(in_shape)
        for name, (axes, weight, make) in LAYERS.items()
        for _ in range(weight)
        if _has(in_shape, axes) and name not in without
    ]
    bends = [
        make(in_shape)
        for name, (axes, weight, make) in LAYERS.items()
        if not weight and _has(in_shape, axes) and name not in without
    ]
    return st.one_of(*fitting, *([st.one_of(bends)] * 2 if bends else []))
