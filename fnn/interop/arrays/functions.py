"""Functions of arrays, those of whichever system the arrays are of.

Each is looked up by the type of its first argument that is known. A system has all of these, under the
same names, with the axes and meanings of NumPy where NumPy has such a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_SYSTEMS: list[tuple[tuple[type, ...], Any]] = []


def register(types: tuple[type, ...], functions: Any) -> None:
    """Let arrays (and keys) of these types be computed with by these functions."""
    _SYSTEMS.append((types, functions))


def functions_of(given: Any) -> Any:
    """Return the functions of the first array among what is given; None if there is none."""
    for types, functions in _SYSTEMS:
        if isinstance(given, types):
            return functions
    if isinstance(given, Mapping):
        given = tuple(given.values())
    if isinstance(given, tuple | list):
        return next((found for each in given if (found := functions_of(each)) is not None), None)
    return None


def _named(name: str) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        functions = functions_of(args) or functions_of(tuple(options.values()))
        return getattr(functions, name)(*args, **options)

    call.__name__ = call.__qualname__ = name
    return call


# Number by number.
abs_, exp, expm1, isnan, sign, sqrt, tanh = map(
    _named, ("abs_", "exp", "expm1", "isnan", "sign", "sqrt", "tanh")
)
gelu, relu, sigmoid, softplus = map(_named, ("gelu", "relu", "sigmoid", "softplus"))
clip, maximum, where = map(_named, ("clip", "maximum", "where"))

# Over an axis.
amax, argmax, cumsum, log_softmax, softmax, sort = map(
    _named, ("amax", "argmax", "cumsum", "log_softmax", "softmax", "sort")
)

# Arrangement.
concatenate, expand_dims, flip, moveaxis, pad, repeat, split, stack = map(
    _named, ("concatenate", "expand_dims", "flip", "moveaxis", "pad", "repeat", "split", "stack")
)
swapaxes, take_along_axis, transpose = map(_named, ("swapaxes", "take_along_axis", "transpose"))

# What is known of an array, and arrays that are like another: on its device, in its precision.
is_bool, is_float, is_integer = map(_named, ("is_bool", "is_float", "is_integer"))
arange_like, as_dtype_of, constant, numpy_dtype, zeros_like = map(
    _named, ("arange_like", "as_dtype_of", "constant", "numpy_dtype", "zeros_like")
)

# Rows by number, NaN for numbers that are out of range.
rows = _named("rows")

# Images.
conv, pad_images, window_max, window_sum = map(
    _named, ("conv", "pad_images", "window_max", "window_sum")
)

# Derivatives, loops and draws.
checkpoint, members, scan, stop_gradient = map(
    _named, ("checkpoint", "members", "scan", "stop_gradient")
)
bernoulli, fold, normal = map(_named, ("bernoulli", "fold", "normal"))


def map_value(f: Callable[..., Any], value: Any, *others: Any) -> Any:
    """Return f of every array of a value: one, or a tuple of values."""
    if isinstance(value, tuple):
        return tuple(map_value(f, *each) for each in zip(value, *others, strict=True))
    return f(value, *others)


def arrays_in(value: Any) -> list[Any]:
    """Return the arrays of a value or of a tree."""
    if isinstance(value, Mapping):
        value = tuple(value.values())
    return [each for one in value for each in arrays_in(one)] if isinstance(value, tuple) else [value]


def map_tree(f: Callable[[Any], Any], tree: Any) -> Any:
    """Return a tree of f of its leaves."""
    if isinstance(tree, Mapping):
        return {name: map_tree(f, each) for name, each in tree.items()}
    return f(tree)
