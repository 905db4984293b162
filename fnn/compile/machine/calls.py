"""Operations of other kinds than elementwise ones as machine code."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from fnn.compile.machine.libraries import loop_of
from fnn.compile.machine.loops import Code
from fnn.compile.machine.primitives import PRIMITIVES, Lines
from fnn.compile.machine.products import called_loop, dot, matmul
from fnn.compile.machine.spaces import Dims, broadcast, in_order
from fnn.compile.machine.types import LANES, in_memory, is_known, kind, literal, scalar, wide
from fnn.compile.machine.work import uniform
from fnn.compile.program import Op, Ref

_FIRST = {np.add: 0, np.multiply: 1, np.logical_and: True, np.logical_or: False}
"""What a reduction begins with; others begin with the first number."""


def native(op: Op | None) -> Code | None:
    """Return the code of an operation; None for what NumPy is called for."""
    if op is None:
        return None
    for make in (dot, matmul, reduction, one_loop, gather, scatter, guard):
        found = make(op)
        if found is not None:
            return found
    return None


# --- NumPy's own loops ---


def one_loop(op: Op) -> Code | None:
    """Return the code of a ufunc whose arrays are each one run, as one call of NumPy's own loop."""
    if op.kind != "out" or not isinstance(op.f, np.ufunc) or op.options or op.out is None:
        return None
    refs: list[Any] = [*op.args, op.out]
    if op.f.signature is not None or 0 in op.out.shape:
        return None
    numbers = [each if isinstance(each, int | float) else None for each in op.args]
    given = [type(n) if n is not None else getattr(r, "dtype", None) for n, r in zip(numbers, refs)]
    if not all(isinstance(each, Ref | int | float) and not isinstance(each, bool) for each in refs):
        return None
    try:
        *ins, last = op.f.resolve_dtypes((*given, None))
    except TypeError:
        return None
    if any(n is None and r.dtype != dtype for n, r, dtype in zip(numbers, refs, ins, strict=False)):
        return None
    if last != op.out.dtype or not all(is_known(each) for each in (*ins, last)):
        return None
    out = op.out
    spread = [broadcast(each, out.shape) if isinstance(each, Ref) else (0,) * len(out.shape) for each in op.args]
    found = None if any(s is None for s in spread) else in_order(out.shape, out.strides, spread)  # type: ignore[arg-type]
    loop = loop_of(op.f, "".join(each.char for each in ins) + "->" + last.char)
    if found is None or loop is None or len(found[0]) != 1:
        return None
    (size,), strides = found
    steps = [each[0] for each in strides[1:]] + [strides[0][0]]
    if any(
        step not in (0, each.itemsize) or (step == 0 and size > 1 and i == len(ins))
        for i, (step, each) in enumerate(zip(steps, (*ins, last), strict=True))
    ):
        return None
    if any(isinstance(r, Ref) and r.block is out.block and r.mark() != out.mark() for r in op.args):
        return None
    return _with_numbers(called_loop(loop, refs, (), [()] * len(refs), [size], steps), ins)


