"""How far probabilities can be believed: calibration, and what they say of what happened."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.kernels.softmax import log_softmax
from fnn.losses.checks import check_labels, refuse
from fnn.metrics import METRICS
from fnn.metrics.checks import Metric, check_binary, check_probabilities, check_scores, entry_weight
from fnn.metrics.totals import Parts, Sums, added, averaged, check_total_weight, streamed
from fnn.options import integer
from fnn.tree import Array

_BINS = 15
_ROUNDING = 1e-2
"""How far the sum of a row of probabilities may be from 1, in float16 with many classes too."""


def _of_classes(who: str, pred: Any, target: Any) -> tuple[Array, Array]:
    """Return the probability of the likeliest class, and whether it is right."""
    check_scores(who, "pred", pred, 2)
    check_probabilities(who, pred)
    wide = pred.astype(np.float64, copy=False)
    sums = wide.sum(axis=-1)
    refuse(who, "sum of pred", sums, np.abs(sums - 1) > _ROUNDING, "is not 1, as of probabilities")
    labels = check_labels(who, target, pred.shape[:-1], pred.shape[-1])
    return wide.max(axis=-1).reshape(-1), pred.argmax(axis=-1).reshape(-1) == labels


def _of_ones(who: str, pred: Any, target: Any) -> tuple[Array, Array]:
    """Return the probability of 1, and whether it is one."""
    check_binary(who, pred, target)
    check_probabilities(who, pred)
    return pred.reshape(-1).astype(np.float64), target.reshape(-1) == 1


_Said: TypeAlias = Callable[[str, Any, Any], tuple[Array, Array]]


def _binned(who: str, bins: int, said: _Said, pred: Array, target: Array, weight: Any) -> Parts:
    """Return for every bin the sums of weight, of probability and of what came true."""
    chance, came = said(who, pred, target)
    by = entry_weight(who, weight, len(pred), chance.size)
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], chance)
    return tuple(np.bincount(place, each, minlength=bins) for each in (by, by * chance, by * came))


def _gap(who: str, parts: Parts) -> float:
    weight, chance, came = parts
    total = float(np.add.reduce(weight))
    check_total_weight(who, total)
    return float(np.add.reduce(np.abs(came - chance))) / total


@METRICS.builtin("calibration_error")
@streamed(added, functools.partial(_gap, "calibration_error"))
def calibration_error(pred: Array, target: Array, weight: Any) -> Parts:
    """Return the expected calibration error of classes: how far their probabilities are off.

    ECE = Σ_b (w_b / w) |accuracy_b - confidence_b| over 15 bins of equal width: examples are sorted by
    the probability of their likeliest class, (0, 1/15], (1/15, 2/15], and so on; in each bin the share
    that is right is compared with the mean probability. 0 is perfect. `calibration_error_in` takes
    another number of bins: fewer see less, more see noise.

    Args:
        pred: Probabilities, shape (batch, ..., n_classes); every row sums to 1.
        target: Integers in [0, n_classes), shape (batch, ...).
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.

    References: Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks".
    """
    return _binned("calibration_error", _BINS, _of_classes, pred, target, weight)


@METRICS.builtin("binary_calibration_error")
@streamed(added, functools.partial(_gap, "binary_calibration_error"))
def binary_calibration_error(pred: Array, target: Array, weight: Any) -> Parts:
    """Return the expected calibration error of probabilities of 1.

    As `calibration_error`, but examples are sorted by the probability of 1, and the share of ones in a
    bin is compared with the mean of it. 15 bins; `binary_calibration_error_in` takes another number.

    Args:
        pred: Probabilities of 1, shape (batch, ...).
        target: 0 and 1 in any real dtype, of pred's shape.
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    return _binned("binary_calibration_error", _BINS, _of_ones, pred, target, weight)


@attrs.frozen
class _InBins:
    """A calibration error with its number of bins; equal and picklable by them."""

    name: str
    bins: int
    said: _Said

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def stream(self) -> Sums:
        """The form that takes examples batch by batch."""
        of = functools.partial(_binned, self.name, self.bins, self.said)
        return Sums(self.name, of, added, functools.partial(_gap, self.name))

    def __call__(self, pred: Array, target: Array, *, weight: Array | None = None) -> float:
        stream = self.stream
        return stream.value(stream.add(stream.start(), pred, target, weight))


def calibration_error_in(bins: int) -> Metric:
    """Return `calibration_error` over this number of bins of equal width.

    Raises:
        OptionError: If `bins` is not an integer of 1 or more.
    """
    bins = integer("calibration_error_in", "bins", bins)
    return _InBins(f"calibration_error_in_{bins}", bins, _of_classes)


def binary_calibration_error_in(bins: int) -> Metric:
    """Return `binary_calibration_error` over this number of bins of equal width.

    Raises:
        OptionError: If `bins` is not an integer of 1 or more.
    """
    bins = integer("binary_calibration_error_in", "bins", bins)
    return _InBins(f"binary_calibration_error_in_{bins}", bins, _of_ones)


def _exp(mean: float) -> float:
    return float(np.exp(mean))  # Infinite where `math.exp` would raise.


@METRICS.builtin("perplexity")
@averaged(finish=_exp)
def perplexity(pred: Array, target: Array) -> Array:
    """Return exp of the mean of -log p(label): between how many equally likely classes it wavers.

    1 is perfect, n_classes what knowing nothing reaches, infinite where a label had probability 0.

    Args:
        pred: Logits, or logarithms of probabilities, shape (batch, ..., n_classes); -inf for a class
            that cannot be.
        target: Integers in [0, n_classes), shape (batch, ...).
        weight: One number of 0 or more per example, shape (batch,).

    Raises:
        ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    """
    who = "perplexity"
    check_scores(who, "pred", pred, 2)
    refuse(who, "pred", pred, pred == math.inf, "is no logit")
    labels = check_labels(who, target, pred.shape[:-1], pred.shape[-1])
    rows = pred.reshape(len(labels), -1).astype(np.float64, copy=False)
    highest = pred.max(axis=-1)
    refuse(who, "highest of pred", highest, highest == -math.inf, "leaves no class possible")
    logs: Array = np.take_along_axis(log_softmax(rows), labels[:, None], axis=1)
    return -logs
