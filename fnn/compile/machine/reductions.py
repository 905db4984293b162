"""Reductions of arrays that are one run of memory, by NumPy's own loops."""

from __future__ import annotations

import itertools
import math
from typing import Any

import attrs
import numpy as np

from fnn.compile.machine.libraries import loop_of
from fnn.compile.machine.loops import Code
from fnn.compile.machine.numpy_loops import MEMORY, called_loop
from fnn.compile.machine.spaces import Dims, are_apart, in_order
from fnn.compile.machine.types import in_memory, is_known, kind, literal
from fnn.compile.program import Op, Ref

_FIRST: dict[Any, Any] = {np.add: 0, np.multiply: 1, np.logical_and: True, np.logical_or: False}
"""What a reduction begins with; others begin with the first number."""


def reduction(op: Op) -> Code | None:
    """Return the code of a reduction of an array that is one run of memory."""
    ufunc = getattr(op.f, "__self__", None)
    if op.kind != "out" or not isinstance(ufunc, np.ufunc) or op.f != ufunc.reduce or op.out is None:
        return None
    options = dict(op.options)
    axis, keepdims = options.pop("axis", 0), options.pop("keepdims", False)
    if options.pop("dtype", None) is not None or options or len(op.args) != 1:
        return None
    (a,) = op.args
    if not isinstance(a, Ref) or a.dtype != op.out.dtype or not is_known(a.dtype) or 0 in a.shape:
        return None
    if not are_apart(a, op.out):
        return None
    axes = range(len(a.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    found = _reduced(a, op.out, {i % max(1, len(a.shape)) for i in axes}, bool(keepdims))
    if found is None:
        return None
    dims, along, out = found
    if not out[-1]:
        return _rows(ufunc, a, op.out, dims, along, out)
    return _columns(ufunc, a, op.out, dims, along, out)


def _reduced(a: Ref, out: Ref, axes: set[int], keepdims: bool) -> tuple[Dims, Dims, Dims] | None:
    """Return loops over an array in the order of its memory, and the strides of it and its sums."""
    steps, left = [], list(out.strides)
    for i in range(len(a.shape)):
        if i in axes:
            steps.append(0)
            if keepdims:
                left.pop(0)
        else:
            steps.append(left.pop(0))
    found = in_order(a.shape, a.strides, [tuple(steps)])
    if found is None or left:
        return None
    dims, (along, to) = found
    n = a.dtype.itemsize
    if dims == (1,):
        return None
    if not axes or all(to):  # Every sum is of one number.
        dims, along, to = (1, *dims), (n * dims[-1], *along), (0, *to)
    for size, stride in zip(reversed(dims), reversed(along), strict=True):
        if stride != n:
            return None
        n *= size
    if len(dims) > 3 or any(bool(x) == bool(y) for x, y in itertools.pairwise(to)):
        return None
    return dims, along, to


def _rows(ufunc: np.ufunc, a: Ref, out: Ref, dims: Dims, along: Dims, to: Dims) -> Code | None:
    """Return NumPy's own loop, once for every row."""
    if len(dims) > 2:
        return None
    char = a.dtype.char
    loop = loop_of(ufunc, f"{char}{char}->{char}")
    if loop is None:
        return None
    size, n, begins = dims[-1], a.dtype.itemsize, ufunc in _FIRST
    if size == 1 and not begins:
        return None
    type_ = in_memory(kind(a.dtype))

    def begun(names: list[str]) -> list[str]:
        cell, row, _ = names
        if begins:
            first = literal(kind(a.dtype), _FIRST[ufunc])
            first = {"true": "1", "false": "0"}.get(first, first)
            return [f"  store {type_} {first}, ptr {cell}, align {n}"]
        names[1] = "%second"
        return [
            f"  %first = load {type_}, ptr {row}, align {n}",
            f"  store {type_} %first, ptr {cell}, align {n}",
            f"  %second = getelementptr i8, ptr {row}, i64 {n}",
        ]

    around = [to[:-1], along[:-1], to[:-1]]
    return called_loop(loop, [out, a, out], dims[:-1], around, [size - (not begins)], [0, n, 0], begun)


def _columns(ufunc: np.ufunc, a: Ref, out: Ref, dims: Dims, along: Dims, to: Dims) -> Code | None:
    """Return NumPy's own loop of the ufunc, which adds row after row to what comes out."""
    char, n = a.dtype.char, a.dtype.itemsize
    loop = loop_of(ufunc, f"{char}{char}->{char}")
    *outer, size, width = dims
    if loop is None or to[-1] != n or (outer and to[0] != width * n):
        return None
    refs, strides, total = [out, a, out], [to[:-1], along[:-1], to[:-1]], math.prod(outer) * width * n
    if ufunc is np.add:
        begin = f"  call void @llvm.memset.p0.i64(ptr %p0, i8 0, i64 {total}, i1 false)"
    elif outer or size < 2:
        return None
    else:
        begin = f"  call void @llvm.memcpy.p0.p0.i64(ptr %p0, ptr %p1, i64 {total}, i1 false)"
        size -= 1

    def begun(names: list[str]) -> list[str]:
        if ufunc is np.add:
            return []
        row, names[1] = names[1], "%next"
        return [f"  %next = getelementptr i8, ptr {row}, i64 {along[-2]}"]

    around = (*outer, size)
    code = called_loop(loop, refs, around, strides, [width], [n, n, n], begun, entry=(begin,))
    return attrs.evolve(code, intrinsics=MEMORY)
