"""Standardisation over a batch, feature by feature.

Every function takes z (n_features, n_values): a view with the features first, of any memory order.
"""

from __future__ import annotations

import numpy as np

from fnn.tree import Array


def _row_means(z: Array) -> Array:
    return z @ np.ones(z.shape[1], z.dtype) / z.shape[1]


def moments(z: Array) -> tuple[Array, Array, Array]:
    """Return the mean and the biased variance of every row, and z minus the mean.

    In two passes: E[z²] - E[z]² cancels catastrophically in float32.
    """
    mean = _row_means(z)
    centered = z - mean[:, None]
    return mean, _row_means(centered * centered), centered


def batch_standardize_vjp(dz: Array, z: Array, inv_std: Array) -> Array:
    """Return dx of z = (x - mean(x)) / std(x), in which the moments depend on x too.

    dx = (dz - mean(dz) - z mean(z dz)) / std. References: Ioffe & Szegedy (2015), section 3.
    """
    dx = dz - _row_means(dz)[:, None]
    dx -= z * _row_means(z * dz)[:, None]
    dx *= inv_std[:, None]
    return dx
