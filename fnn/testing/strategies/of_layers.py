"""Hypothesis strategies for layers: every public constructor with random valid options."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

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
from fnn.layers.convolution import Conv
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.initializers import INITIALIZERS, Initializer, constant, normal, uniform
from fnn.layers.making import elementwise, make_layer
from fnn.layers.norm import BatchNorm
from fnn.layers.pooling import AvgPool, GlobalAvgPool, MaxPool
from fnn.layers.shape import Flatten, Reshape

Layers: TypeAlias = st.SearchStrategy[Layer]
Maker: TypeAlias = Callable[[Shape], Layers]

# --- options --------------------------------------------------------------------------------


def initializers() -> st.SearchStrategy[Initializer]:
    """Return every registered initializer, and those with numbers of their own."""
    numbers = st.sampled_from([0.5, 1.0, 0.01])
    return st.one_of(
        st.sampled_from([INITIALIZERS[name] for name in INITIALIZERS]),
        st.builds(normal, numbers),
        st.builds(uniform, numbers.map(lambda n: -n), numbers),
        st.builds(constant, st.sampled_from([0.5, -1.0])),
    )


def _options(**given: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return keyword arguments; each is left at its default as often as not."""
    return st.fixed_dictionaries({}, optional=given)


def _pads(sides: Shape, most: Shape) -> st.SearchStrategy[Any]:
    """Return paddings of up to `most` rows; images that have grown large are left as they are."""
    most = tuple(m if n <= 5 else 0 for n, m in zip(sides, most, strict=True))
    pairs = st.tuples(*(st.tuples(st.integers(0, m), st.integers(0, m)) for m in most))
    return st.one_of(st.sampled_from(["valid", "same"]), st.integers(0, min(most)), pairs)


def _laid(padding: Any, sides: Shape, extent: int) -> Shape:
    """Return the least sides of the padded image as far as a window of `extent` can rely on them."""
    if padding == "same":  # It pads for whatever window there is.
        return tuple(max(n, extent) for n in sides)
    if padding == "valid":
        return sides
    if isinstance(padding, int):
        return tuple(n + 2 * padding for n in sides)
    return tuple(n + a + b for n, (a, b) in zip(sides, padding, strict=True))


def _per_axis(
    draw: st.DrawFn, is_one: bool, most: Shape, least: int = 1, cap: int = 3
) -> tuple[Any, Shape]:
    """Draw an option: one integer that fits all axes or one per axis; return it, and it per axis."""
    if is_one:
        one = draw(st.integers(least, max(least, min(cap, *most))))
        return one, (one,) * len(most)
    each = tuple(draw(st.integers(least, max(least, min(cap, m)))) for m in most)
    return each, each


# --- layers with options --------------------------------------------------------------------


def _dense(in_shape: Shape) -> Layers:
    options = _options(bias=st.booleans(), init_w=initializers(), init_b=initializers())
    return st.builds(lambda width, given: Dense(width, **given), st.integers(1, 4), options)


