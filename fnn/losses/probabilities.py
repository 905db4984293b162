"""Losses of probabilities and their logarithms: what a Softmax or a LogSoftmax layer gives.

Classes lie along `axis`, the last one by default; the other axes but the batch are averaged.
"""

from __future__ import annotations

import numpy as np

from fnn.kernels.memory import zeros
from fnn.losses import LOSSES
from fnn.losses.checks import refuse
from fnn.losses.declaring import per_class
from fnn.tree import Array

# What rounding may add to a probability of 1 or a log-probability of 0; scores exceed it at once.
_SLACK = 1e-3


def _at_labels(values: Array, pred: Array, labels: Array) -> Array:
    """Return zeros like pred with one value per row, at its label."""
    dpred = zeros(pred.shape, pred.dtype)
    dpred[np.arange(labels.size), labels] = values
    return dpred


def _check_probabilities(who: str, p: Array) -> None:
    if np.minimum.reduce(p, axis=None) < 0 or np.maximum.reduce(p, axis=None) > 1 + _SLACK:
        why = "is not in [0, 1]; logits go to softmax_cross_entropy"
        refuse(who, "probabilities", p, (p < 0) | (p > 1 + _SLACK), why)


@LOSSES.builtin("cross_entropy")
@per_class(check=_check_probabilities)
def cross_entropy(probabilities: Array, labels: Array) -> tuple[Array, Array]:
    """Return the mean of -log p[label], in nats, and its gradient in the probabilities.

    Below the smallest normal number of the dtype the logarithm goes on along its tangent, so that
    p = 0 has a finite loss and a gradient that belongs to it. Where logits are at hand,
    `softmax_cross_entropy` is both faster and exact there. Logits handed over by mistake are told by
    their range.

    Args:
        probabilities: What a softmax gives, shape (batch, ..., n_classes), in [0, 1].
        labels: Integers in [0, n_classes), shape (batch, ...).
    """
    p = probabilities[np.arange(labels.size), labels]
    tiny = float(np.finfo(p.dtype).tiny)
    low = p.real < tiny
    safe = np.where(low, tiny, p)
    values = np.where(low, (tiny - p) / tiny, 0) - np.log(safe)
    return values, _at_labels(-1 / safe, probabilities, labels)


def _check_logarithms(who: str, p: Array) -> None:
    if np.maximum.reduce(p, axis=None) > _SLACK:
        why = "is above 0; logits go to softmax_cross_entropy"
        refuse(who, "log_probabilities", p, p > _SLACK, why)


@LOSSES.builtin("nll")
@per_class(check=_check_logarithms)
def nll(log_probabilities: Array, labels: Array) -> tuple[Array, Array]:
    """Return the mean of -log_probabilities[label], in nats, and its gradient.

    Logits handed over by mistake are told by positive ones.

    Args:
        log_probabilities: What a log-softmax gives, shape (batch, ..., n_classes), 0 or less.
        labels: Integers in [0, n_classes), shape (batch, ...).
    """
    values = -log_probabilities[np.arange(labels.size), labels]
    return values, _at_labels(np.full_like(values, -1), log_probabilities, labels)
