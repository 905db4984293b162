"""What a loss wants as its target, and what the outputs of a network that it has trained mean."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.datasets.one_hot import OneHot
from fnn.errors import OptionError
from fnn.kernels.activation import sigmoid
from fnn.kernels.softmax import softmax
from fnn.layers.activation import LogSoftmax, Softmax
from fnn.layers.contract import Layer
from fnn.losses import LOSSES
from fnn.losses.optioned import LossWithOptions
from fnn.losses.robust import gaussian_nll
from fnn.tree import Array

Map: TypeAlias = Callable[[Array], Array]


def name_of(loss: Any) -> str | None:
    """Return by what name a loss is one of the library's, with whatever options; None if it is not."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    name = getattr(loss, "__name__", "")
    is_ours = name in LOSSES and (LOSSES[name] is loss or isinstance(loss, LossWithOptions))
    # It is in no registry, for it wants other outputs than its siblings.
    return name if is_ours or loss is gaussian_nll else None


# --- classes


def _same(values: Array) -> Array:
    return values


def _answered(logits: Array) -> Array:
    """Return probabilities of questions of yes and no, which are to add up to 1."""
    p = sigmoid(logits)
    if p.shape[1] == 1:
        return np.concatenate([1 - p, p], axis=1)
    total = p.sum(axis=1, keepdims=True)
    # Where every answer is no, nothing speaks for one class more than for another.
    even = total == 0
    shares: Array = np.where(even, 1 / p.shape[1], p / np.where(even, 1, total))
    return shares.astype(p.dtype, copy=False)


@attrs.frozen
class ClassCoding:
    """How labels from 0 become the targets of a loss, and outputs become classes.

    Attributes:
        form: "labels" as they are; "rows", one-hot; "answers", whether it is the class, 0 or 1, with a
            single output for two classes; "signs", likewise with -1 for no.
        probabilities: From outputs to probabilities, one per class; None if they say no such thing.
        end: The layer that a network ends in for such outputs, where it is made of widths alone.
    """

    form: str
    probabilities: Map | None
    end: Callable[[], Layer] | None = None

    @property
    def is_single(self) -> bool:
        """Whether two classes have one output together."""
        return self.form in ("answers", "signs")

    def width(self, n_classes: int) -> int:
        """Return how many outputs there are."""
        return 1 if self.is_single and n_classes <= 2 else n_classes

    def encode(self, labels: Array, n_classes: int) -> Array:
        """Return the targets of labels."""
        if self.form == "labels":
            return labels
        if self.width(n_classes) == 1 and self.is_single:
            rows = (labels == 1).astype(np.float32)[:, None]
        else:
            rows = OneHot.fit(range(n_classes)).encode(labels)
        return 2 * rows - 1 if self.form == "signs" else rows

    def decode(self, outputs: Array, n_classes: int) -> Array:
        """Return the label that outputs speak for most."""
        if self.width(n_classes) == 1 and self.is_single:
            says_yes: Array = (outputs[:, 0] > 0).astype(np.intp)
            return says_yes.clip(max=n_classes - 1)
        best: Array = outputs.argmax(axis=1)
        return best


_CLASSES = {
    "softmax_cross_entropy": ClassCoding("labels", softmax),
    "focal": ClassCoding("labels", softmax),
    "smoothed_cross_entropy": ClassCoding("labels", softmax),
    "softmax_cross_entropy_dense": ClassCoding("rows", softmax),
    "cross_entropy": ClassCoding("labels", _same, Softmax),
    # Of logarithms that are none of probabilities, softmax makes some at least.
    "nll": ClassCoding("labels", softmax, LogSoftmax),
    "kl_divergence": ClassCoding("rows", softmax, LogSoftmax),
    "multiclass_hinge": ClassCoding("labels", None),
    "sigmoid_cross_entropy": ClassCoding("answers", _answered),
    "binary_focal": ClassCoding("answers", _answered),
    "hinge": ClassCoding("signs", None),
    "squared_hinge": ClassCoding("signs", None),
}


def class_coding(loss: Any) -> ClassCoding:
    """Return what a loss wants of classes; one of somebody's own wants labels, and trains logits.

    Raises:
        OptionError: If it is a loss of the library that is not for classes.
    """
    name = name_of(loss)
    if name is None:
        return _CLASSES["softmax_cross_entropy"]
    if name not in _CLASSES:
        known = ", ".join(sorted(_CLASSES))
        raise OptionError(f"loss: expected one for classes ({known}) or your own, got {name}")
    return _CLASSES[name]


# --- numbers


def _first(pairs: Array) -> Array:
    means: Array = pairs[..., 0]
    return means


@attrs.frozen
class NumberCoding:
    """What a loss wants the network to say of every target number, and the prediction in that.

    Attributes:
        per_target: Shape of what is said of one number.
        predicted: From outputs to predictions.
        scales: Whether targets may be scaled.
    """

    per_target: tuple[int, ...] = ()
    predicted: Map = _same
    scales: bool = True


_NUMBERS = {
    "poisson": NumberCoding(predicted=np.exp, scales=False),  # Counts: scaled, they are none.
    "gaussian_nll": NumberCoding((2,), _first),
}


def number_coding(loss: Any) -> NumberCoding:
    """Return what a loss wants of numbers; most want one output for each."""
    name = name_of(loss)
    return NumberCoding() if name is None else _NUMBERS.get(name, NumberCoding())
