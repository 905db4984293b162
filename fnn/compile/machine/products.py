"""Products as calls of NumPy's own BLAS, and of its loop of `matmul`."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from fnn.compile.machine.libraries import Blas, blas, loop_of
from fnn.compile.machine.loops import Code
from fnn.compile.machine.numpy_loops import MEMORY, called_loop
from fnn.compile.machine.spaces import are_apart, broadcast, coalesced
from fnn.compile.program import Op, Ref

_ROWS, _COLUMNS, _PLAIN, _TRANSPOSED = 101, 102, 111, 112


def _is_c(ref: Ref) -> bool:
    n = ref.dtype.itemsize
    for size, stride in zip(reversed(ref.shape), reversed(ref.strides), strict=True):
        if size != 1 and stride != n:
            return False
        n *= size
    return True


def _is_f(ref: Ref) -> bool:
    return _is_c(Ref(ref.block, ref.offset, ref.shape[::-1], ref.strides[::-1], ref.dtype))


def _form(ref: Ref) -> str:
    """Return what NumPy takes an array for when it chooses a routine."""
    if ref.shape in ((), (1,), (1, 1)):
        return "scalar"
    if len(ref.shape) == 1 or ref.shape[1] == 1:
        return "column"
    return "row" if ref.shape[0] == 1 else "matrix"


def _is_taken(ref: Ref) -> bool:
    """Return whether NumPy gives an array to BLAS as it lies, without a copy."""
    return _is_c(ref) or _is_f(ref) or _form(ref) in ("row", "column")


def _step(ref: Ref) -> int:
    """Return how many numbers it is from one entry of a vector to the next."""
    axis = 1 if _form(ref) == "row" else 0
    return ref.strides[axis] // ref.dtype.itemsize


def dot(op: Op) -> Code | None:
    """Return the code of `np.dot`: the same routine with the same arguments as NumPy's own call."""
    if op.kind != "out" or op.f is not np.dot or op.options or len(op.args) != 2 or op.out is None:
        return None
    a, b = op.args
    if not isinstance(a, Ref) or not isinstance(b, Ref) or not a.dtype == b.dtype == op.out.dtype:
        return None
    if a.dtype.str not in ("<f4", "<f8") or max(len(a.shape), len(b.shape)) > 2:
        return None
    refs, n = (a, b, op.out), a.dtype.itemsize
    if any(0 in ref.shape or ref.offset % n or not _is_taken(ref) for ref in refs[:2]):
        return None
    library = blas()
    if library is None or not _is_c(op.out) or not all(are_apart(r, op.out) for r in (a, b)):
        return None
    if any(
        stride < 0 or (not stride and size > 1)
        for r in (a, b)
        for size, stride in zip(r.shape, r.strides, strict=True)
    ):
        return None
    call = _call(library, a, b, op.out)
    if call is None:
        return None
    text = f"define i64 @F(ptr %a, ptr %b, ptr %c) {{\n{call}  ret i64 0\n}}\n"
    return Code(text, [a, b, op.out], [], MEMORY)


