"""Losses for numbers: squared and absolute errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.losses import LOSSES
from fnn.losses.reduction import pointwise, quiet
from fnn.tree import Array


def _squared(pred: Array, target: Array) -> tuple[Array, Array]:
    d = pred - target
    return d * d, 2 * d


@LOSSES.builtin("squared_error")
@quiet
def squared_error(
    pred: Array, target: Array, *, weight: Array | None = None, reduction: str = "mean"
) -> tuple[Any, Array]:
    """Return the mean of (pred - target)² and its gradient in pred.

    Every axis is averaged, so that with m outputs the gradient is 2 (pred - target) / (batch m).

    Args:
        pred: Predictions, shape (batch, ...).
        target: Real numbers of pred's shape; (batch, 1) does not stand for (batch,).
        weight: One weight per example, shape (batch,).
        reduction: "mean", "sum" or "none", as in `Loss`.

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
        OptionError: If there is no such reduction.
    """
    return pointwise("squared_error", _squared, pred, target, weight, reduction)


def _absolute(pred: Array, target: Array) -> tuple[Array, Array]:
    d = pred - target
    # The sign of the real part continues |d| analytically; np.abs would not.
    sign = np.sign(d.real)
    return sign * d, sign


@LOSSES.builtin("absolute_error")
@quiet
def absolute_error(
    pred: Array, target: Array, *, weight: Array | None = None, reduction: str = "mean"
) -> tuple[Any, Array]:
    """Return the mean of |pred - target| and its gradient in pred, which is 0 where they are equal.

    Args:
        pred: Predictions, shape (batch, ...).
        target: Real numbers of pred's shape.
        weight: One weight per example, shape (batch,).
        reduction: "mean", "sum" or "none", as in `Loss`.

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
        OptionError: If there is no such reduction.
    """
    return pointwise("absolute_error", _absolute, pred, target, weight, reduction)
