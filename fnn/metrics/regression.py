"""Errors of predicted numbers, and how much of their spread is explained."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.errors import DataError
from fnn.metrics import METRICS
from fnn.metrics.checks import batch_weight, check_numbers
from fnn.metrics.totals import Parts, averaged, check_total_weight, streamed
from fnn.tree import Array


@METRICS.builtin("mean_absolute_error")
@averaged
def mean_absolute_error(pred: Array, target: Array) -> Array:
    """Return the mean of |pred - target|, over examples and all other axes, in float64.

    Args:
        pred: Numbers, shape (batch, ...).
        target: Numbers of pred's shape.
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or not finite, or if the batch
            is empty.
    """
    pred, target = check_numbers("mean_absolute_error", pred, target)
    return np.abs(pred - target)


def _squares(who: str, pred: Array, target: Array) -> Array:
    pred, target = check_numbers(who, pred, target)
    return np.square(pred - target)


@METRICS.builtin("mean_squared_error")
@averaged
def mean_squared_error(pred: Array, target: Array) -> Array:
    """Return the mean of (pred - target)², over examples and all other axes, in float64.

    Args:
        pred: Numbers, shape (batch, ...).
        target: Numbers of pred's shape.
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or not finite, or if the batch
            is empty.
    """
    return _squares("mean_squared_error", pred, target)


@METRICS.builtin("root_mean_squared_error")
@averaged(finish=math.sqrt)
def root_mean_squared_error(pred: Array, target: Array) -> Array:
    """Return √ of the mean of (pred - target)², over examples and all other axes, in float64.

    The root of batches' mean is not the mean of their roots: `streaming` takes the root last.

    Args:
        pred: Numbers, shape (batch, ...).
        target: Numbers of pred's shape.
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or not finite, or if the batch
            is empty.
    """
    return _squares("root_mean_squared_error", pred, target)


# --- R²: weight, and per output the mean, spread, residual, least and greatest of the targets


def _joined(a: Parts, b: Parts) -> Parts:
    total = a[0] + b[0]
    apart, share = b[1] - a[1], b[0] / total
    mean = a[1] + apart * share
    around = a[2] + b[2] + np.square(apart) * (a[0] * share)
    return total, mean, around, a[3] + b[3], np.minimum(a[4], b[4]), np.maximum(a[5], b[5])


def _explained(parts: Parts) -> float:
    total, _, around, residual, least, greatest = parts
    check_total_weight("r2", total)
    # Told by the targets: their spread has a rounding error, which is not 0.
    if (still := least == greatest).any():
        at = int(np.flatnonzero(still)[0])
        which = f" of output {at}" if len(still) > 1 else ""
        expected = f"targets{which} that differ, got {least[at].item()} for all that count"
        raise DataError(f"expected {expected}", path=("r2",))
    if (lost := ~((around > 0) & (around < math.inf))).any():
        expected = "targets and weights of which float64 holds the squared spread"
        raise DataError(f"expected {expected}, got {around[lost][0]}", path=("r2",))
    return float(np.mean(1 - residual / around))


@METRICS.builtin("r2")
@streamed(_joined, _explained)
def r2(pred: Array, target: Array, weight: Any) -> Parts:
    """Return the coefficient of determination R² = 1 - Σ w (target - pred)² / Σ w (target - mean)².

    1 is perfect, 0 what the mean of the targets would reach, and below 0 is worse. Of examples of many
    numbers it is the mean of the R² of each (scikit-learn's "uniform_average"). Merged batches keep
    their means, so that nothing is lost where the mean is large beside the spread.

    Args:
        pred: Numbers, shape (batch, ...).
        target: Numbers of pred's shape.
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or not finite, the batch is
            empty, or the targets that count are all equal: then there is no spread to explain. Also if
            its square, times the weights, is beyond the least or largest float64.

    References: Chan, Golub, LeVeque (1983), "Algorithms for computing the sample variance" (merging).
    """
    pred, target = check_numbers("r2", pred, target)
    n = len(pred)
    pred, target = pred.reshape(n, -1), target.reshape(n, -1)
    wide = np.ones(n) if weight is None else batch_weight("r2", weight, n)
    counts = wide > 0
    if not counts.any():
        return ()
    wide, pred, target = wide[counts, None], pred[counts], target[counts]
    total = float(wide.sum())
    mean = (wide * target).sum(axis=0) / total
    around = (wide * np.square(target - mean)).sum(axis=0)
    residual = (wide * np.square(target - pred)).sum(axis=0)
    return total, mean, around, residual, target.min(axis=0), target.max(axis=0)
