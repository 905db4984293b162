"""More initializers: of a variance that follows from the fans, and matrices of a given structure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.keys import Key
from fnn.layers.initializers import INITIALIZERS, Drawn, Shape, fans_of
from fnn.options import real
from fnn.recipe import constructor
from fnn.tree import Array


def _spread_of_cut(low: float, high: float) -> float:
    """Return the standard deviation of a standard normal number that is kept within low and high."""

    def density(x: float) -> float:
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    mass = 0.5 * (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)))
    mean = (density(low) - density(high)) / mass
    square = 1 + (low * density(low) - high * density(high)) / mass
    return math.sqrt(square - mean * mean)


def _cut_normal(key: Key, shape: Shape, low: float, high: float) -> Array:
    """Draw standard normal numbers, again and again until all are within low and high."""
    generator = key.generator()
    drawn = generator.standard_normal(shape, "float32")
    flat = drawn.reshape(-1)
    while (wrong := np.flatnonzero((flat < low) | (flat > high))).size:
        flat[wrong] = generator.standard_normal(wrong.size, "float32")
    return drawn


@constructor
def truncated_normal(std: float = 1.0, *, cut: float = 2.0) -> Drawn:
    """Draw from a normal distribution without what lies beyond `cut` of its standard deviations.

    `std` is that of the numbers drawn, after the cut.

    Args:
        std: Standard deviation.
        cut: Where it is cut on both sides, 0.5 or more.
    """
    std = real("truncated_normal", "std", std, least=0)
    cut = real("truncated_normal", "cut", cut, least=0.5)
    scale = std / _spread_of_cut(-cut, cut)
    return Drawn(lambda key, shape: _cut_normal(key, shape, -cut, cut) * np.float32(scale))


INITIALIZERS.builtin("truncated_normal")(truncated_normal())

_MODES = ("fan_in", "fan_out", "fan_avg")
_DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")


@constructor
def variance_scaling(
    scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal"
) -> Drawn:
    """Draw with the variance scale / n, n being the fan that `mode` names.

    Args:
        scale: The variance of what one output sums over, if inputs have variance 1.
        mode: "fan_in", "fan_out", or their mean "fan_avg".
        distribution: "truncated_normal" (cut at two standard deviations), "normal" or "uniform".

    References: He et al. (2015), eq. 10; Glorot & Bengio (2010), eq. 12.
    """
    who = "variance_scaling"
    scale = real(who, "scale", scale, least=0)
    for name, value, known in (("mode", mode, _MODES), ("distribution", distribution, _DISTRIBUTIONS)):
        if value not in known:
            raise OptionError(f"{name}: expected one of {known}, got {value!r}", path=(who,))

    def draw(key: Key, shape: Shape, fan_in: Any, fan_out: Any) -> Array:
        into, out = fans_of(shape, fan_in, fan_out)
        n = {"fan_in": into, "fan_out": out, "fan_avg": (into + out) / 2}[mode]
        std = math.sqrt(scale / n)
        if distribution == "uniform":
            limit = math.sqrt(3) * std
            return key.generator().random(shape, "float32") * np.float32(2 * limit) - np.float32(limit)
        if distribution == "normal":
            return key.generator().standard_normal(shape, "float32") * np.float32(std)
        return _cut_normal(key, shape, -2, 2) * np.float32(std / _spread_of_cut(-2, 2))

    return Drawn(draw, takes_fans=True)


INITIALIZERS.builtin("variance_scaling")(variance_scaling())


def _orthogonal(key: Key, n_rows: int, n_columns: int) -> Array:
    """Return a matrix whose rows (or columns, if there are fewer) are orthonormal, uniformly drawn."""
    tall = max(n_rows, n_columns), min(n_rows, n_columns)
    q, r = np.linalg.qr(key.generator().standard_normal(tall))
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)  # Else it would not be uniform.
    return q if n_rows >= n_columns else q.T


@constructor
def orthogonal(scale: float = 1.0) -> Drawn:
    """Draw a matrix with orthonormal rows or columns, whichever are fewer, times `scale`.

    The first axis runs over the rows, all others over the columns: (n_in, n_out) is the matrix itself,
    and of kernels (channels, in_channels, *window) each channel's numbers are a row.

    References: Saxe et al. (2014), "Exact solutions to the nonlinear dynamics", section 3.
    """
    scale = real("orthogonal", "scale", scale)

    def draw(key: Key, shape: Shape) -> Array:
        if len(shape) < 2:
            raise ShapeError(f"expected two or more axes, got shape {shape}")
        rows = shape[0]
        w = scale * _orthogonal(key, rows, math.prod(shape[1:]))
        return w.reshape(shape).astype("float32")

    return Drawn(draw)


INITIALIZERS.builtin("orthogonal")(orthogonal())


@constructor
def delta_orthogonal(scale: float = 1.0) -> Drawn:
    """Draw kernels that are zero but in the middle of the window, where they are orthogonal.

    For w (channels, in_channels, *window) with at least as many channels as in_channels; the
    convolution then keeps the length of what comes in.

    References: Xiao et al. (2018), "Dynamical isometry and a mean field theory of CNNs", algorithm 1.
    """
    scale = real("delta_orthogonal", "scale", scale)

    def draw(key: Key, shape: Shape) -> Array:
        if len(shape) < 3 or shape[0] < shape[1]:
            expected = "kernels (channels, in_channels, *window) with channels not fewer"
            raise ShapeError(f"expected {expected}, got shape {shape}")
        w = np.zeros(shape, "float32")
        middle: Any = (slice(None), slice(None), *((n - 1) // 2 for n in shape[2:]))
        w[middle] = scale * _orthogonal(key, shape[0], shape[1])
        return w

    return Drawn(draw)


@constructor
def identity(scale: float = 1.0) -> Drawn:
    """Fill with the identity times `scale`: a matrix, or a kernel that hands its channels on.

    Of (n_in, n_out) the diagonal is `scale`; of kernels (channels, in_channels, *window) that of the
    middle of the window.
    """
    scale = real("identity", "scale", scale)

    def draw(key: Key, shape: Shape) -> Array:
        if len(shape) < 2:
            raise ShapeError(f"expected two or more axes, got shape {shape}")
        w = np.zeros(shape, "float32")
        middle: Any = (slice(None), slice(None), *((n - 1) // 2 for n in shape[2:]))
        w[middle] = scale * np.eye(shape[0], shape[1])
        return w

    return Drawn(draw)


INITIALIZERS.builtin("identity")(identity())


@constructor
def sparse(sparsity: float, std: float = 0.01) -> Drawn:
    """Draw a matrix from N(0, std²) with that share of every column zero.

    Args:
        sparsity: Share of zeros, rounded up to whole numbers, in [0, 1].
        std: Standard deviation of the others.

    References: Martens (2010), "Deep learning via Hessian-free optimization", section 5.
    """
    sparsity = real("sparse", "sparsity", sparsity, least=0, most=1)
    std = real("sparse", "std", std, least=0)

    def draw(key: Key, shape: Shape) -> Array:
        if len(shape) != 2:
            raise ShapeError(f"expected a matrix, got shape {shape}")
        generator = key.generator()
        w = generator.standard_normal(shape, "float32") * np.float32(std)
        # The first places of a random order of each column.
        order = np.argsort(generator.random(shape), axis=0)
        np.put_along_axis(w, order[: math.ceil(sparsity * shape[0])], 0, axis=0)
        return w

    return Drawn(draw)
