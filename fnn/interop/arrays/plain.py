"""Rules of layers that are a line or two: affine maps, shapes, embeddings, and noise in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fnn.errors import DTypeError
from fnn.interop.arrays import functions as a
from fnn.interop.arrays.translating import Run, need_key, rules, shape_of
from fnn.interop.rules import options_of
from fnn.layers.contract import Layer
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout, GaussianNoise, SpatialDropout, StochasticDepth
from fnn.layers.embedding import Embedding
from fnn.layers.shape import Flatten, Reshape


def plain(f: Callable[[Any], Any]) -> Run:
    """Return the function of a layer without params, state or draws."""
    return lambda params, state, x, train, key: (f(x), state)


def affine(x: Any, w: Any, b: Any = None) -> Any:
    """Return x w + b over the last axis."""
    return x @ w if b is None else x @ w + b


@rules.of(Dense)
def dense(layer: Layer) -> Run:
    """Map the last axis affinely."""
    return lambda params, state, x, train, key: (affine(x, params["w"], params.get("b")), state)


@rules.of(Flatten, Reshape)
def reshaped(layer: Layer) -> Run:
    """Give every example another shape."""
    shapes: Any = layer.shapes
    return plain(lambda x: x.reshape(x.shape[0], *shapes(shape_of(x))[0]))


# --- tokens -----------------------------------------------------------------------------------


def rows_of(w: Any, tokens: Any) -> Any:
    """Return w[tokens]; NaN for those that are out of range."""
    if not a.is_integer(tokens):
        raise DTypeError(f"expected tokens as integers, got {tokens.dtype}")
    return a.rows(w, tokens)


@rules.of(Embedding)
def embedding(layer: Layer) -> Run:
    """Look up a row for every token."""
    return lambda params, state, x, train, key: (rows_of(params["w"], x), state)


# --- noise ------------------------------------------------------------------------------------


def dropped(x: Any, rate: float, key: Any, shape: tuple[int, ...] | None = None) -> Any:
    """Return x with what shares a number of an array of `shape` dropped, and the rest scaled."""
    key = need_key(key)
    if rate == 0:
        return x
    return x * (a.bernoulli(key, 1 - rate, x.shape if shape is None else shape, x) / (1 - rate))


@rules.of(Dropout, SpatialDropout, StochasticDepth)
def dropout(layer: Layer) -> Run:
    """Drop numbers, channels or whole examples in training."""
    rate = options_of(layer).rate
    kept_axes = {Dropout: None, SpatialDropout: 2, StochasticDepth: 1}[layer.made_by().call]

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        if not train:
            return x, state
        n = x.ndim if kept_axes is None else kept_axes
        return dropped(x, rate, key, (*x.shape[:n], *(1,) * (x.ndim - n))), state

    return run


@rules.of(GaussianNoise)
def gaussian_noise(layer: Layer) -> Run:
    """Add normal noise in training."""
    std = options_of(layer).std

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        if train:
            x = x + std * a.normal(need_key(key), x)
        return x, state

    return run
