"""A program as machine code: loops and products as functions that one function calls in turn.

What is left goes to NumPy, as the list does it, between two such functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.compile.listing import Carry, aligned, function_of
from fnn.compile.machine.calls import Segment, arrays_are_known, native
from fnn.compile.machine.code import COMPILER, Function, MissingError
from fnn.compile.machine.groups import grouped, scheduled
from fnn.compile.machine.loops import Loop, is_written
from fnn.compile.machine.rewriting import rewritten
from fnn.compile.machine.spaces import Overlaps
from fnn.compile.machine.trials import calls_tried, mark_of, tried
from fnn.compile.machine.work import work_of
from fnn.compile.placing import placed
from fnn.compile.program import Block, Op, Ref
from fnn.compile.recording import Program

Array = np.ndarray


def refusing(ops: list[Op]) -> Any:
    """Return what says of a work whether machine code gives other bits, or is missing."""
    works = [work for op in ops if (work := work_of(op)) is not None and is_written(work)]
    passed = dict(zip(map(mark_of, works), tried(works), strict=True))
    return lambda work: not passed.get(mark_of(work), False)


class Machine:
    """A program with memory of its own, to be run step after step; see `Listed`."""

    def __init__(self, program: Program, carry: Carry) -> None:
        """Compile a program.

        Raises:
            MissingError: If nothing can be compiled here.
        """
        if not arrays_are_known():
            raise MissingError("arrays are laid out in another way than is known here")
        self.program, self.carry = program, carry
        kept = {ref.block for ref in program.logs.values()}
        overlaps = Overlaps()
        ops = rewritten(program.ops)
        items = grouped(ops, kept, overlaps, refusing(ops))
        for item in items:
            item.native = Loop(item).code() if item.works else native(item.op)
        calls = [
            item for item in items if item.native is not None and item.op is not None and not item.works
        ]
        codes = [item.native for item in items if item.native is not None]
        functions = dict(zip(map(id, codes), COMPILER.functions(codes), strict=True))
        passed = calls_tried(
            [(item.op, item.native) for item in calls if item.op is not None],
            [functions[id(item.native)] for item in calls],
        )
        for item, passes in zip(calls, passed, strict=True):
            item.native = item.native if passes else None
        self.items = scheduled(items, overlaps)
        offsets, self.size = placed(self.items, kept)
        self._memory = aligned(max(self.size, 1))
        self._constants: dict[Block, Array] = {}
        self._at = {block: (self._memory, start) for block, start in offsets.items()}
        self._inputs = {
            ref.block: (f"i{i}", ref.dtype.itemsize) for i, ref in enumerate(program.inputs.values())
        }
        self._kept: list[Any] = []
        self._runs = self._made(functions)
        self._logs = {name: ref.view(*self._at[ref.block]) for name, ref in program.logs.items()}

    # --- functions ---

    def _made(self, functions: dict[int, Function]) -> list[Any]:
        """Return the functions that take a step from each set of memory."""
        parts: list[Op | Segment] = []
        for item in self.items:
            if item.native is None:
                assert item.op is not None
                parts.append(item.op)
                continue
            last = parts[-1] if parts else None
            segment = last if isinstance(last, Segment) else Segment(self._inputs)
            if segment is not last:
                parts.append(segment)
            function = functions[id(item.native)]
            self._kept.append(function)
            segment.add(item.native, function.address)
        segments = [each for each in parts if isinstance(each, Segment)]
        whole = COMPILER.functions(each.code() for each in segments)
        self._kept += whole
        addresses = [each.address for each in whole]
        return [
            self._function(parts, dict(zip(segments, addresses, strict=True)), turn) for turn in (0, 1)
        ]

    def _function(self, parts: list[Any], addresses: dict[Any, int], turn: int) -> Any:
        at, sets = dict(self._at), self.carry.sets
        for i, each in enumerate(self.program.carried):
            at[each.ref.block] = sets[turn][i], 0
            if each.next is not None:
                at[each.next] = sets[1 - turn][i], 0
        ops = []
        for part in parts:
            if isinstance(part, Segment):
                table = np.array([self._address(block, at) for block in part.blocks] or [0], np.int64)
                self._kept.append(table)
                ops.append(part.op(addresses[part], table))
            else:
                ops.append(part)
        given = self.program
        return function_of(Program(ops, given.inputs, given.carried, given.logs, given.made), at)

    def _address(self, block: Block, at: dict[Block, tuple[Array, int]]) -> int:
        if block in at:
            memory, start = at[block]
            return int(memory.ctypes.data) + start
        if block not in self._constants:
            assert block.constant is not None
            memory = aligned(block.size)
            whole = Ref.of(block, block.constant)
            whole.view(memory)[...] = block.constant
            self._constants[block] = memory
        return int(self._constants[block].ctypes.data)

    def run(self, inputs: list[Array], step: int, key: Any) -> dict[str, Array]:
        """Compute a step from the present set into the other one; return where its logs lie.

        Raises:
            DeoptError: If a guard fails; nothing that is carried has changed.
        """
        self._runs[self.carry.at[0]](*inputs, step, key)
        return self._logs

    def says(self) -> str:
        """Return how the program is carried out."""
        n = sum(item.native is None for item in self.items)
        return f"machine code of {len(self.items) - n} parts" + f", {n} by NumPy" * (n > 0)
