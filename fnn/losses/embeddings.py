"""Losses of embeddings: what belongs together is to lie near, and all else far."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import ShapeError
from fnn.kernels.conversion import check_ordinary
from fnn.losses.checks import check_pred, check_weight
from fnn.losses.declaring import whole
from fnn.losses.optioned import LossWithOptions
from fnn.losses.reduction import reduced
from fnn.options import real
from fnn.recipe import constructor
from fnn.tree import Array


def _check_parts(who: str, pred: Any, target: Any, n: int, what: str) -> None:
    check_pred(who, "pred", pred)
    if pred.ndim != 3 or pred.shape[1] != n:
        expected = f"{what} on axis 1, shape (batch, {n}, features)"
        raise ShapeError(f"expected {expected}, got {pred.shape}", path=(who,))
    check_ordinary("target", target, (who,))
    if target.shape != pred.shape[:1]:
        message = f"expected one target per example of pred {pred.shape}, got {target.shape}"
        raise ShapeError(message, path=(who,))


@constructor
def triplet(margin: float = 1.0) -> LossWithOptions:
    """Return the loss of an anchor that is not nearer to its like than to another: max(0, d₊ - d₋ + m).

    pred holds anchor, like and other on axis 1, shape (batch, 3, features); d₊ and d₋ are the Euclidean
    distances of the last two from the anchor. Of the target only the length is looked at.

    Args:
        margin: m, by how much nearer it is to be, 0 or more.

    References: Schroff et al. (2015), "FaceNet", eq. 3, with distances for their squares.
    """
    margin = real("triplet", "margin", margin, least=0)

    def triplet(
        pred: Array, target: Any, *, weight: Any = None, reduction: str = "mean"
    ) -> tuple[Any, Array]:
        _check_parts("triplet", pred, target, 3, "anchor, like and other")
        apart = pred[:, :1] - pred[:, 1:]
        distance = np.sqrt(np.add.reduce(apart * apart, axis=2))
        value = distance[:, 0] - distance[:, 1] + margin
        short = ~(value.real <= 0)
        # Where two coincide the distance has a corner; 0 is among its derivatives.
        safe = np.where(distance.real > 0, distance, 1)
        units = np.where(short[:, None, None], apart / safe[:, :, None], pred.dtype.type(0))
        dpred = np.stack([units[:, 0] - units[:, 1], -units[:, 0], units[:, 1]], axis=1)
        return reduced("triplet", np.where(short, value, 0), dpred, weight, reduction)

    return LossWithOptions(whole(triplet))


@constructor
def contrastive(temperature: float = 0.1) -> LossWithOptions:
    """Return the loss of telling each example's own partner from those of the others (InfoNCE).

    pred holds two vectors a and b on axis 1, shape (batch, 2, features); with cosines s_ij of aᵢ and
    bⱼ, divided by the temperature, ℓᵢ = -log(exp sᵢᵢ / Σⱼ exp sᵢⱼ). An example of weight 0 is nobody's
    other either. Of the target only the length is looked at.

    Args:
        temperature: Above 0.

    References: van den Oord et al. (2018), "Representation learning with contrastive predictive
        coding", eq. 4.
    """
    temperature = real("contrastive", "temperature", temperature, least=1e-30)

    def contrastive(
        pred: Array, target: Any, *, weight: Any = None, reduction: str = "mean"
    ) -> tuple[Any, Array]:
        _check_parts("contrastive", pred, target, 2, "two vectors")
        length = np.sqrt(np.add.reduce(pred * pred, axis=2, keepdims=True))
        safe = np.where(length.real > 0, length, 1)
        units = pred / safe
        a, b = units[:, 0], units[:, 1]
        scores = a @ b.T / temperature
        shares = np.ones(len(pred), pred.real.dtype)
        if weight is not None:
            wide, _ = check_weight("contrastive", weight, len(pred))
            shares = wide.astype(pred.real.dtype)
            scores = np.where(shares > 0, scores, -np.inf)
            # The absent have no score of their own either; what comes of it is weighed by 0.
            np.fill_diagonal(scores, np.diagonal(a @ b.T) / temperature)
        shifted = scores - np.maximum.reduce(scores.real, axis=1, keepdims=True)
        exp = np.exp(shifted)
        total = np.add.reduce(exp, axis=1, keepdims=True)
        values = np.log(total[:, 0]) - np.diagonal(shifted)
        # Examples share their partners, so that every row's weight enters before the rows are added.
        scale = {"mean": shares / np.add.reduce(shares), "sum": shares}.get(reduction, shares)
        dscores = (
            (exp / total - np.eye(len(pred), dtype=pred.real.dtype)) * scale[:, None] / temperature
        )
        dunits = np.stack([dscores @ b, dscores.T @ a], axis=1)
        inner = np.add.reduce(dunits * units, axis=2, keepdims=True)
        dpred = (dunits - inner * units) / safe
        value, _ = reduced("contrastive", values, np.zeros_like(pred), weight, reduction)
        return value, dpred

    return LossWithOptions(whole(contrastive))
