"""The distribution function of the normal distribution, which NumPy lacks, and the Gelu made of it."""

from __future__ import annotations

import math

import numpy as np

from fnn.kernels.noting import contiguous
from fnn.tree import Array

# Chebyshev coefficients of (1 + 2u) exp(u²) erfc(u) over t = (u - 3) / (u + 3), from 50 digits: within
# 2 eps for all u ≥ 0, with as many terms as the precision needs.
_TERMS = (
    1.17756257419656, 0.005353904539615676, -0.09377550342284209, 0.05436652555744322,
    -0.018976596707845208, 0.004453426061462712, -0.0006335531710553147, 1.7661719523171593e-05,
    1.2841532864056671e-05, -2.0072285659059913e-06, -1.807522790414837e-07, 7.549828343825093e-08,
    1.885668523838603e-09, -2.699519049798364e-09, -1.460079119939105e-11, 1.0361607445969489e-10,
    1.475715976623473e-12, -4.277340064396911e-12, -2.07922492859799e-13, 1.8134502003176963e-13,
    1.973425574544739e-14, -7.287943737592673e-15, -1.5169878690228116e-15, 2.3514112258781403e-16,
)  # fmt: skip
_COUNTS = {"float32": 12, "float64": 24}


def _scaled_erfc(u: Array) -> Array:
    """Return exp(u²) erfc(u) for u ≥ 0, by Clenshaw's recurrence."""
    t = (u - 3) / (u + 3)
    twice = t + t
    after, now = np.zeros_like(u), np.zeros_like(u)
    for term in reversed(_TERMS[1 : _COUNTS[u.dtype.name]]):
        after -= twice * now
        np.negative(after, out=after)
        after += term
        after, now = now, after
    return (t * now - after + _TERMS[0]) / (1 + 2 * u)


def normal_pdf(x: Array) -> Array:
    """Return exp(-x²/2) / √(2π)."""
    return np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))


def normal_cdf(x: Array) -> Array:
    """Return the probability that a standard normal number is at most x, (1 + erf(x / √2)) / 2.

    Of complex x it is continued to first order in the imaginary part, all that a complex step needs.
    """
    if x.dtype.kind == "c":
        real = contiguous(x.real)
        return normal_cdf(real) + 1j * (x.imag * normal_pdf(real))
    u = np.abs(x) * math.sqrt(0.5)
    u = np.minimum(u, 1e3)  # Beyond, it is 0 or 1 in every precision, and u² stays finite.
    below = np.exp(-u * u) * _scaled_erfc(u)
    below *= 0.5
    return np.where(x > 0, 1 - below, below)


def gelu(x: Array) -> Array:
    """Return x Φ(x)."""
    return x * normal_cdf(x)


def gelu_vjp(x: Array, dy: Array) -> Array:
    """Return dx = (Φ(x) + x φ(x)) dy."""
    return (normal_cdf(x) + x * normal_pdf(x)) * dy


_SLOPE = math.sqrt(2 / math.pi)
_CUBE = 0.044715


def gelu_tanh(x: Array) -> Array:
    """Return x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2."""
    return 0.5 * x * (1 + np.tanh(_SLOPE * (x + _CUBE * (x * x * x))))


def gelu_tanh_vjp(x: Array, dy: Array) -> Array:
    """Return dx of `gelu_tanh`."""
    square = x * x
    t = np.tanh(_SLOPE * (x + _CUBE * (x * square)))
    slope = (0.5 * _SLOPE) * x * (1 - t * t) * (1 + 3 * _CUBE * square)
    return (0.5 * (1 + t) + slope) * dy
