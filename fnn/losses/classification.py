"""Losses for classes: cross-entropies from scores, from probabilities and from their logarithms.

Scores (logits) go to the softmax and sigmoid cross-entropies, what a Softmax layer gives goes to
`cross_entropy`, what a LogSoftmax layer gives to `nll`. Classes lie on the last axis; axes between
it and the batch (pixels, time) are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.losses.checks import check_labels, check_pred, check_real, refuse
from fnn.losses.reduction import average, pointwise, quiet
from fnn.tree import Array

# What rounding may add to a probability of 1 or a log-probability of 0; scores exceed it at once.
_SLACK = 1e-3


def _exponentials(logits: Array) -> tuple[Array, Array, Array]:
    """Return logits less their maximum, the exponentials of that and their sum over the classes."""
    # Any shift gives the same loss. By the real part alone it is constant under complex steps.
    shifted = logits - np.maximum.reduce(logits.real, axis=-1, keepdims=True)
    exp = np.exp(shifted)
    return shifted, exp, np.add.reduce(exp, axis=-1, keepdims=True)


@quiet
def softmax_cross_entropy(
    logits: Array, labels: Array, *, weight: Array | None = None
) -> tuple[Any, Array]:
    """Return the mean of log Σⱼ exp xⱼ - x[label], in nats, and its gradient in the logits x.

    Args:
        logits: Scores, not probabilities, shape (batch, ..., n_classes); finite up to 1e30.
        labels: Integers in [0, n_classes), shape (batch, ...).
        weight: One weight per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    who = "softmax_cross_entropy"
    check_pred(who, "logits", logits, 2)
    *shape, n_classes = logits.shape
    flat = check_labels(who, labels, tuple(shape), n_classes)
    rows = np.arange(flat.size)
    shifted, exp, total = _exponentials(logits.reshape(-1, n_classes))
    values = np.log(total[:, 0]) - shifted[rows, flat]
    exp /= total
    exp[rows, flat] -= 1
    return average(who, values.reshape(shape), exp.reshape(logits.shape), weight)


@quiet
def softmax_cross_entropy_dense(
    logits: Array, rows: Array, *, weight: Array | None = None
) -> tuple[Any, Array]:
    """Return the mean of s log Σⱼ exp xⱼ - Σⱼ rⱼ xⱼ, s = Σⱼ rⱼ, and its gradient in the logits x.

    For rows r that sum to 1 this is the cross-entropy -Σⱼ rⱼ log softmax(x)ⱼ, in nats; value and
    gradient are right for other sums too, and nothing is normalised.

    Args:
        logits: Scores, not probabilities, shape (batch, ..., n_classes).
        rows: Probabilities of the classes, finite and 0 or more, of the logits' shape.
        weight: One weight per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    who = "softmax_cross_entropy_dense"
    check_pred(who, "logits", logits, 2)
    check_real(who, "rows", rows, logits.shape)
    if not (np.minimum.reduce(rows, axis=None) >= 0 and np.maximum.reduce(rows, axis=None) < math.inf):
        refuse(who, "rows", rows, ~(np.isfinite(rows) & (rows >= 0)), "is not finite and 0 or more")
    rows = rows.astype(logits.real.dtype, copy=False)
    shifted, exp, total = _exponentials(logits)
    mass = np.add.reduce(rows, axis=-1, keepdims=True)
    # Classes masked with a logit of -inf have rⱼ = 0, and 0 · inf is to be 0 here.
    inner = np.add.reduce(np.where(rows > 0, rows * shifted, 0), axis=-1)
    values = mass[..., 0] * np.log(total[..., 0]) - inner
    return average(who, values, exp * (mass / total) - rows, weight)


def _sigmoid(logits: Array, targets: Array) -> tuple[Array, Array]:
    positive = logits.real > 0
    # Only exponentials of what is not positive are taken: they cannot overflow.
    exp = np.exp(np.where(positive, -logits, logits))
    values = np.where(positive, logits, 0) - logits * targets + np.log1p(exp)
    return values, np.where(positive, 1, exp) / (1 + exp) - targets


@quiet
def sigmoid_cross_entropy(
    logits: Array, targets: Array, *, weight: Array | None = None
) -> tuple[Any, Array]:
    """Return the mean of log(1 + eˣ) - t x, in nats, and its gradient σ(x) - t in the logits x.

    Every entry is a yes-or-no question of its own; all axes are averaged, the last one too.

    Args:
        logits: Scores, not probabilities, shape (batch, ...); finite up to 1e30.
        targets: Probabilities of yes in [0, 1], of the logits' shape.
        weight: One weight per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    who = "sigmoid_cross_entropy"
    check_pred(who, "logits", logits)
    check_real(who, "targets", targets, logits.shape)
    if not (np.minimum.reduce(targets, axis=None) >= 0 and np.maximum.reduce(targets, axis=None) <= 1):
        refuse(who, "targets", targets, ~((targets >= 0) & (targets <= 1)), "is not in [0, 1]")
    return pointwise(who, _sigmoid, logits, targets, weight)


