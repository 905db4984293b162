"""What becomes of the examples that an estimator is given before a network sees them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.datasets.dataset import Dataset
from fnn.datasets.scaling import Scaling
from fnn.errors import DataError, OptionError
from fnn.kernels.conversion import check_unmasked
from fnn.keys import Key
from fnn.options import real
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


def settled(data: Dataset, batch_size: int) -> Dataset:
    """Return the set in the form that is trained on.

    Where every step sees all examples, a step depends on what they are and how much they weigh, and
    not on their order, nor on whether one of weight 2 is there twice instead. So equal ones become
    one, and all get an order of their own: the bits of the result then depend on neither either.
    """
    if len(data) <= batch_size:
        rows = np.concatenate([_bytes(data.x), _bytes(data.y)], axis=1)
        _, first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        counts = np.bincount(place.ravel(), weights=data.weight)
        data = Dataset(data.x[first], data.y[first], weight=counts)
    weight = data.weight
    if weight is not None and weight.min() == weight.max():
        return Dataset(data.x, data.y)
    return data


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
