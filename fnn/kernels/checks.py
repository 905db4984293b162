"""What the arrays that layers meet must be; each check names what was expected and what came.

They run at every call, so whatever is right passes by a comparison or two. Dtypes are compared by
value: an array that was pickled, or read from a file, brings an equal dtype that is another object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn.errors import DTypeError, ShapeError, TreeError
from fnn.tree import Array

_REAL = {np.dtype(c): np.dtype(r) for c, r in (("F", "f"), ("D", "d"), ("f", "f"), ("d", "d"))}


def check_array(x: Any, n_axes: int = 1) -> None:
    """Refuse what is not a float or complex array with at least `n_axes` axes, the batch's included.

    Raises:
        DTypeError, ShapeError: Saying what came.
    """
    if not isinstance(x, np.ndarray):
        raise DTypeError(f"expected an array, got {type(x).__name__}")
    if x.dtype not in _REAL:
        raise DTypeError(f"expected float32, float64 or their complex counterparts, got {x.dtype}")
    if x.ndim < n_axes:
        raise ShapeError(f"expected {n_axes} or more axes, the batch first, got {x.shape}")


def check_precision(x: Array, like: Array, what: str = "the parameters") -> None:
    """Refuse an array whose precision is not that of `like`, the layer's weights."""
    if x.dtype == like.dtype:
        return
    expected = _REAL.get(like.dtype, like.dtype)
    if _REAL[x.dtype] != expected:
        raise DTypeError(f"expected {expected} as {what}, got {x.dtype}; cast one of them")


def check_like(what: str, got: Any, like: Array) -> None:
    """Refuse what is not an array of the shape and precision of `like`: it would broadcast or leak."""
    if type(got) is np.ndarray and got.shape == like.shape and got.dtype == like.dtype:
        return
    if not isinstance(got, np.ndarray):
        raise DTypeError(f"expected {what} to be an array, got {type(got).__name__}")
    if got.shape != like.shape:
        raise ShapeError(f"expected {what} of shape {like.shape}, got {got.shape}")
    if _REAL.get(got.dtype) != _REAL.get(like.dtype):
        raise DTypeError(f"expected {what} in {_REAL.get(like.dtype)}, got {got.dtype}")


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
        if type(leaf) is not np.ndarray and not isinstance(leaf, np.ndarray):
            raise TreeError(f"expected an array at {name}, got {type(leaf).__name__}")
    return found
