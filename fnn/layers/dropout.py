"""Noise in training: dropout of numbers, channels and examples, and numbers added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.errors import ShapeError
from fnn.keys import Key
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer, Traits
from fnn.layers.making import keeps_shape, make_layer, need_key
from fnn.options import real
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array


def _dropping(
    who: str,
    name: str,
    rate: Any,
    shapes: Callable[[Shape], Any],
    drawn: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None,
) -> Layer:
    """Make a layer that drops what shares one number of an array of the shape `drawn(x.shape)`."""
    rate = real(who, "rate", rate, least=0, below=1)

    def mask(x: Array, key: Key | None) -> Array | None:
        generator = need_key(key).generator()
        if rate == 0:
            return None
        dtype = x.real.dtype
        if drawn is not None:
            kept = generator.random(drawn(x.shape), "float32") >= np.float32(rate)
            return np.multiply(kept, 1 / (1 - rate), dtype=dtype)
        # Drawn by logical position, then laid out as x is, so that all that follows runs along memory.
        kept = generator.random(x.shape, "float32") >= np.float32(rate)
        return np.multiply(kept, 1 / (1 - rate), out=np.empty_like(x, dtype), dtype=dtype)

    def fwd(params: Any, state: Any, x: Any, train: bool, key: Key | None) -> Any:
        scale = mask(x, key) if train else None

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            if not need_dx or scale is None:
                return EMPTY, dy if need_dx else None
            return EMPTY, dy * scale

        return x if scale is None else x * scale, state, pullback

    # y, and a mask of its own for every number; at a rate of 0 y is x.
    keeps = 0 if rate == 0 else 1 if drawn is not None else 2
    traits = Traits(stochastic=True)
    return make_layer(name, shapes, fwd, traits=traits, flops=0, keeps=keeps, members="fold")


@constructor
def Dropout(rate: float) -> Layer:
    """Zero each number with probability `rate` in training and scale the rest by 1 / (1 - rate).

    In evaluation it returns the input unchanged. Equal keys and shapes draw equal masks.

    Args:
        rate: Probability of being dropped (not of being kept), in [0, 1).

    Raises:
        OptionError: If the rate is out of range, or in training without a key.

    References: Srivastava et al. (2014), "Dropout", in its inverted form.
    """
    return _dropping("Dropout", "dropout", rate, keeps_shape)


@constructor
def SpatialDropout(rate: float) -> Layer:
    """Zero whole channels with probability `rate` in training and scale the rest by 1 / (1 - rate).

    x is (batch, channels, *space); neighbours in space are too alike to be dropped one by one. In
    evaluation it returns the input unchanged.

    Args:
        rate: Probability of being dropped (not of being kept), in [0, 1).

    Raises:
        OptionError: If the rate is out of range, or in training without a key.
        ShapeError: If the examples have no channels.

    References: Tompson et al. (2015), "Efficient object localization", section 3.2.
    """

    def shapes(in_shape: Shape) -> Any:
        if not in_shape:
            raise ShapeError(f"expected examples (channels, *space), got in_shape={in_shape}")
        return keeps_shape(in_shape)

    return _dropping(
        "SpatialDropout", "spatial_dropout", rate, shapes, lambda s: (*s[:2], *(1,) * (len(s) - 2))
    )


@constructor
def StochasticDepth(rate: float) -> Layer:
    """Zero whole examples with probability `rate` in training and scale the rest by 1 / (1 - rate).

    At the end of a residual way it leaves that way out for some examples:
    `residual(Dense(n), Relu(), StochasticDepth(0.1))`. In evaluation it returns the input unchanged.

    Args:
        rate: Probability of being dropped (not of being kept), in [0, 1).

    Raises:
        OptionError: If the rate is out of range, or in training without a key.

    References: Huang et al. (2016), "Deep networks with stochastic depth", eq. 2, in inverted form.
    """
    return _dropping(
        "StochasticDepth",
        "stochastic_depth",
        rate,
        keeps_shape,
        lambda s: (*s[:1], *(1,) * (len(s) - 1)),
    )


@constructor
def GaussianNoise(std: float) -> Layer:
    """Add normal noise of standard deviation `std` in training: y = x + std ε.

    In evaluation it returns the input unchanged.

    Args:
        std: Standard deviation, 0 or more.

    Raises:
        OptionError: If it is out of range, or in training without a key.
    """
    std = real("GaussianNoise", "std", std, least=0)

    def fwd(params: Any, state: Any, x: Any, train: bool, key: Key | None) -> Any:
        y = x
        if train:
            noise = need_key(key).generator().standard_normal(x.shape, "float32")
            y = x + (noise * np.float32(std)).astype(x.real.dtype)

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            return EMPTY, dy if need_dx else None

        return y, state, pullback

    traits = Traits(stochastic=True)
    return make_layer("gaussian_noise", keeps_shape, fwd, traits=traits, flops=1, members="fold")
