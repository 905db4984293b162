"""What tells a sequence (batch, time, width) its positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import ShapeError
from fnn.kernels.attention import rotated, sinusoids
from fnn.kernels.memory import zeros
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.initializers import Initializer, normal
from fnn.layers.making import Leaf, fwd_of, make_layer
from fnn.options import integer, real
from fnn.recipe import constructor
from fnn.tree import Tree


def check_sequence(in_shape: Shape) -> None:
    """Refuse what is no (time, width), or has no width."""
    if len(in_shape) != 2 or in_shape[1] < 1:
        raise ShapeError(f"expected (time, features), got in_shape={in_shape}")


def _fixed(name: str, f: Any, f_vjp: Any, *, even: bool) -> Layer:
    def shapes(in_shape: Shape) -> Any:
        check_sequence(in_shape)
        if even and in_shape[1] % 2:
            raise ShapeError(f"expected an even number of features, got in_shape={in_shape}")
        return in_shape, {}, {}

    return make_layer(name, shapes, fwd_of(f, f_vjp), flops=3 if even else 1, members="fold")


@constructor
def SinusoidalPositions(*, base: float = 10_000.0) -> Layer:
    """Add sines and cosines of the position: y[t, 2i] = x[t, 2i] + sin(t / base^(2i / width)).

    At odd places stands the cosine of the same angle. x is (batch, time, width).

    Args:
        base: What the longest wave grows with: 2π base steps.

    References: Vaswani et al. (2017), "Attention is all you need", section 3.5.
    """
    base = real("SinusoidalPositions", "base", base, least=1)

    def f(x: Any) -> Any:
        return x + sinusoids(x.shape[1], x.shape[2], base, x.real.dtype)

    return _fixed("sinusoidal_positions", f, lambda x, y, dy: dy, even=False)


@constructor
def RotaryPositions(*, base: float = 10_000.0) -> Layer:
    """Turn every pair of features (2i, 2i + 1) at step t by the angle t / base^(2i / width).

    The product of two turned vectors depends on the distance of their steps alone, so that it is
    queries and keys that are turned: `MultiHeadAttention(heads, positions="rotary")` does. x is
    (batch, time, width).

    Args:
        base: What the longest wave grows with: 2π base steps.

    Raises:
        ShapeError: If the width is odd.

    References: Su et al. (2021), "RoFormer", eq. 34.
    """
    base = real("RotaryPositions", "base", base, least=1)

    def f(x: Any) -> Any:
        return rotated(x, base)

    return _fixed("rotary_positions", f, lambda x, y, dy: rotated(dy, base, back=True), even=True)


@constructor
def LearnedPositions(length: int, *, init_w: Initializer = normal(0.02)) -> Layer:  # noqa: B008
    """Add weights for every position: y[n, t] = x[n, t] + w[t].

    x is (batch, time, width) with a time of at most `length`.

    Args:
        length: Longest time.
        init_w: Draws w.

    Params:
        w: Shape (length, width).

    Raises:
        ShapeError: If a sequence is longer.
    """
    length = integer("LearnedPositions", "length", length)

    def shapes(in_shape: Shape) -> Any:
        check_sequence(in_shape)
        if in_shape[0] > length:
            raise ShapeError(f"expected at most {length} steps, got in_shape={in_shape}")
        fans = in_shape[1], in_shape[1]
        return in_shape, {"w": Leaf((length, in_shape[1]), init_w, fans)}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        w, time = params["w"], x.shape[1]

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            dw = zeros(w.shape, dy.dtype)
            np.add.reduce(dy, axis=0, out=dw[:time])
            return Tree.own({"w": dw}), dy if need_dx else None

        return x + w[:time], state, pullback

    return make_layer("learned_positions", shapes, fwd, flops=1)
