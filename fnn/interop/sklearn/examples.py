"""What becomes of the examples that an estimator is given before a network sees them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fnn.datasets.dataset import Dataset
from fnn.datasets.scaling import Scaling
from fnn.errors import DataError, OptionError
from fnn.kernels.conversion import check_unmasked
from fnn.keys import Key
from fnn.layers.contract import Layer
from fnn.options import real
from fnn.training.evaluation import check_weighed
from fnn.tree import Array


def weighed(x: Array, y: Array, sample_weight: Any) -> Dataset:
    """Return a set of the examples that count for something.

    Raises:
        DataError, DTypeError, ShapeError: If weights are not one number of 0 or more per example, or
            all of them are zero.
    """
    check_unmasked("sample_weight", sample_weight)
    weight = None if sample_weight is None else np.asarray(sample_weight)
    if weight is not None and weight.size and weight.dtype.kind in "fiub" and not weight.any():
        raise DataError("sample_weight: expected at least one weight above 0, got zero for all")
    return Dataset(x, y, weight=weight).present()


def merged(data: Dataset) -> Dataset:
    """Return the set with equal examples as one of the sum of their weights, in an order of its own.

    So neither the order in which they came, nor whether one of weight 2 was there twice instead, shows
    in what is returned.
    """
    rows = np.concatenate([_bytes(data.x), _bytes(data.y)], axis=1)
    _, first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    counts = np.bincount(place.ravel(), weights=data.weight)
    return Dataset(data.x[first], data.y[first], weight=counts)


def bare(data: Dataset) -> Dataset:
    """Return the set without its weights, if each is 1."""
    weight = data.weight
    # Not where each is 2: a loss that is a sum would halve.
    return data if weight is None or (weight != 1).any() else Dataset(data.x, data.y)


def is_mergeable(net: Layer, measures: Iterable[Any]) -> bool:
    """Return whether a step over all examples depends on what they are and on their weights alone.

    It does not where every example has draws of its own, where statistics of the batch count each as
    one, and where a loss or a metric takes no weights.
    """
    if net.traits.stochastic or net.traits.mixes_batch:
        return False
    try:
        for measure in measures:
            check_weighed("", measure)
    except OptionError:
        return False
    return True


def _bytes(array: Array) -> Array:
    flat: Array = np.ascontiguousarray(array).reshape(len(array), -1)
    return flat.view(np.uint8)


def split(
    data: Dataset, fraction: Any, key: Key, *, stratified: bool
) -> tuple[Dataset, Dataset | None]:
    """Return what is trained on, and what is held out to validate on, if anything.

    Raises:
        OptionError: If the fraction is not in (0, 1), or leaves nothing for either.
    """
    if fraction is None:
        return data, None
    share = real("", "validation_fraction", fraction, least=0.0, below=1.0)
    if share == 0:
        raise OptionError(f"validation_fraction: expected a number in (0, 1) or None, got {fraction!r}")
    labels = data.y if stratified else None
    return data.split(1.0 - share, key=key.fold("validation"), stratify=labels)


def scaling_of(name: str, choice: Any, values: Array, weight: Array | None) -> Scaling | None:
    """Return how values are scaled: "standard" to mean 0 and deviation 1, None not at all.

    Raises:
        OptionError: If it is neither.
    """
    if choice is None:
        return None
    if not isinstance(choice, str) or choice != "standard":
        raise OptionError(f"{name}: expected 'standard' or None, got {choice!r}")
    return Scaling.of(values, weight)


def floating(array: Array) -> Array:
    """Return the array in float64, or as it is if it is float32."""
    return array if array.dtype in ("float32", "float64") else array.astype("float64")
