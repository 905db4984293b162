"""Gradient descent, plain and with momentum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.rules import capped, make_transform
from fnn.optimizers.transform import RATE, ArrayUpdate, Numbers, Transform, factor, numbers_of
from fnn.options import Number
from fnn.recipe import constructor
from fnn.tree import Array

# --- steepest descent -------------------------------------------------------------------------


@OPTIMIZERS.builtin("sgd")
@constructor
def sgd(learning_rate: Number) -> Transform:
    """Step against the gradient: u = -lr g.

    Args:
        learning_rate: The step size lr, a float or a schedule, 0 or more.

    Raises:
        OptionError: If the learning rate is negative or not finite.

    References: Robbins & Monro (1951), "A stochastic approximation method".
    """
    return _descent("sgd", learning_rate)


@constructor
def scale_by_learning_rate(learning_rate: Number) -> Transform:
    """Turn a direction into an update, the minus sign included: u ← -lr u.

    The end of a chain of blocks: `chain(scale_by_adam(), scale_by_learning_rate(0.001))`.

    Args:
        learning_rate: A float or a schedule, 0 or more.

    Raises:
        OptionError: If the learning rate is negative or not finite.
    """
    return _descent("scale_by_learning_rate", learning_rate)


def _descent(name: str, learning_rate: Number) -> Transform:
    numbers = numbers_of(name, learning_rate=(learning_rate, RATE))

    def bind(now: Mapping[str, float], step: int) -> ArrayUpdate:
        rate = -now["learning_rate"]

        def run(g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
            np.multiply(g, rate, u)

        return run

    return make_transform(name, (), bind, numbers)


# --- momentum -----------------------------------------------------------------------------------


@OPTIMIZERS.builtin("momentum")
@constructor
def momentum(learning_rate: Number, decay: Number = 0.9, *, nesterov: bool = False) -> Transform:
    """Step along a decaying sum of gradients: v ← decay v + g, u = -lr v.

    The gradient is not weighted by 1 - decay, so that a steady gradient moves 1 / (1 - decay) times
    as far as under `sgd`. The learning rate stands outside v, and a schedule acts at once.

    Args:
        learning_rate: A float or a schedule, 0 or more.
        decay: How much of the velocity stays, a float or a schedule in [0, 1).
        nesterov: Look ahead: u = -lr (g + decay v).

    Raises:
        OptionError: If a number is out of its range.

    References: Polyak (1964), "Some methods of speeding up the convergence of iteration methods",
        eq. 9; Sutskever et al. (2013), "On the importance of initialization and momentum in deep
        learning", eqs. 3 and 4.
    """
    numbers = numbers_of("momentum", learning_rate=(learning_rate, RATE), decay=(decay, 1.0))
    return _velocity("momentum", numbers, nesterov)


@constructor
def trace(decay: Number = 0.9, *, nesterov: bool = False) -> Transform:
    """Replace the gradient by a decaying sum of gradients: v ← decay v + g, u = v.

    The direction of `momentum`, before the learning rate and the minus sign.

    Args:
        decay: A float or a schedule in [0, 1).
        nesterov: Look ahead: u = g + decay v.

    Raises:
        OptionError: If decay is out of its range.
    """
    return _velocity("trace", numbers_of("trace", decay=(decay, 1.0)), nesterov)


def _velocity(name: str, numbers: Numbers, nesterov: bool) -> Transform:
    def bind(now: Mapping[str, float], step: int) -> ArrayUpdate:
        decay, rate = now["decay"], factor(now)

        def run(g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
            (v,) = new
            np.multiply(old[0], decay, v)
            capped(np.add, v, g, v)
            if nesterov:
                np.multiply(v, decay, u)
                capped(np.add, u, g, u)
                u *= rate
            else:
                np.multiply(v, rate, u)

        return run

    return make_transform(name, ("velocity",), bind, numbers)
