"""Kin of `adam`: a running mean of gradients over a running measure of their size.

As in `adam`, the debiasing takes b1 and b2 to have been constant; under schedules it uses those of the
step. The step t counts from 0.
"""

from __future__ import annotations

import numpy as np

from fnn.kernels.noting import called, sqrt
from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.adaptive import blend, over_root, squared
from fnn.optimizers.making import Now, capped, make_transform
from fnn.optimizers.numbers import LARGEST, Bounded, clamped, documented, eps_of, signed_rate
from fnn.optimizers.transform import Transform
from fnn.options import Number, real
from fnn.recipe import constructor
from fnn.tree import Array


def _bounded(b1: Number, b2: Number, **others: Bounded) -> dict[str, Bounded]:
    return {**others, "b1": (b1, 1.0), "b2": (b2, 1.0)}


def _means(now: Now, g: Array, old: list[Array], new: list[Array], u: Array) -> Array:
    """Write m and v, the first two of the memory; return g as `squared` does. u is scratch."""
    g = squared(g, u)
    u *= 1.0 - now["b2"]
    blend(old[1], new[1], u, now["b2"])
    blend(old[0], new[0], np.multiply(g, 1.0 - now["b1"], u), now["b1"])
    return g


# --- nadam ----------------------------------------------------------------------------------


@OPTIMIZERS.builtin("nadam")
@constructor
@documented
def nadam(
    learning_rate: Number = 0.002,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: float = 1e-8,
    momentum_decay: float = 0.004,
) -> Transform:
    """Step as `adam` does with Nesterov's look ahead, and a momentum that warms up.

    With μᵢ = b1 (1 - ½ 0.96^(i · momentum_decay)), Mₙ = μ₁ ⋯ μₙ and n = t + 1:
        m ← b1 m + (1 - b1) g,   v ← b2 v + (1 - b2) g²
        u = -lr (g (1 - μₙ) / (1 - Mₙ) + m μₙ₊₁ / (1 - Mₙ₊₁)) / (√(v / (1 - b2ⁿ)) + eps)

    Args:
        momentum_decay: How fast the momentum warms up, 0 or more; 0 leaves it at b1 / 2.

    References: Dozat (2016), "Incorporating Nesterov momentum into Adam", algorithm 2.
    """
    eps = eps_of("nadam", eps)
    psi = real("nadam", "momentum_decay", momentum_decay, least=0.0)
    product = _Product(psi)

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        g = _means(now, g, old, new, u)
        n = now["step"] + 1
        mu, ahead = _warming(now["b1"], psi, n), _warming(now["b1"], psi, n + 1)
        so_far = called(product, now["b1"], n)
        step = g * ((1.0 - mu) / (1.0 - so_far))
        step += new[0] * (ahead / (1.0 - so_far * ahead))
        root = sqrt(1.0 - now["b2"] ** n)
        rate = clamped(-now["learning_rate"] * root)
        over_root(step, new[1], rate, eps * root, u)

    numbers = _bounded(b1, b2, learning_rate=learning_rate)
    return make_transform("nadam", formula, memory=("m", "v"), numbers=numbers)


def _warming(b1: float, psi: float, i: float) -> float:
    return b1 * (1.0 - 0.5 * 0.96 ** (i * psi))


class _Product:
    """The product μ₁ ⋯ μₙ; it goes on from the last one asked for, which changes no bit of it."""

    def __init__(self, psi: float) -> None:
        self._psi = psi
        self._last = 0.0, 0, 1.0

    def __call__(self, b1: float, n: float) -> float:
        of, done, product = self._last
        if of != b1 or done > n:
            done, product = 0, 1.0
        while done < n and product > 0.0:
            done += 1
            product *= _warming(b1, self._psi, done)
        self._last = b1, done, product
        return product


# --- radam ----------------------------------------------------------------------------------


