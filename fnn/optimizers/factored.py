"""Transforms whose memory of squared gradients is a few vectors per matrix, one along each axis."""

from __future__ import annotations

import numpy as np

from fnn.kernels.noting import as_float, called, sqrt
from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.leafwise import Held, make_leafwise, root_mean_square, safe
from fnn.optimizers.making import Now, capped
from fnn.optimizers.numbers import Bounded, clamped, documented, eps_of, signed_rate
from fnn.optimizers.transform import Transform
from fnn.options import Number, real
from fnn.recipe import constructor
from fnn.tree import Array

# --- adafactor ------------------------------------------------------------------------------


@OPTIMIZERS.builtin("adafactor")
@constructor
@documented
def adafactor(
    learning_rate: Number = 0.01,
    *,
    decay_power: float = 0.8,
    eps: float | None = None,
    least_scale: float = 1e-3,
    most_update: float = 1.0,
    weight_decay: Number = 0.0,
) -> Transform:
    """Step by a share of the parameters' size, over mean squares kept as a row and a column.

    With n = t + 1 and the weight of the newest β = n^(-decay_power); of a leaf of two axes or more
    the means of g² along the last axis, r, and along the last but one, c:
        r ← (1 - β) r + β mean(g², -1),   c ← (1 - β) c + β mean(g², -2),   v = r c / mean(r)
    and of any other leaf v ← (1 - β) v + β g². Then, with rms(x) = √(mean x²):
        d = g / √max(v, eps²),   d ← d / max(1, rms(d) / most_update)
        u = -min(lr, 1 / √n) max(least_scale, rms(p)) d - lr weight_decay p

    Args:
        learning_rate: The largest share of the parameters' size that a step may have, a float or a
            schedule, 0 or more.
        decay_power: How fast the mean squares lengthen their memory, from 0 to 1.
        eps: Below it a root mean square counts as this; the dtype's rounding if None.
        least_scale: The size that parameters have at least, above 0.
        most_update: The root mean square that d is brought down to, above 0.

    References: Shazeer & Stern (2018), "Adafactor: adaptive learning rates with sublinear memory cost",
        algorithms 4 and 5, with bounds where PyTorch has them.
    """
    who = "adafactor"
    power = real(who, "decay_power", decay_power, least=0.0, most=1.0)
    floor = None if eps is None else eps_of(who, eps)
    least = real(who, "least_scale", least_scale, least=1e-30)
    most = real(who, "most_update", most_update, least=1e-30)

    def formula(now: Now, g: Array, p: Array, old: Held) -> tuple[Array, Held]:
        n, rate = now["step"] + 1, now["learning_rate"]
        v, new = _mean_squares(safe(g), old, as_float(n) ** -power, _floor(g, floor))
        bottom = _floor(g, floor)
        d = g / np.sqrt(np.maximum(v, bottom * bottom))
        size = root_mean_square(d)
        scale = called(max, least, root_mean_square(p)) * called(min, rate, 1.0 / sqrt(n))
        u = d * -clamped(scale / called(max, 1.0, size / most))
        if now["weight_decay"]:
            u += p * clamped(-rate * now["weight_decay"])
        return u, new

    numbers: dict[str, Bounded] = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    return make_leafwise(who, formula, memory=_factors, numbers=numbers)


@constructor
def scale_by_factored_rms(*, decay_power: float = 0.8, eps: float | None = None) -> Transform:
    """Divide by the root of mean squares kept as a row and a column: u = g / √max(v, eps²).

    The first part of `adafactor`, with v as there.

    Args:
        decay_power: How fast the mean squares lengthen their memory, from 0 to 1.
        eps: Below it a root mean square counts as this; the dtype's rounding if None.

    Raises:
        OptionError: If a number is out of its range.
    """
    who = "scale_by_factored_rms"
    power = real(who, "decay_power", decay_power, least=0.0, most=1.0)
    floor = None if eps is None else eps_of(who, eps)

    def formula(now: Now, g: Array, p: Array, old: Held) -> tuple[Array, Held]:
        bottom = _floor(g, floor)
        v, new = _mean_squares(safe(g), old, as_float(now["step"] + 1) ** -power, bottom)
        return g / np.sqrt(np.maximum(v, bottom * bottom)), new

    return make_leafwise(who, formula, memory=_factors)


