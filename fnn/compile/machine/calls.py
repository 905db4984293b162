"""What machine code calls in turn: a function for each operation, and one that calls many of them."""

from __future__ import annotations

import ctypes

import numpy as np

from fnn.compile.machine.loops import Code
from fnn.compile.machine.numpy_loops import one_loop
from fnn.compile.machine.places import gather, guard, scatter
from fnn.compile.machine.products import dot, matmul
from fnn.compile.machine.reductions import reduction
from fnn.compile.program import Block, Name, Op

Array = np.ndarray

DATA_AT = 16
"""Where in an array's object the address of its numbers stands."""

KINDS = (dot, matmul, reduction, one_loop, gather, scatter, guard)
"""What gives the code of an operation, or None if it is of another kind."""


def native(op: Op | None) -> Code | None:
    """Return the code of an operation; None for what NumPy is called for."""
    if op is None:
        return None
    return next((code for make in KINDS if (code := make(op)) is not None), None)


def arrays_are_known() -> bool:
    """Return whether the address of an array's numbers stands where it is looked for."""
    array = np.empty(3)
    if object.__basicsize__ != DATA_AT:
        return False
    return ctypes.c_void_p.from_address(id(array) + DATA_AT).value == array.ctypes.data


class Segment:
    """Functions in turn, without Python in between."""

    def __init__(self, inputs: dict[Block, tuple[str, int]]) -> None:
        """Begin without any; `inputs` are names of arrays, and of how many bytes their numbers are."""
        self._inputs = inputs
        self.blocks: list[Block] = []
        self._given: list[Block] = []
        self._names: list[str] = []
        self._calls: list[tuple[Code, int]] = []

    def add(self, code: Code, address: int) -> None:
        """Call one more function, after the others."""
        self._calls.append((code, address))
        for ref in code.refs:
            known = self._given if ref.block in self._inputs else self.blocks
            if ref.block not in known:
                known.append(ref.block)
        self._names += [name for name in code.names if name not in self._names]

    def code(self) -> Code:
        """Return the function: of the table of addresses, the arrays of a batch and numbers."""
        lines, base = [], {}
        for i, block in enumerate(self.blocks):
            lines += [
                f"  %q{i} = getelementptr i64, ptr %t, i64 {i}",
                f"  %b{i} = load ptr, ptr %q{i}, align 8",
            ]
            base[block] = f"%b{i}"
        for i, block in enumerate(self._given):
            lines += [
                f"  %g{i} = getelementptr i8, ptr %x{i}, i64 {DATA_AT}",
                f"  %h{i} = load ptr, ptr %g{i}, align 8",
                f"  %m{i} = ptrtoint ptr %h{i} to i64",
                f"  %o{i} = and i64 %m{i}, {self._inputs[block][1] - 1}",
                f"  %k{i} = icmp eq i64 %o{i}, 0",
                f"  br i1 %k{i}, label %d{i}, label %stop",
                f"d{i}:",
            ]
            base[block] = f"%h{i}"
        numbers = {name: f"%n{i}" for i, name in enumerate(self._names)}
        for i, (code, address) in enumerate(self._calls):
            given = []
            for k, ref in enumerate(code.refs):
                pointer = base[ref.block]
                if ref.offset:
                    lines.append(f"  %a{i}_{k} = getelementptr i8, ptr {pointer}, i64 {ref.offset}")
                    pointer = f"%a{i}_{k}"
                given.append(f"ptr {pointer}")
            given += [f"double {numbers[name]}" for name in code.names]
            lines += [
                f"  %r{i} = call i64 inttoptr (i64 {address} to ptr)({', '.join(given)})",
            ]
            if "ret i64 1" in code.text or "%stop" in code.text:
                lines += [
                    f"  %c{i} = icmp eq i64 %r{i}, 0",
                    f"  br i1 %c{i}, label %e{i}, label %stop",
                    f"e{i}:",
                ]
        head = ["ptr %t", *(f"ptr %x{i}" for i in range(len(self._given)))]
        head += [f"double {each}" for each in numbers.values()]
        end = ["  ret i64 0", "stop:", "  ret i64 1", "}", ""]
        text = "\n".join([f"define i64 @F({', '.join(head)}) {{", "entry:", *lines, *end])
        return Code(text, [], [])

    def op(self, address: int, table: Array) -> Op:
        """Return the call of the function as an operation that ends the program if it says so."""
        types = [ctypes.c_int64] * (1 + len(self._given)) + [ctypes.c_double] * len(self._names)
        prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *types)
        inherited = {name: getattr(prototype, name) for name in ("_flags_", "_argtypes_", "_restype_")}
        function = type("Native", (prototype,), {"__hash__": object.__hash__, **inherited})(address)
        given = [Name(f"id({self._inputs[block][0]})") for block in self._given]
        args = (int(table.ctypes.data), *given, *map(Name, self._names))
        return Op("guard", function, args, {"expected": 0}, None)
