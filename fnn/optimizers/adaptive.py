"""Transforms that divide every gradient by the size of its own history.

A gradient whose square is beyond the dtype (1.8e19 in float32) counts as the largest whose square is
not: its entry moves as far as any other, and nothing that is remembered becomes infinite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.rules import capped, make_transform
from fnn.optimizers.transform import RATE, ArrayUpdate, Numbers, Transform, factor, held, numbers_of
from fnn.options import Number, real
from fnn.recipe import constructor
from fnn.tree import Array

# --- arrays -----------------------------------------------------------------------------------


def blend(old: Array, new: Array, scaled: Array, decay: float) -> None:
    """Write decay · old + scaled to `new`, where `scaled` is (1 - decay) times what came."""
    np.multiply(old, decay, new)
    new += scaled


# Made once: a `with` block at every call takes as long as the squares of a small layer.
_multiply = np.errstate(over="raise")(np.multiply)


def squared(g: Array, out: Array) -> Array:
    """Write g² to `out`; return g, capped where the square is beyond the dtype."""
    try:
        _multiply(g, g, out)
    except FloatingPointError:
        most = np.sqrt(np.finfo(g.dtype).max)
        # What is infinite stays so, for the loop to report.
        g = np.where(np.isinf(g), g, np.clip(g, -most, most))
        np.multiply(g, g, out)
    return g


def over_root(g: Array, square: Array, rate: float, eps: float, u: Array) -> None:
    """Write rate · g / (√square + eps) to u."""
    np.sqrt(square, u)
    u += eps
    np.divide(g, u, u)
    u *= rate


def _eps(who: str, eps: Any) -> float:
    # Squares of numbers below √2⁻¹²⁶ vanish in float32, and eps alone is left to divide by: it is to be
    # as large as they are, or steps of 1 become steps of 1e18, and with b2 near 1 even 0 / 0.
    return real(who, "eps", eps, least=2.0**-63)


# --- rmsprop, adagrad -----------------------------------------------------------------------


@OPTIMIZERS.builtin("rmsprop")
@constructor
def rmsprop(learning_rate: Number, decay: Number = 0.9, *, eps: float = 1e-6) -> Transform:
    """Divide by a running root mean square: s ← decay s + (1 - decay) g², u = -lr g / (√s + eps).

    `eps` stands outside the root, in the units of the gradient. s starts at 0 and is not debiased:
    the first steps are up to 1 / √(1 - decay) times as long as later ones.

    Args:
        learning_rate: A float or a schedule, 0 or more.
        decay: How much of the mean square stays, a float or a schedule in [0, 1).
        eps: 1.1e-19 or more.

    Raises:
        OptionError: If a number is out of its range.

    References: Tieleman & Hinton (2012), "Neural networks for machine learning", lecture 6.5.
    """
    numbers = numbers_of("rmsprop", learning_rate=(learning_rate, RATE), decay=(decay, 1.0))
    return _rms("rmsprop", numbers, _eps("rmsprop", eps))


@constructor
def scale_by_rms(decay: Number = 0.9, *, eps: float = 1e-6) -> Transform:
    """Divide by a running root mean square: s ← decay s + (1 - decay) g², u = g / (√s + eps).

    The direction of `rmsprop`, before the learning rate and the minus sign.

    Raises:
        OptionError: If a number is out of its range.
    """
    numbers = numbers_of("scale_by_rms", decay=(decay, 1.0))
    return _rms("scale_by_rms", numbers, _eps("scale_by_rms", eps))


def _rms(name: str, numbers: Numbers, eps: float) -> Transform:
    def bind(now: Mapping[str, float], step: int) -> ArrayUpdate:
        decay, rate = now["decay"], factor(now)

        def run(g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
            g = squared(g, u)
            u *= 1.0 - decay
            blend(old[0], new[0], u, decay)
            over_root(g, new[0], rate, eps, u)

        return run

    return make_transform(name, ("square",), bind, numbers)


@OPTIMIZERS.builtin("adagrad")
@constructor
def adagrad(learning_rate: Number = 0.01, *, eps: float = 1e-10) -> Transform:
    """Divide by the root of the sum of all squares so far: s ← s + g², u = -lr g / (√s + eps).

    Args:
        learning_rate: A float or a schedule, 0 or more.
        eps: 1.1e-19 or more.

    Raises:
        OptionError: If a number is out of its range.

    References: Duchi, Hazan & Singer (2011), "Adaptive subgradient methods", section 1.1.
    """
    numbers = numbers_of("adagrad", learning_rate=(learning_rate, RATE))
    eps = _eps("adagrad", eps)

    def bind(now: Mapping[str, float], step: int) -> ArrayUpdate:
        rate = -now["learning_rate"]

        def run(g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
            g = squared(g, u)
            capped(np.add, old[0], u, new[0])
            over_root(g, new[0], rate, eps, u)

        return run

    return make_transform("adagrad", ("square_sum",), bind, numbers)


# --- adam -----------------------------------------------------------------------------------


@OPTIMIZERS.builtin("adam")
@constructor
def adam(
    learning_rate: Number = 0.001, *, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-8
) -> Transform:
    """Step along the running mean of gradients over their running root mean square.

    With the gradient g at step t = 0, 1, ..., elementwise:
        m ← b1 m + (1 - b1) g,   v ← b2 v + (1 - b2) g²
        u = -lr (m / (1 - b1ᵗ⁺¹)) / (√(v / (1 - b2ᵗ⁺¹)) + eps)
    The debiasing takes b1 and b2 to have been constant; under schedules it uses those of the step.

    Args:
        learning_rate: A float or a schedule, 0 or more.
        b1: How much of the mean stays, a float or a schedule in [0, 1).
        b2: How much of the mean square stays, a float or a schedule in [0, 1).
        eps: 1.1e-19 or more; stands outside the root.

    Raises:
        OptionError: If a number is out of its range.

    References: Kingma & Ba (2015), "Adam", algorithm 1.
    """
    numbers = numbers_of("adam", learning_rate=(learning_rate, RATE), b1=(b1, 1.0), b2=(b2, 1.0))
    return _adam("adam", numbers, _eps("adam", eps))


@OPTIMIZERS.builtin("adamw")
@constructor
def adamw(
    learning_rate: Number = 0.001,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: float = 1e-8,
    weight_decay: Number = 0.01,
) -> Transform:
    """Step as `adam` does and shrink the parameters beside it: u = u_adam - lr weight_decay p.

    The decay passes by the moments, and is scaled by the learning rate. Biases and scales decay too.

    Args:
        learning_rate, b1, b2, eps: As in `adam`.
        weight_decay: A float or a schedule, 0 or more.

    Raises:
        OptionError: If a number is out of its range.

    References: Loshchilov & Hutter (2019), "Decoupled weight decay regularization", algorithm 2.
    """
    numbers = numbers_of(
        "adamw",
        learning_rate=(learning_rate, RATE),
        b1=(b1, 1.0),
        b2=(b2, 1.0),
        weight_decay=(weight_decay, RATE),
    )
    return _adam("adamw", numbers, _eps("adamw", eps), decays=True)


@constructor
def scale_by_adam(*, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-8) -> Transform:
    """Replace the gradient by its debiased mean over its debiased root mean square.

    The direction of `adam`, before the learning rate and the minus sign.

    Raises:
        OptionError: If a number is out of its range.
    """
    numbers = numbers_of("scale_by_adam", b1=(b1, 1.0), b2=(b2, 1.0))
    return _adam("scale_by_adam", numbers, _eps("scale_by_adam", eps))


def _adam(name: str, numbers: Numbers, eps: float, *, decays: bool = False) -> Transform:
    def bind(now: Mapping[str, float], step: int) -> ArrayUpdate:
        b1, b2, rate = now["b1"], now["b2"], factor(now)
        # Both debiasings in two numbers: numerator and denominator times √(1 - b2ᵗ⁺¹).
        root = math.sqrt(1.0 - b2 ** (step + 1))
        scale, offset = held(rate * root / (1.0 - b1 ** (step + 1))), eps * root
        shrink = held(rate * now["weight_decay"]) if decays else 0.0

        def run(g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
            m, v = new
            g = squared(g, u)
            u *= 1.0 - b2
            blend(old[1], v, u, b2)
            blend(old[0], m, np.multiply(g, 1.0 - b1, u), b1)
            over_root(m, v, scale, offset, u)
            if decays:
                u += p * shrink

        return run

    return make_transform(name, ("m", "v"), bind, numbers, reads_params=decays)
