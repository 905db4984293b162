"""The one door through which arrays from outside come in: what is taken, converted and refused.

An ordinary array is a `numpy.ndarray` itself and no subclass. A subclass means something that its
numbers alone do not say: a masked array that some are missing, a matrix that `*` multiplies
matrices. A memory map means nothing beside its numbers, and passes as the array that it is.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

from fnn.errors import DataError, DTypeError
from fnn.tree import Array, freeze

NUMBERS = "fciub"
"""Kinds of dtype that hold numbers; OneHot takes strings and times too."""

_BLOCK = 1 << 20
"""How many numbers a pass over a large array looks at in one go: what it makes stays small."""


def is_masked(value: Any) -> bool:
    """Return whether `value` is a masked array, or a list or tuple in which there is one."""
    if isinstance(value, np.ndarray):
        return type(value) is not np.ndarray and hasattr(type(value), "mask")
    if isinstance(value, list | tuple):
        # NumPy would read the numbers below the masks. A row of plain numbers is passed at once.
        return any(isinstance(each, np.ndarray | list | tuple) and is_masked(each) for each in value)
    return False


def check_unmasked(name: str, value: Any, path: tuple[str, ...] = ()) -> None:
    """Refuse masked arrays: as an array they would lose their mask without a word.

    Raises:
        DataError: That says how to fill them.
    """
    if is_masked(value):
        got = type(value).__name__ if isinstance(value, np.ndarray) else "one inside"
        fill = f"{name}.filled(0)" if name.isidentifier() else "array.filled(0)"
        message = f"expected {name} without a mask, got {got}; fill it first, e.g. {fill}"
        raise DataError(message, path=path)


def check_ordinary(name: str, value: Any, path: tuple[str, ...] = ()) -> None:
    """Refuse what is no array, or one of a subclass with a meaning of its own.

    Raises:
        DataError: For a masked array.
        DTypeError: For anything else; says how to convert it.
    """
    if type(value) is np.ndarray or type(value) is np.memmap:
        return
    if getattr(type(value), "is_traced", False):  # It stands for one in a step that is being noted.
        return
    got = type(value).__name__
    if not isinstance(value, np.ndarray):
        raise DTypeError(f"expected {name} as an array, got {got}", path=path)
    check_unmasked(name, value, path)
    how = f"np.asarray({name})" if name.isidentifier() else "np.asarray"
    raise DTypeError(f"expected {name} as an ordinary array, got {got}; {how} makes one", path=path)


def as_array(name: str, value: Any, path: tuple[str, ...] = (), *, kinds: str = NUMBERS) -> Array:
    """Return `value` (an array, numbers in lists, a data frame) as an ordinary array.

    Arrays are not copied for it, matrices and memory maps neither.

    Raises:
        DataError: If it is masked, or its rows have different lengths.
        DTypeError: If its dtype is not of `kinds`, or it is of another subclass of arrays.
    """
    check_unmasked(name, value, path)
    if isinstance(value, np.ndarray) and not isinstance(value, np.matrix):
        check_ordinary(name, value, path)
    try:
        array = np.asarray(value)
    except ValueError as error:
        message = f"{name}: expected rows of equal shapes, got {error}"
        raise DataError(message, path=path) from None
    if array.dtype.kind not in kinds:
        what = "numbers" if kinds == NUMBERS else "labels that sort"
        hint = " (labels: OneHot.fit)" if kinds == NUMBERS else ""
        raise DTypeError(f"{name}: expected {what}, got dtype {array.dtype}{hint}", path=path)
    return array


def is_frame(value: Any) -> bool:
    """Return whether `value` is a data frame: columns with names that are one array together."""
    return hasattr(value, "columns") and hasattr(value, "__array__")


def as_arrays(name: str, value: Any, path: tuple[str, ...] = ()) -> Any:
    """Return an array, or a tuple of arrays, as ordinary ones; what is no array passes as it is.

    Raises:
        DataError, DTypeError: As `ordinary`, but for dtypes, which are for a layer to judge.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, tuple):
        return tuple(as_arrays(f"{name}[{i}]", each, path) for i, each in enumerate(value))
    if not isinstance(value, np.ndarray):
        return value
    return as_array(name, value, path, kinds=value.dtype.kind)


def _maps_read_only(array: Array) -> bool:
    """Return whether the array looks at a file that this process cannot write to through it."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    if not isinstance(base, mmap.mmap):
        return False
    with memoryview(base) as view:
        return view.readonly


def read_only(array: Array) -> Array:
    """Return a read-only array: the same one if nobody can write to it, else a copy.

    A memory map that was opened for reading is shared, never read whole: that its file stays as it
    is, is for its owner to see to.
    """
    if _maps_read_only(array):
        return array.view(np.ndarray)
    frozen: Array = freeze(array)
    return frozen


def blocks(array: Array) -> Iterator[tuple[int, Array]]:
    """Yield (start, rows) along axis 0, so many rows at a time that they are no more than a block."""
    width = array[:1].size
    step = max(1, _BLOCK // max(1, width))
    for start in range(0, len(array), step):
        yield start, array[start : start + step]


def first_infinite(array: Array) -> tuple[int, ...] | None:
    """Return the place of the first number that is nan or infinite, None if there is none."""
    if array.dtype.kind not in "fc" or not array.size:
        return None
    if not array.ndim:
        return None if np.isfinite(array) else ()
    for start, rows in blocks(array):
        finite = np.isfinite(rows)
        if not finite.all():
            at, *rest = np.unravel_index(int(np.argmin(finite)), rows.shape)
            return (start + int(at), *map(int, rest))
    return None