def _of_picked(
    who: str,
    pred: Array,
    labels: Array,
    weight: Array | None,
    f: Callable[[Array], tuple[Array, Array]],
) -> tuple[Any, Array]:
    """Average a loss that depends on the label's entry alone."""
    *shape, n_classes = pred.shape
    flat = check_labels(who, labels, tuple(shape), n_classes)
    rows = np.arange(flat.size)
    values, dvalues = f(pred.reshape(-1, n_classes)[rows, flat])
    value, dpicked = average(who, values.reshape(shape), dvalues.reshape(shape), weight)
    dpred = np.zeros(pred.shape, pred.dtype)
    dpred.reshape(-1, n_classes)[rows, flat] = dpicked.reshape(-1)
    return value, dpred


def _minus_log(p: Array) -> tuple[Array, Array]:
    tiny = float(np.finfo(p.dtype).tiny)
    low = p.real < tiny
    safe = np.where(low, tiny, p)
    return np.where(low, (tiny - p) / tiny, 0) - np.log(safe), -1 / safe


@quiet
def cross_entropy(
    probabilities: Array, labels: Array, *, weight: Array | None = None
) -> tuple[Any, Array]:
    """Return the mean of -log p[label], in nats, and its gradient in the probabilities.

    Below the smallest normal number of the dtype the logarithm goes on along its tangent, so that
    p = 0 has a finite loss and a gradient that belongs to it. Where logits are at hand,
    `softmax_cross_entropy` is both faster and exact there.

    Args:
        probabilities: What a softmax gives, shape (batch, ..., n_classes), in [0, 1].
        labels: Integers in [0, n_classes), shape (batch, ...).
        weight: One weight per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty;
            logits handed over by mistake are told by their range.
    """
    who = "cross_entropy"
    check_pred(who, "probabilities", probabilities, 2)
    p = probabilities.real
    if np.minimum.reduce(p, axis=None) < 0 or np.maximum.reduce(p, axis=None) > 1 + _SLACK:
        why = "is not in [0, 1]; logits go to softmax_cross_entropy"
        refuse(who, "probabilities", p, (p < 0) | (p > 1 + _SLACK), why)
    return _of_picked(who, probabilities, labels, weight, _minus_log)


@quiet
def nll(log_probabilities: Array, labels: Array, *, weight: Array | None = None) -> tuple[Any, Array]:
    """Return the mean of -log_probabilities[label], in nats, and its gradient.

    Args:
        log_probabilities: What a log-softmax gives, shape (batch, ..., n_classes), 0 or less.
        labels: Integers in [0, n_classes), shape (batch, ...).
        weight: One weight per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty;
            logits handed over by mistake are told by positive ones.
    """
    who = "nll"
    check_pred(who, "log_probabilities", log_probabilities, 2)
    p = log_probabilities.real
    if np.maximum.reduce(p, axis=None) > _SLACK:
        why = "is above 0; logits go to softmax_cross_entropy"
        refuse(who, "log_probabilities", p, p > _SLACK, why)
    return _of_picked(who, log_probabilities, labels, weight, lambda p: (-p, np.full_like(p, -1)))
