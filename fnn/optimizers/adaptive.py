"""Transforms that divide every gradient by the size of its own history.

A square beyond what the dtype holds (of 1.8e19 in float32) leaves that entry's history at inf, and
the entry standing still, as in other libraries; `clip_by_global_norm` before it keeps that away.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn import tree
from fnn.optimizers.gradient import decayed_sum
from fnn.optimizers.transform import Numbers, Transform, factor, joined, numbers_of, recall, zeros_init
from fnn.options import Number, real
from fnn.recipe import constructor
from fnn.tree import Array, TreeLike

# --- arrays in, arrays out ------------------------------------------------------------------


def blend(old: Array, new: Array, decay: float) -> Array:
    """Return decay · old + (1 - decay) · new."""
    out = old * decay
    out += new * (1.0 - decay)
    return out


def blend_square(old: Array, g: Array, decay: float) -> Array:
    """Return decay · old + (1 - decay) · g²."""
    square = g * g
    square *= 1.0 - decay
    out = old * decay
    out += square
    return out


def add_square(old: Array, g: Array) -> Array:
    """Return old + g²."""
    out = g * g
    out += old
    return out


def over_root(g: Array, square: Array, rate: float, eps: float) -> Array:
    """Return rate · g / (√square + eps)."""
    out = np.sqrt(square, out=np.empty_like(square))
    out += eps
    np.divide(g, out, out=out)
    out *= rate
    return out


def _eps(who: str, eps: Any) -> float:
    # A smaller one could be zero in float32, and a gradient of zero would give 0 / 0.
    return real(who, "eps", eps, least=2.0**-126)


# --- rmsprop, adagrad -----------------------------------------------------------------------


@constructor
def rmsprop(learning_rate: Number, decay: Number = 0.9, *, eps: float = 1e-6) -> Transform:
    """Divide by a running root mean square: s ← decay s + (1 - decay) g², u = -lr g / (√s + eps).

    `eps` stands outside the root, in the units of the gradient. s starts at 0 and is not debiased:
    the first steps are up to 1 / √(1 - decay) times as long as later ones.

    Args:
        learning_rate: A float or a schedule, 0 or more.
        decay: How much of the mean square stays, a float or a schedule in [0, 1).
        eps: Above 0.

    Raises:
        OptionError: If a number is out of its range.

    References: Tieleman & Hinton (2012), "Neural networks for machine learning", lecture 6.5.
    """
    numbers = numbers_of("rmsprop", learning_rate=(learning_rate, math.inf), decay=(decay, 1.0))
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
    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        (square,) = recall(opt_state, "square")
        now = numbers(step)
        decay, rate = now["decay"], factor(now)
        square = joined(lambda s, g: blend_square(s, g, decay), square, updates)
        u = tree.map(lambda s, g: over_root(g, s, rate, eps), square, updates)
        return u, {"square": square}

    return Transform(name, zeros_init("square"), update, elementwise=True, numbers=numbers)


@constructor
def adagrad(learning_rate: Number = 0.01, *, eps: float = 1e-10) -> Transform:
    """Divide by the root of the sum of all squares so far: s ← s + g², u = -lr g / (√s + eps).

    Args:
        learning_rate: A float or a schedule, 0 or more.
        eps: Above 0.

    Raises:
        OptionError: If a number is out of its range.

    References: Duchi, Hazan & Singer (2011), "Adaptive subgradient methods", section 1.1.
    """
    numbers = numbers_of("adagrad", learning_rate=(learning_rate, math.inf))
    eps = _eps("adagrad", eps)

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        (total,) = recall(opt_state, "square_sum")
        rate = -numbers(step)["learning_rate"]
        total = joined(add_square, total, updates)
        u = tree.map(lambda s, g: over_root(g, s, rate, eps), total, updates)
        return u, {"square_sum": total}

    return Transform("adagrad", zeros_init("square_sum"), update, elementwise=True, numbers=numbers)


# --- adam -----------------------------------------------------------------------------------


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
        eps: Above 0; stands outside the root.

    Raises:
        OptionError: If a number is out of its range.

    References: Kingma & Ba (2015), "Adam", algorithm 1.
    """
    numbers = numbers_of("adam", learning_rate=(learning_rate, math.inf), b1=(b1, 1.0), b2=(b2, 1.0))
    return _adam("adam", numbers, _eps("adam", eps))


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
        learning_rate=(learning_rate, math.inf),
        b1=(b1, 1.0),
        b2=(b2, 1.0),
        weight_decay=(weight_decay, math.inf),
    )
    return _adam("adamw", numbers, _eps("adamw", eps))


@constructor
def scale_by_adam(*, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-8) -> Transform:
    """Replace the gradient by its debiased mean over its debiased root mean square.

    The direction of `adam`, before the learning rate and the minus sign.

    Raises:
        OptionError: If a number is out of its range.
    """
    numbers = numbers_of("scale_by_adam", b1=(b1, 1.0), b2=(b2, 1.0))
    return _adam("scale_by_adam", numbers, _eps("scale_by_adam", eps))


def _adam(name: str, numbers: Numbers, eps: float) -> Transform:
    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        m, v = recall(opt_state, "m", "v")
        now = numbers(step)
        b1, b2, rate = now["b1"], now["b2"], factor(now)
        m = joined(lambda m, g: blend(m, g, b1), m, updates)
        v = joined(lambda v, g: blend_square(v, g, b2), v, updates)
        # Both debiasings in two numbers: numerator and denominator times √(1 - b2ᵗ⁺¹).
        root = math.sqrt(1.0 - b2 ** (step + 1))
        scale, offset = rate * root / (1.0 - b1 ** (step + 1)), eps * root
        shrink = rate * now.get("weight_decay", 0.0)

        u = tree.map(lambda m, v: over_root(m, v, scale, offset), m, v)
        if shrink:
            u = joined(lambda p, u: decayed_sum(p, u, shrink), params, u)
        return u, {"m": m, "v": v}

    return Transform(name, zeros_init("m", "v"), update, elementwise=True, numbers=numbers)
