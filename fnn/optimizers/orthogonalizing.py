"""Muon: momentum whose singular values are brought to 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fnn.errors import OptionError
from fnn.kernels.noting import called, contiguous, sqrt
from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.constraints import global_norm
from fnn.optimizers.leafwise import Held, adam_step, make_leafwise, moments
from fnn.optimizers.making import Now, capped
from fnn.optimizers.numbers import Bounded, clamped, documented, eps_of, signed_rate
from fnn.optimizers.transform import Transform
from fnn.options import Number, flag, integer, real
from fnn.recipe import constructor
from fnn.tree import Array

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of Jordan's quintic: steep at 0, so that five steps bring most singular values near 1."""


def orthogonalized(g: Array, steps: int, coefficients: Sequence[float] = COEFFICIENTS) -> Array:
    """Return the matrix with singular values of about 1, U Vᵀ of g = U S Vᵀ, by Newton-Schulz steps.

    X ← g / |g|, then X ← a X + (b A + c A²) X with A = X Xᵀ.
    """
    a, b, c = coefficients
    length = global_norm(g)
    wide = g.T if g.shape[0] > g.shape[1] else g
    # 1e-7 and more as the papers have it; a gradient of 0 stays 0.
    x = wide / called(max, length, 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return contiguous(x.T) if g.shape[0] > g.shape[1] else x


@OPTIMIZERS.builtin("muon")
@constructor
@documented
def muon(
    learning_rate: Number = 0.001,
    decay: Number = 0.95,
    *,
    nesterov: bool = True,
    weight_decay: Number = 0.1,
    steps: int = 5,
    coefficients: Sequence[float] = COEFFICIENTS,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: float = 1e-8,
) -> Transform:
    """Step along momentum made orthogonal in matrices, and as `adamw` does elsewhere.

    Of a leaf of two axes, (inputs, outputs), with O(x) = U Vᵀ for x = U S Vᵀ, nearly, by Newton-Schulz
    steps X ← a X + (b A + c A²) X, A = X Xᵀ, from X = x / |x|:
        m ← decay m + (1 - decay) g,   x = decay m + (1 - decay) g   (without `nesterov`, x = m)
        u = -lr √max(1, outputs / inputs) O(x) - lr weight_decay p
    A leaf of one axis, none, or three and more steps as under `adamw` with the same learning rate and
    decay. Embeddings and a last layer are matrices too; `partition` gives them to another optimizer.

    Args:
        decay: How much of the mean stays, a float or a schedule in [0, 1).
        nesterov: Whether the newest gradient counts twice, as written above.
        steps: How many Newton-Schulz steps, 1 or more.
        coefficients: Their a, b and c.
        b1: Of `adamw`.
        b2: Of `adamw`.
        eps: Of `adamw`, 1.1e-19 or more.

    References: Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks".
    """
    numbers: dict[str, Bounded] = {"learning_rate": learning_rate, "decay": (decay, 1.0)}
    numbers |= {"b1": (b1, 1.0), "b2": (b2, 1.0), "weight_decay": weight_decay}
    return _muon("muon", numbers, nesterov, steps, coefficients, eps)


@constructor
@documented
def scale_by_muon(
    decay: Number = 0.95,
    *,
    nesterov: bool = True,
    steps: int = 5,
    coefficients: Sequence[float] = COEFFICIENTS,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: float = 1e-8,
) -> Transform:
    """Give the direction of `muon`, before the learning rate and the minus sign.

    Args:
        decay: How much of the mean stays, a float or a schedule in [0, 1).
        nesterov: Whether the newest gradient counts twice.
        steps: How many Newton-Schulz steps, 1 or more.
        coefficients: Their a, b and c.
        b1: Of `scale_by_adam`, for leaves that are no matrices.
        b2: Of `scale_by_adam`.
        eps: Of `scale_by_adam`, 1.1e-19 or more.
    """
    numbers: dict[str, Bounded] = {"decay": (decay, 1.0), "b1": (b1, 1.0), "b2": (b2, 1.0)}
    return _muon("scale_by_muon", numbers, nesterov, steps, coefficients, eps)


def _muon(
    name: str,
    numbers: dict[str, Bounded],
    nesterov: bool,
    steps: int,
    coefficients: Sequence[float],
    eps: float,
) -> Transform:
    looks_ahead, n_steps = flag(name, "nesterov", nesterov), integer(name, "steps", steps)
    eps = eps_of(name, eps)
    if not isinstance(coefficients, tuple | list) or len(coefficients) != 3:
        message = f"coefficients: expected three numbers, got {coefficients!r}"
        raise OptionError(message, path=(name,))
    abc = [real(name, "coefficients", each) for each in coefficients]

    def formula(now: Now, g: Array, p: Array, old: Held) -> tuple[Array, Held]:
        rate, (u, new) = signed_rate(now), _step(now, g, old)
        if g.ndim == 2:
            u = u * clamped(rate * sqrt(max(1.0, g.shape[1] / max(1, g.shape[0]))))
        else:
            u *= rate
        if "weight_decay" in now:
            u += p * clamped(rate * now["weight_decay"])
        return u, new

    def _step(now: Now, g: Array, old: Held) -> tuple[Array, Held]:
        if g.ndim == 2:
            decay, m = now["decay"], np.empty_like(g)
            part = g * (1.0 - decay)
            capped(np.add, np.multiply(old["mean"], decay, m), part, m)
            if not g.size:
                return m.copy(), {"mean": m}
            return orthogonalized(m * decay + part if looks_ahead else m, n_steps, abc), {"mean": m}
        return adam_step(now, g, old, eps)

    return make_leafwise(name, formula, memory=_first, numbers=numbers)


def _first(p: Array) -> Held:
    return {"mean": np.zeros_like(p)} if p.ndim == 2 else moments(p)
