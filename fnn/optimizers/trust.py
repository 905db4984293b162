"""Transforms that set the length of every leaf's step by the norm of its parameters or gradient.

A leaf of parameters is the unit, "layer" in the papers: a matrix of weights, a vector of biases.
"""

from __future__ import annotations

import math

import numpy as np

from fnn.kernels.noting import as_array, as_float, called, holds, sqrt
from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.constraints import global_norm
from fnn.optimizers.leafwise import Held, adam_step, make_leafwise, moments, quotient, safe, trust_ratio
from fnn.optimizers.making import Now, capped
from fnn.optimizers.numbers import Bounded, clamped, documented, eps_of, signed_rate
from fnn.optimizers.transform import Transform
from fnn.options import Number
from fnn.recipe import constructor
from fnn.tree import Array

# --- trust ratios ---------------------------------------------------------------------------


@constructor
@documented
def scale_by_trust_ratio(trust: Number = 1.0) -> Transform:
    """Make the update of every leaf as long as its parameters: u ← trust (|p| / |u|) u.

    A leaf whose parameters or update are all 0 keeps its update. `lamb` is this after
    `scale_by_adam` and `add_decayed_weights`.

    Args:
        trust: The length of an update over that of the parameters, a float or a schedule, 0 or more.

    References: You et al. (2020), "Large batch optimization for deep learning", section 3.
    """

    def formula(now: Now, g: Array, p: Array, old: Held) -> tuple[Array, Held]:
        return g * trust_ratio(p, g, now["trust"]), {}

    return make_leafwise("scale_by_trust_ratio", formula, numbers={"trust": trust})


@OPTIMIZERS.builtin("lamb")
@constructor
@documented
def lamb(
    learning_rate: Number = 0.001,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: float = 1e-6,
    weight_decay: Number = 0.0,
) -> Transform:
    """Step as `adamw` does, every leaf by a share of its own length: u = -lr (|p| / |r|) r.

    With m and v debiased as in `adam`, r = m / (√v + eps) + weight_decay p. A leaf whose parameters or
    r are all 0 steps by -lr r.

    References: You et al. (2020), "Large batch optimization for deep learning: training BERT in 76
        minutes", algorithm 2, with the identity for φ.
    """
    eps = eps_of("lamb", eps)

    def formula(now: Now, g: Array, p: Array, old: Held) -> tuple[Array, Held]:
        u, new = adam_step(now, g, old, eps)
        u += p * now["weight_decay"]
        ratio = trust_ratio(p, u)
        u *= clamped(-now["learning_rate"] * ratio)
        return u, new

    numbers: dict[str, Bounded] = {"learning_rate": learning_rate, "b1": (b1, 1.0), "b2": (b2, 1.0)}
    numbers["weight_decay"] = weight_decay
    return make_leafwise("lamb", formula, memory=moments, numbers=numbers)


@OPTIMIZERS.builtin("lars")
@constructor
@documented
def lars(
    learning_rate: Number,
    decay: Number = 0.9,
    *,
    trust: Number = 0.001,
    weight_decay: Number = 0.0,
) -> Transform:
    """Step along a decaying sum of gradients, each leaf's scaled by how long its parameters are.

    With the rate of a leaf λ = trust |p| / (|g| + weight_decay |p|), which is 1 where the parameters
    or the divisor are 0: v ← decay v + lr λ (g + weight_decay p),   u = -v.

    Args:
        decay: How much of the velocity stays, a float or a schedule in [0, 1).
        trust: The length of a first step over that of the parameters at a learning rate of 1.

    References: You, Gitman & Ginsburg (2017), "Large batch training of convolutional networks",
        algorithm 1.
    """

    def formula(now: Now, g: Array, p: Array, old: Held) -> tuple[Array, Held]:
        length, decays = global_norm(p), now["weight_decay"]
        below = global_norm(g) + decays * length
        local = quotient(now["trust"] * length, below) if length and below else 1.0
        u, v = np.empty_like(g), np.empty_like(g)
        capped(np.add, p * decays, g, u)
        capped(np.multiply, u, clamped(now["learning_rate"] * local), v)
        capped(np.add, v, old["velocity"] * now["decay"], v)
        return -v, {"velocity": v}

    numbers: dict[str, Bounded] = {"learning_rate": learning_rate, "decay": (decay, 1.0)}
    numbers |= {"trust": trust, "weight_decay": weight_decay}
    return make_leafwise("lars", formula, memory=_velocity, numbers=numbers)


def _velocity(p: Array) -> Held:
    return {"velocity": np.zeros_like(p)}


# --- novograd -------------------------------------------------------------------------------


@OPTIMIZERS.builtin("novograd")
@constructor
@documented
def novograd(
    learning_rate: Number = 0.01,
    *,
    b1: Number = 0.95,
    b2: Number = 0.98,
    eps: float = 1e-8,
    weight_decay: Number = 0.0,
) -> Transform:
    """Step along a decaying sum of gradients, each over the running length of its leaf's gradient.

    With s a number per leaf, |g|² at first:
        s ← b2 s + (1 - b2) |g|²,   m ← b1 m + g / (√s + eps) + weight_decay p,   u = -lr m

    Args:
        b1: How much of the sum stays, a float or a schedule in [0, 1).
        b2: How much of the squared length stays, a float or a schedule in [0, 1).

    References: Ginsburg et al. (2019), "Stochastic gradient methods with layer-wise adaptive moments
        for training of deep networks", algorithm 1.
    """
    numbers: dict[str, Bounded] = {"learning_rate": learning_rate, "b1": (b1, 1.0), "b2": (b2, 1.0)}
    return _novograd("novograd", {**numbers, "weight_decay": weight_decay}, eps)


@constructor
@documented
def scale_by_novograd(*, b1: Number = 0.95, b2: Number = 0.98, eps: float = 1e-8) -> Transform:
    """Give the direction of `novograd`, before the learning rate and the minus sign.

    Args:
        b1: How much of the sum stays, a float or a schedule in [0, 1).
        b2: How much of the squared length stays, a float or a schedule in [0, 1).
    """
    return _novograd("scale_by_novograd", {"b1": (b1, 1.0), "b2": (b2, 1.0)}, eps)


def _novograd(name: str, numbers: dict[str, Bounded], eps: float) -> Transform:
    eps = eps_of(name, eps)

    def formula(now: Now, g: Array, p: Array, old: Held) -> tuple[Array, Held]:
        g, b2 = safe(g), now["b2"]
        length, most = global_norm(g), float(np.finfo(g.dtype).max)
        square = length * length if holds(math.isinf, length) else called(min, length * length, most)
        if now["step"] == 0:
            s = np.full((), square, g.dtype)
        else:
            s = as_array(old["square"] * b2 + square * (1.0 - b2), g.dtype)
        divisor = sqrt(as_float(s)) + eps
        step, m = g / divisor, np.empty_like(g)
        if "weight_decay" in now:
            step += p * now["weight_decay"]
        capped(np.add, old["m"] * now["b1"], step, m)
        return m * signed_rate(now), {"m": m, "square": s}

    return make_leafwise(name, formula, memory=_mean_and_length, numbers=numbers)


def _mean_and_length(p: Array) -> Held:
    return {"m": np.zeros_like(p), "square": np.zeros((), p.dtype)}
