"""Weights of classes: how much each label is to count, and what that makes of every example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.kernels.conversion import as_array
from fnn.options import integer, real
from fnn.tree import Array

ClassWeight: TypeAlias = Mapping[int, float] | str


def _labels(who: str, labels: Any) -> Array:
    path = (who,)
    array = as_array("labels", labels, path)
    if array.ndim != 1:
        raise ShapeError(f"expected labels on one axis, got shape {array.shape}", path=path)
    if array.dtype.kind not in "iub":
        raise DTypeError(f"expected labels of an integer dtype, got {array.dtype}", path=path)
    if not array.size:
        raise DataError("expected at least one label, got none", path=path)
    return array


def class_weights(labels: Any, n_classes: int | None = None) -> Array:
    """Return one weight per class that lets all classes count alike: wₖ = n / (K nₖ).

    n is the number of labels, nₖ that of class k, and K that of the classes that occur, so that the
    weights of all examples average to 1. A class that does not occur has weight 0.

    Args:
        labels: Integers of 0 or more, on one axis.
        n_classes: How many weights to return; by default one more than the highest label.

    Returns:
        float64, shape (n_classes,).

    Raises:
        DataError, DTypeError, ShapeError: If the labels are not as above.
    """
    who = "class_weights"
    array = _labels(who, labels).astype(np.int64)
    least = 1 + int(array.max())
    size = least if n_classes is None else integer(who, "n_classes", n_classes)
    if (bad := (array < 0) | (array >= size)).any():
        place = int(np.argmax(bad))
        raise DataError(f"labels[{place}] = {array[place]} is not in [0, {size})", path=(who,))
    counts = np.bincount(array, minlength=size)
    there = counts > 0
    weights = np.zeros(size)
    weights[there] = len(array) / (np.count_nonzero(there) * counts[there])
    return weights


def by_label(who: str, labels: Any, class_weight: ClassWeight) -> Array:
    """Return the weight of every example, by its label.

    Args:
        who: What errors call the caller.
        labels: Integers on one axis.
        class_weight: "balanced", for weights as in `class_weights`; or {label: weight}, 1 where a
            label is not named.

    Raises:
        OptionError: If class_weight is something else, or names a label that does not occur.
        DataError, DTypeError, ShapeError: If the labels are no integers on one axis.
    """
    array = _labels(who, labels)
    classes, place, counts = np.unique(array, return_inverse=True, return_counts=True)
    if isinstance(class_weight, str) and class_weight == "balanced":
        return (len(array) / (len(classes) * counts))[place]
    if not isinstance(class_weight, Mapping):
        expected = "class_weight: expected 'balanced' or {label: weight}"
        raise OptionError(f"{expected}, got {class_weight!r}", path=(who,))
    known = {int(label): i for i, label in enumerate(classes)}
    weights = np.ones(len(classes))
    for label, weight in class_weight.items():
        label = integer(who, "class_weight", label, least=int(np.iinfo(np.int64).min))
        if label not in known:
            shown = f"{list(known)[:10]}{'' if len(known) <= 10 else ' and more'}"
            message = f"class_weight: expected labels that occur, {shown}, got {label}"
            raise OptionError(message, path=(who,))
        weights[known[label]] = real(who, f"class_weight[{label}]", weight, least=0.0)
    return weights[place]
