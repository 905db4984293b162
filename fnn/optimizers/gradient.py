"""Gradient descent, plain and with momentum."""

from __future__ import annotations

import numpy as np

from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.making import Now, capped, make_transform
from fnn.optimizers.numbers import Bounded, documented, signed_rate
from fnn.optimizers.transform import Transform
from fnn.options import Number
from fnn.recipe import constructor
from fnn.tree import Array

# --- steepest descent -------------------------------------------------------------------------


@OPTIMIZERS.builtin("sgd")
@constructor
@documented
def sgd(learning_rate: Number) -> Transform:
    """Step against the gradient: u = -lr g.

    References: Robbins & Monro (1951), "A stochastic approximation method".
    """
    return _descent("sgd", learning_rate)


@constructor
@documented
def scale_by_learning_rate(learning_rate: Number) -> Transform:
    """Turn a direction into an update, the minus sign included: u ← -lr u.

    The end of a chain of blocks: `chain(scale_by_adam(), scale_by_learning_rate(0.001))`.
    """
    return _descent("scale_by_learning_rate", learning_rate)


def _descent(name: str, learning_rate: Number) -> Transform:
    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        np.multiply(g, -now["learning_rate"], u)

    return make_transform(name, formula, numbers={"learning_rate": learning_rate})


# --- momentum -----------------------------------------------------------------------------------


@OPTIMIZERS.builtin("momentum")
@constructor
@documented
def momentum(learning_rate: Number, decay: Number = 0.9, *, nesterov: bool = False) -> Transform:
    """Step along a decaying sum of gradients: v ← decay v + g, u = -lr v.

    The gradient is not weighted by 1 - decay, so that a steady gradient moves 1 / (1 - decay) times
    as far as under `sgd`. The learning rate stands outside v, and a schedule acts at once.

    Args:
        decay: How much of the velocity stays, a float or a schedule in [0, 1).
        nesterov: Look ahead: u = -lr (g + decay v).

    References: Polyak (1964), "Some methods of speeding up the convergence of iteration methods",
        eq. 9; Sutskever et al. (2013), "On the importance of initialization and momentum in deep
        learning", eqs. 3 and 4.
    """
    numbers = {"learning_rate": learning_rate, "decay": (decay, 1.0)}
    return _velocity("momentum", numbers, ahead=nesterov)


@OPTIMIZERS.builtin("nesterov")
@constructor
@documented
def nesterov(learning_rate: Number, decay: Number = 0.9) -> Transform:
    """Step along a decaying sum of gradients, looking ahead: v ← decay v + g, u = -lr (g + decay v).

    `momentum` with `nesterov=True`, by a name of its own.

    Args:
        decay: How much of the velocity stays, a float or a schedule in [0, 1).

    References: Nesterov (1983), "A method of solving a convex programming problem with convergence
        rate O(1/k²)"; Sutskever et al. (2013), "On the importance of initialization and momentum in
        deep learning", eqs. 3 and 4.
    """
    numbers = {"learning_rate": learning_rate, "decay": (decay, 1.0)}
    return _velocity("nesterov", numbers, ahead=True)


@constructor
@documented
def trace(decay: Number = 0.9, *, nesterov: bool = False) -> Transform:
    """Replace the gradient by a decaying sum of gradients: v ← decay v + g, u = v.

    The direction of `momentum`, before the learning rate and the minus sign.

    Args:
        decay: How much of the sum stays, a float or a schedule in [0, 1).
        nesterov: Look ahead: u = g + decay v.
    """
    return _velocity("trace", {"decay": (decay, 1.0)}, ahead=nesterov)


def _velocity(name: str, numbers: dict[str, Bounded], *, ahead: bool) -> Transform:
    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        decay, rate, (v,) = now["decay"], signed_rate(now), new
        np.multiply(old[0], decay, v)
        capped(np.add, v, g, v)
        if ahead:
            np.multiply(v, decay, u)
            capped(np.add, u, g, u)
            u *= rate
        else:
            np.multiply(v, rate, u)

    return make_transform(name, formula, memory=("velocity",), numbers=numbers)
