"""Activations: layers without parameters or state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from fnn.errors import ShapeError
from fnn.kernels import activation, softmax
from fnn.layers.calls import Shape
from fnn.layers.chains import keeps_nothing
from fnn.layers.contract import Layer, Traits
from fnn.layers.making import elementwise, fwd_of, make_layer
from fnn.options import axis_of, real
from fnn.recipe import constructor
from fnn.registry import Registry

_LEAST = 1e-30
"""What a number that is to be above 0 is at least."""

ACTIVATIONS: Registry[Callable[[], Layer]] = Registry("activation", package="fnn.layers")
"""Constructors of activations by name: `ACTIVATIONS["relu"]()`."""


@ACTIVATIONS.builtin("identity")
@constructor
def Identity() -> Layer:
    """Return the input unchanged: y = x."""
    layer = elementwise("identity", lambda x: x, lambda x, y, dy: dy, flops=0)
    return attrs.evolve(layer, keeps=keeps_nothing)


@ACTIVATIONS.builtin("relu")
@constructor
def Relu() -> Layer:
    """Cut off below zero: y = max(x, 0); the derivative at 0 is 0."""
    return elementwise("relu", activation.relu, activation.relu_vjp, has_kinks=True)


@ACTIVATIONS.builtin("leaky_relu")
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


@ACTIVATIONS.builtin("sigmoid")
@constructor
def Sigmoid() -> Layer:
    """Squash to (0, 1): y = 1 / (1 + exp(-x)), dy/dx = y (1 - y)."""
    return elementwise("sigmoid", activation.sigmoid, activation.sigmoid_vjp)


@ACTIVATIONS.builtin("tanh")
@constructor
def Tanh() -> Layer:
    """Squash to (-1, 1): y = tanh x, dy/dx = 1 - y²."""
    return elementwise("tanh", activation.tanh, activation.tanh_vjp)


def over_axis(
    who: str,
    name: str,
    axis: Any,
    f: Callable[..., Any],
    f_vjp: Callable[..., Any],
    *,
    has_kinks: bool = False,
) -> Layer:
    """Make a layer of f(x, axis), which returns y, and f_vjp(y, dy, axis), which returns dx."""
    axis = axis_of(who, axis, "an axis of the scores")

    def shapes(in_shape: Shape) -> Any:
        at = axis - 1 if axis > 0 else len(in_shape) + axis
        if not (0 <= at < len(in_shape) and in_shape[at] > 0):
            expected = f"expected {'a last axis' if axis == -1 else f'axis {axis}'} of 1 or more"
            raise ShapeError(f"{expected}, got in_shape={in_shape}")
        return in_shape, {}, {}

    fwd = fwd_of(lambda x: f(x, axis), lambda x, y, dy: f_vjp(y, dy, axis))
    # Largest, difference, exp, sum, quotient.
    traits = Traits(has_kinks=has_kinks)
    return make_layer(name, shapes, fwd, traits=traits, flops=5, members="fold")


def _tempered(
    who: str,
    name: str,
    axis: Any,
    temperature: Any,
    f: Callable[..., Any],
    f_vjp: Callable[..., Any],
) -> Layer:
    """Make a layer of f of x / temperature."""
    t = real(who, "temperature", temperature, least=_LEAST)
    if t == 1:
        return over_axis(who, name, axis, f, f_vjp)
    return over_axis(
        who, name, axis, lambda x, axis: f(x / t, axis), lambda y, dy, axis: f_vjp(y, dy, axis) / t
    )


@ACTIVATIONS.builtin("softmax")
@constructor
def Softmax(*, axis: int = -1, temperature: float = 1.0) -> Layer:
    """Turn scores into probabilities over one axis: y = exp(x / T) / Σ exp(x / T).

    Train on the scores with `softmax_cross_entropy` where you can; after this layer the loss is
    `cross_entropy`.

    Args:
        axis: Axis of the classes, the batch being axis 0; -1 is the last.
        temperature: T, above 0; a high one makes probabilities alike, a low one picks the largest.
    """
    return _tempered("Softmax", "softmax", axis, temperature, softmax.softmax, softmax.softmax_vjp)


@ACTIVATIONS.builtin("log_softmax")
@constructor
def LogSoftmax(*, axis: int = -1, temperature: float = 1.0) -> Layer:
    """Turn scores into log-probabilities over one axis: y = x / T - log Σ exp(x / T).

    After this layer the loss is `nll`.

    Args:
        axis: Axis of the classes, the batch being axis 0; -1 is the last.
        temperature: T, above 0; a high one makes probabilities alike, a low one picks the largest.
    """
    functions: Any = softmax.log_softmax, softmax.log_softmax_vjp
    return _tempered("LogSoftmax", "log_softmax", axis, temperature, *functions)
