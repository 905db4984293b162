"""What wrong versions are made of: walks over values of any kind, shared memory, lost digits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn import tree
from fnn.recipe import Recipe
from fnn.tree import Array

FACTOR = 1.001
Fault: TypeAlias = Callable[[Any], dict[str, Any]]
"""From a value to what is put in place of its own parts."""


@attrs.frozen
class Mutant:
    """A wrong version of a layer, a loss or a transform.

    Attributes:
        name: The fault and its place ("dparams/w sign", "dense_0: dx × 1.001").
        value: The wrong version, of the original's type.
    """

    name: str
    value: Any


def each(fn: Callable[..., Any], value: Any, *rest: Any) -> Any:
    """Call `fn` on an array, on every array of a tuple or tree; None stays None."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(each(fn, *parts) for parts in zip(value, *rest, strict=True))
    if isinstance(value, dict):
        return {name: each(fn, part, *(other[name] for other in rest)) for name, part in value.items()}
    return fn(value, *rest)


def arrays(value: Any) -> list[Array]:
    """Return the arrays in a tuple, tree or array."""
    if isinstance(value, tuple):
        return [array for part in value for array in arrays(part)]
    return [] if value is None else tree.leaves(value)


class Buffers:
    """Memory that is handed out again and again, as a layer would that saves allocations."""

    def __init__(self) -> None:
        self._kept: dict[Any, Array] = {}

    def __call__(self, array: Array, *, seal: bool = False) -> Array:
        """Return the one buffer of that shape and dtype, filled with `array`."""
        buffer = self._kept.setdefault((array.shape, array.dtype), np.empty_like(array))
        buffer.setflags(write=True)
        buffer[...] = array
        buffer.setflags(write=not seal)
        return buffer


class TreeBuffers:
    """Memory for trees that is handed out again and again, sealed so that no tree copies it."""

    def __init__(self) -> None:
        self._by_path: dict[str, Buffers] = {}

    def __call__(self, handed: Any) -> Any:
        """Return a tree of buffers filled with the leaves, each path with its own."""
        kept = {
            path: self._by_path.setdefault(path, Buffers())(leaf, seal=True)
            for path, leaf in tree.items(handed)
        }
        return kept[""] if "" in kept else tree.update(handed, kept) if kept else handed


def overwrite(value: Any, fn: Callable[..., Any], *rest: Any) -> None:
    """Write fn(array) into every array of `value` that can be written to."""

    def write(array: Array, *others: Array) -> None:
        if isinstance(array, np.ndarray) and array.flags.writeable:
            array[...] = fn(array, *others)

    each(write, value, *rest)


def wide(array: Array) -> Array:
    """Return the array in double precision."""
    return array.astype(np.result_type(array, np.float64))


def rounded(array: Array) -> Array:
    """Return the array with the digits of single precision only."""
    return array.astype("F" if array.dtype.kind == "c" else "f").astype(array.dtype)


def halved(array: Array, *_: Array) -> Array:
    """Return half of the array."""
    return array // 2 if array.dtype.kind in "iu" else array * 0.5


class _Wrong:
    """A constructor with a fault: what the recipe of a mutant calls."""

    def __init__(self, fault_name: str, fault: Fault, call: Any) -> None:
        self.fault_name, self.fault, self.call = fault_name, fault, call
        self.__name__ = f"{call.__name__}[{fault_name}]"
        self.__qualname__ = self.__name__
        self.__signature__ = inspect.signature(call)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return wrong(self.call(*args, **kwargs), self.fault_name, self.fault)


def wrong(made: Any, fault_name: str, fault: Fault) -> Any:
    """Return a layer or a transform with the fault, which its recipe makes again."""
    recipe = made.recipe
    if recipe is not None:
        recipe = Recipe(_Wrong(fault_name, fault, recipe.call), recipe.args, recipe.kwargs)
    return attrs.evolve(made, **fault(made), recipe=recipe)
