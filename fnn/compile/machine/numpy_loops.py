"""NumPy's own loops, called on arrays that lie as NumPy would give them to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.compile.machine.libraries import loop_of
from fnn.compile.machine.loops import Code
from fnn.compile.machine.spaces import Dims, are_apart, broadcast, in_order
from fnn.compile.machine.types import in_memory, is_known, kind, literal
from fnn.compile.program import Op, Ref

Before = Callable[[list[str]], list[str]]
"""What is done before each call: it is given the names of the pointers, and may change them."""


MEMORY = frozenset(
    [
        "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
        "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
    ]
)
"""Functions that write runs of memory."""


def called_loop(
    loop: tuple[int, int],
    refs: list[Ref],
    dims: Dims,
    strides: list[Dims],
    sizes: list[int],
    steps: list[int],
    before: Before = lambda _: [],
    constants: tuple[str, ...] = (),
    entry: tuple[str, ...] = (),
) -> Code:
    """Return a function that calls a loop of NumPy's, itself in loops over what that does not do.

    Args:
        loop: Where it lies, and what data it is given.
        refs: The arrays.
        dims, strides: The loops around it, and how far each array goes on in each of them.
        sizes, steps: What NumPy's loop is told.
        before: What is done before each call.
        constants: Numbers that stand in memory of the code.
        entry: What is done once, at first.
    """
    names = [f"%p{i}" for i in range(len(refs))]
    lines: list[str] = []
    here = "entry"
    last = len(dims) - 1
    for axis in range(len(dims)):
        back = f"%l{axis}" if axis == last else f"%x{axis + 1}"
        lines += [
            f"  br label %l{axis}",
            f"l{axis}:",
            f"  %i{axis} = phi i64 [ 0, %{here} ], [ %n{axis}, {back} ]",
        ]
        here = f"l{axis}"
    for i, each in enumerate(strides):
        for axis, step in enumerate(each):
            if step:
                lines += [
                    f"  %m{i}_{axis} = mul nsw i64 %i{axis}, {step}",
                    f"  %a{i}_{axis} = getelementptr i8, ptr {names[i]}, i64 %m{i}_{axis}",
                ]
                names[i] = f"%a{i}_{axis}"
    lines += before(names)
    for i, name in enumerate(names):
        lines += [
            f"  %s{i} = getelementptr ptr, ptr %args, i64 {i}",
            f"  store ptr {name}, ptr %s{i}, align 8",
        ]
    address, data = loop
    lines.append(
        f"  call void inttoptr (i64 {address} to ptr)(ptr %args, ptr @F.n, ptr @F.s, "
        f"ptr inttoptr (i64 {data} to ptr))"
    )
    for axis in reversed(range(len(dims))):
        lines += [
            f"  %n{axis} = add nuw nsw i64 %i{axis}, 1",
            f"  %c{axis} = icmp ult i64 %n{axis}, {dims[axis]}",
            f"  br i1 %c{axis}, label %l{axis}, label %x{axis}",
            f"x{axis}:",
        ]
    head = [
        f"@F.{name} = private constant [{len(values)} x i64] [{', '.join(f'i64 {v}' for v in values)}]"
        for name, values in (("n", sizes), ("s", steps))
    ]
    given = ", ".join(f"ptr %p{i}" for i in range(len(refs)))
    head += [*constants, f"define i64 @F({given}) {{", "entry:"]
    head.append(f"  %args = alloca [{len(steps)} x ptr]")
    return Code("\n".join([*head, *entry, *lines, "  ret i64 0", "}", ""]), refs, [])


def one_loop(op: Op) -> Code | None:
    """Return the code of a ufunc whose arrays are each one run, as one call of NumPy's own loop."""
    if op.kind != "out" or not isinstance(op.f, np.ufunc) or op.options or op.out is None:
        return None
    out = op.out
    if op.f.signature is not None or 0 in out.shape:
        return None
    if not all(isinstance(each, Ref) or type(each) in (int, float) for each in op.args):
        return None
    try:
        given = [each.dtype if isinstance(each, Ref) else type(each) for each in op.args]
        *ins, last = op.f.resolve_dtypes((*given, None))
    except TypeError:
        return None
    if last != out.dtype or not all(is_known(each) for each in (*ins, last)):
        return None
    if any(isinstance(r, Ref) and r.dtype != dtype for r, dtype in zip(op.args, ins, strict=True)):
        return None
    if any(isinstance(r, Ref) and r.mark() != out.mark() and not are_apart(r, out) for r in op.args):
        return None
    loop = loop_of(op.f, "".join(each.char for each in ins) + "->" + last.char)
    steps = _steps(op.args, ins, out)
    if loop is None or steps is None:
        return None
    dims, strides = steps
    refs = [each for each in (*op.args, out) if isinstance(each, Ref)]
    places = [i for i, each in enumerate((*op.args, out)) if isinstance(each, Ref)]
    constants = tuple(
        f"@F.c{i} = private constant {in_memory(kind(ins[i]))} {literal(kind(ins[i]), each)}"
        for i, each in enumerate(op.args)
        if not isinstance(each, Ref)
    )

    def arranged(names: list[str]) -> list[str]:
        found = dict(zip(places, names, strict=True))
        names[:] = [found.get(i, f"@F.c{i}") for i in range(len(op.args) + 1)]
        return []

    around = [strides[i][:-1] for i in places]
    along = [each[-1] for each in strides]
    return called_loop(loop, refs, dims[:-1], around, [dims[-1]], along, arranged, constants)


def _steps(args: tuple[Any, ...], ins: list[Any], out: Ref) -> tuple[Dims, list[Dims]] | None:
    """Return loops over arrays of which the last is over runs; None if it is not."""
    spread: list[Dims] = []
    for each in args:
        strides = broadcast(each, out.shape) if isinstance(each, Ref) else (0,) * len(out.shape)
        if strides is None:
            return None
        spread.append(strides)
    found = in_order(out.shape, out.strides, spread)
    if found is None:
        return None
    dims, (own, *others) = found
    sizes = [*(dtype.itemsize for dtype in ins), out.dtype.itemsize]
    if dims[-1] > 1 and own[-1] != out.dtype.itemsize:
        return None
    if any(each[-1] not in (0, n) for each, n in zip((*others, own), sizes, strict=True)):
        return None
    return dims, [*others, own]