def _floor(g: Array, eps: float | None) -> float:
    # Its square is to be a number in float32 too.
    return min(float(np.finfo(g.dtype).eps) if eps is None else eps, 1e18)


def _factors(p: Array) -> Held:
    if p.ndim < 2:
        return {"square": np.zeros_like(p)}
    return {
        "row": np.zeros((*p.shape[:-1], 1), p.dtype),
        "column": np.zeros((*p.shape[:-2], 1, p.shape[-1]), p.dtype),
    }


def _mean_squares(g: Array, old: Held, newest: float, eps: float) -> tuple[Array, Held]:
    """Return the mean square of every entry, and the new memory."""
    square = g * g
    if g.ndim < 2:
        v = old["square"] * (1.0 - newest)
        v += square * newest
        return v, {"square": v}
    row, column = old["row"] * (1.0 - newest), old["column"] * (1.0 - newest)
    row += square.mean(axis=-1, keepdims=True) * newest if square.size else 0.0
    column += square.mean(axis=-2, keepdims=True) * newest if square.size else 0.0
    over = row / np.maximum(row.mean(axis=-2, keepdims=True), eps) if square.size else row
    return over * column, {"row": row, "column": column}


# --- sm3 ------------------------------------------------------------------------------------


@OPTIMIZERS.builtin("sm3")
@constructor
@documented
def sm3(learning_rate: Number, decay: Number = 0.9, *, eps: float = 1e-10) -> Transform:
    """Step as `adagrad` does, with the sums of squares bounded by one vector per axis.

    With a vector aₖ along every axis k of a leaf, and i an entry's place:
        s[i] = minₖ aₖ[iₖ] + g[i]²,   aₖ[j] ← the largest s[i] with iₖ = j
        m ← decay m + (1 - decay) g / (√s + eps),   u = -lr m

    Args:
        decay: How much of the mean of steps stays, a float or a schedule in [0, 1).

    References: Anil et al. (2019), "Memory-efficient adaptive optimization", algorithm SM3-II, with
        momentum as in section 5.
    """
    return _sm3("sm3", {"learning_rate": learning_rate, "decay": (decay, 1.0)}, eps)


@constructor
@documented
def scale_by_sm3(decay: Number = 0.9, *, eps: float = 1e-10) -> Transform:
    """Give the direction of `sm3`, before the learning rate and the minus sign.

    Args:
        decay: How much of the mean of steps stays, a float or a schedule in [0, 1).
    """
    return _sm3("scale_by_sm3", {"decay": (decay, 1.0)}, eps)


def _sm3(name: str, numbers: dict[str, Bounded], eps: float) -> Transform:
    eps = eps_of(name, eps)

    def formula(now: Now, g: Array, p: Array, old: Held) -> tuple[Array, Held]:
        axes = [f"axis_{k}" for k in range(max(1, g.ndim))]
        bound = old[axes[0]]
        for axis in axes[1:]:
            bound = np.minimum(bound, old[axis])
        capped_g, s = safe(g), np.empty_like(g)
        capped(np.add, np.broadcast_to(bound, g.shape), capped_g * capped_g, s)
        new: Held = {}
        for k, axis in enumerate(axes):
            others = tuple(i for i in range(g.ndim) if i != k)
            new[axis] = s.max(axis=others, keepdims=True, initial=0.0) if others else s.copy()
        step = capped_g / (np.sqrt(s) + eps)
        m = old["m"] * now["decay"]
        m += step * (1.0 - now["decay"])
        return m * signed_rate(now), {"m": m, **new}

    return make_leafwise(name, formula, memory=_axes, numbers=numbers)


def _axes(p: Array) -> Held:
    held = {"m": np.zeros_like(p)}
    for k in range(max(1, p.ndim)):
        shape = tuple(n if i == k else 1 for i, n in enumerate(p.shape))
        held[f"axis_{k}"] = np.zeros(shape, p.dtype)
    return held
