"""Rows that are taken and written by their numbers, and questions about single numbers."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from fnn.compile.machine.loops import Code
from fnn.compile.machine.numpy_loops import MEMORY
from fnn.compile.machine.spaces import Dims
from fnn.compile.machine.types import in_memory, is_known, kind, literal, scalar
from fnn.compile.machine.work import uniform
from fnn.compile.program import Op, Ref


def _indices(value: Ref, index: Any) -> tuple[Ref, list[Ref], int] | None:
    """Return what rows are taken of, integers that say where, and of how many bytes a row is."""
    parts = list(index) if isinstance(index, tuple) else [index]
    offset, shape, strides = value.offset, value.shape, value.strides
    while parts and type(parts[0]) is int and shape and -shape[0] <= parts[0] < shape[0]:
        offset += (parts.pop(0) % shape[0]) * strides[0]
        shape, strides = shape[1:], strides[1:]
    if not parts or not all(isinstance(each, Ref) for each in parts) or len(parts) > len(shape):
        return None
    for each in parts:
        n = each.dtype.itemsize
        if each.dtype.kind != "i" or n not in (4, 8) or each.shape != parts[0].shape:
            return None
        if not _is_run(each.shape, each.strides, n) or not each.shape or 0 in each.shape:
            return None
    rest = shape[len(parts) :]
    if not _is_run(rest, strides[len(parts) :], value.dtype.itemsize) or 0 in shape:
        return None
    of = Ref(value.block, offset, shape, strides, value.dtype)
    return of, parts, math.prod(rest) * value.dtype.itemsize


def _is_run(shape: Dims, strides: Dims, n: int) -> bool:
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != n:
            return False
        n *= size
    return True


def _rows_at(value: Ref, parts: list[Ref], inner: list[str], *, clips: bool = False) -> list[str]:
    """Return a loop over rows: `%row` is where in the value one lies.

    What is out of it ends all, or is the first or the last row.
    """
    n = math.prod(parts[0].shape)
    lines = [
        "entry:",
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [ 0, %entry ], [ %in, %next ]",
    ]
    row = "%v"
    for k, part in enumerate(parts):
        size, stride, n_bytes = value.shape[k], value.strides[k], part.dtype.itemsize
        type_ = f"i{8 * n_bytes}"
        lines += [
            f"  %ip{k} = getelementptr {type_}, ptr %x{k}, i64 %i",
            f"  %f{k} = load {type_}, ptr %ip{k}, align {n_bytes}",
            f"  %w{k} = sext i32 %f{k} to i64" if n_bytes == 4 else f"  %w{k} = add i64 %f{k}, 0",
            f"  %hi{k} = icmp sgt i64 %w{k}, {size - 1}",
            f"  %g{k} = select i1 %hi{k}, i64 {size - 1}, i64 %w{k}"
            if clips
            else f"  %g{k} = add i64 %w{k}, 0",
            f"  %neg{k} = icmp slt i64 %g{k}, 0",
            f"  %up{k} = add i64 {0 if clips else f'%g{k}'}, {0 if clips else size}",
            f"  %at{k} = select i1 %neg{k}, i64 %up{k}, i64 %g{k}",
            f"  %ok{k} = icmp ult i64 %at{k}, {size}",
            f"  br i1 %ok{k}, label %in{k}, label %stop",
            f"in{k}:",
            f"  %off{k} = mul i64 %at{k}, {stride}",
            f"  %row{k} = getelementptr i8, ptr {row}, i64 %off{k}",
        ]
        row = f"%row{k}"
    lines += [each.replace("%row,", f"{row},") for each in inner]
    return [
        *lines,
        "  br label %next",
        "next:",
        "  %in = add nuw nsw i64 %i, 1",
        f"  %c = icmp ult i64 %in, {n}",
        "  br i1 %c, label %loop, label %done",
        "done:",
        "  ret i64 0",
        "stop:",
        "  ret i64 1",
        "}",
        "",
    ]


def gather(op: Op) -> Code | None:
    """Return the code of rows that are taken by their numbers."""
    is_taken = op.f is np.take and op.options.keys() <= {"axis", "mode"}
    if op.kind != "into" or op.out is None or len(op.args) != 2:
        return None
    if not is_taken and (op.f is not operator.getitem or op.options):
        return None
    mode = op.options.get("mode", "raise")
    if is_taken and (op.options.get("axis") != 0 or mode not in ("clip", "raise")):
        return None
    value, index = op.args
    if is_taken and not isinstance(index, Ref):
        return None
    found = _indices(value, index) if isinstance(value, Ref) else None
    if found is None or value.dtype != op.out.dtype or op.out.block is value.block:
        return None
    value, parts, size = found
    if not _is_run(op.out.shape, op.out.strides, op.out.dtype.itemsize):
        return None
    if op.out.shape != (*parts[0].shape, *value.shape[len(parts) :]):
        return None
    inner = [
        f"  %om = mul i64 %i, {size}",
        "  %o = getelementptr i8, ptr %out, i64 %om",
        f"  call void @llvm.memcpy.p0.p0.i64(ptr %o, ptr %row, i64 {size}, i1 false)",
    ]
    given = ", ".join(["ptr %v", "ptr %out", *(f"ptr %x{k}" for k in range(len(parts)))])
    text = "\n".join(
        [f"define i64 @F({given}) {{", *_rows_at(value, parts, inner, clips=mode == "clip")]
    )
    return Code(text, [value, op.out, *parts], [], MEMORY)


def scatter(op: Op) -> Code | None:
    """Return the code of rows that are written by their numbers, one after the other."""
    if op.kind != "do" or op.f is not operator.setitem or op.options:
        return None
    value, index, new = op.args
    found = _indices(value, index) if isinstance(value, Ref) else None
    if found is None or not is_known(value.dtype):
        return None
    value, parts, size = found
    whole = (*parts[0].shape, *value.shape[len(parts) :])
    name = kind(value.dtype)
    if isinstance(new, Ref) and uniform(new) is not None and new.dtype == value.dtype:
        new = uniform(new)
    given = ["ptr %v", *(f"ptr %x{k}" for k in range(len(parts)))]
    refs = [value, *parts]
    if isinstance(new, Ref):
        if new.dtype != value.dtype or new.shape != whole or new.block is value.block:
            return None
        if not _is_run(new.shape, new.strides, new.dtype.itemsize):
            return None
        inner = [
            f"  %om = mul i64 %i, {size}",
            "  %o = getelementptr i8, ptr %new, i64 %om",
            f"  call void @llvm.memcpy.p0.p0.i64(ptr %row, ptr %o, i64 {size}, i1 false)",
        ]
        given.append("ptr %new")
        refs.append(new)
    elif isinstance(new, int | float | np.generic) and size == value.dtype.itemsize and name != "b1":
        if name[0] != "f" and not isinstance(new, int):
            return None
        inner = [f"  store {scalar(name)} {literal(name, new)}, ptr %row, align {value.dtype.itemsize}"]
    else:
        return None
    text = "\n".join([f"define i64 @F({', '.join(given)}) {{", *_rows_at(value, parts, inner)])
    return Code(text, refs, [], MEMORY)


def guard(op: Op) -> Code | None:
    """Return the code that ends a program where a number is another than it was."""
    if op.kind != "guard" or op.f not in (bool, int) or len(op.args) != 1:
        return None
    (ref,) = op.args
    if not isinstance(ref, Ref) or not is_known(ref.dtype) or ref.dtype.kind not in "biu":
        return None
    if math.prod(ref.shape) != 1 or (op.f is bool) != (ref.dtype.kind == "b"):
        return None
    name, expected = kind(ref.dtype), int(op.options["expected"])
    type_ = in_memory(name)
    text = "\n".join(
        [
            "define i64 @F(ptr %x) {",
            f"  %v = load {type_}, ptr %x, align {ref.dtype.itemsize}",
            f"  %c = icmp ne {type_} %v, {expected}",
            "  %r = zext i1 %c to i64 ; ret i64 1",
            "  ret i64 %r",
            "}",
            "",
        ]
    )
    return Code(text, [ref], [])
