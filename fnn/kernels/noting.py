"""What code says to a step that is being noted, where plain NumPy and Python would not tell it enough.

A step is noted by running it on stand-ins for arrays, numbers and keys (`fnn.compile`), which NumPy's
functions tell what is done to them. Functions of Python that look at numbers do not; neither do
conversions to an array. These do, and on ordinary arrays they are those functions and no more.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fnn.tree import Array

F = TypeVar("F", bound=Callable[..., Any])


def is_traced(each: Any) -> bool:
    """Return whether it is the stand-in of something in a step that is being noted."""
    return getattr(type(each), "is_traced", False)


def _tape(args: tuple[Any, ...]) -> Any:
    for each in args:
        if type(each) is tuple:
            if (found := _tape(each)) is not None:
                return found
        elif getattr(type(each), "is_traced", False):
            return each.tape
    return None


# --- arrays ---------------------------------------------------------------------------------


def whole(f: F) -> F:
    """Declare a kernel that is one operation of a step: it looks at numbers, or at their order.

    It is pure, takes arrays and tuples of them, and returns new arrays, their shapes always the same
    for arguments of the same shapes.
    """

    @functools.wraps(f)
    def kernel(*args: Any, **options: Any) -> Any:
        tape = _tape(args)
        return f(*args, **options) if tape is None else tape.whole(f, args, options)

    made: Any = kernel
    return made


def as_array(x: Any, dtype: Any = None) -> Array:
    """Return `np.asarray(x, dtype)`."""
    if not is_traced(x):
        return np.asarray(x, dtype)
    array: Array = x if dtype is None else x.astype(dtype, copy=False)
    return array


def contiguous(x: Array, dtype: Any = None) -> Array:
    """Return `np.ascontiguousarray(x, dtype)`."""
    if not is_traced(x):
        return np.ascontiguousarray(x, dtype)
    dtype = x.dtype if dtype is None else np.dtype(dtype)
    return x if x.flags.c_contiguous and x.dtype == dtype else x.astype(dtype, "C")


def strided(x: Any, shape: tuple[int, ...], offset: int, strides: tuple[int, ...]) -> Array:
    """Return the memory of an array as another one, offset and strides in bytes.

    As `as_strided` does, in a tenth of its time; NumPy checks that it stays within the array.
    """
    if type(x) is np.ndarray:
        return np.ndarray(shape, x.dtype, x, offset, strides)
    view: Array = x.tape.strided(x, shape, x.dtype, offset, strides)
    return view


# --- numbers --------------------------------------------------------------------------------


def called(f: Callable[..., Any], *args: Any) -> Any:
    """Return f(*args), a number."""
    tape = _tape(args)
    return f(*args) if tape is None else tape.number(f, args)


def holds(f: Callable[..., Any], *args: Any) -> bool:
    """Return f(*args), a truth value on which depends what is done next."""
    tape = _tape(args)
    return bool(f(*args) if tape is None else tape.asked(f, args))


def sqrt(x: Any) -> float:
    """Return √x of a number."""
    root: float = math.sqrt(x) if type(x) is float else called(math.sqrt, x)
    return root


def as_float(x: Any) -> float:
    """Return an array of one number, or a number, as a float of Python's."""
    number: float = called(float, x)
    return number


def folded(key: Any, *names: Any) -> Any:
    """Return key.fold(*names), one of which may be the clock."""
    tape = _tape(names)
    return key.fold(*names) if tape is None else tape.folded(key, names)
