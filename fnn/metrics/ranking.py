"""Areas under curves: how well scores put the ones above the zeros, whatever the threshold.

They depend on the order of all scores, so that no mean over batches gives them: measure them by
`evaluate`. A batch of a single class, as `fit` may meet in training, has none and is refused.
Examples of equal scores are taken together, so that their order among themselves changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import DataError
from fnn.losses.checks import check_weight
from fnn.metrics import METRICS
from fnn.metrics.checks import check_binary
from fnn.tree import Array


def _by_score(who: str, pred: Any, target: Any, weight: Any) -> tuple[Array, Array, Array]:
    """Return the distinct scores, from low to high, and the weight of the ones and zeros of each."""
    check_binary(who, pred, target)
    scores, is_one = pred.reshape(-1), target.reshape(-1) == 1
    by = np.ones(scores.size)
    if weight is not None:
        wide, _ = check_weight(who, weight, len(pred))
        by = np.repeat(wide, scores.size // len(pred))
    counts = by > 0
    scores, is_one, by = scores[counts], is_one[counts], by[counts]
    if is_one.all() or not is_one.any():
        expected = f"both zeros and ones in target, got {int(is_one[0])} for all that count"
        raise DataError(f"expected {expected}", path=(who,))
    distinct, place = np.unique(scores, return_inverse=True)
    place = place.reshape(-1)
    n = int(place.max()) + 1
    ones = np.bincount(place, by * is_one, minlength=n)
    return distinct, ones, np.bincount(place, by * ~is_one, minlength=n)


def _from_the_top(who: str, pred: Any, target: Any, weight: Any) -> tuple[Array, Array, Array]:
    """Return the distinct scores from high to low, and what ones and zeros there are down to each."""
    scores, ones, zeros = (each[::-1] for each in _by_score(who, pred, target, weight))
    return scores.copy(), np.cumsum(ones), np.cumsum(zeros)


def _scaled(weight: Array) -> Array:
    """Return weights times the power of two that brings the largest to 1 or little below, exactly.

    The products of small ones would be 0, and those of large ones infinite.
    """
    return np.ldexp(weight, -np.frexp(weight.max())[1])


@METRICS.builtin("roc_auc")
@np.errstate(all="ignore")
def roc_auc(pred: Array, target: Array, *, weight: Array | None = None) -> float:
    """Return the area under the ROC curve: how often a one has a higher score than a zero.

    AUC = Σ wᵢ wⱼ ([pᵢ > pⱼ] + ½ [pᵢ = pⱼ]) / Σ wᵢ wⱼ over all ones i and zeros j; 0.5 is chance. Only
    the order of the scores counts. Of examples of many numbers all are ranked together ("micro").

    Args:
        pred: Scores, logits or probabilities of 1, shape (batch, ...).
        target: 0 and 1 in any real dtype, of pred's shape.
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above, the batch is empty, or the
            targets that count are all ones or all zeros.

    References: Hanley, McNeil (1982), "The meaning and use of the area under a ROC curve".
    """
    _, *counts = _by_score("roc_auc", pred, target, weight)
    ones, zeros = map(_scaled, counts)
    below = np.cumsum(zeros) - zeros
    won = np.add.reduce(ones * (below + zeros / 2))
    return float(won / (np.add.reduce(ones) * np.add.reduce(zeros)))


@METRICS.builtin("average_precision")
@np.errstate(all="ignore")
def average_precision(pred: Array, target: Array, *, weight: Array | None = None) -> float:
    """Return the area under the precision-recall curve, as AP = Σ (Rₖ - Rₖ₋₁) Pₖ.

    Pₖ and Rₖ are precision and recall of taking the k highest distinct scores for ones: steps, where
    the trapezes between them would be too hopeful. Chance is the share of ones. Of examples of many
    numbers all are ranked together ("micro").

    Args:
        pred: Scores, logits or probabilities of 1, shape (batch, ...).
        target: 0 and 1 in any real dtype, of pred's shape.
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above, the batch is empty, or the
            targets that count are all ones or all zeros.

    References: Davis, Goadrich (2006), "The relationship between precision-recall and ROC curves".
    """
    _, ones, zeros = (each[::-1] for each in _by_score("average_precision", pred, target, weight))
    right = np.cumsum(ones)
    precision = right / (right + np.cumsum(zeros))
    return float(np.add.reduce(ones * precision) / right[-1])


@np.errstate(all="ignore")
def roc_curve(pred: Array, target: Array, *, weight: Array | None = None) -> tuple[Array, Array, Array]:
    """Return what taking all scores of a threshold or more for ones would get wrong, and right.

    There is a point for every distinct score, from high to low, and before them (0, 0), at which
    nothing is taken for a one. `roc_auc` is the area under the lines between them.

    Args:
        pred: Scores, logits or probabilities of 1, shape (batch, ...).
        target: 0 and 1 in any real dtype, of pred's shape.
        weight: One number of 0 or more per example, shape (batch,).

    Returns:
        The share of the zeros that are taken for ones, the share of the ones that are found, both
        float64 and rising from 0 to 1, and the thresholds, of which the first is infinite.

    Raises:
        ShapeError, DTypeError, DataError: As `roc_auc`.
    """
    scores, ones, zeros = _from_the_top("roc_curve", pred, target, weight)
    first = np.zeros(1)
    thresholds = np.concatenate([np.full(1, np.inf), scores])
    return np.append(first, zeros / zeros[-1]), np.append(first, ones / ones[-1]), thresholds


@np.errstate(all="ignore")
def precision_recall_curve(
    pred: Array, target: Array, *, weight: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return precision and recall of taking all scores of a threshold or more for ones.

    There is a point for every distinct score, from high to low. `average_precision` is the area under
    the steps through them: from one recall to the next the height is the precision of the latter.

    Args:
        pred: Scores, logits or probabilities of 1, shape (batch, ...).
        target: 0 and 1 in any real dtype, of pred's shape.
        weight: One number of 0 or more per example, shape (batch,).

    Returns:
        Precision and recall, both float64, the latter rising to 1, and the thresholds.

    Raises:
        ShapeError, DTypeError, DataError: As `average_precision`.
    """
    scores, ones, zeros = _from_the_top("precision_recall_curve", pred, target, weight)
    return ones / (ones + zeros), ones / ones[-1], scores
