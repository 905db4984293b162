"""Losses that are sums over the examples, not means."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn.errors import OptionError
from fnn.losses import LOSSES
from fnn.losses.checks import check_pred, check_real, check_reduction, check_weight
from fnn.losses.declaring import whole
from fnn.losses.reduction import Loss, reduced, weigh
from fnn.tree import Array


@LOSSES.builtin("half_squared_error")
@whole
def half_squared_error(
    pred: Array, target: Array, *, weight: Array | None = None, reduction: str = "sum"
) -> tuple[Any, Array]:
    """Return ½ Σ wᵢ (pred - target)² and its gradient wᵢ (pred - target), divided by nothing.

    The sum runs over examples and all other axes, so that a learning rate that suits one batch
    size is too large for a bigger one. Of the other reductions "none" gives the sums of single
    examples, "mean" Σ wᵢ ℓᵢ / Σ wᵢ.

    Args:
        pred: Predictions, shape (batch, ...).
        target: Real numbers of pred's shape.
    """
    who = "half_squared_error"
    check_pred(who, "pred", pred)
    check_real(who, "target", target, pred.shape)
    if type(reduction) is not str or reduction != "sum":
        check_reduction(who, reduction)
    d = pred - target.astype(pred.real.dtype, copy=False)
    squares = d * d
    if reduction != "sum":
        halves = np.add.reduce(squares.reshape(len(d), -1), axis=1) * 0.5
        return reduced(who, halves, d, weight, reduction)
    if weight is not None:
        squares, d = weigh(squares, d, check_weight(who, weight, len(pred))[0])
    return np.add.reduce(squares, axis=None) * 0.5, d


@attrs.frozen
class Summed:
    """A mean turned into the sum over examples."""

    loss: Loss

    @property
    def __name__(self) -> str:
        return f"summed({getattr(self.loss, '__name__', self.loss)})"

    @property
    def complex_safe(self) -> bool:
        """Whether complex numbers pass through the loss."""
        return bool(getattr(self.loss, "complex_safe", True))

    @np.errstate(all="ignore")
    def __call__(
        self, pred: Array, target: Array, *, weight: Array | None = None, reduction: str = "sum"
    ) -> tuple[Any, Array]:
        """Return (value, dpred)."""
        if reduction != "sum":
            other: Any = self.loss  # Anything else than the sum is the loss's own.
            return other(pred, target, weight=weight, reduction=reduction)
        value, dpred = self.loss(pred, target, weight=weight)
        total = len(pred) if weight is None else check_weight(self.__name__, weight, len(pred))[1]
        return value * total, dpred * total


def summed(loss: Loss) -> Loss:
    """Return the loss Σ wᵢ ℓᵢ over examples: `loss` times Σ wᵢ, the batch size without weights.

    ℓᵢ is an example's loss as it is in the mean: over further axes (time, features) it stays averaged,
    where PyTorch's reduction="sum" adds those up too. Gradients grow with the batch size.

    Raises:
        OptionError: If `loss` is a sum already.
    """
    if loss is half_squared_error or isinstance(loss, Summed):
        raise OptionError(
            f"expected a mean, {getattr(loss, '__name__', loss)} is a sum already", path=("summed",)
        )
    return Summed(loss)
