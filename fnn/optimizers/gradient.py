"""Gradient descent, plain and with momentum."""

from __future__ import annotations

import math
from typing import Any

from fnn import tree
from fnn.optimizers.transform import (
    Numbers,
    Transform,
    factor,
    joined,
    numbers_of,
    recall,
    stateless_init,
    zeros_init,
)
from fnn.options import Number
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, TreeLike

# --- steepest descent -------------------------------------------------------------------------


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
    numbers = numbers_of(name, learning_rate=(learning_rate, math.inf))

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        recall(opt_state)
        rate = -numbers(step)["learning_rate"]
        return tree.map(lambda g: g * rate, updates), EMPTY

    return Transform(name, stateless_init, update, elementwise=True, numbers=numbers)


# --- momentum -----------------------------------------------------------------------------------


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
    numbers = numbers_of("momentum", learning_rate=(learning_rate, math.inf), decay=(decay, 1.0))
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
    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        (velocity,) = recall(opt_state, "velocity")
        now = numbers(step)
        decay, rate = now["decay"], factor(now)
        velocity = joined(lambda v, g: decayed_sum(v, g, decay), velocity, updates)
        if nesterov:
            u = tree.map(lambda v, g: decayed_sum(v, g, decay, rate), velocity, updates)
        else:
            u = tree.map(lambda v: v * rate, velocity)
        return u, {"velocity": velocity}

    return Transform(name, zeros_init("velocity"), update, elementwise=True, numbers=numbers)


def decayed_sum(v: Array, g: Array, decay: float, rate: float = 1.0) -> Array:
    """Return rate · (decay v + g)."""
    out = v * decay
    out += g
    if rate != 1.0:
        out *= rate
    return out
