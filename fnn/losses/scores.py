"""Losses of scores (logits): softmax and sigmoid cross-entropies.

Classes lie along `axis`, the last one by default; the other axes but the batch (pixels, time) are
averaged. To train with another axis, bind it: `functools.partial(softmax_cross_entropy, axis=1)`.

Where a prediction is nearly certain, 1 - p and log p are taken from what is left for the other
classes: 1 - 0.99999999 has no digit in float32, and the sum of what is left has them all.
"""

from __future__ import annotations

import math

import numpy as np

from fnn.losses import LOSSES
from fnn.losses.checks import refuse
from fnn.losses.declaring import per_class, pointwise
from fnn.tree import Array


def _shifted(logits: Array) -> Array:
    # Any shift gives the same loss. By the real part alone it is constant under complex steps.
    return logits - np.maximum.reduce(logits.real, axis=-1, keepdims=True)


@LOSSES.builtin("softmax_cross_entropy")
@per_class
def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return the mean of log Σⱼ exp xⱼ - x[label], in nats, and its gradient in the logits x.

    Args:
        logits: Scores, not probabilities, shape (batch, ..., n_classes); finite up to 1e30.
        labels: Integers in [0, n_classes), shape (batch, ...).
    """
    at = np.arange(labels.size) * logits.shape[1] + labels
    exp = _shifted(logits)
    entries = exp.reshape(-1)
    picked = entries[at]
    # Whatever is not needed again is written over: the exponentials become the gradient.
    np.exp(exp, out=exp)
    own = entries[at]
    entries[at] = 0
    others = np.add.reduce(exp, axis=-1)
    total = others + own
    # Σ exp - 1, which is exact in `others` where the label's score is the highest.
    values = np.log1p(others + (own - 1)) - picked
    exp /= total[:, None]
    entries[at] = -others / total
    return values, exp


def _check_rows(who: str, rows: Array) -> None:
    if not (np.minimum.reduce(rows, axis=None) >= 0 and np.maximum.reduce(rows, axis=None) < math.inf):
        refuse(who, "rows", rows, ~(np.isfinite(rows) & (rows >= 0)), "is not finite and 0 or more")


@LOSSES.builtin("softmax_cross_entropy_dense")
@per_class(rows=True, check=_check_rows)
def softmax_cross_entropy_dense(logits: Array, rows: Array) -> tuple[Array, Array]:
    """Return the mean of s log Σⱼ exp xⱼ - Σⱼ rⱼ xⱼ, s = Σⱼ rⱼ, and its gradient in the logits x.

    For rows r that sum to 1 this is the cross-entropy -Σⱼ rⱼ log softmax(x)ⱼ, in nats; value and
    gradient are right for other sums too, and nothing is normalised.

    Args:
        logits: Scores, not probabilities, shape (batch, ..., n_classes).
        rows: Probabilities of the classes, finite and 0 or more, of the logits' shape.
    """
    shifted = _shifted(logits)
    at = shifted.real.argmax(axis=-1)
    at += np.arange(at.size) * logits.shape[-1]
    exp = np.exp(shifted)
    entries = exp.reshape(-1)
    own = entries[at][:, None]
    entries[at] = 0
    others = np.add.reduce(exp, axis=-1, keepdims=True)
    total = others + own
    mass = np.add.reduce(rows, axis=-1, keepdims=True)
    inner = rows * shifted
    if not np.minimum.reduce(shifted.real, axis=None) > -math.inf:
        # Classes masked with a logit of -inf have rⱼ = 0, and 0 · inf is to be 0 here.
        inner = np.where(rows > 0, inner, 0)
    inner = np.add.reduce(inner, axis=-1)
    # log Σ exp = log1p(Σ exp - 1), where the highest score adds exp 0 = 1.
    values = mass[:, 0] * np.log1p(others + (own - 1))[:, 0] - inner
    # The gradient sums to 0, so that its entry at the highest score follows from the others.
    dlogits = exp * (mass / total) - rows
    entries = dlogits.reshape(-1)
    entries[at] = 0
    entries[at] = -np.add.reduce(dlogits, axis=-1)
    return values, dlogits


def _check_targets(who: str, targets: Array) -> None:
    if not (np.minimum.reduce(targets, axis=None) >= 0 and np.maximum.reduce(targets, axis=None) <= 1):
        refuse(who, "targets", targets, ~((targets >= 0) & (targets <= 1)), "is not in [0, 1]")


@LOSSES.builtin("sigmoid_cross_entropy")
@pointwise(check=_check_targets)
def sigmoid_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Return the mean of log(1 + eˣ) - t x, in nats, and its gradient σ(x) - t in the logits x.

    Every entry is a yes-or-no question of its own; all axes are averaged, the last one too.

    Args:
        logits: Scores, not probabilities, shape (batch, ...); finite up to 1e30.
        targets: Probabilities of yes in [0, 1], of the logits' shape.
    """
    positive = logits.real > 0
    # Only exponentials of what is not positive are taken: they cannot overflow.
    below = np.where(positive, -logits, logits)
    exp = np.exp(below)
    # To a positive score t is what 1 - t is to its negative, and near 1 the difference is exact.
    share = np.where(positive, 1 - targets, targets)
    values = np.log1p(exp) - below * share
    off = exp / (1 + exp) - share
    return values, np.where(positive, -off, off)
