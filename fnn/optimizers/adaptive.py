"""Transforms that divide every gradient by the size of its own history.

A gradient whose square is beyond the dtype (1.8e19 in float32) counts as the largest whose square is
not: its entry moves as far as any other, and nothing that is remembered becomes infinite.
"""

from __future__ import annotations

import numpy as np

from fnn.kernels.noting import sqrt
from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.making import Now, capped, make_transform
from fnn.optimizers.numbers import LARGEST, Bounded, clamped, documented, eps_of, signed_rate
from fnn.optimizers.selecting import Where, decaying_at
from fnn.optimizers.transform import Transform
from fnn.options import Number
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


# --- rmsprop, adagrad -----------------------------------------------------------------------


@OPTIMIZERS.builtin("rmsprop")
@constructor
@documented
def rmsprop(learning_rate: Number, decay: Number = 0.9, *, eps: float = 1e-6) -> Transform:
    """Divide by a running root mean square: s ← decay s + (1 - decay) g², u = -lr g / (√s + eps).

    `eps` stands outside the root, in the units of the gradient. s starts at 0 and is not debiased:
    the first steps are up to 1 / √(1 - decay) times as long as later ones.

    Args:
        decay: How much of the mean square stays, a float or a schedule in [0, 1).

    References: Tieleman & Hinton (2012), "Neural networks for machine learning", lecture 6.5.
    """
    return _rms("rmsprop", {"learning_rate": learning_rate, "decay": (decay, 1.0)}, eps)


@constructor
@documented
def scale_by_rms(decay: Number = 0.9, *, eps: float = 1e-6) -> Transform:
    """Divide by a running root mean square: s ← decay s + (1 - decay) g², u = g / (√s + eps).

    The direction of `rmsprop`, before the learning rate and the minus sign.

    Args:
        decay: How much of the mean square stays, a float or a schedule in [0, 1).
    """
    return _rms("scale_by_rms", {"decay": (decay, 1.0)}, eps)


def _rms(name: str, numbers: dict[str, Bounded], eps: float) -> Transform:
    eps = eps_of(name, eps)

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        decay, (s,) = now["decay"], new
        g = squared(g, u)
        u *= 1.0 - decay
        blend(old[0], s, u, decay)
        over_root(g, s, signed_rate(now), eps, u)

    return make_transform(name, formula, memory=("square",), numbers=numbers)


@OPTIMIZERS.builtin("adagrad")
@constructor
@documented
def adagrad(learning_rate: Number = 0.01, *, eps: float = 1e-10) -> Transform:
    """Divide by the root of the sum of all squares so far: s ← s + g², u = -lr g / (√s + eps).

    References: Duchi, Hazan & Singer (2011), "Adaptive subgradient methods", section 1.1.
    """
    eps = eps_of("adagrad", eps)

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        (s,) = new
        g = squared(g, u)
        capped(np.add, old[0], u, s)
        over_root(g, s, -now["learning_rate"], eps, u)

    numbers = {"learning_rate": learning_rate}
    return make_transform("adagrad", formula, memory=("square_sum",), numbers=numbers)


@OPTIMIZERS.builtin("adadelta")
@constructor
@documented
def adadelta(learning_rate: Number = 1.0, decay: Number = 0.9, *, eps: float = 1e-6) -> Transform:
    """Step by the root mean square of steps over that of gradients, which needs no unit.

    Elementwise: s ← decay s + (1 - decay) g²,   d = √(e + eps) g / √(s + eps),
    e ← decay e + (1 - decay) d²,   u = -lr d.

    Args:
        decay: How much of the mean squares stays, a float or a schedule in [0, 1).
        eps: 1.1e-19 or more; stands inside both roots.

    References: Zeiler (2012), "ADADELTA: an adaptive learning rate method", algorithm 1.
    """
    return _delta("adadelta", {"learning_rate": learning_rate, "decay": (decay, 1.0)}, eps)


