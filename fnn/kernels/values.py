"""Values of the contract: what a layer takes and gives is one array, or a tuple of them.

The parts of a tuple share the batch axis. Integers (tokens, lengths, masks) have no derivative: None
stands in their place in what is carried back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.tree import Array


def map_arrays(fn: Callable[..., Any], value: Any, *rest: Any) -> Any:
    """Return fn of one array, or the tuple of fn of each part; `rest` has the same structure."""
    if type(value) is np.ndarray or not isinstance(value, tuple):
        return fn(value, *rest)
    return tuple(map_arrays(fn, *parts) for parts in zip(value, *rest, strict=True))


def named_arrays(value: Any, name: str = "") -> list[tuple[str, Array]]:
    """Return (name, array) for every array of a value: "x", or "x[0]", "x[1]" of a tuple."""
    if type(value) is np.ndarray:
        return [(name, value)]
    if isinstance(value, tuple):
        return [place for i, part in enumerate(value) for place in named_arrays(part, f"{name}[{i}]")]
    return [(name, value)] if isinstance(value, np.ndarray) else []


def length(value: Any) -> int:
    """Return how many examples there are."""
    while isinstance(value, tuple):
        value = value[0]
    return len(value)


def take_rows(value: Any, at: Any) -> Any:
    """Return the examples at a slice or at indices."""
    if type(value) is np.ndarray:
        return value[at]
    return map_arrays(lambda part: part[at], value)


def example_shape(value: Any) -> tuple[Any, ...]:
    """Return the shape of one example, or the tuple of the shapes of its parts."""
    shape: tuple[Any, ...] = map_arrays(lambda part: part.shape[1:], value)
    return shape


def is_integer(array: Any) -> bool:
    """Return whether an array holds integers or truth values, in which nothing is differentiated."""
    return array.dtype.kind in "iub"


def is_tuple_of_shapes(shape: tuple[Any, ...]) -> bool:
    """Return whether examples of this shape are tuples of arrays; () is the shape of a number."""
    return any(isinstance(n, tuple | list) for n in shape)


def count_numbers(shape: tuple[Any, ...]) -> int:
    """Return how many numbers an example of that shape has, over all of its arrays."""
    return sum(map(count_numbers, shape)) if is_tuple_of_shapes(shape) else math.prod(shape)
