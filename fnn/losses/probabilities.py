"""Losses of probabilities and their logarithms: what a Softmax or a LogSoftmax layer gives.

Classes lie along `axis`, the last one by default; the other axes but the batch are averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.losses import LOSSES
from fnn.losses.checks import check_labels, check_pred, classes_back, classes_last, refuse
from fnn.losses.reduction import quiet, reduced
from fnn.tree import Array

# What rounding may add to a probability of 1 or a log-probability of 0; scores exceed it at once.
_SLACK = 1e-3


def _of_picked(
    who: str,
    pred: Array,
    labels: Array,
    options: tuple[Array | None, int, str],
    f: Callable[[Array], tuple[Array, Array]],
) -> tuple[Any, Array]:
    """Reduce a loss that depends on the label's entry alone; options are weight, axis, reduction."""
    weight, axis, reduction = options
    pred = classes_last(who, pred, axis)
    *shape, n_classes = pred.shape
    flat = check_labels(who, labels, tuple(shape), n_classes)
    rows = np.arange(flat.size)
    values, dvalues = f(pred.reshape(-1, n_classes)[rows, flat])
    value, dpicked = reduced(who, values.reshape(shape), dvalues.reshape(shape), weight, reduction)
    dpred = np.zeros(pred.shape, pred.dtype)
    dpred.reshape(-1, n_classes)[rows, flat] = dpicked.reshape(-1)
    return value, classes_back(dpred, axis)


def _minus_log(p: Array) -> tuple[Array, Array]:
    tiny = float(np.finfo(p.dtype).tiny)
    low = p.real < tiny
    safe = np.where(low, tiny, p)
    return np.where(low, (tiny - p) / tiny, 0) - np.log(safe), -1 / safe


@LOSSES.builtin("cross_entropy")
@quiet
def cross_entropy(
    probabilities: Array,
    labels: Array,
    *,
    weight: Array | None = None,
    axis: int = -1,
    reduction: str = "mean",
) -> tuple[Any, Array]:
    """Return the mean of -log p[label], in nats, and its gradient in the probabilities.

    Below the smallest normal number of the dtype the logarithm goes on along its tangent, so that
    p = 0 has a finite loss and a gradient that belongs to it. Where logits are at hand,
    `softmax_cross_entropy` is both faster and exact there.

    Args:
        probabilities: What a softmax gives, shape (batch, ..., n_classes), in [0, 1].
        labels: Integers in [0, n_classes), shape (batch, ...).
        weight: One weight per example, shape (batch,).
        axis: Where the classes are in probabilities, if not last; 0 is the batch.
        reduction: "mean", "sum" or "none", as in `Loss`.

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty;
            logits handed over by mistake are told by their range.
        OptionError: If there is no such axis or reduction.
    """
    who = "cross_entropy"
    check_pred(who, "probabilities", probabilities, 2)
    p = probabilities.real
    if np.minimum.reduce(p, axis=None) < 0 or np.maximum.reduce(p, axis=None) > 1 + _SLACK:
        why = "is not in [0, 1]; logits go to softmax_cross_entropy"
        refuse(who, "probabilities", p, (p < 0) | (p > 1 + _SLACK), why)
    return _of_picked(who, probabilities, labels, (weight, axis, reduction), _minus_log)


def _minus(p: Array) -> tuple[Array, Array]:
    return -p, np.full_like(p, -1)


@LOSSES.builtin("nll")
@quiet
def nll(
    log_probabilities: Array,
    labels: Array,
    *,
    weight: Array | None = None,
    axis: int = -1,
    reduction: str = "mean",
) -> tuple[Any, Array]:
    """Return the mean of -log_probabilities[label], in nats, and its gradient.

    Args:
        log_probabilities: What a log-softmax gives, shape (batch, ..., n_classes), 0 or less.
        labels: Integers in [0, n_classes), shape (batch, ...).
        weight: One weight per example, shape (batch,).
        axis: Where the classes are in log_probabilities, if not last; 0 is the batch.
        reduction: "mean", "sum" or "none", as in `Loss`.

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty;
            logits handed over by mistake are told by positive ones.
        OptionError: If there is no such axis or reduction.
    """
    who = "nll"
    check_pred(who, "log_probabilities", log_probabilities, 2)
    p = log_probabilities.real
    if np.maximum.reduce(p, axis=None) > _SLACK:
        why = "is above 0; logits go to softmax_cross_entropy"
        refuse(who, "log_probabilities", p, p > _SLACK, why)
    return _of_picked(who, log_probabilities, labels, (weight, axis, reduction), _minus)
