"""Whether two layers or functions of somebody's own are the same thing made twice."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from fnn.layers.contract import Layer
from fnn.recipe import HasRecipe


def alike(a: Any, b: Any) -> bool:
    """Return whether two values do the same, as far as can be seen without calling them.

    Functions do if they have one code and alike defaults and captured values: a constructor whose
    lambdas are made anew at every call makes alike layers by alike calls.
    """
    return _alike(a, b, set())


def _alike(a: Any, b: Any, pairs: set[tuple[int, int]]) -> bool:
    if a is b or (id(a), id(b)) in pairs:  # A function may capture itself.
        return True
    if type(a) is not type(b):
        return False
    pairs.add((id(a), id(b)))
    if isinstance(a, types.FunctionType):
        return a.__code__ == b.__code__ and _alike(_captured(a), _captured(b), pairs)
    if isinstance(a, Layer) and (a.name, a.traits) != (b.name, b.traits):
        return False
    if isinstance(a, HasRecipe):
        one, other = a.made_by(), b.made_by()
        return _alike((one.call, one.args, one.kwargs), (other.call, other.args, other.kwargs), pairs)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(_alike(*each, pairs) for each in zip(a, b, strict=True))
    if type(a) is dict:
        return a.keys() == b.keys() and all(_alike(a[name], b[name], pairs) for name in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return repr(a) == repr(b)
    try:
        return bool(a == b)
    except Exception:  # Whatever somebody's own comparison does.
        return False


def _captured(fn: types.FunctionType) -> list[Any]:
    return [fn.__defaults__, fn.__kwdefaults__, list(map(_content, fn.__closure__ or ()))]


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # Nothing is in it yet.
        return None
