"""Operations are written in simpler ones before they are grouped; what they compute stays the same."""

from __future__ import annotations

import math
import operator
from typing import Any

import attrs
import numpy as np

from fnn.compile.machine.spaces import are_apart
from fnn.compile.program import Name, Op, Ref

_PURE = frozenset(
    (operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
     operator.pow, operator.neg, operator.abs, math.sqrt, math.exp, math.log, math.cos, float, max, min)
)  # fmt: skip


def rewritten(ops: list[Op]) -> list[Op]:
    """Return operations that do the same: equal numbers once, arrays that are joined as copies."""
    known: dict[Any, str] = {}
    names: dict[str, str] = {}
    found: list[Op] = []
    for each in ops:
        op = _renamed(each, names) if names else each
        if op.kind == "number" and _is_pure(op):
            mark = op.f, repr(op.args)
            if mark in known:
                names[op.name] = known[mark]
                continue
            known[mark] = op.name
        found += _copies(op) or [op]
    return found


def _is_pure(op: Op) -> bool:
    """Return whether a number depends on other numbers alone."""
    return op.f in _PURE and all(type(each) in (Name, int, float) for each in op.args)


def _renamed(op: Op, names: dict[str, str]) -> Op:
    def renamed(given: Any) -> Any:
        if isinstance(given, Name):
            return Name(names.get(given.name, given.name))
        if type(given) in (tuple, list):
            return type(given)(map(renamed, given))
        if type(given) is slice:
            return slice(*map(renamed, (given.start, given.stop, given.step)))
        return given

    options = {name: renamed(each) for name, each in op.options.items()}
    return attrs.evolve(op, args=renamed(op.args), options=options)


def _copies(op: Op) -> list[Op] | None:
    """Return a stack, or arrays that are put one after the other, as copies; None for others."""
    if op.f not in (np.stack, np.concatenate) or op.kind != "out" or op.out is None:
        return None
    out, axis = op.out, op.options.get("axis", 0)
    if op.options.keys() - {"axis"} or len(op.args) != 1 or not isinstance(op.args[0], tuple | list):
        return None
    parts = op.args[0]
    if not all(isinstance(r, Ref) and r.dtype == out.dtype and are_apart(r, out) for r in parts):
        return None
    if type(axis) is not int or not out.shape:
        return None
    axis %= len(out.shape)
    copies, start = [], 0
    for part in parts:
        shape, strides = list(out.shape), list(out.strides)
        offset = out.offset + start * strides[axis]
        if op.f is np.stack:
            del shape[axis], strides[axis]
            start += 1
        else:
            shape[axis] = part.shape[axis]
            start += part.shape[axis]
        if tuple(shape) != part.shape:
            return None
        place = Ref(out.block, offset, part.shape, tuple(strides), out.dtype)
        copies.append(Op("copy", None, (part,), {}, place))
    return copies if start == out.shape[axis] else None
