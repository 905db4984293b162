"""Transforms that look at the signs of gradients alone.

The sign of what is not finite is NaN here, for the loop to report: 1 would hide it.
"""

from __future__ import annotations

import numpy as np

from fnn.errors import OptionError
from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.making import Now, capped, make_transform
from fnn.optimizers.numbers import LARGEST, Bounded, clamped, documented, signed_rate
from fnn.optimizers.selecting import Where, decaying_at
from fnn.optimizers.transform import Transform
from fnn.options import Number, real
from fnn.recipe import constructor
from fnn.tree import Array


def sign_of(a: Array, out: Array) -> None:
    """Write -1, 0 or 1 to `out`, NaN where a is not finite."""
    np.sign(a, out)
    out += a - a


# --- sign_sgd -------------------------------------------------------------------------------


@OPTIMIZERS.builtin("sign_sgd")
@constructor
@documented
def sign_sgd(learning_rate: Number) -> Transform:
    """Step by the learning rate against the sign of every entry: u = -lr sign(g).

    References: Bernstein et al. (2018), "signSGD: compressed optimisation for non-convex problems",
        algorithm 1.
    """
    return _signs("sign_sgd", {"learning_rate": learning_rate})


@constructor
def scale_by_sign() -> Transform:
    """Replace every entry by its sign: u = sign(g), the direction of `sign_sgd`."""
    return _signs("scale_by_sign", {})


def _signs(name: str, numbers: dict[str, Bounded]) -> Transform:
    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        sign_of(g, u)
        u *= signed_rate(now)

    return make_transform(name, formula, numbers=numbers)


# --- lion -----------------------------------------------------------------------------------


@OPTIMIZERS.builtin("lion")
@constructor
@documented
def lion(
    learning_rate: Number = 1e-4,
    *,
    b1: Number = 0.9,
    b2: Number = 0.99,
    weight_decay: Number = 0.001,
    decayed: Where | None = None,
) -> Transform:
    """Step against the sign of a mean of gradients, the newest of which counts more than it will.

    Elementwise: u = -lr (sign(b1 m + (1 - b1) g) + weight_decay p),   m ← b2 m + (1 - b2) g.
    Rates are to be a tenth to a third of what `adamw` has, and decays as much larger.

    Args:
        b1: How much the mean counts in the step, a float or a schedule in [0, 1).
        b2: How much of the mean stays, a float or a schedule in [0, 1).

    References: Chen et al. (2023), "Symbolic discovery of optimization algorithms", program 1.
    """
    numbers = {"learning_rate": learning_rate, "b1": (b1, 1.0), "b2": (b2, 1.0)}
    if decayed is not None:
        return decaying_at(_lion("lion", numbers), weight_decay, decayed)
    return _lion("lion", {**numbers, "weight_decay": weight_decay})


@constructor
@documented
def scale_by_lion(*, b1: Number = 0.9, b2: Number = 0.99) -> Transform:
    """Give the direction of `lion`, before the learning rate and the minus sign.

    Args:
        b1: How much the mean counts in the step, a float or a schedule in [0, 1).
        b2: How much of the mean stays, a float or a schedule in [0, 1).
    """
    return _lion("scale_by_lion", {"b1": (b1, 1.0), "b2": (b2, 1.0)})


def _lion(name: str, numbers: dict[str, Bounded]) -> Transform:
    decays = "weight_decay" in numbers

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        b1, b2, rate, (m,) = now["b1"], now["b2"], signed_rate(now), new
        mean = np.multiply(old[0], b1, np.empty_like(g))
        capped(np.add, mean, np.multiply(g, 1.0 - b1, u), mean)
        np.multiply(old[0], b2, m)
        capped(np.add, m, np.multiply(g, 1.0 - b2, u), m)
        sign_of(mean, u)
        u *= rate
        if decays:
            u += p * clamped(rate * now["weight_decay"])

    return make_transform(name, formula, memory=("m",), numbers=numbers, reads_params=decays)


# --- rprop ----------------------------------------------------------------------------------


@OPTIMIZERS.builtin("rprop")
@constructor
def rprop(
    learning_rate: float = 0.01,
    *,
    shrink: float = 0.5,
    grow: float = 1.2,
    least: float = 1e-6,
    most: float = 50.0,
) -> Transform:
    """Step against the sign, farther while it stays and less far where it turns; for full batches.

    Elementwise, with the step size d, which is the learning rate at first:
        same sign as before: d ← min(grow d, most),   u = -d sign(g)
        the other sign:      d ← max(shrink d, least),   u = 0, and the sign is forgotten
        else:                u = -d sign(g)

    Args:
        learning_rate: The first step size, 0 or more; no schedule, for the steps see to themselves.
        shrink: What a step size is multiplied by after a turn, from 0 to below 1.
        grow: What it is multiplied by while the sign stays, 1 or more.
        least: Smallest step size, 0 or more.
        most: Largest step size, `least` or more.

    Raises:
        OptionError: If a number is out of its range.

    References: Riedmiller & Braun (1993), "A direct adaptive method for faster backpropagation
        learning: the RPROP algorithm"; without weight backtracking, as Igel & Hüsken (2000) call it.
    """
    who = "rprop"
    if callable(learning_rate):
        raise OptionError("learning_rate: expected a number, got a schedule", path=(who,))
    rate = real(who, "learning_rate", learning_rate, least=0.0, below=LARGEST)
    down, up = real(who, "shrink", shrink, least=0.0, below=1.0), real(who, "grow", grow, least=1.0)
    low = real(who, "least", least, least=0.0, below=LARGEST)
    high = real(who, "most", most, least=low, below=LARGEST)

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        sign_of(g, u)
        turn = u * np.sign(old[0])
        turned = turn < 0.0
        factor = np.ones_like(g)
        factor[turned], factor[turn > 0.0] = down, up
        if now["step"] == 0:
            factor *= min(max(rate, low), high)
        else:
            factor *= old[1]
        np.clip(factor, low, high, out=new[1])
        np.copyto(new[0], g)
        new[0][turned] = 0.0
        u[turned] = 0.0
        u *= new[1]
        np.negative(u, u)

    numbers: dict[str, Bounded] = {"learning_rate": rate}
    return make_transform(who, formula, memory=("last", "size"), numbers=numbers)