def _with_numbers(code: Code, ins: list[Any]) -> Code:
    """Return the code with numbers among its arrays as constants of its own."""
    text, refs = code.text, []
    for i, ref in enumerate(code.refs):
        if isinstance(ref, Ref):
            refs.append(ref)
            continue
        name = kind(ins[i])
        text = text.replace(f"ptr %p{i}, ptr %s{i},", f"ptr @F.c{i}, ptr %s{i},")
        text = text.replace(f"ptr %p{i}, ", "", 1)
        text = f"@F.c{i} = private constant {in_memory(name)} {literal(name, ref)}\n" + text
    return Code(text, refs, code.names, code.intrinsics)


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
    if a.block is op.out.block:
        return None
    axes = range(len(a.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    found = _reduced(a, op.out, {i % max(1, len(a.shape)) for i in axes}, bool(keepdims))
    if found is None:
        return None
    dims, along, out = found
    if not out[-1] or len(dims) == 1:
        return _rows(ufunc, a, op.out, dims, along, out)
    return _columns(ufunc, a, op.out, dims, along, out)


def _reduced(a: Ref, out: Ref, axes: set[int], keepdims: bool) -> tuple[Dims, Dims, Dims] | None:
    """Return loops over an array in the order of its memory, its strides and those of what comes out."""
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
    for size, stride in zip(reversed(dims), reversed(along), strict=True):
        if stride != n:
            return None
        n *= size
    if len(dims) > 3 or any(bool(x) == bool(y) for x, y in zip(to, to[1:], strict=False)):
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
    size, n = dims[-1], a.dtype.itemsize
    name = kind(a.dtype)
    type_ = in_memory(name)
    code = called_loop(
        loop, [out, a, out], dims[:-1], [to[:-1], along[:-1], to[:-1]],
        [size if ufunc in _FIRST else size - 1], [0, n, 0],
    )  # fmt: skip
    *_, row = (line.split("store ptr ")[1].split(",")[0] for line in code.text.split("\n") if ", ptr %s1," in line)
    *_, cell = (line.split("store ptr ")[1].split(",")[0] for line in code.text.split("\n") if ", ptr %s0," in line)
    if ufunc in _FIRST:
        first = literal(name, _FIRST[ufunc])
        begin = f"  store {type_} {int(first == 'true') if name == 'b1' else first}, ptr {cell}, align {n}\n"
        text = code.text
    else:
        begin = f"  %f = load {type_}, ptr {row}, align {n}\n  store {type_} %f, ptr {cell}, align {n}\n"
        begin += f"  %second = getelementptr i8, ptr {row}, i64 {n}\n"
        text = code.text.replace(f"store ptr {row}, ptr %s1,", "store ptr %second, ptr %s1,")
    if size == 1 and ufunc not in _FIRST:
        return None
    marker = "  %s1 = getelementptr"
    text = text.replace(marker, begin + marker, 1)
    return Code(text, [out, a, out], [], code.intrinsics)


def _columns(ufunc: np.ufunc, a: Ref, out: Ref, dims: Dims, along: Dims, to: Dims) -> Code | None:
    """Return sums of rows, one after the other, for so many columns at once."""
    name = kind(a.dtype)
    if ufunc not in (np.add, np.multiply, np.maximum, np.minimum) or name not in ("f4", "f8"):
        return None
    if to[-1] != a.dtype.itemsize:
        return None
    outer = dims[0] if len(dims) == 3 else 1
    size, width = dims[-2:]
    row, n = along[-2], a.dtype.itemsize
    lines: list[str] = []
    names = iter(range(10**9))
    blocks = [(0, LANES, width // LANES)] if width >= LANES else []
    at, lanes = width - width % LANES, LANES // 2
    while lanes:
        if at + lanes <= width:
            blocks.append((at, lanes, 1))
            at += lanes
        lanes //= 2
    here = "outer"
    for k, (start, lanes, count) in enumerate(blocks):
        to_ = Lines(lanes, names, lines)
        type_ = wide(scalar(name), lanes)
        first = to_.number(name, _FIRST[ufunc]) if ufunc in _FIRST else "%first" + str(k)
        lines += [
            f"  br label %b{k}",
            f"b{k}:",
            f"  %j{k} = phi i64 [ 0, %{here} ], [ %j{k}n, %e{k} ]",
            f"  %o{k} = mul i64 %j{k}, {lanes * n}",
            f"  %q{k} = add i64 %o{k}, {start * n}",
            f"  %a{k} = getelementptr i8, ptr %ao, i64 %q{k}",
            f"  %c{k} = getelementptr i8, ptr %co, i64 %q{k}",
        ]
        begin = 0
        if ufunc not in _FIRST:
            lines.append(f"  %first{k} = load {type_}, ptr %a{k}, align {n}")
            begin = 1
        lines += [
            f"  br label %r{k}",
            f"r{k}:",
            f"  %i{k} = phi i64 [ {begin}, %b{k} ], [ %i{k}n, %r{k} ]",
            f"  %s{k} = phi {type_} [ {first}, %b{k} ], [ %t{k}, %r{k} ]",
            f"  %w{k} = mul i64 %i{k}, {row}",
            f"  %p{k} = getelementptr i8, ptr %a{k}, i64 %w{k}",
            f"  %x{k} = load {type_}, ptr %p{k}, align {n}",
        ]
        value = PRIMITIVES[ufunc](to_, name, f"%s{k}", f"%x{k}")
        lines += [
            f"  %t{k} = select i1 true, {type_} {value}, {type_} {value}",
            f"  %i{k}n = add i64 %i{k}, 1",
            f"  %i{k}c = icmp ult i64 %i{k}n, {size}",
            f"  br i1 %i{k}c, label %r{k}, label %e{k}",
            f"e{k}:",
            f"  store {type_} %t{k}, ptr %c{k}, align {n}",
            f"  %j{k}n = add i64 %j{k}, 1",
            f"  %j{k}c = icmp ult i64 %j{k}n, {count}",
            f"  br i1 %j{k}c, label %b{k}, label %z{k}",
            f"z{k}:",
        ]
        here = f"z{k}"
    if size < 2 and ufunc not in _FIRST:
        return None
    head = [
        "define i64 @F(ptr %a, ptr %c) {",
        "entry:",
        "  br label %outer",
        "outer:",
        f"  %u = phi i64 [ 0, %entry ], [ %un, %{here} ]",
        f"  %ua = mul i64 %u, {along[0] if outer > 1 else 0}",
        f"  %uc = mul i64 %u, {to[0] if outer > 1 else 0}",
        "  %ao = getelementptr i8, ptr %a, i64 %ua",
        "  %co = getelementptr i8, ptr %c, i64 %uc",
    ]
    end = [
        "  %un = add i64 %u, 1",
        f"  %ud = icmp ult i64 %un, {outer}",
        "  br i1 %ud, label %outer, label %done",
        "done:",
        "  ret i64 0",
        "}",
        "",
    ]
    return Code("\n".join([*head, *lines, *end]), [a, out], [])


# --- places ---


def _indices(value: Ref, index: Any) -> tuple[list[Ref], int] | None:
    """Return arrays of integers that say where the rows are, and of how many bytes a row is."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if not parts or not all(isinstance(each, Ref) for each in parts) or len(parts) > len(value.shape):
        return None
    shape = parts[0].shape
    for each in parts:
        if each.dtype.kind not in "iu" or each.dtype.itemsize != 8 or each.shape != shape:
            return None
        if not _is_run(each.shape, each.strides, 8) or not shape or 0 in shape:
            return None
    rest = value.shape[len(parts) :]
    if not _is_run(rest, value.strides[len(parts) :], value.dtype.itemsize) or 0 in value.shape:
        return None
    return parts, math.prod(rest) * value.dtype.itemsize


def _is_run(shape: Dims, strides: Dims, n: int) -> bool:
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != n:
            return False
        n *= size
    return True


_COPY = frozenset(["declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)"])


def _rows_at(value: Ref, parts: list[Ref], inner: list[str]) -> list[str]:
    """Return a loop over rows: `%row` is where in the value one lies; what is out of it ends all."""
    n = math.prod(parts[0].shape)
    lines = [
        "entry:",
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [ 0, %entry ], [ %in, %next ]",
    ]
    row = "%v"
    for k, _ in enumerate(parts):
        size, stride = value.shape[k], value.strides[k]
        lines += [
            f"  %ip{k} = getelementptr i64, ptr %x{k}, i64 %i",
            f"  %g{k} = load i64, ptr %ip{k}, align 8",
            f"  %neg{k} = icmp slt i64 %g{k}, 0",
            f"  %up{k} = add i64 %g{k}, {size}",
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
    if op.kind != "into" or op.f is not operator.getitem or op.out is None or op.options:
        return None
    value, index = op.args
    found = _indices(value, index) if isinstance(value, Ref) else None
    if found is None or value.dtype != op.out.dtype or op.out.block is value.block:
        return None
    parts, size = found
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
    text = "\n".join([f"define i64 @F({given}) {{", *_rows_at(value, parts, inner)])
    return Code(text, [value, op.out, *parts], [], _COPY)


def scatter(op: Op) -> Code | None:
    """Return the code of rows that are written by their numbers, one after the other."""
    if op.kind != "do" or op.f is not operator.setitem or op.options:
        return None
    value, index, new = op.args
    found = _indices(value, index) if isinstance(value, Ref) else None
    if found is None or not is_known(value.dtype):
        return None
    parts, size = found
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
    return Code(text, refs, [], _COPY)


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


