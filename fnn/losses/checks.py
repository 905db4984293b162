"""What losses and metrics demand of the arrays they are called with; every error names who demands."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.kernels.conversion import check_ordinary
from fnn.kernels.noting import as_float, contiguous
from fnn.options import integer
from fnn.tree import Array

_PRECISIONS = tuple(map(np.dtype, "fdFD"))
REDUCTIONS = ("mean", "sum", "none")


def check_filled(who: str, name: str, array: Any, n_axes: int) -> None:
    """Refuse what is no array, has fewer axes than `n_axes`, or holds nothing."""
    if type(array) is not np.ndarray:
        check_ordinary(name, array, (who,))
    if array.ndim < n_axes:
        axes = "(batch, ...)" if n_axes == 1 else "(batch, ..., n_classes)"
        raise ShapeError(f"expected {name} of shape {axes}, got {array.shape}", path=(who,))
    if not array.size:
        raise DataError(f"expected one example or more, got {name} of shape {array.shape}", path=(who,))


def check_pred(who: str, name: str, pred: Any, n_axes: int = 1) -> None:
    """Refuse predictions that are not a filled float or complex array."""
    check_filled(who, name, pred, n_axes)
    if pred.dtype not in _PRECISIONS:
        expected = "float32, float64 or their complex counterparts"
        raise DTypeError(f"expected {name} in {expected}, got {pred.dtype}", path=(who,))


def check_real(who: str, name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Refuse what is not a real array of exactly that shape."""
    if type(array) is not np.ndarray:
        check_ordinary(name, array, (who,))
    if array.shape != shape:
        raise ShapeError(f"expected {name} of shape {shape}, got {array.shape}", path=(who,))
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"expected real {name}, got {array.dtype}", path=(who,))


def refuse(who: str, name: str, array: Array, bad: Array, why: str) -> None:
    """Raise a DataError for the first entry where `bad` holds, if there is one."""
    if bad.any():
        where = tuple(np.argwhere(bad)[0].tolist())
        at = ", ".join(map(str, where))
        raise DataError(f"{name}[{at}] = {array[where].item()} {why}", path=(who,))


def check_labels(
    who: str, labels: Any, shape: tuple[int, ...], n_classes: int, name: str = "labels"
) -> Array:
    """Return the labels as a flat index array.

    Raises:
        ShapeError, DTypeError, DataError: If they are not integers of that shape in [0, n_classes).
    """
    if type(labels) is not np.ndarray:
        check_ordinary(name, labels, (who,))
    if labels.shape != shape:
        raise ShapeError(f"expected {name} of shape {shape}, got {labels.shape}", path=(who,))
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"expected {name} of an integer dtype, got {labels.dtype}", path=(who,))
    flat: Array = labels.reshape(-1).astype(np.intp)
    # Read as unsigned, negative labels are huge: one reduction finds both kinds of mistake.
    if np.maximum.reduce(flat.view(np.uintp)) >= n_classes:
        bad = (labels < 0) | (labels >= n_classes)
        refuse(who, name, labels, bad, f"is not in [0, {n_classes})")
    return flat


def check_weight(who: str, weight: Any, n: int) -> tuple[Array, float]:
    """Return the weights in float64 and their sum, so that small or huge ones survive the sum.

    Raises:
        ShapeError, DTypeError, DataError: If they are not n finite numbers of 0 or more, one above 0.
    """
    check_real(who, "weight", weight, (n,))
    bad = ~(np.isfinite(weight) & (weight >= 0))
    refuse(who, "weight", weight, bad, "is not a finite number of 0 or more")
    wide = weight.astype(np.float64)
    total = as_float(np.add.reduce(wide))
    if not 0 < total < math.inf:
        raise DataError(f"expected weights with a finite sum above 0, got {total}", path=(who,))
    return wide, total


def check_reduction(who: str, reduction: Any) -> None:
    """Refuse what is no name of a reduction."""
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        message = f"reduction: expected one of {REDUCTIONS}, got {reduction!r}"
        raise OptionError(message, path=(who,))


def classes_last(who: str, array: Array, axis: Any) -> Array:
    """Return a view with the classes, which lie along `axis`, on the last axis.

    Raises:
        OptionError: If there is no such axis, or it is that of the batch.
    """
    if type(axis) is int and axis == -1:
        return array
    n = array.ndim
    place = integer(who, "axis", axis, least=-n)
    if place % n == 0 or place >= n:
        expected = f"an axis of classes in [1, {n - 1}] or [{1 - n}, -1], the batch is axis 0"
        raise OptionError(f"axis: expected {expected}, got {axis}", path=(who,))
    return np.moveaxis(array, place, -1)


def classes_back(dpred: Array, axis: int) -> Array:
    """Return the gradient of `classes_last(..., axis)` with the classes where they were."""
    return dpred if axis == -1 else contiguous(np.moveaxis(dpred, -1, axis))
