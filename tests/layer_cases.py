"""One table of all layers and combinators, and what their tests share.

Families have tables of their own beside this one (`*_cases.py`), which are joined here. `CASES` are
layers from one array of floats to another; `VALUE_CASES` take or return tuples or integers.
"""

from __future__ import annotations

import hashlib
from typing import Any

import activation_cases
import attention_cases
import attrs
import combinator_cases
import image_cases
import numpy as np
import recurrent_cases

import fnn
from fnn import Key, Layer, Traits, tree
from fnn.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Identity,
    LeakyRelu,
    LogSoftmax,
    MaxPool,
    Relu,
    Reshape,
    Sigmoid,
    Softmax,
    Tanh,
)

named, residual, serial = fnn.named, fnn.residual, fnn.serial


def swish(x):
    return x / (1 + np.exp(-x))


def swish_vjp(x, y, dy):
    gate = 1 / (1 + np.exp(-x))
    return (gate + y * (1 - gate)) * dy


def scale_init(key, in_shape):
    return in_shape, {"gain": np.ones(in_shape, "float32")}, {"calls": np.zeros(1, "float32")}


def scale_fwd(params, state, x, train, key):
    def pullback(dy):
        return {"gain": (x * dy).sum(axis=0)}, params["gain"] * dy

    new_state = {"calls": state["calls"] + 1} if train else state
    return params["gain"] * x, new_state, pullback


def noise_init(key, in_shape):
    return in_shape, {}, {}


def noise_fwd(params, state, x, train, key):
    factor = 1 + key.generator().normal(size=x.shape).astype(x.real.dtype) if train else 1
    return factor * x, state, lambda dy: ({}, factor * dy)


NOISY = Traits(stochastic=True)
CASES: list[tuple[Layer, tuple[int, ...]]] = [
    (Dense(4), (3,)),
    (Dense(1, bias=False), (3,)),
    (Dense(3), (2, 4)),
    (Dense(2), (2, 2, 3)),
    (Conv(3, 3), (2, 5)),
    (Conv(2, (3, 2)), (2, 4, 5)),
    (Conv(4, 2, stride=2, padding="same", groups=2), (2, 5, 4)),
    (Conv(2, 2, dilation=2, padding=1, bias=False), (2, 4, 4)),
    (Conv(2, (2, 3), stride=(3, 1), padding=((0, 1), (2, 0))), (1, 5, 3)),
    (Conv(6, 1, groups=3), (3, 2, 2)),
    (MaxPool(2), (2, 4, 5)),
    (MaxPool(3, stride=2, padding="same"), (2, 5, 4)),
    (MaxPool((1, 2), stride=(2, 3), padding=((0, 0), (1, 0))), (2, 3, 4)),
    (MaxPool(2, stride=1), (2, 6)),
    (MaxPool(2, dilation=2), (2, 5, 4)),
    (MaxPool((2, 3), stride=(4, 2), dilation=(3, 1), padding=((1, 0), (2, 1)), ceil=True), (1, 6, 4)),
    (MaxPool(2, ceil=True), (2, 3, 5)),
    (AvgPool(2), (2, 5, 4)),
    (AvgPool(3, stride=2, padding="same"), (2, 4, 4)),
    (AvgPool(3, stride=1, padding=2, count_padding=True), (1, 3, 3)),
    (AvgPool(2, stride=3), (2, 7)),
    (AvgPool(2, dilation=2, ceil=True), (1, 6, 4)),
    (AvgPool(3, stride=2, padding=1, ceil=True), (2, 4, 6)),
    (AvgPool(3, stride=2, padding=1, ceil=True, count_padding=True), (1, 4, 6)),
    (GlobalAvgPool(), (3, 2, 3)),
    (GlobalAvgPool(), (2, 4)),
    (Flatten(), (2, 3, 2)),
    (Flatten(start=2), (2, 3, 2)),
    (Flatten(start=3), (2, 3)),
    (Reshape((3, -1)), (2, 3, 2)),
    (BatchNorm(), (3,)),
    (BatchNorm(momentum=0.5, eps=0.1), (2, 3, 2)),
    (BatchNorm(axis=-1), (4, 3)),
    (BatchNorm(axis=2), (4, 3)),
    (BatchNorm(scale=False), (2, 3, 2)),
    (BatchNorm(shift=False, eps=0.1), (3,)),
    (BatchNorm(scale=False, shift=False, eps=0.5), (4,)),
    (Dropout(0.4), (5,)),
    (Dropout(0.0), (2, 3)),
    (Dropout(0.5), (2, 3, 2)),
    (Relu(), (4,)),
    (LeakyRelu(), (2, 3)),
    (LeakyRelu(slope=-0.5), (4,)),
    (LeakyRelu(slope=2.0), (4,)),
    (Sigmoid(), (4,)),
    (Tanh(), (2, 3)),
    (Softmax(), (4,)),
    (Softmax(), (2, 3)),
    (Softmax(axis=1), (2, 3)),
    (LogSoftmax(), (4,)),
    (LogSoftmax(axis=-2), (2, 3, 2)),
    (Identity(), (3,)),
    (fnn.elementwise("swish", swish, swish_vjp), (4,)),
    (fnn.make_layer("scale", scale_init, scale_fwd), (3,)),
    (fnn.make_layer("noise", noise_init, noise_fwd, traits=NOISY), (3,)),
    (named("head", Dense(2)), (3,)),
    (serial(), (3,)),
    (serial(Dense(4), Tanh(), Dropout(0.3), Dense(2), Softmax()), (3,)),
    (
        serial(Conv(2, 3, padding="same"), BatchNorm(), Tanh(), AvgPool(2), Flatten(), Dense(2)),
        (1, 4, 4),
    ),
    (
        serial(Conv(2, 2), Relu(), MaxPool(2), Dropout(0.3), Flatten(), Dense(2), LogSoftmax()),
        (1, 5, 5),
    ),
    (serial(Tanh(), serial(Dense(3), serial(Dense(3), Sigmoid())), named("out", Dense(1))), (2,)),
    (residual(), (3,)),
    (residual(Dense(3), Tanh()), (3,)),
    (residual(Dense(2), shortcut=Dense(2)), (3,)),
    (
        residual(Conv(2, 3, padding="same"), BatchNorm(), shortcut=serial(Conv(2, 1), BatchNorm())),
        (1, 3, 3),
    ),
    (residual(Dense(3), residual(Tanh(), residual(Dropout(0.5), Dense(3)))), (3,)),
    (residual(Dropout(0.5), shortcut=Dropout(0.5)), (3,)),
    (fnn.stacked(serial(Dense(3), Tanh(), Dense(2)), 2), (4,)),
    *image_cases.CASES,
    *activation_cases.CASES,
    *recurrent_cases.CASES,
    *attention_cases.CASES,
    *combinator_cases.CASES,
]
VALUE_CASES: list[tuple[Layer, tuple[Any, ...]]] = [
    (Relu(), ((2,), (3, 2))),
    (serial(Tanh(), LeakyRelu()), ((2,), (3,))),
    *activation_cases.VALUE_CASES,
    *recurrent_cases.VALUE_CASES,
    *attention_cases.VALUE_CASES,
    *combinator_cases.VALUE_CASES,
]
ALL_CASES = CASES + VALUE_CASES
IDS = [f"{layer!r}-{'x'.join(map(str, shape))}" for layer, shape in CASES]
ALL_IDS = [*IDS, *(f"{layer!r}-{shape}" for layer, shape in VALUE_CASES)]


