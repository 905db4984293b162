"""More losses over classes: margins, smoothed and focal cross-entropies, divergences and overlaps."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.kernels.memory import zeros
from fnn.losses import LOSSES
from fnn.losses.checks import check_pred, check_real, refuse
from fnn.losses.declaring import per_class, pointwise, whole
from fnn.losses.optioned import LossWithOptions
from fnn.losses.reduction import reduced
from fnn.options import real
from fnn.recipe import constructor
from fnn.tree import Array


def _check_signs(who: str, target: Array) -> None:
    refuse(who, "target", target, (target != 1) & (target != -1), "is neither -1 nor 1")


@LOSSES.builtin("hinge")
@pointwise(check=_check_signs)
def hinge(pred: Array, target: Array) -> tuple[Array, Array]:
    """Return the mean of max(0, 1 - t pred) and its gradient, -t where that is above 0.

    Args:
        pred: Scores, shape (batch, ...).
        target: -1 or 1, of its shape.
    """
    margin = 1 - target * pred
    short = ~(margin.real <= 0)  # NaN is to show.
    return np.where(short, margin, pred.dtype.type(0)), np.where(short, -target, 0.0)


@LOSSES.builtin("squared_hinge")
@pointwise(check=_check_signs)
def squared_hinge(pred: Array, target: Array) -> tuple[Array, Array]:
    """Return the mean of max(0, 1 - t pred)² and its gradient.

    Args:
        pred: Scores, shape (batch, ...).
        target: -1 or 1, of its shape.
    """
    margin = 1 - target * pred
    short = np.where(margin.real <= 0, pred.dtype.type(0), margin)  # NaN is to show.
    return short * short, -2 * target * short


@LOSSES.builtin("multiclass_hinge")
@per_class
def multiclass_hinge(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Return the mean of max(0, 1 + maxⱼ xⱼ - x[label]) over j other than the label, and its gradient.

    Where several of the others tie, the gradient goes to the first of them.

    Args:
        scores: Scores, shape (batch, ..., n_classes) with two classes or more.
        labels: Integers in [0, n_classes), shape (batch, ...).

    References: Crammer & Singer (2001), "On the algorithmic implementation of multiclass
        kernel-based vector machines", eq. 6.
    """
    rows = np.arange(labels.size)
    others = scores.real.copy()
    others[rows, labels] = -np.inf
    rival = others.argmax(axis=1)
    margin = 1 + scores[rows, rival] - scores[rows, labels]
    short = ~(margin.real <= 0)  # NaN is to show.
    dscores = zeros(scores.shape, scores.dtype)
    dscores[rows, rival] = short
    dscores[rows, labels] = -short.astype(scores.real.dtype)
    return np.where(short, margin, scores.dtype.type(0)), dscores


def _log_softmax(logits: Array) -> Array:
    shifted = logits - np.maximum.reduce(logits.real, axis=-1, keepdims=True)
    return shifted - np.log(np.add.reduce(np.exp(shifted), axis=-1, keepdims=True))


@constructor
def smoothed_cross_entropy(smoothing: float = 0.1) -> LossWithOptions:
    """Return `softmax_cross_entropy` with labels of 1 - s, and s spread over all classes.

    With n classes ℓ = -(1 - s) log p[label] - s / n Σⱼ log pⱼ, p the softmax of the logits, shape
    (batch, ..., n_classes); labels are integers, shape (batch, ...).

    Args:
        smoothing: s, in [0, 1).

    References: Szegedy et al. (2016), "Rethinking the inception architecture", section 7.
    """
    s = real("smoothed_cross_entropy", "smoothing", smoothing, least=0, below=1)

    def smoothed_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
        rows, n = np.arange(labels.size), logits.shape[1]
        logs = _log_softmax(logits)
        values = -(1 - s) * logs[rows, labels] - s / n * np.add.reduce(logs, axis=-1)
        dlogits = np.exp(logs) - s / n
        dlogits[rows, labels] -= 1 - s
        return values, dlogits

    return LossWithOptions(per_class(smoothed_cross_entropy))


LOSSES.builtin("smoothed_cross_entropy")(smoothed_cross_entropy())


@constructor
def focal(gamma: float = 2.0) -> LossWithOptions:
    """Return `softmax_cross_entropy` with less weight on what is certain: -(1 - p)^gamma log p.

    p is the softmax of the logits at the label; logits have the shape (batch, ..., n_classes), labels
    are integers, shape (batch, ...).

    Args:
        gamma: 0 or more; with 0 it is `softmax_cross_entropy`.

    References: Lin et al. (2017), "Focal loss for dense object detection", eq. 4.
    """
    gamma = real("focal", "gamma", gamma, least=0)

    def focal(logits: Array, labels: Array) -> tuple[Array, Array]:
        rows = np.arange(labels.size)
        logs = _log_softmax(logits)
        p = np.exp(logs)
        log_p = logs[rows, labels]
        others = p.copy()
        others[rows, labels] = 0
        # 1 - p from the others, which have all digits where p is near 1.
        rest = np.add.reduce(others, axis=-1)
        powered = rest**gamma
        # dℓ/d log p, of which d log p / dx = 1[label] - softmax(x).
        inner = np.where(rest.real > 0, rest ** (gamma - 1) if gamma else 0 * rest, rest.dtype.type(0))
        slope = gamma * inner * p[rows, labels] * log_p - powered
        dlogits = -others * slope[:, None]
        dlogits[rows, labels] = slope * rest
        return -powered * log_p, dlogits

    return LossWithOptions(per_class(focal))


