"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.kernels.checks import check_array, check_shape
from fnn.keys import Key
from fnn.layers.contract import Layer, Pullback, Shape, Traits
from fnn.layers.making import need_key
from fnn.options import real
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, TreeLike


@constructor
def Dropout(rate: float) -> Layer:
    """Zero each number with probability `rate` in training and scale the rest by 1 / (1 - rate).

    In evaluation it hands on what comes. Equal keys and shapes draw equal masks.

    Args:
        rate: Probability of being dropped (not of being kept), in [0, 1).

    Raises:
        OptionError: If the rate is out of range, or in training without a key.

    References: Srivastava et al. (2014), "Dropout", in its inverted form.
    """
    rate = real("Dropout", "rate", rate, least=0, below=1)

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        check_shape(in_shape)
        return in_shape, EMPTY, EMPTY

    def mask(x: Any, train: bool, key: Key | None) -> Array | None:
        check_array(x)
        if not train:
            return None
        generator = need_key(key).generator()
        if rate == 0:
            return None
        # Drawn by logical position, then laid out as x is, so that all that follows runs along memory.
        kept = generator.random(x.shape, "float32") >= np.float32(rate)
        dtype = x.real.dtype
        return np.multiply(kept, 1 / (1 - rate), out=np.empty_like(x, dtype), dtype=dtype)

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        scale = mask(x, train, key)
        return (x if scale is None else x * scale), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        scale = mask(x, train, key)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            if not need_dx:
                return EMPTY, None
            return EMPTY, dy if scale is None else dy * scale

        return (x if scale is None else x * scale), state, pullback

    return Layer("dropout", init, apply, vjp, traits=Traits(stochastic=True))
