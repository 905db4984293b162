"""More activations: exponential and smooth units, hard ones, and plain functions of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.kernels import gaussian
from fnn.kernels import smooth_activation as kernel
from fnn.layers.activation import ACTIVATIONS, over_axis
from fnn.layers.contract import Layer
from fnn.layers.making import elementwise
from fnn.options import flag, real
from fnn.recipe import constructor


@ACTIVATIONS.builtin("elu")
@constructor
def Elu(alpha: float = 1.0) -> Layer:
    """Saturate below zero: y = x where x > 0, else alpha (exp(x) - 1).

    References: Clevert et al. (2016), "Fast and accurate deep network learning by ELUs", eq. 15.
    """
    alpha = real("Elu", "alpha", alpha)
    return elementwise(
        "elu",
        lambda x: kernel.elu(x, alpha),
        lambda x, y, dy: kernel.elu_vjp(x, dy, alpha),
        has_kinks=alpha != 1,
        flops=3,
    )


# Such that mean 0 and variance 1 are kept from layer to layer, eq. 14 of the reference.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


@ACTIVATIONS.builtin("selu")
@constructor
def Selu() -> Layer:
    """Saturate below zero and scale: y = λ x where x > 0, else λ α (exp(x) - 1).

    λ = 1.0507 and α = 1.6733 keep mean 0 and variance 1 from layer to layer (`lecun_normal`).

    References: Klambauer et al. (2017), "Self-normalizing neural networks", eq. 2 and 14.
    """
    return elementwise(
        "selu",
        lambda x: _SELU_SCALE * kernel.elu(x, _SELU_ALPHA),
        lambda x, y, dy: kernel.elu_vjp(x, _SELU_SCALE * dy, _SELU_ALPHA),
        has_kinks=True,
        flops=4,
    )


@ACTIVATIONS.builtin("celu")
@constructor
def Celu(alpha: float = 1.0) -> Layer:
    """Saturate below zero, smoothly: y = x where x > 0, else alpha (exp(x / alpha) - 1).

    Raises:
        OptionError: If alpha is not above 0.

    References: Barron (2017), "Continuously differentiable exponential linear units", eq. 2.
    """
    alpha = real("Celu", "alpha", alpha, least=1e-30)
    return elementwise(
        "celu",
        lambda x: kernel.celu(x, alpha),
        lambda x, y, dy: kernel.celu_vjp(x, dy, alpha),
        flops=4,
    )


@ACTIVATIONS.builtin("gelu")
@constructor
def Gelu(*, approximate: bool = False) -> Layer:
    """Weigh by a normal probability: y = x Φ(x), Φ the normal distribution function.

    Args:
        approximate: Whether y = x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2 instead, which differs by up
            to 5e-4 and takes half of the time.

    References: Hendrycks & Gimpel (2016), "Gaussian error linear units", section 2.
    """
    if flag("Gelu", "approximate", approximate):
        f: Any = gaussian.gelu_tanh
        return elementwise("gelu", f, lambda x, y, dy: gaussian.gelu_tanh_vjp(x, dy), flops=9)
    return elementwise("gelu", gaussian.gelu, lambda x, y, dy: gaussian.gelu_vjp(x, dy), flops=30)


@ACTIVATIONS.builtin("silu")
@constructor
def Silu() -> Layer:
    """Weigh by a sigmoid: y = x σ(x); also called swish.

    References: Elfwing et al. (2018), "Sigmoid-weighted linear units", eq. 2.
    """
    return elementwise("silu", kernel.silu, kernel.silu_vjp, flops=4)


@ACTIVATIONS.builtin("mish")
@constructor
def Mish() -> Layer:
    """Weigh by a tanh of softplus: y = x tanh(log(1 + exp(x))).

    References: Misra (2020), "Mish", eq. 2.
    """
    return elementwise("mish", kernel.mish, lambda x, y, dy: kernel.mish_vjp(x, dy), flops=7)


@ACTIVATIONS.builtin("softplus")
@constructor
def Softplus() -> Layer:
    """Round off the corner of relu: y = log(1 + exp(x)), dy/dx = σ(x)."""
    return elementwise(
        "softplus", kernel.softplus, lambda x, y, dy: kernel.softplus_vjp(x, dy), flops=5
    )


@ACTIVATIONS.builtin("softsign")
@constructor
def Softsign() -> Layer:
    """Squash to (-1, 1) slowly: y = x / (1 + |x|)."""
    return elementwise(
        "softsign", kernel.softsign, lambda x, y, dy: kernel.softsign_vjp(x, dy), flops=3
    )


@ACTIVATIONS.builtin("log_sigmoid")
@constructor
def LogSigmoid() -> Layer:
    """Return the logarithm of a sigmoid: y = -log(1 + exp(-x)), dy/dx = σ(-x)."""
    f = kernel.log_sigmoid
    return elementwise("log_sigmoid", f, lambda x, y, dy: kernel.log_sigmoid_vjp(x, dy), flops=5)


def _clipped(name: str, low: float, high: float, slope: float = 1.0, at_zero: float = 0.0) -> Layer:
    def f(x: Any) -> Any:
        return kernel.clipped(x if slope == 1 else x * slope + at_zero, low, high)

    def f_vjp(x: Any, y: Any, dy: Any) -> Any:
        into = kernel.clipped_vjp(x if slope == 1 else x * slope + at_zero, dy, low, high)
        return into if slope == 1 else into * slope

    return elementwise(name, f, f_vjp, has_kinks=True, flops=2)


@ACTIVATIONS.builtin("relu6")
@constructor
def Relu6() -> Layer:
    """Cut off below zero and above six: y = min(max(x, 0), 6)."""
    return _clipped("relu6", 0, 6)


@ACTIVATIONS.builtin("hard_tanh")
@constructor
def HardTanh() -> Layer:
    """Cut off below -1 and above 1: y = min(max(x, -1), 1)."""
    return _clipped("hard_tanh", -1, 1)


@ACTIVATIONS.builtin("hard_sigmoid")
@constructor
def HardSigmoid() -> Layer:
    """Rise from 0 at -3 to 1 at 3: y = min(max(x / 6 + 1/2, 0), 1)."""
    return _clipped("hard_sigmoid", 0, 1, slope=1 / 6, at_zero=0.5)


@ACTIVATIONS.builtin("hard_swish")
@constructor
def HardSwish() -> Layer:
    """Weigh by a hard sigmoid: y = x min(max(x / 6 + 1/2, 0), 1).

    References: Howard et al. (2019), "Searching for MobileNetV3", section 5.2.
    """
    f = kernel.hard_swish
    return elementwise(
        "hard_swish", f, lambda x, y, dy: kernel.hard_swish_vjp(x, dy), has_kinks=True, flops=4
    )


@ACTIVATIONS.builtin("exp")
@constructor
def Exp() -> Layer:
    """Exponentiate: y = exp(x), infinite where the precision does not hold it (x of 89 in float32)."""
    return elementwise("exp", np.exp, lambda x, y, dy: y * dy)


@ACTIVATIONS.builtin("abs")
@constructor
def Abs() -> Layer:
    """Return the magnitude: y = |x|; the derivative at 0 is 0."""
    f = kernel.absolute
    return elementwise("abs", f, lambda x, y, dy: kernel.absolute_vjp(x, dy), has_kinks=True)


@ACTIVATIONS.builtin("square")
@constructor
def Square() -> Layer:
    """Return the square: y = x²."""
    return elementwise("square", lambda x: x * x, lambda x, y, dy: 2 * x * dy)


@ACTIVATIONS.builtin("sparsemax")
@constructor
def Sparsemax(*, axis: int = -1) -> Layer:
    """Turn scores into probabilities, most of them 0: the nearest point to x of those that sum to 1.

    Args:
        axis: Axis of the classes, the batch being axis 0; -1 is the last.

    References: Martins & Astudillo (2016), "From softmax to sparsemax", algorithm 1 and eq. 14.
    """
    functions: Any = kernel.sparsemax, kernel.sparsemax_vjp
    return over_axis("Sparsemax", "sparsemax", axis, *functions, has_kinks=True)
