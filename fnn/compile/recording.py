"""Recording: the step of a network, a loss and an optimizer, run once on values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from fnn.compile.program import Block, Op, Ref
from fnn.compile.tape import Tape, plain
from fnn.compile.values import UntraceableError, Value
from fnn.kernels import memory

Array = np.ndarray


@attrs.frozen(eq=False)
class Carried:
    """An array that a step takes over from the one before, and the block of what follows on it.

    Attributes:
        ref: What is read.
        next: What is written; None for what no step moves, such as what is frozen.
    """

    ref: Ref
    next: Block | None


@attrs.frozen(eq=False)
class Program:
    """A step as a straight line.

    Attributes:
        ops: What is done, in order.
        inputs: The arrays of a batch, by name.
        carried: What goes from step to step.
        logs: What is read at the end, by name.
        made: Constants that could be written to.
    """

    ops: list[Op]
    inputs: dict[str, Ref]
    carried: list[Carried]
    logs: dict[str, Ref]
    made: list[Block]

    def is_like(self, other: Program) -> bool:
        """Return whether two recordings say the same: of other batches, at other steps.

        A constant that could be written to and is the same array in both is somebody's, who may
        change it; what the step makes is new each time, and has to come out alike.
        """
        ours, theirs = self.ops, other.ops
        if len(ours) != len(theirs) or len(self.made) != len(other.made):
            return False
        for a, b in zip(self.made, other.made, strict=True):
            if a.constant is b.constant or not _same_bits(a.constant, b.constant):
                return False
        return self._marks() == other._marks()

    def _marks(self) -> list[Any]:
        numbers: dict[Block, int] = {}
        marks: list[Any] = [op.mark(numbers) for op in self.ops]
        marks += [each.next and numbers.get(each.next) for each in self.carried]
        marks += [(name, numbers.get(ref.block), ref.mark()) for name, ref in self.logs.items()]
        return marks

    def __str__(self) -> str:
        names: dict[Block, str] = {}
        return "\n".join(op.text(names) for op in self.ops)


def _same_bits(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


class Recording:
    """A step while it is noted: what it is given, what it carries on, and what becomes of both."""

    def __init__(self) -> None:
        """Begin with an empty tape."""
        self.tape = Tape()
        self.inputs: dict[str, Ref] = {}
        self._carried: list[tuple[Array, Block | None]] = []
        self._moves: dict[Block, tuple[Block, int]] = {}

    def input(self, name: str, array: Array) -> Value:
        """Return a value for an array of the batch."""
        if type(array) is not np.ndarray or not array.flags.c_contiguous:
            raise UntraceableError(f"{name} is no array in row-major order")
        value = self.tape.leaf(array.copy(), name)
        self.inputs[name] = self.tape.ref(value.array)
        return value

    def take(self, array: Array) -> Value:
        """Return a value for something that the step carries; the next is the next one taken."""
        if type(array) is not np.ndarray or not array.flags.c_contiguous:
            raise UntraceableError("something carried is no array in row-major order")
        value = self.tape.leaf(array.copy(), f"carried {len(self._carried)}")
        self._carried.append((value.array, None))
        return value

    def next(self, i: int) -> Value:
        """Return memory for what follows on what was taken as number i."""
        array = np.empty_like(self._carried[i][0])
        value = self.tape.leaf(array, f"next {i}")
        self._carried[i] = self._carried[i][0], self.tape.ref(array).block
        return value

    def carry(self, i: int, new: Any) -> None:
        """Say what follows on what was taken as number i."""
        before, _ = self._carried[i]
        if type(new) is not Value:  # A constant, such as a state that is reset.
            self.tape.copy(self.next(i).array, new)
            return
        if new.shape != before.shape or new.dtype != before.dtype:
            raise UntraceableError("something carried changes its shape or dtype")
        ref = self.tape.ref(new.array)
        if ref.block.kind == "temp" and ref.is_whole and ref.block not in self._moves:
            ref.block.kind = f"next {i}"
            self._carried[i] = before, ref.block
        else:
            self.tape.copy(self.next(i).array, new)

    def joined(self, parts: list[Any], size: int, dtype: Any) -> Value:
        """Return one vector of arrays, which are computed where they stand in it."""
        vector = self.tape.empty((size,), dtype)
        home = self.tape.ref(vector.array).block
        start = 0
        for part in parts:
            array = plain(part)
            if array.dtype != dtype:
                raise UntraceableError("gradients have more than one dtype")
            piece = vector.array[start : start + array.size].reshape(array.shape)
            ref = self.tape.ref(array)
            is_new = type(part) is Value and ref.block.kind == "temp" and ref.is_whole
            if is_new and ref.block not in self._moves:
                self._moves[ref.block] = home, start * array.itemsize
                np.copyto(piece, array)
            else:
                self.tape.copy(piece, part)
            start += array.size
        return vector

    def program(self, logs: dict[str, Any]) -> Program:
        """Return what was noted."""
        refs = {name: self._log(each) for name, each in logs.items()}
        for op in self.tape.ops:
            op.moved(self._place)
        carried = [Carried(self.tape.ref(array), new) for array, new in self._carried]
        logs = {name: self._place(ref) for name, ref in refs.items()}
        return Program(self.tape.ops, self.inputs, carried, logs, self.tape.made)

    def _log(self, value: Any) -> Ref:
        """Return where a result lies; of what the program is given, that of a copy."""
        if type(value) is not Value:
            raise UntraceableError("a result does not depend on what is given")
        ref = self.tape.ref(value.array)
        return ref if ref.block.kind == "temp" else self.tape.ref(value.copy("K").array)

    def _place(self, ref: Ref) -> Ref:
        if ref.block not in self._moves:
            return ref
        home, start = self._moves[ref.block]
        return attrs.evolve(ref, block=home, offset=start + ref.offset)


class _Noted(memory.Arena):
    """What kernels get memory from while a step is noted."""

    least = 0

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        return self._tape.empty(shape, dtype)


@np.errstate(all="ignore")
def recorded(run: Callable[[Recording], dict[str, Any]]) -> Program:
    """Return the program of what `run` does on values; it returns what is to be read at the end.

    Raises:
        UntraceableError: If something cannot be noted.
    """
    recording = Recording()
    try:
        with memory.recycled(_Noted(recording.tape)):
            logs = run(recording)
        return recording.program(logs)
    finally:
        recording.tape.is_over = True