LOSSES.builtin("focal")(focal())


def _check_rows(who: str, rows: Array) -> None:
    refuse(who, "target", rows, ~(np.isfinite(rows) & (rows >= 0)), "is not finite and 0 or more")


@LOSSES.builtin("kl_divergence")
@per_class(rows=True, check=_check_rows)
def kl_divergence(log_probabilities: Array, target: Array) -> tuple[Array, Array]:
    """Return the mean of Σⱼ tⱼ (log tⱼ - xⱼ), x = log_probabilities, and its gradient, -t.

    It is how much is lost by the distribution exp(x) in the place of t, in nats; 0 log 0 counts as 0.

    Args:
        log_probabilities: What a log-softmax gives, shape (batch, ..., n_classes).
        target: Probabilities of the classes, finite and 0 or more, of that shape.
    """
    safe = np.where(target > 0, target, 1)
    terms = target * (np.log(safe) - np.where(target > 0, log_probabilities, 0))
    return np.add.reduce(terms, axis=-1), (-target).astype(log_probabilities.dtype)


_TINY = {"f": 1e-12, "d": 1e-30}


@LOSSES.builtin("cosine_distance")
@per_class(rows=True, check=None)
def cosine_distance(pred: Array, target: Array) -> tuple[Array, Array]:
    """Return the mean of 1 - cos(pred, target) over the last axis, and its gradient in pred.

    Lengths below 1e-12 in float32 (1e-30 in float64) count as that, so that zeros have a cosine of 0.

    Args:
        pred: Vectors on the last axis, shape (batch, ..., n).
        target: Real numbers of pred's shape.
    """
    tiny = _TINY[pred.real.dtype.char]

    def unit(rows: Array) -> tuple[Array, Array]:
        # By the largest entry first: its square might overflow, or vanish.
        most = np.maximum(np.maximum.reduce(np.abs(rows.real), axis=-1, keepdims=True), tiny)
        scaled = rows / most
        length = np.sqrt(np.add.reduce(scaled * scaled, axis=-1, keepdims=True))
        length = np.where(length.real * most > tiny, length, tiny / most)
        return scaled / length, length * most

    own, length = unit(pred)
    other, _ = unit(target)
    cosine = np.add.reduce(own * other, axis=-1, keepdims=True)
    free = length.real > tiny
    dpred = (np.where(free, cosine * own, 0) - other) / length
    return 1 - cosine[:, 0], dpred


def _check_binary(who: str, target: Array) -> None:
    refuse(who, "target", target, (target != 0) & (target != 1), "is neither 0 nor 1")


@constructor
def binary_focal(gamma: float = 2.0, alpha: float = 0.25) -> LossWithOptions:
    """Return `sigmoid_cross_entropy` with less weight on what is certain: -a (1 - p)^gamma log p.

    p is the probability that σ(logit) gives to the target, 0 or 1, and a is alpha for 1 and 1 - alpha
    for 0. Every entry is a question of its own; all axes are averaged.

    Args:
        gamma: 0 or more.
        alpha: Weight of the targets that are 1, in [0, 1].

    References: Lin et al. (2017), "Focal loss for dense object detection", eq. 5.
    """
    gamma = real("binary_focal", "gamma", gamma, least=0)
    alpha = real("binary_focal", "alpha", alpha, least=0, most=1)

    def binary_focal(logits: Array, target: Array) -> tuple[Array, Array]:
        # Of what is asked, the score is x or -x; p = σ(score) and 1 - p = σ(-score).
        sign = 2 * target - 1
        score = sign * logits
        below = np.where(score.real > 0, -score, score)
        e = np.exp(below)
        log_p = np.where(score.real > 0, 0 * score, score) - np.log1p(e)
        p, rest = (np.where((score.real > 0) == up, 1, e) / (1 + e) for up in (True, False))
        share = np.where(target > 0.5, alpha, 1 - alpha).astype(logits.real.dtype)
        powered = rest**gamma
        # d log p / dscore = 1 - p, d(1 - p) / dscore = -p (1 - p).
        slope = powered * (gamma * p * log_p - rest)
        return -share * powered * log_p, share * sign * slope

    return LossWithOptions(pointwise(check=_check_binary)(binary_focal))


LOSSES.builtin("binary_focal")(binary_focal())


@constructor
def dice(smooth: float = 1.0) -> LossWithOptions:
    """Return the loss of how little two regions overlap: 1 - (2 Σ p t + s) / (Σ p + Σ t + s).

    The sums run over all of an example. p are probabilities, shape (batch, ...), and t of that shape.

    Args:
        smooth: s, 0 or more: for examples without anything to find.

    References: Milletari et al. (2016), "V-Net", section 3, with sums for sums of squares.
    """
    smooth = real("dice", "smooth", smooth, least=0)

    def dice(
        probabilities: Array, target: Array, *, weight: Any = None, reduction: str = "mean"
    ) -> tuple[Any, Array]:
        check_pred("dice", "probabilities", probabilities)
        check_real("dice", "target", target, probabilities.shape)
        n = len(probabilities)
        p = probabilities.reshape(n, -1)
        t = target.reshape(n, -1).astype(p.real.dtype, copy=False)
        top = 2 * np.add.reduce(p * t, axis=1) + smooth
        below = np.add.reduce(p, axis=1) + np.add.reduce(t, axis=1) + smooth
        dp = (top / below)[:, None] - 2 * t
        dpred = (dp / below[:, None]).reshape(probabilities.shape)
        return reduced("dice", 1 - top / below, dpred, weight, reduction)

    return LossWithOptions(whole(dice))