@st.composite
def _conv(draw: st.DrawFn, in_shape: Shape) -> Layer:
    n_in, sides = in_shape[0], in_shape[1:]
    is_one = draw(st.just(True) | st.just(False))
    padding = draw(_pads(sides, (2,) * len(sides)))
    padded = _laid(padding, sides, 5)
    window, sizes = _per_axis(draw, is_one, padded)
    # The last value of a window, at (k - 1) d, must lie inside too.
    room = tuple((n - 1) // (k - 1) if k > 1 else 2 for n, k in zip(padded, sizes, strict=True))
    dilation, _ = _per_axis(draw, is_one, room, cap=2)
    stride, _ = _per_axis(draw, is_one, (3,) * len(sides))
    groups = draw(st.sampled_from([g for g in range(1, n_in + 1) if n_in % g == 0]))
    channels = groups * draw(st.integers(1, max(1, 4 // groups)))
    options = _options(bias=st.booleans(), init_w=initializers(), init_b=initializers())
    laid = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Conv(channels, window, **laid, **draw(options))


def _pool(make: Callable[..., Layer], **more: st.SearchStrategy[Any]) -> Maker:
    @st.composite
    def pool(draw: st.DrawFn, in_shape: Shape) -> Layer:
        sides = in_shape[1:]
        is_one = draw(st.just(True) | st.just(False))
        window, sizes = _per_axis(draw, is_one, sides)
        given = draw(_options(stride=st.just(None), ceil=st.booleans(), **more))
        if "stride" not in given:
            given["stride"], _ = _per_axis(draw, is_one, (3,) * len(sides))
        if all(2 * k - 1 <= n for k, n in zip(sizes, sides, strict=True)) and draw(st.booleans()):
            return make(window, dilation=2, **given)  # Padded, it could see padding alone.
        # Less than the window on each side, for the same reason.
        padding = draw(_pads(sides, tuple(k - 1 for k in sizes)))
        return make(window, padding=padding, **given)

    return pool


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
    options = _options(
        axis=st.sampled_from(sorted(axes, key=lambda axis: (axis != 1, abs(axis)))),
        momentum=st.sampled_from([0.9, 0.5, 0.0]),
        scale=st.just(False),
        shift=st.just(False),
    )
    eps = st.sampled_from([0.1, 1.0, 1e-3])
    return st.builds(lambda eps, given: BatchNorm(eps=eps, **given), eps, options)


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


def _plain(make: Callable[..., Layer], *given: Any) -> Maker:
    return lambda in_shape: st.builds(make, *map(st.just, given))


def _one(make: Callable[..., Layer], *values: float) -> Maker:
    return lambda in_shape: st.builds(make, st.sampled_from(values))


# By name of the constructor: axes that one example has at least, weight among the others, strategy.
# What takes any shape stands first: choices keep their meaning while a shape changes in shrinking.
LAYERS: dict[str, tuple[int, int, Maker]] = {
    "Identity": (0, 1, _plain(Identity)),
    "Tanh": (0, 1, _plain(Tanh)),
    "Sigmoid": (0, 1, _plain(Sigmoid)),
    "Relu": (0, 1, _plain(Relu)),
    "LeakyRelu": (0, 1, _one(LeakyRelu, 0.01, 0.3, -0.5, 2.0, 0.0)),
    "Dropout": (0, 1, _one(Dropout, 0.5, 0.1, 0.0, 0.25)),
    "Flatten": (0, 1, _flatten),
    "Reshape": (0, 1, _reshape),
    "elementwise": (0, 1, _plain(elementwise, "bend", _bend, _bend_vjp)),
    "make_layer": (0, 1, _plain(make_layer, "gain", _gain_init, _gain_fwd)),
    "Softmax": (1, 1, _over_axis(Softmax)),
    "LogSoftmax": (1, 1, _over_axis(LogSoftmax)),
    "BatchNorm": (1, 2, _batch_norm),
    "Dense": (1, 3, _dense),
    "GlobalAvgPool": (2, 1, _plain(GlobalAvgPool)),
    "AvgPool": (2, 2, _pool(AvgPool, count_padding=st.booleans())),
    "MaxPool": (2, 2, _pool(MaxPool)),
    "Conv": (2, 3, _conv),
}
for _make in map(ACTIVATIONS.__getitem__, ACTIVATIONS):
    # With its defaults, where no row above draws its options; what users registered is theirs to draw.
    if getattr(_make, "__module__", "").startswith("fnn.") and _make.__name__ not in LAYERS:
        LAYERS[_make.__name__] = (1, 1, _plain(_make))


HEADS = ("Softmax", "LogSoftmax")
"""What stands at the end of a network."""


def layers(in_shape: Shape, *, without: Iterable[str] = ()) -> st.SearchStrategy[Layer]:
    """Return layers that take examples of `in_shape`, every public one, with random valid options.

    Normalisation has an eps of 1e-3 or more: with a smaller one a feature that hardly varies
    amplifies the rounding of whatever stands behind it, and no law about it would be sharp.

    Args:
        in_shape: Shape of one example.
        without: Names of constructors to leave out ("Dropout").
    """
    return _layers(tuple(in_shape), frozenset(without))


# Networks ask again and again for the few shapes that they pass through.
@functools.lru_cache(maxsize=256)
def _layers(in_shape: Shape, without: frozenset[str]) -> st.SearchStrategy[Layer]:
    fitting = [
        make(in_shape)
        for name, (axes, weight, make) in LAYERS.items()
        for _ in range(weight)
        if len(in_shape) >= axes and name not in without
    ]
    return st.one_of(fitting)
