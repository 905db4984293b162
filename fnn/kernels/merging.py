"""Several arrays made one: each way forward beside its vjp.

Ways forward take the arrays and return (y, what the way back needs); the others take the arrays, that,
and dy, and return the derivative in each array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from fnn.kernels.memory import zeros
from fnn.tree import Array

Parts: TypeAlias = Sequence[Array]


def add(parts: Parts, axis: int) -> tuple[Array, None]:
    """Return the sum, taken from left to right."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total, None


def add_vjp(parts: Parts, kept: None, dy: Array, axis: int) -> tuple[Array, ...]:
    """Return dy for every array."""
    return (dy,) * len(parts)


def average(parts: Parts, axis: int) -> tuple[Array, None]:
    """Return the sum divided by the number of arrays."""
    return add(parts, axis)[0] / len(parts), None


def average_vjp(parts: Parts, kept: None, dy: Array, axis: int) -> tuple[Array, ...]:
    """Return a share of dy for every array."""
    return (dy / len(parts),) * len(parts)


def multiply(parts: Parts, axis: int) -> tuple[Array, None]:
    """Return the product."""
    product = parts[0]
    for part in parts[1:]:
        product = product * part
    return product, None


def multiply_vjp(parts: Parts, kept: None, dy: Array, axis: int) -> tuple[Array, ...]:
    """Return dy times the product of the others; nothing is divided, so that zeros are no matter."""
    before = [dy]
    for part in parts[:-1]:
        before.append(before[-1] * part)
    after = None
    out = []
    for part, left in zip(reversed(parts), reversed(before), strict=True):
        out.append(left if after is None else left * after)
        after = part if after is None else after * part
    return tuple(reversed(out))


def largest(parts: Parts, axis: int) -> tuple[Array, Array]:
    """Return the largest, and which array it is from: of equal ones the first. NaN passes through."""
    best = parts[0]
    chosen = zeros(best.shape, np.dtype(np.intp))
    for i, part in enumerate(parts[1:], 1):
        # Compared by the real part, which a complex step does not move.
        wins = (part.real > best.real) | (np.isnan(part.real) & ~np.isnan(best.real))
        best = np.where(wins, part, best)
        chosen[wins] = i
    return best, chosen


def largest_vjp(parts: Parts, chosen: Array, dy: Array, axis: int) -> tuple[Array, ...]:
    """Return dy where an array was chosen, 0 elsewhere."""
    zero = dy.dtype.type(0)
    return tuple(np.where(chosen == i, dy, zero) for i in range(len(parts)))


def concatenate(parts: Parts, axis: int) -> tuple[Array, None]:
    """Return the arrays one after the other along an axis."""
    return np.concatenate(parts, axis=axis), None


def concatenate_vjp(parts: Parts, kept: None, dy: Array, axis: int) -> tuple[Array, ...]:
    """Return the pieces of dy."""
    ends = np.cumsum([part.shape[axis] for part in parts])[:-1]
    return tuple(np.split(dy, ends, axis=axis))


MERGES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sum": (add, add_vjp),
    "mean": (average, average_vjp),
    "product": (multiply, multiply_vjp),
    "max": (largest, largest_vjp),
    "concat": (concatenate, concatenate_vjp),
}
"""Forward and back by name."""


def added(values: Sequence[Any]) -> Any:
    """Return the sum of derivatives in one value; None, in the place of integers, stays None."""
    if isinstance(values[0], tuple):
        return tuple(map(added, zip(*values, strict=True)))
    return None if values[0] is None else add(values, 0)[0]