@constructor
@documented
def scale_by_adadelta(decay: Number = 0.9, *, eps: float = 1e-6) -> Transform:
    """Give the direction of `adadelta`, before the learning rate and the minus sign.

    Args:
        decay: How much of the mean squares stays, a float or a schedule in [0, 1).
        eps: 1.1e-19 or more; stands inside both roots.
    """
    return _delta("scale_by_adadelta", {"decay": (decay, 1.0)}, eps)


def _delta(name: str, numbers: dict[str, Bounded], eps: float) -> Transform:
    eps = min(eps_of(name, eps), LARGEST)

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        decay, (s, e) = now["decay"], new
        g = squared(g, u)
        u *= 1.0 - decay
        blend(old[0], s, u, decay)
        capped(np.add, s, eps, u)
        np.sqrt(u, u)
        d = g / u
        capped(np.add, old[1], eps, u)
        np.sqrt(u, u)
        d *= u
        squared(d, u)
        u *= 1.0 - decay
        blend(old[1], e, u, decay)
        np.multiply(d, signed_rate(now), u)

    return make_transform(name, formula, memory=("square", "step_square"), numbers=numbers)


# --- adam -----------------------------------------------------------------------------------


@OPTIMIZERS.builtin("adam")
@constructor
@documented
def adam(
    learning_rate: Number = 0.001, *, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-8
) -> Transform:
    """Step along the running mean of gradients over their running root mean square.

    With the gradient g at step t = 0, 1, ..., elementwise:
        m ← b1 m + (1 - b1) g,   v ← b2 v + (1 - b2) g²
        u = -lr (m / (1 - b1ᵗ⁺¹)) / (√(v / (1 - b2ᵗ⁺¹)) + eps)
    The debiasing takes b1 and b2 to have been constant; under schedules it uses those of the step.

    References: Kingma & Ba (2015), "Adam", algorithm 1.
    """
    return _adam("adam", {"learning_rate": learning_rate, "b1": (b1, 1.0), "b2": (b2, 1.0)}, eps)


@OPTIMIZERS.builtin("adamw")
@constructor
@documented
def adamw(
    learning_rate: Number = 0.001,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: float = 1e-8,
    weight_decay: Number = 0.01,
    decayed: Where | None = None,
) -> Transform:
    """Step as `adam` does and shrink the parameters beside it: u = u_adam - lr weight_decay p.

    The decay passes by the moments, and is scaled by the learning rate. Biases and scales decay
    too, unless `decayed` says which leaves do.

    References: Loshchilov & Hutter (2019), "Decoupled weight decay regularization", algorithm 2.
    """
    numbers = {"learning_rate": learning_rate, "b1": (b1, 1.0), "b2": (b2, 1.0)}
    if decayed is not None:
        return decaying_at(_adam("adamw", numbers, eps), weight_decay, decayed)
    return _adam("adamw", {**numbers, "weight_decay": weight_decay}, eps)


@constructor
@documented
def scale_by_adam(*, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-8) -> Transform:
    """Replace the gradient by its debiased mean over its debiased root mean square.

    The direction of `adam`, before the learning rate and the minus sign.
    """
    return _adam("scale_by_adam", {"b1": (b1, 1.0), "b2": (b2, 1.0)}, eps)


def _adam(name: str, numbers: dict[str, Bounded], eps: float) -> Transform:
    eps, decays = eps_of(name, eps), "weight_decay" in numbers

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        b1, b2, rate, (m, v) = now["b1"], now["b2"], signed_rate(now), new
        g = squared(g, u)
        u *= 1.0 - b2
        blend(old[1], v, u, b2)
        blend(old[0], m, np.multiply(g, 1.0 - b1, u), b1)
        # Both debiasings in two numbers: numerator and denominator times √(1 - b2ᵗ⁺¹).
        n = now["step"] + 1
        root = sqrt(1.0 - b2**n)
        over_root(m, v, clamped(rate * root / (1.0 - b1**n)), eps * root, u)
        if decays:
            u += p * clamped(rate * now["weight_decay"])

    return make_transform(name, formula, memory=("m", "v"), numbers=numbers, reads_params=decays)
