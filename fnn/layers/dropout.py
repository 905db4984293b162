"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.keys import Key
from fnn.layers.contract import Layer, Traits
from fnn.layers.making import keeps_shape, make_layer, need_key
from fnn.options import real
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array


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
    rate = real("Dropout", "rate", rate, least=0, below=1)

    def mask(x: Array, key: Key | None) -> Array | None:
        generator = need_key(key).generator()
        if rate == 0:
            return None
        # Drawn by logical position, then laid out as x is, so that all that follows runs along memory.
        kept = generator.random(x.shape, "float32") >= np.float32(rate)
        dtype = x.real.dtype
        return np.multiply(kept, 1 / (1 - rate), out=np.empty_like(x, dtype), dtype=dtype)

    def fwd(params: Any, state: Any, x: Any, train: bool, key: Key | None) -> Any:
        scale = mask(x, key) if train else None

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            if not need_dx or scale is None:
                return EMPTY, dy if need_dx else None
            return EMPTY, dy * scale

        return x if scale is None else x * scale, state, pullback

    traits = Traits(stochastic=True)
    return make_layer("dropout", keeps_shape, fwd, traits=traits, flops=0, members="fold")
