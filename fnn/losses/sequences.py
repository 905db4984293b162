"""Losses of sequences whose alignment with time is not known."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import DataError, DTypeError, ShapeError
from fnn.kernels import noting
from fnn.kernels.alignment import alignments
from fnn.kernels.conversion import check_ordinary
from fnn.losses.checks import check_pred
from fnn.losses.declaring import whole
from fnn.losses.optioned import LossWithOptions
from fnn.losses.reduction import reduced
from fnn.options import integer
from fnn.recipe import constructor
from fnn.tree import Array


@constructor
def ctc(blank: int = 0) -> LossWithOptions:
    """Return -log of the probability that logits over time spell a sequence of labels (CTC).

    The probability is summed over all ways to spend at least one step on each label, with blanks at
    will between them and at least one between equal labels; at each step it is the softmax of the
    logits, shape (batch, time, n_classes). The target is `(labels, n_labels, n_steps)`: labels (batch,
    length), of which the first n_labels (batch,) count, and how many steps count, n_steps (batch,).
    Its mean is over examples, divided by no length.

    Args:
        blank: The class that spells nothing.

    Raises:
        DataError: From the loss, if a label is the blank or out of range, or an example's labels need
            more steps than it has; names the example.

    References: Graves et al. (2006), "Connectionist temporal classification".
    """
    blank = integer("ctc", "blank", blank, least=0)

    def ctc(
        logits: Array, target: Any, *, weight: Any = None, reduction: str = "mean"
    ) -> tuple[Any, Array]:
        check_pred("ctc", "logits", logits, 3)
        if logits.dtype.kind == "c" or logits.ndim != 3:
            got = f"{logits.dtype} of shape {logits.shape}"
            raise DTypeError(f"expected real logits (batch, time, n_classes), got {got}", path=("ctc",))
        labels, n_labels, n_steps = _checked(target, logits.shape, blank)
        shifted = logits - np.maximum.reduce(logits, axis=2, keepdims=True)
        logs = shifted - np.log(np.add.reduce(np.exp(shifted), axis=2, keepdims=True))
        value, uses = alignments(logs, labels, n_labels, n_steps, blank)
        within = np.arange(logits.shape[1]) < n_steps[:, None]
        dlogits = np.where(within[:, :, None], np.exp(logs) - uses, logits.dtype.type(0))
        return reduced("ctc", -value, dlogits, weight, reduction)

    return LossWithOptions(whole(ctc), complex_safe=False)


def _checked(target: Any, shape: tuple[int, ...], blank: int) -> tuple[Array, Array, Array]:
    """Return labels, their numbers and those of steps; refuse what does not fit logits of a shape."""
    path, (batch, time, n_classes) = ("ctc",), shape
    if not isinstance(target, tuple) or len(target) != 3:
        raise ShapeError(
            f"expected (labels, n_labels, n_steps) as target, got {target!r:.80}", path=path
        )
    labels, *counts = target
    for name, array, axes in zip(("labels", "n_labels", "n_steps"), target, (2, 1, 1), strict=True):
        check_ordinary(name, array, path)
        if array.dtype.kind not in "iu":
            raise DTypeError(f"expected {name} as integers, got {array.dtype}", path=path)
        if array.ndim != axes or len(array) != batch:
            expected = f"({batch}, length)" if axes == 2 else f"({batch},)"
            raise ShapeError(f"expected {name} of shape {expected}, got {array.shape}", path=path)
    if blank >= n_classes:
        raise DataError(f"expected a blank of 0 to {n_classes - 1}, got {blank}", path=path)
    n_labels, n_steps = (each.astype(int) for each in counts)
    labels = labels.astype(int)
    _check_lengths(labels, n_labels, n_steps, time, n_classes, blank)
    counted = np.arange(labels.shape[1]) < n_labels[:, None]
    return np.where(counted, labels, blank), n_labels, n_steps


@noting.whole
def _check_lengths(
    labels: Array, n_labels: Array, n_steps: Array, time: int, n_classes: int, blank: int
) -> None:
    """Refuse labels out of range, and more than the steps can hold."""
    path = ("ctc",)
    for i in range(len(labels)):
        if not 0 <= n_labels[i] <= labels.shape[1]:
            expected = f"0 to {labels.shape[1]} labels"
            raise DataError(f"expected {expected}, got {n_labels[i]} in example {i}", path=path)
        if not 1 <= n_steps[i] <= time:
            raise DataError(f"expected 1 to {time} steps, got {n_steps[i]} in example {i}", path=path)
        own = labels[i, : n_labels[i]]
        if ((own < 0) | (own >= n_classes) | (own == blank)).any():
            expected = f"labels of 0 to {n_classes - 1} but {blank}, the blank"
            raise DataError(f"expected {expected}, got {own.tolist()} in example {i}", path=path)
        needed = len(own) + int((own[1:] == own[:-1]).sum())
        if needed > n_steps[i]:
            got = f"{n_steps[i]} in example {i}"
            raise DataError(
                f"expected {needed} steps or more for {len(own)} labels, got {got}", path=path
            )
