"""What one array of a data set must be: checked, cast and frozen in one place, weights too."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.kernels.conversion import as_array, first_infinite, read_only
from fnn.kernels.values import length
from fnn.tree import Array

_CASTS = {"float32": ("float32", "complex64"), "float64": ("float64", "complex128")}


def precision(who: str, dtype: Any) -> str | None:
    """Return "float32" or "float64" for what names one of them, None for None.

    Raises:
        OptionError: If it is anything else.
    """
    if dtype is None:
        return None
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = ""
    if name not in _CASTS:
        message = f"dtype: expected 'float32' or 'float64', got {dtype!r}"
        raise OptionError(message, path=(who,) if who else ())
    return name


def cast(name: str, array: Array, dtype: str | None) -> Array:
    """Return floating and complex numbers in the precision of `dtype`; others stay what they are.

    Raises:
        DataError: If a finite number is beyond the dtype.
    """
    if dtype is None or array.dtype.kind not in "fc":
        return array
    to = np.dtype(_CASTS[dtype][array.dtype.kind == "c"])
    if array.dtype == to:
        return array
    with np.errstate(all="ignore"):
        made = array.astype(to)
    if (place := first_infinite(made)) is not None and np.isfinite(array[place]):
        at = ", ".join(map(str, place))
        raise DataError(f"{name}[{at}] = {array[place]} is beyond {to}")
    made.setflags(write=False)
    return made


def checked(name: str, value: Any, dtype: str | None = None) -> Array:
    """Return `value` as a finite read-only array with an axis of examples, in native byte order.

    A read-only memory map is shared; casts and arrays that somebody could write to are copies.

    Args:
        name: What errors call it.
        value: An array, lists of numbers, or what NumPy makes an array of.
        dtype: "float32" or "float64", to which floating numbers are cast; None leaves them.

    Raises:
        DataError: If a number is nan or infinite, if rows differ in length, or for masks.
        DTypeError, ShapeError: If it holds no numbers, or is a single one.
    """
    array = as_array(name, value)
    if array.ndim == 0:
        raise ShapeError(f"{name}: expected at least one axis, got a scalar")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if (place := first_infinite(array)) is not None:
        raise DataError(f"{name}[{', '.join(map(str, place))}] is {array[place]}")
    return read_only(cast(name, array, dtype))


def _holds_arrays(value: Any) -> bool:
    """Return whether there are arrays, or data frames and the like, and not rows of numbers alone."""
    if isinstance(value, tuple):
        return any(map(_holds_arrays, value))
    return hasattr(value, "__array__") and not isinstance(value, np.generic)


def checked_parts(name: str, value: Any, dtype: str | None = None) -> Any:
    """Return one array as `checked` does, or of a tuple that holds arrays the tuple of them.

    Raises:
        DataError, DTypeError, ShapeError: As in `checked`, or if lengths differ; names the part.
    """
    if not isinstance(value, tuple) or not _holds_arrays(value):
        return checked(name, value, dtype)
    parts = tuple(checked_parts(f"{name}[{i}]", part, dtype) for i, part in enumerate(value))
    lengths = [length(part) for part in parts]
    if len(set(lengths)) > 1:
        raise DataError(f"expected the arrays of {name} to be of equal length, got {lengths}")
    return parts


def checked_weight(value: Any, n: int) -> Array | None:
    """Return weights as a read-only float64 array (n,), None for None.

    Raises:
        ShapeError, DTypeError, DataError: If they are not n finite numbers of 0 or more, one above 0.
    """
    if value is None:
        return None
    array = checked("weight", value)
    if array.shape != (n,):
        raise ShapeError(f"weight: expected one per example, shape ({n},), got {array.shape}")
    if array.dtype.kind == "c":
        raise DTypeError(f"weight: expected real numbers, got dtype {array.dtype}")
    wide = array.astype(np.float64)
    if (bad := wide < 0).any():
        place = int(np.argmax(bad))
        raise DataError(f"weight[{place}] = {array[place]} is not 0 or more")
    with np.errstate(over="ignore"):
        total = float(wide.sum())
    if not 0 < total < np.inf:
        raise DataError(f"weight: expected a finite sum above 0, got {total}")
    wide.setflags(write=False)
    return wide
