"""Validate arrays; each check names what was expected and what came.

They run at every call, so that a valid array passes by a comparison or two. Dtypes are compared by
value: an array that was pickled, or read from a file, brings an equal dtype that is another object.
Where speed counts, identity is compared first, which takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn.errors import DTypeError, ShapeError, TreeError
from fnn.kernels.conversion import check_ordinary
from fnn.kernels.values import is_integer, is_tuple_of_shapes, length, named_arrays
from fnn.tree import Array, leaves

_REAL = {np.dtype(c): np.dtype(r) for c, r in (("F", "f"), ("D", "d"), ("f", "f"), ("d", "d"))}


def check_array(x: Any, n_axes: int = 1) -> None:
    """Refuse what is not a float or complex array with at least `n_axes` axes, the batch's included.

    Raises:
        DTypeError, ShapeError: Saying what came.
    """
    if type(x) is not np.ndarray:
        _check_subclass("x", x, "an array")
    if x.dtype not in _REAL:
        expected = "float32, float64 or their complex counterparts"
        how = {"f": "; Dataset(..., dtype='float32') casts"}.get(x.dtype.kind, "")
        raise DTypeError(f"expected {expected}, got {x.dtype}{how}")
    if x.ndim < n_axes:
        raise ShapeError(f"expected {n_axes} or more axes, the batch first, got {x.shape}")


def _check_subclass(name: str, value: Any, expected: str) -> None:
    if not isinstance(value, np.ndarray):
        raise DTypeError(f"expected {expected}, got {type(value).__name__}")
    check_ordinary(name, value)


def check_shape(in_shape: Any) -> None:
    """Refuse the shapes of several arrays where a layer takes one."""
    if is_tuple_of_shapes(in_shape):
        raise ShapeError(f"expected the shape of one array, got the shapes of several: {in_shape}")


def check_value(x: Any, *, integers: bool = False) -> None:
    """Refuse what is neither an array with a batch axis nor a tuple of such arrays.

    Args:
        x: What a layer is called with, or gives.
        integers: Whether the layer takes them (`Traits.takes_integers`).

    Raises:
        DTypeError, ShapeError: Saying what came, and in which part.
    """
    if type(x) is np.ndarray or not isinstance(x, tuple):
        if not (integers and isinstance(x, np.ndarray) and is_integer(x) and x.ndim):
            check_array(x)
        elif type(x) is not np.ndarray:
            check_ordinary("x", x)
        return
    if not x:
        raise ShapeError("expected one array or more, got an empty tuple")
    for i, part in enumerate(x):
        try:
            check_value(part, integers=integers)
        except (DTypeError, ShapeError) as error:
            raise type(error)(f"part {i} of the tuple: {error.message}") from None
    lengths = {length(part) for part in x}
    if len(lengths) > 1:
        raise ShapeError(f"expected parts with one batch axis, got {[length(part) for part in x]}")


def check_floats(what: str, value: Any) -> None:
    """Refuse integers in a part where a layer that takes some elsewhere wants numbers."""
    for _, part in named_arrays(value):
        if is_integer(part):
            raise DTypeError(f"expected {what} as floating numbers, got {part.dtype}")


def check_cotangent(what: str, got: Any, like: Any) -> None:
    """Refuse what is not shaped as the value that it is a derivative in; None stands for integers."""
    if type(like) is np.ndarray and like.dtype in _REAL:
        # What fits passes without another call.
        if type(got) is not np.ndarray or got.shape != like.shape or got.dtype != like.dtype:
            check_like(what, got, like)
    elif isinstance(like, tuple):
        if not isinstance(got, tuple) or len(got) != len(like):
            kind = f"{len(got)} of them" if isinstance(got, tuple) else type(got).__name__
            raise ShapeError(f"expected {what} to be a tuple of {len(like)} arrays, got {kind}")
        for i, (part, each) in enumerate(zip(got, like, strict=True)):
            check_cotangent(f"{what}[{i}]", part, each)
    elif isinstance(like, np.ndarray):
        if is_integer(like):
            if got is not None:
                kind = type(got).__name__
                raise DTypeError(f"expected None as {what}, in the place of integers, got {kind}")
        else:
            check_like(what, got, like)


def check_precisions(y: Any, x: Any, params: Any) -> None:
    """Refuse floating parts of y in another precision than those of x, or of params if it has none."""
    if type(y) is type(x) is np.ndarray and (y.dtype is x.dtype or y.dtype == x.dtype):
        return
    given = [(name, part) for name, part in named_arrays(x, "x") if not is_integer(part)]
    if not given:
        given = [("the parameters", leaf) for leaf in leaves(params) if not is_integer(leaf)]
    for _, part in named_arrays(y, "y"):
        if given and not is_integer(part):
            check_precision(part, given[0][1], given[0][0])


def check_precision(x: Array, like: Array, what: str = "the parameters") -> None:
    """Refuse an array whose precision is not that of `like`, the layer's weights."""
    if x.dtype is like.dtype or x.dtype == like.dtype:
        return
    expected = _REAL.get(like.dtype, like.dtype)
    if _REAL[x.dtype] != expected:
        hint = f": Dataset(..., dtype='{expected}') or fit(..., dtype='{_REAL[x.dtype]}')"
        how = hint if what == "the parameters" else ""
        raise DTypeError(f"expected {expected} as {what}, got {x.dtype}; cast one of them{how}")