@OPTIMIZERS.builtin("radam")
@constructor
@documented
def radam(
    learning_rate: Number = 0.001, *, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-8
) -> Transform:
    """Step as `adam` does, rectified while the mean square has seen too few gradients.

    With m and v as in `adam`, n = t + 1, ρ∞ = 2 / (1 - b2) - 1 and ρ = ρ∞ - 2 n b2ⁿ / (1 - b2ⁿ):
        u = -lr r (m / (1 - b1ⁿ)) √(1 - b2ⁿ) / (√v + eps)   if ρ > 5, where
        r = √((ρ - 4) (ρ - 2) ρ∞ / ((ρ∞ - 4) (ρ∞ - 2) ρ));   else u = -lr m / (1 - b1ⁿ)

    References: Liu et al. (2020), "On the variance of the adaptive learning rate and beyond",
        algorithm 2.
    """
    return _rectified("radam", _bounded(b1, b2, learning_rate=learning_rate), eps)


@constructor
@documented
def scale_by_radam(*, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-8) -> Transform:
    """Give the direction of `radam`, before the learning rate and the minus sign."""
    return _rectified("scale_by_radam", _bounded(b1, b2), eps)


def _rectified(name: str, numbers: dict[str, Bounded], eps: float) -> Transform:
    eps = eps_of(name, eps)

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        _means(now, g, old, new, u)
        n, b2 = now["step"] + 1, now["b2"]
        rate = signed_rate(now) / (1.0 - now["b1"] ** n)
        bias = 1.0 - b2**n
        most = 2.0 / (1.0 - b2) - 1.0
        seen = most - 2.0 * n * b2**n / bias
        if seen > 5.0:
            rate *= sqrt((seen - 4.0) * (seen - 2.0) * most / ((most - 4.0) * (most - 2.0) * seen))
            over_root(new[0], new[1], clamped(rate * sqrt(bias)), eps, u)
        else:
            np.multiply(new[0], clamped(rate), u)

    return make_transform(name, formula, memory=("m", "v"), numbers=numbers)


# --- amsgrad, adamax ------------------------------------------------------------------------


@OPTIMIZERS.builtin("amsgrad")
@constructor
@documented
def amsgrad(
    learning_rate: Number = 0.001, *, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-8
) -> Transform:
    """Step as `adam` does over the largest mean square so far, so that steps never grow again.

    With m and v as in `adam` and n = t + 1: v_max ← max(v_max, v),
    u = -lr (m / (1 - b1ⁿ)) / (√(v_max / (1 - b2ⁿ)) + eps).

    References: Reddi, Kale & Kumar (2018), "On the convergence of Adam and beyond", algorithm 2,
        debiased as `adam` is.
    """
    return _amsgrad("amsgrad", _bounded(b1, b2, learning_rate=learning_rate), eps)


@constructor
@documented
def scale_by_amsgrad(*, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-8) -> Transform:
    """Give the direction of `amsgrad`, before the learning rate and the minus sign."""
    return _amsgrad("scale_by_amsgrad", _bounded(b1, b2), eps)


def _amsgrad(name: str, numbers: dict[str, Bounded], eps: float) -> Transform:
    eps = eps_of(name, eps)

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        _means(now, g, old, new, u)
        np.maximum(old[2], new[1], out=new[2])
        n = now["step"] + 1
        root = sqrt(1.0 - now["b2"] ** n)
        rate = clamped(signed_rate(now) * root / (1.0 - now["b1"] ** n))
        over_root(new[0], new[2], rate, eps * root, u)

    return make_transform(name, formula, memory=("m", "v", "v_max"), numbers=numbers)


@OPTIMIZERS.builtin("adamax")
@constructor
@documented
def adamax(
    learning_rate: Number = 0.002, *, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-8
) -> Transform:
    """Step along the running mean of gradients over the largest of them, which fades.

    With n = t + 1: m ← b1 m + (1 - b1) g,   s ← max(b2 s, |g| + eps),   u = -lr m / ((1 - b1ⁿ) s).

    Args:
        b2: How much of the largest gradient stays, a float or a schedule in [0, 1).
        eps: 1.1e-19 or more; is added to |g|.

    References: Kingma & Ba (2015), "Adam", algorithm 2.
    """
    return _adamax("adamax", _bounded(b1, b2, learning_rate=learning_rate), eps)


@constructor
@documented
def scale_by_adamax(*, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-8) -> Transform:
    """Give the direction of `adamax`, before the learning rate and the minus sign.

    Args:
        b2: How much of the largest gradient stays, a float or a schedule in [0, 1).
        eps: 1.1e-19 or more; is added to |g|.
    """
    return _adamax("scale_by_adamax", _bounded(b1, b2), eps)