def _call(library: Blas, a: Ref, b: Ref, out: Ref) -> str | None:
    forms = _form(a), _form(b)
    prefix, real = ("s", "float") if a.dtype.itemsize == 4 else ("d", "double")
    whole = library.integer

    def call(name: str, result: str, *given: str) -> str | None:
        address = library.address(prefix + name)
        if address is None:
            return None
        return f"call {result} inttoptr (i64 {address} to ptr)({', '.join(given)})\n"

    def counts(*numbers: int) -> list[str]:
        return [f"{whole} {number}" for number in numbers]

    if "scalar" in forms:
        return None
    if forms[1] == "column" and forms[0] != "matrix":
        n = math.prod(a.shape)
        text = call("dot", real, *counts(n), "ptr %a", *counts(_step(a)), "ptr %b", *counts(_step(b)))
        return text and f"  %r = {text}  store {real} %r, ptr %c, align {a.dtype.itemsize}\n"
    one, zero = f"{real} 1.0", f"{real} 0.0"
    if "matrix" in forms and forms != ("matrix", "matrix"):
        matrix, vector = (a, b) if forms[0] == "matrix" else (b, a)
        m, x = ("%a", "%b") if matrix is a else ("%b", "%a")
        order, lead = (_ROWS, matrix.shape[1]) if _is_c(matrix) else (_COLUMNS, matrix.shape[0])
        turn = _PLAIN if matrix is a else _TRANSPOSED
        text = call(
            "gemv", "void", f"i32 {order}", f"i32 {turn}", *counts(*matrix.shape), one, f"ptr {m}",
            *counts(lead), f"ptr {x}", *counts(_step(vector)), zero, "ptr %c", *counts(1),
        )  # fmt: skip
        size = math.prod(out.shape) * out.dtype.itemsize
        clear = f"  call void @llvm.memset.p0.i64(ptr %c, i8 0, i64 {size}, i1 false)\n"
        return text and f"{clear}  {text}"
    if len(a.shape) != 2 or len(b.shape) != 2 or (a.block is b.block and a.offset == b.offset):
        return None  # NumPy takes another routine for a matrix and its transpose.
    if not all(_is_c(ref) or _is_f(ref) for ref in (a, b)):
        return None
    turns, leads = [], []
    for ref in (a, b):
        turns.append(_TRANSPOSED if _is_f(ref) else _PLAIN)
        leads.append(max(1, ref.shape[0] if _is_f(ref) else ref.shape[1]))
    text = call(
        "gemm", "void", f"i32 {_ROWS}", *(f"i32 {turn}" for turn in turns),
        *counts(a.shape[0], b.shape[1], b.shape[0]), one, "ptr %a", *counts(leads[0]), "ptr %b",
        *counts(leads[1]), zero, "ptr %c", *counts(max(1, b.shape[1])),
    )  # fmt: skip
    return text and f"  {text}"


def _as_matrices(a: Ref, b: Ref, out: Ref) -> list[Ref]:
    """Return the operands of `matmul`, of which each may be a vector, as NumPy's loop sees them."""
    if len(b.shape) == 1:
        b = attrs.evolve(b, shape=(*b.shape, 1), strides=(*b.strides, 0))
        out = attrs.evolve(out, shape=(*out.shape, 1), strides=(*out.strides, 0))
        if len(a.shape) == 1:
            out = attrs.evolve(out, shape=(1, 1), strides=(0, 0))
    elif len(a.shape) == 1:
        shape, strides = out.shape, out.strides
        out = attrs.evolve(
            out, shape=(*shape[:-1], 1, shape[-1]), strides=(*strides[:-1], 0, strides[-1])
        )
    if len(a.shape) == 1:
        a = attrs.evolve(a, shape=(1, *a.shape), strides=(0, *a.strides))
    return [a, b, out]


def matmul(op: Op) -> Code | None:
    """Return the code of `np.matmul`: NumPy's own loop, once for every stack of products."""
    if op.f is not np.matmul or op.kind != "out" or op.options or len(op.args) != 2 or op.out is None:
        return None
    refs: list[Any] = [*op.args, op.out]
    if not all(isinstance(ref, Ref) and ref.shape for ref in refs[:2]):
        return None
    a, b, out = refs = _as_matrices(*refs)
    if not a.dtype == b.dtype == out.dtype or a.dtype.str not in ("<f4", "<f8"):
        return None
    if not all(are_apart(r, out) for r in (a, b)) or any(0 in ref.shape for ref in refs):
        return None
    letter = a.dtype.char
    loop = loop_of(np.matmul, f"{letter}{letter}->{letter}")
    stack = out.shape[:-2]
    above = [broadcast(Ref(r.block, 0, r.shape[:-2], r.strides[:-2], r.dtype), stack) for r in refs]
    if loop is None or any(each is None for each in above):
        return None
    axes = [i for i, size in enumerate(stack) if size != 1]
    strides = [tuple(each[i] for i in axes) for each in above if each is not None]
    dims, strides = coalesced(tuple(stack[i] for i in axes), strides)
    sizes = [dims[-1], a.shape[-2], a.shape[-1], b.shape[-1]]
    steps = [each[-1] for each in strides] + [s for ref in refs for s in ref.strides[-2:]]
    return called_loop(loop, refs, dims[:-1], [each[:-1] for each in strides], sizes, steps)
