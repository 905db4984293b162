"""Losses for numbers: squared and absolute errors."""

from __future__ import annotations

import numpy as np

from fnn.losses import LOSSES
from fnn.losses.declaring import pointwise
from fnn.tree import Array


@LOSSES.builtin("squared_error")
@pointwise
def squared_error(pred: Array, target: Array) -> tuple[Array, Array]:
    """Return the mean of (pred - target)² and its gradient in pred.

    Every axis is averaged, so that with m outputs the gradient is 2 (pred - target) / (batch m).

    Args:
        pred: Predictions, shape (batch, ...).
        target: Real numbers of pred's shape; (batch, 1) does not stand for (batch,).
    """
    d = pred - target
    return d * d, 2 * d


@LOSSES.builtin("absolute_error")
@pointwise
def absolute_error(pred: Array, target: Array) -> tuple[Array, Array]:
    """Return the mean of |pred - target| and its gradient in pred, which is 0 where they are equal.

    Args:
        pred: Predictions, shape (batch, ...).
        target: Real numbers of pred's shape.
    """
    d = pred - target
    # The sign of the real part continues |d| analytically; np.abs would not.
    sign = np.sign(d.real)
    return sign * d, sign
