"""Units whose features meet: gates, slopes that are learned, and the largest of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.errors import ShapeError
from fnn.kernels import activation, gaussian
from fnn.kernels import smooth_activation as smooth
from fnn.kernels.memory import zeros
from fnn.kernels.noting import as_array
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer, Traits
from fnn.layers.initializers import Initializer, constant
from fnn.layers.making import Leaf, fwd_of, make_layer
from fnn.options import axis_of, flag, integer
from fnn.recipe import constructor
from fnn.tree import Array, Tree


def _place(in_shape: Shape, axis: int) -> int:
    """Return where in the shape of an example an axis is, the batch being axis 0."""
    at = axis - 1 if axis > 0 else len(in_shape) + axis
    if not 0 <= at < len(in_shape):
        raise ShapeError(f"expected a feature axis {axis}, got in_shape={in_shape}")
    return at


def _gated(
    who: str, name: str, axis: Any, f: Callable[[Array], Array], f_vjp: Callable[..., Array]
) -> Layer:
    axis = axis_of(who, axis, "a feature axis")

    def shapes(in_shape: Shape) -> Any:
        at = _place(in_shape, axis)
        if in_shape[at] % 2 or not in_shape[at]:
            raise ShapeError(f"expected an even number of features, got in_shape={in_shape}")
        return (*in_shape[:at], in_shape[at] // 2, *in_shape[at + 1 :]), {}, {}

    def halves(x: Array) -> list[Array]:
        return np.split(x, 2, axis=axis)

    def forward(x: Array) -> Array:
        value, gate = halves(x)
        return value * f(gate)

    def backward(x: Array, y: Array, dy: Array) -> Array:
        value, gate = halves(x)
        opened = f(gate)
        return np.concatenate([opened * dy, f_vjp(gate, opened, value * dy)], axis=axis)

    return make_layer(name, shapes, fwd_of(forward, backward), flops=4, members="fold")


@constructor
def Glu(*, axis: int = -1) -> Layer:
    """Gate one half of the features by the other: y = a σ(b), with x = (a, b) along an axis.

    Args:
        axis: Axis of the features, the batch being axis 0; -1 is the last.

    Raises:
        ShapeError: If the number of features is odd.

    References: Dauphin et al. (2017), "Language modeling with gated convolutional networks", eq. 1.
    """
    return _gated("Glu", "glu", axis, activation.sigmoid, activation.sigmoid_vjp)


@constructor
def GeGlu(*, axis: int = -1) -> Layer:
    """Gate one half of the features by the other: y = a gelu(b), with x = (a, b) along an axis.

    Args:
        axis: Axis of the features, the batch being axis 0; -1 is the last.

    Raises:
        ShapeError: If the number of features is odd.

    References: Shazeer (2020), "GLU variants improve transformer", eq. 5.
    """
    f: Any = lambda x, y, dy: gaussian.gelu_vjp(x, dy)  # noqa: E731
    return _gated("GeGlu", "ge_glu", axis, gaussian.gelu, f)


@constructor
def SwiGlu(*, axis: int = -1) -> Layer:
    """Gate one half of the features by the other: y = a silu(b), with x = (a, b) along an axis.

    Args:
        axis: Axis of the features, the batch being axis 0; -1 is the last.

    Raises:
        ShapeError: If the number of features is odd.

    References: Shazeer (2020), "GLU variants improve transformer", eq. 5.
    """
    return _gated("SwiGlu", "swi_glu", axis, smooth.silu, smooth.silu_vjp)


@constructor
def PRelu(
    *,
    per_channel: bool = False,
    init_slope: Initializer = constant(0.25),  # noqa: B008 - a constant.
) -> Layer:
    """Flatten below zero by a slope that is learned: y = x where x > 0, else slope x.

    Args:
        per_channel: Whether each channel, on axis 1, has a slope of its own.
        init_slope: Draws the slope.

    Params:
        slope: Shape (1,), or (channels,).

    References: He et al. (2015), "Delving deep into rectifiers", eq. 1.
    """
    per_channel = flag("PRelu", "per_channel", per_channel)

    def shapes(in_shape: Shape) -> Any:
        if per_channel and (not in_shape or in_shape[0] < 1):
            raise ShapeError(f"expected 1 or more channels, got in_shape={in_shape}")
        n = in_shape[0] if per_channel else 1
        return in_shape, {"slope": Leaf((n,), init_slope, (n, n))}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        slope = params["slope"]
        wide = slope.reshape(-1, *(1,) * (x.ndim - 2)) if per_channel else slope[0]
        is_above = x.real > 0

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            products = np.where(is_above, dy.dtype.type(0), x * dy)
            axes = (0, *range(2, x.ndim)) if per_channel else tuple(range(x.ndim))
            total = as_array(np.add.reduce(products, axis=axes)).reshape(slope.shape).copy()
            return Tree.own({"slope": total}), np.where(is_above, dy, wide * dy) if need_dx else None

        return np.where(is_above, x, wide * x), state, pullback

    return make_layer("p_relu", shapes, fwd, traits=Traits(has_kinks=True), flops=2)


@constructor
def Maxout(pieces: int, *, axis: int = -1) -> Layer:
    """Take the largest of every `pieces` features that follow each other: y_j = max_k x_(j pieces + k).

    Where values tie, the whole derivative goes to the first of them.

    Args:
        pieces: How many features become one.
        axis: Axis of the features, the batch being axis 0; -1 is the last.

    Raises:
        ShapeError: If the features are not a multiple of `pieces`.

    References: Goodfellow et al. (2013), "Maxout networks", section 2.
    """
    pieces, axis = integer("Maxout", "pieces", pieces), axis_of("Maxout", axis, "a feature axis")

    def shapes(in_shape: Shape) -> Any:
        at = _place(in_shape, axis)
        if in_shape[at] % pieces or not in_shape[at]:
            raise ShapeError(f"expected features in multiples of {pieces}, got in_shape={in_shape}")
        return (*in_shape[:at], in_shape[at] // pieces, *in_shape[at + 1 :]), {}, {}

    def cut(x: Array) -> tuple[Array, int]:
        at = axis % x.ndim
        return x.reshape(*x.shape[:at], x.shape[at] // pieces, pieces, *x.shape[at + 1 :]), at + 1

    def largest(parts: Array, at: int) -> Array:
        return np.expand_dims(np.argmax(parts.real, axis=at), at)

    def forward(x: Array) -> Array:
        parts, at = cut(x)
        return np.take_along_axis(parts, largest(parts, at), at).squeeze(at)

    def backward(x: Array, y: Array, dy: Array) -> Array:
        parts, at = cut(x)
        dparts = zeros(parts.shape, dy.dtype)
        np.put_along_axis(dparts, largest(parts, at), np.expand_dims(dy, at), at)
        return dparts.reshape(x.shape)

    fwd, traits = fwd_of(forward, backward), Traits(has_kinks=True)
    return make_layer("maxout", shapes, fwd, traits=traits, flops=1, members="fold")


@constructor
def Lambda(
    f: Callable[[Any], Any],
    f_vjp: Callable[[Any, Any, Any], Any],
    *,
    out_shape: Callable[[Shape], Shape] | None = None,
    has_kinks: bool = False,
    complex_safe: bool = True,
    flops: int = 1,
) -> Layer:
    """Make a layer of a function of whole arrays: y = f(x), dx = f_vjp(x, y, dy).

    For single numbers there is `elementwise`, for parameters and state `make_layer`.

    Args:
        f: From x to y, with the batch first in both, every example by itself.
        f_vjp: From x, y = f(x) and dy to dx.
        out_shape: From the shape of an example to that of what comes out; the same by default.
        has_kinks: Whether the derivative jumps somewhere.
        complex_safe: Whether f continues analytically to complex arrays.
        flops: Operations for each number of x, for `summary`.
    """

    def shapes(in_shape: Shape) -> Any:
        return in_shape if out_shape is None else tuple(out_shape(in_shape)), {}, {}

    traits = Traits(has_kinks=has_kinks, complex_safe=complex_safe)
    return make_layer("lambda", shapes, fwd_of(f, f_vjp), traits=traits, flops=flops)