def check_like(what: str, got: Any, like: Array) -> None:
    """Refuse what is not an array of the shape and precision of `like`: it would broadcast or leak."""
    if (
        type(got) is np.ndarray
        and got.shape == like.shape
        and (got.dtype is like.dtype or got.dtype == like.dtype)
    ):
        return
    if type(got) is not np.ndarray:
        _check_subclass(what, got, f"{what} to be an array")
    if got.shape != like.shape:
        raise ShapeError(f"expected {what} of shape {like.shape}, got {got.shape}")
    if _REAL.get(got.dtype) != _REAL.get(like.dtype):
        raise DTypeError(f"expected {what} in {_REAL.get(like.dtype)}, got {got.dtype}")


def check_shaped(what: str, got: Any, shape: tuple[Any, ...]) -> None:
    """Refuse what is no array of that shape, or no tuple of arrays of such shapes."""
    if is_tuple_of_shapes(shape):
        if not isinstance(got, tuple) or len(got) != len(shape):
            kind = f"{len(got)} of them" if isinstance(got, tuple) else type(got).__name__
            raise ShapeError(f"expected {what} to be a tuple of {len(shape)} arrays, got {kind}")
        for i, (part, each) in enumerate(zip(got, shape, strict=True)):
            check_shaped(f"{what}[{i}]", part, each)
        return
    if type(got) is not np.ndarray:
        _check_subclass(what, got, f"{what} to be an array")
    if got.shape != shape:
        raise ShapeError(f"expected {what} of shape {shape}, got {got.shape}")


def check_entry(name: str, leaf: Array, shape: tuple[int, ...], like: Array) -> None:
    """Refuse an array in params or state that would broadcast, or change the precision."""
    if leaf.shape != shape:
        raise ShapeError(f"expected {name} of shape {shape}, got {leaf.shape}")
    if leaf.dtype != like.dtype and _REAL.get(leaf.dtype) != _REAL.get(like.dtype):
        raise DTypeError(f"expected {name} in {_REAL.get(like.dtype)}, got {leaf.dtype}")


def entries(what: str, tree: Any, names: tuple[str, ...]) -> list[Array]:
    """Return the arrays called `names` of params or state; none may be missing or beside them.

    Raises:
        TreeError: Saying what there is instead.
    """
    try:
        found = [tree[name] for name in names]
    except (KeyError, IndexError, TypeError):
        found = []
    if len(found) != len(names) or len(tree) != len(names):
        got = sorted(tree) if isinstance(tree, Mapping) else type(tree).__name__
        raise TreeError(f"expected {what} {sorted(names)}, got {got}; made by another network's init?")
    for name, leaf in zip(names, found, strict=True):
        if type(leaf) is not np.ndarray:
            if not isinstance(leaf, np.ndarray):
                raise TreeError(f"expected an array at {name}, got {type(leaf).__name__}")
            check_ordinary(name, leaf)
    return found
