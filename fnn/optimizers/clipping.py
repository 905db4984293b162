"""Transforms that bound or center gradients, entry by entry or leaf by leaf."""

from __future__ import annotations

import math

import numpy as np

from fnn.kernels.noting import as_array, as_float, holds
from fnn.optimizers.constraints import global_norm
from fnn.optimizers.leafwise import Held, make_leafwise
from fnn.optimizers.making import Now, capped, make_transform
from fnn.optimizers.transform import Transform
from fnn.options import Number, real
from fnn.recipe import constructor
from fnn.tree import Array


@constructor
def clip_by_value(max_value: Number) -> Transform:
    """Bound every entry: u ← min(max(u, -max_value), max_value).

    It turns the gradient where it bounds some of its entries; `clip_by_global_norm` does not. What is
    not finite passes unchanged, for the loop to report.

    Args:
        max_value: A float or a schedule, 0 or more.

    Raises:
        OptionError: If max_value is negative or not finite.
    """

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        most = now["max_value"]
        np.clip(g, -most, most, out=u)
        np.copyto(u, g, where=np.isinf(g))

    return make_transform("clip_by_value", formula, numbers={"max_value": max_value})


@constructor
def clip_by_block_rms(max_rms: Number) -> Transform:
    """Shorten every leaf to a bounded root mean square: u ← u · min(1, max_rms / √(mean u²)).

    Leaves that are short enough keep every bit; what is not finite passes unchanged.

    Args:
        max_rms: A float or a schedule, 0 or more.

    Raises:
        OptionError: If max_rms is negative or not finite.

    References: Shazeer & Stern (2018), "Adafactor: adaptive learning rates with sublinear memory cost",
        section 6.
    """

    def formula(now: Now, g: Array, p: Array, old: Held) -> tuple[Array, Held]:
        return _shortened(g, now["max_rms"] * math.sqrt(max(1, g.size))), {}

    return make_leafwise("clip_by_block_rms", formula, numbers={"max_rms": max_rms})


def _shortened(g: Array, most: float) -> Array:
    length = global_norm(g)
    if not length > most:
        return g.copy()
    if length < math.inf:
        return g * (most / length)
    peak = as_float(np.max(np.abs(g)))
    if not holds(math.isfinite, peak):
        return g.copy()
    # Finite, but longer than a float64 holds.
    part = g / peak
    return part * (most / global_norm(part))


@constructor
def adaptive_clip(max_ratio: Number = 0.01, *, eps: float = 1e-3) -> Transform:
    """Shorten the gradient of every unit to a share of its parameters' length.

    With the norms of a unit's gradient and parameters: u ← u · min(1, max_ratio max(|p|, eps) / |u|).
    A unit is what leads to one output: a column of a matrix (inputs, outputs), a filter w[i] of a
    convolution; a leaf of one axis or none is one unit. The last layer is better left out, by
    `masked`. What is not finite passes unchanged.

    Args:
        max_ratio: A float or a schedule, 0 or more.
        eps: The length that parameters count as at least, above 0, so that zeros can move.

    Raises:
        OptionError: If a number is out of its range.

    References: Brock et al. (2021), "High-performance large-scale image recognition without
        normalization", eq. 3.
    """
    least = real("adaptive_clip", "eps", eps, least=2.0**-63)

    def formula(now: Now, g: Array, p: Array, old: Held) -> tuple[Array, Held]:
        ours, theirs = _unit_norms(g), _unit_norms(p)
        most = now["max_ratio"] * np.maximum(theirs, least)
        # Where all is 0, or not finite, the factor is 1.
        long = (ours > most) & np.isfinite(ours)
        factor = np.where(long, most / np.where(long, ours, 1.0), 1.0)
        return g * factor.astype(g.dtype), {}

    return make_leafwise("adaptive_clip", formula, numbers={"max_ratio": max_ratio})


def _unit_axes(x: Array) -> tuple[int, ...]:
    """Return the axes that lead to one output: the inputs of a matrix, all but the first of filters."""
    return (0,) if x.ndim == 2 else tuple(range(1 if x.ndim > 2 else 0, x.ndim))


def _unit_norms(x: Array) -> Array:
    axes = _unit_axes(x)
    peak = np.max(np.abs(x), axis=axes, keepdims=True, initial=0.0).astype(np.float64)
    # Scaled, so that squares neither overflow nor vanish.
    scale = np.where((peak > 0) & np.isfinite(peak), peak, 1.0)
    return as_array(scale * np.sqrt(np.sum(np.square(x / scale), axis=axes, keepdims=True)))


@constructor
def centralize() -> Transform:
    """Take the mean over the inputs from the gradient of every unit: u ← u - mean(u).

    Units are as in `adaptive_clip`: columns of matrices, filters of convolutions. Leaves of one axis
    or none pass as they are.

    References: Yong et al. (2020), "Gradient centralization: a new optimization technique for deep
        neural networks", eq. 1.
    """

    def formula(now: Now, g: Array, p: Array, old: Held) -> tuple[Array, Held]:
        if g.ndim < 2 or not g.size:
            return g.copy(), {}
        axes, u = _unit_axes(g), np.empty_like(g)
        # Divided first: the sum of large numbers is beyond the dtype before their mean is.
        mean = np.sum(g / math.prod(g.shape[axis] for axis in axes), axis=axes, keepdims=True)
        capped(np.subtract, g, np.broadcast_to(mean, g.shape), u)
        return u, {}

    return make_leafwise("centralize", formula)
