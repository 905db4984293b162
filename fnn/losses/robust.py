"""More losses for numbers: robust ones, quantiles, and likelihoods."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.errors import ShapeError
from fnn.losses import LOSSES
from fnn.losses.checks import check_pred, check_real, refuse
from fnn.losses.declaring import pointwise, whole
from fnn.losses.optioned import LossWithOptions
from fnn.losses.reduction import reduced
from fnn.options import real
from fnn.recipe import constructor
from fnn.tree import Array


@constructor
def huber(delta: float = 1.0) -> LossWithOptions:
    """Return the loss that is quadratic near the target and linear from `delta` on.

    With d = pred - target, ℓ = d² / 2 where |d| ≤ delta, else delta (|d| - delta / 2), averaged as
    `squared_error` is; its gradient is d, cut off at ±delta.

    Args:
        delta: Where it becomes linear, above 0.

    References: Huber (1964), "Robust estimation of a location parameter".
    """
    delta = real("huber", "delta", delta, least=1e-30)

    def huber(pred: Array, target: Array) -> tuple[Array, Array]:
        d = pred - target
        size = np.sign(d.real) * d
        far = size.real > delta
        slope = np.where(far, np.sign(d.real) * delta, d)
        # Not d² where it is far, which might overflow.
        near = np.where(far, d.dtype.type(0), d)
        return np.where(far, delta * (size - delta / 2), near * near / 2), slope

    return LossWithOptions(pointwise(huber))


LOSSES.builtin("huber")(huber())


@LOSSES.builtin("log_cosh")
@pointwise
def log_cosh(pred: Array, target: Array) -> tuple[Array, Array]:
    """Return the mean of log cosh(pred - target) and its gradient, tanh(pred - target).

    Like d² / 2 near the target and |d| - log 2 far from it.

    Args:
        pred: Predictions, shape (batch, ...).
        target: Real numbers of pred's shape.
    """
    d = pred - target
    size = np.where(d.real < 0, -d, d)
    # Near 0 the difference of the two terms below would lose all digits.
    squares = np.where(size.real < 0.1, size, d.dtype.type(0)) ** 2
    near = squares * (0.5 + squares * (-1 / 12 + squares * (1 / 45 + squares * (-17 / 2520))))
    near = near + squares**5 * (31 / 14175)
    far = size + np.log1p(np.exp(-2 * size)) - math.log(2)
    return np.where(size.real < 0.1, near, far), np.tanh(d)


@constructor
def quantile(q: float = 0.5) -> LossWithOptions:
    """Return the loss that the q-quantile of the targets minimises: q d where d > 0, else (q - 1) d.

    d = target - pred; the gradient in pred is -q, 1 - q, or 0 where they are equal.

    Args:
        q: The quantile, within 0 and 1; for 0.5 it is half of `absolute_error`.

    References: Koenker & Bassett (1978), "Regression quantiles".
    """
    q = real("quantile", "q", q, least=0, most=1)

    def quantile(pred: Array, target: Array) -> tuple[Array, Array]:
        d = target - pred
        slope = np.where(d.real > 0, -q, np.where(d.real < 0, 1 - q, 0.0)).astype(pred.real.dtype)
        return -slope * d, slope

    return LossWithOptions(pointwise(quantile))


LOSSES.builtin("quantile")(quantile())


def _check_counts(who: str, target: Array) -> None:
    refuse(who, "target", target, ~(np.isfinite(target) & (target >= 0)), "is not 0 or more")


@LOSSES.builtin("poisson")
@pointwise(check=_check_counts)
def poisson(log_rate: Array, target: Array) -> tuple[Array, Array]:
    """Return the mean of exp(x) - t x, x = log_rate, and its gradient exp(x) - t.

    It is -log of the Poisson probability of the count t at the rate exp(x), but for log t!, which does
    not depend on x.

    Args:
        log_rate: Logarithms of rates, shape (batch, ...).
        target: Counts, 0 or more, of its shape.
    """
    rate = np.exp(log_rate)
    return rate - target * log_rate, rate - target


@whole
def gaussian_nll(
    pred: Array, target: Array, *, weight: Array | None = None, reduction: str = "mean"
) -> tuple[Any, Array]:
    """Return the mean of (log σ² + (target - μ)² / σ²) / 2 and its gradient, with (μ, log σ²) = pred.

    It is -log of the normal density at the target, but for log(2π) / 2.

    Args:
        pred: Means and logarithms of variances on the last axis, shape (batch, ..., 2).
        target: Real numbers, shape (batch, ...).

    References: Nix & Weigend (1994), "Estimating the mean and variance", eq. 3.
    """
    who = "gaussian_nll"
    check_pred(who, "pred", pred, 2)
    if pred.shape[-1] != 2:
        message = f"expected mean and log-variance on the last axis, got pred of shape {pred.shape}"
        raise ShapeError(message, path=(who,))
    check_real(who, "target", target, pred.shape[:-1])
    mean, log_var = pred[..., 0], pred[..., 1]
    d = mean - target.astype(pred.real.dtype, copy=False)
    scaled = d * np.exp(-log_var)
    squares = d * scaled
    dpred = np.stack([scaled, 0.5 * (1 - squares)], axis=-1)
    return reduced(who, 0.5 * (log_var + squares), dpred, weight, reduction)