@attrs.frozen
class Case:
    """A layer with everything it is called with, drawn in one dtype."""

    layer: Layer
    params: Any
    state: Any
    x: Any
    key: Key
    out_shape: tuple[int, ...]

    def apply(self, *, params=None, x=None, train, key=None):
        params, x = self.params if params is None else params, self.x if x is None else x
        return self.layer.apply(params, self.state, x, train=train, key=key or self.key)

    def vjp(self, *, params=None, x=None, train, key=None):
        params, x = self.params if params is None else params, self.x if x is None else x
        return self.layer.vjp(params, self.state, x, train=train, key=key or self.key)


def draw(shape, rng, dtype="float64"):
    """Return distinct values, none near another or near 0: no kink and no tie is close."""
    n = int(np.prod(shape))
    values = (rng.permutation(n) - (n - 1) / 2 + 0.25) * (4 / max(n, 8))
    return values.reshape(shape).astype(dtype)


def like(node, rng, dtype="float64"):
    """Return a tree of normal draws with the structure of `node`."""
    return tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(dtype), node)


def make(case, *, dtype="float64", batch=3, seed=0):
    """Draw params off their first values, a state moved by training, and x."""
    layer, in_shape = case
    rng = np.random.default_rng(seed)
    out_shape, params, state = layer.init(Key.of(seed), in_shape)
    params = tree.map(
        lambda leaf: leaf.astype(dtype) + rng.normal(size=leaf.shape).astype(dtype), params
    )
    state = tree.map(lambda leaf: leaf.astype(dtype), state)
    x = draw((batch, *in_shape), rng, dtype)
    if batch >= 2:
        _, state = layer.apply(params, state, x, train=True, key=Key.of(seed))
    return Case(layer, params, state, x, Key.of(seed + 1), out_shape)


def digest(*values):
    """Return the bits of trees and arrays."""
    return hashlib.sha256("".join(map(tree.digest, values)).encode()).hexdigest()


def inner(a, b):
    """Return the inner product of two trees or arrays, without conjugation."""
    return sum((x * y).sum() for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True))


def norm(a):
    """Return the Euclidean norm of a tree or array."""
    return float(np.sqrt(sum((np.abs(leaf) ** 2).sum() for leaf in tree.leaves(a))))


def strip(pullback_result):
    """Return dparams and dx as one tuple of plain values for comparison."""
    dparams, dx = pullback_result
    return digest(dparams), None if dx is None else digest(dx)
