"""Activations: layers without parameters or state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fnn.errors import OptionError, ShapeError
from fnn.kernels import activation, softmax
from fnn.kernels.checks import check_array, check_shape
from fnn.keys import Key
from fnn.layers.contract import Layer, Pullback, Shape
from fnn.layers.making import elementwise
from fnn.options import integer, real
from fnn.recipe import constructor
from fnn.registry import Registry
from fnn.tree import EMPTY, TreeLike


@constructor
def Identity() -> Layer:
    """Hand on what comes: y = x."""
    return elementwise("identity", lambda x: x, lambda x, y, dy: dy)


@constructor
def Relu() -> Layer:
    """Cut off below zero: y = max(x, 0); the derivative at 0 is 0."""
    return elementwise("relu", activation.relu, activation.relu_vjp, has_kinks=True)


@constructor
def LeakyRelu(slope: float = 0.01) -> Layer:
    """Flatten below zero: y = x where x > 0, else slope x; the derivative at 0 is the slope."""
    slope = real("LeakyRelu", "slope", slope)
    return elementwise(
        "leaky_relu",
        lambda x: activation.leaky_relu(x, slope),
        lambda x, y, dy: activation.leaky_relu_vjp(x, dy, slope),
        has_kinks=True,
    )


@constructor
def Sigmoid() -> Layer:
    """Squash to (0, 1): y = 1 / (1 + exp(-x)), dy/dx = y (1 - y)."""
    return elementwise("sigmoid", activation.sigmoid, activation.sigmoid_vjp)


@constructor
def Tanh() -> Layer:
    """Squash to (-1, 1): y = tanh x, dy/dx = 1 - y²."""
    return elementwise("tanh", activation.tanh, activation.tanh_vjp)


def _over_axis(
    who: str, name: str, axis: Any, f: Callable[..., Any], f_vjp: Callable[..., Any]
) -> Layer:
    axis = integer(who, "axis", axis, least=-32)
    if axis == 0:
        raise OptionError("axis: expected an axis of the scores, got 0, the batch's", path=(who,))

    expected = f"expected {'a last axis' if axis == -1 else f'axis {axis}'} of 1 or more"

    def fits(shape: Shape) -> bool:
        """Return whether arrays of that shape, the batch included, have such an axis."""
        at = axis if axis > 0 else len(shape) + axis
        return 0 < at < len(shape) and shape[at] > 0

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        check_shape(in_shape)
        if not fits((1, *in_shape)):
            raise ShapeError(f"{expected}, got in_shape={in_shape}")
        return in_shape, EMPTY, EMPTY

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        check_array(x, 2)
        if not fits(x.shape):
            raise ShapeError(f"{expected}, got {x.shape}")
        return f(x, axis), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        y, state = apply(params, state, x)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            return EMPTY, f_vjp(y, dy, axis) if need_dx else None

        return y, state, pullback

    return Layer(name, init, apply, vjp)


@constructor
def Softmax(*, axis: int = -1) -> Layer:
    """Turn scores into probabilities over one axis: y = exp(x) / Σ exp(x).

    Train on the scores with `softmax_cross_entropy` where you can; after this layer the loss is
    `cross_entropy`.

    Args:
        axis: Axis of the classes, the batch being axis 0; -1 is the last.
    """
    return _over_axis("Softmax", "softmax", axis, softmax.softmax, softmax.softmax_vjp)


@constructor
def LogSoftmax(*, axis: int = -1) -> Layer:
    """Turn scores into log-probabilities over one axis: y = x - log Σ exp(x).

    After this layer the loss is `nll`.

    Args:
        axis: Axis of the classes, the batch being axis 0; -1 is the last.
    """
    return _over_axis("LogSoftmax", "log_softmax", axis, softmax.log_softmax, softmax.log_softmax_vjp)


ACTIVATIONS: Registry[Callable[[], Layer]] = Registry(
    "activation",
    {
        "identity": Identity,
        "relu": Relu,
        "leaky_relu": LeakyRelu,
        "sigmoid": Sigmoid,
        "tanh": Tanh,
        "softmax": Softmax,
        "log_softmax": LogSoftmax,
    },
)
"""Constructors of activations by name: `ACTIVATIONS["relu"]()`."""