def _adamax(name: str, numbers: dict[str, Bounded], eps: float) -> Transform:
    eps = min(eps_of(name, eps), LARGEST)

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        g, (m, s) = squared(g, u), new
        capped(np.add, np.abs(g), eps, u)
        np.multiply(old[1], now["b2"], s)
        np.maximum(s, u, out=s)
        blend(old[0], m, np.multiply(g, 1.0 - now["b1"], u), now["b1"])
        np.divide(m, s, u)
        u *= clamped(signed_rate(now) / (1.0 - now["b1"] ** (now["step"] + 1)))

    return make_transform(name, formula, memory=("m", "size"), numbers=numbers)


# --- adabelief, yogi ------------------------------------------------------------------------


@OPTIMIZERS.builtin("adabelief")
@constructor
@documented
def adabelief(
    learning_rate: Number = 0.001, *, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-16
) -> Transform:
    """Step along the running mean of gradients over how far gradients are from it.

    With n = t + 1:
        m ← b1 m + (1 - b1) g,   s ← b2 s + (1 - b2) (g - m)² + eps
        u = -lr (m / (1 - b1ⁿ)) / (√(s / (1 - b2ⁿ)) + eps)

    Args:
        eps: 1.1e-19 or more; is added to s at every step, and to its root.

    References: Zhuang et al. (2020), "AdaBelief optimizer", algorithm 2.
    """
    return _belief("adabelief", _bounded(b1, b2, learning_rate=learning_rate), eps)


@constructor
@documented
def scale_by_belief(*, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-16) -> Transform:
    """Give the direction of `adabelief`, before the learning rate and the minus sign.

    Args:
        eps: 1.1e-19 or more; is added to s at every step, and to its root.
    """
    return _belief("scale_by_belief", _bounded(b1, b2), eps)


def _belief(name: str, numbers: dict[str, Bounded], eps: float) -> Transform:
    eps = min(eps_of(name, eps), LARGEST)

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        b1, b2, (m, s) = now["b1"], now["b2"], new
        g = squared(g, u)
        blend(old[0], m, np.multiply(g, 1.0 - b1, u), b1)
        squared(g - m, u)
        u *= 1.0 - b2
        blend(old[1], s, u, b2)
        capped(np.add, s.copy(), eps, s)
        n = now["step"] + 1
        root = sqrt(1.0 - b2**n)
        over_root(m, s, clamped(signed_rate(now) * root / (1.0 - b1**n)), eps * root, u)

    return make_transform(name, formula, memory=("m", "s"), numbers=numbers)


@OPTIMIZERS.builtin("yogi")
@constructor
@documented
def yogi(
    learning_rate: Number = 0.01, *, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-3
) -> Transform:
    """Step along the running mean of gradients over a mean square that changes by little.

    Elementwise, and without debiasing:
        m ← b1 m + (1 - b1) g,   v ← v - (1 - b2) sign(v - g²) g²,   u = -lr m / (√v + eps)

    Args:
        b2: How little v moves, a float or a schedule in [0, 1).

    References: Zaheer et al. (2018), "Adaptive methods for nonconvex optimization", algorithm 2.
    """
    return _yogi("yogi", _bounded(b1, b2, learning_rate=learning_rate), eps)


@constructor
@documented
def scale_by_yogi(*, b1: Number = 0.9, b2: Number = 0.999, eps: float = 1e-3) -> Transform:
    """Give the direction of `yogi`, before the learning rate and the minus sign.

    Args:
        b2: How little v moves, a float or a schedule in [0, 1).
    """
    return _yogi("scale_by_yogi", _bounded(b1, b2), eps)


def _yogi(name: str, numbers: dict[str, Bounded], eps: float) -> Transform:
    eps = eps_of(name, eps)

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        m, v = new
        g = squared(g, u)
        turn = np.sign(old[1] - u)
        u *= 1.0 - now["b2"]
        u *= turn
        capped(np.subtract, old[1], u, v)
        blend(old[0], m, np.multiply(g, 1.0 - now["b1"], u), now["b1"])
        over_root(m, v, signed_rate(now), eps, u)

    return make_transform(name, formula, memory=("m", "v"), numbers=numbers)
