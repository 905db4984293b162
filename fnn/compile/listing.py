"""The list: a program as one function of Python that calls NumPy with everything bound."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.compile.placing import LINE, placed
from fnn.compile.program import Block, Name, Op, Ref
from fnn.compile.recording import Program

Array = np.ndarray

_INFIX = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.pow: "**",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
    operator.ne: "!=",
}


class DeoptError(Exception):
    """A batch is not one that the program is for; the ordinary step takes it."""


def into(out: Array, came: Any) -> None:
    """Write a result where it belongs; one of another shape ends the program."""
    if np.shape(came) != out.shape:
        raise DeoptError
    np.copyto(out, came)


def aligned(n_bytes: int) -> Array:
    """Return memory that begins at a cache line."""
    buffer = np.empty(n_bytes + LINE, np.uint8)
    start = -buffer.ctypes.data % LINE
    return buffer[start : start + n_bytes]


class Carry:
    """Two sets of memory for what goes from step to step, read and written in turn.

    Attributes:
        sets: The memory of each array, by number, in both sets.
        arrays: The arrays that lie there.
        at: Which set holds the present state, and the number of that state's step. They change at
            once, so that an interrupt finds the one state or the other.
    """

    def __init__(self, program: Program) -> None:
        """Allocate what a program carries; others of the same layout may share it."""
        self.refs = [each.ref for each in program.carried]
        first = [aligned(ref.block.size) for ref in self.refs]
        moves = any(each.next is not None for each in program.carried)
        self.sets = [first, [aligned(ref.block.size) for ref in self.refs] if moves else first]
        self.arrays = [[*map(Ref.view, self.refs, memory)] for memory in self.sets]
        self.at = 0, 0
        self.loaded: Any = None

    def load(self, arrays: list[Array], step: int) -> None:
        """Begin with these arrays, in both sets: what no program moves is the same in each."""
        for i, array in enumerate(arrays):
            np.copyto(self.arrays[0][i], array)
            np.copyto(self.arrays[1][i], array)
        self.at = 0, step


class Writer:
    """Source of the function, and what it is bound to."""

    def __init__(self, program: Program, at: dict[Block, tuple[Array, int]]) -> None:
        """Write one line for every operation."""
        self._program, self._at = program, at
        self._bound: dict[int, str] = {}
        self.values: list[Any] = []
        self._views: dict[tuple[Any, ...], str] = {}
        self._names = {ref.block: f"i{i}" for i, ref in enumerate(program.inputs.values())}
        self.lines: list[str] = []
        for op in program.ops:
            self._write(op)

    def _bind(self, value: Any) -> str:
        if id(value) not in self._bound:
            self._bound[id(value)] = f"k{len(self.values)}"
            self.values.append(value)
        return self._bound[id(value)]

    def _ref(self, ref: Ref) -> str:
        mark = id(ref.block), *ref.mark()[1:]
        if mark in self._views:
            return self._views[mark]
        if ref.block in self._names:
            whole = self._names[ref.block]
            given = self._program.inputs[ref.block.kind]
            if ref.mark() == given.mark():
                name = whole
            else:
                name = f"v{len(self._views)}"
                made = f"{ref.shape}, {self._bind(ref.dtype)}, {whole}, {ref.offset}, {ref.strides}"
                self.lines.append(f"{name} = ndarray({made})")
        elif ref.block in self._at:
            name = self._bind(ref.view(*self._at[ref.block]))
        else:
            name = self._bind(constant_of(ref))
        self._views[mark] = name
        return name

    def _arg(self, given: Any) -> str:
        kind = type(given)
        if kind is Ref:
            return self._ref(given)
        if kind is Name:
            return given.name
        if kind is tuple:
            return f"({''.join(self._arg(each) + ', ' for each in given)})"
        if kind is list:
            return f"[{', '.join(map(self._arg, given))}]"
        if kind is slice:
            return f"slice({', '.join(map(self._arg, (given.start, given.stop, given.step)))})"
        if given is None or given is Ellipsis or kind in (int, bool, str):
            return repr(given)
        if kind is float and math.isfinite(given):
            return repr(given)
        return self._bind(given)

    def _call(self, op: Op, *, out: bool = False) -> str:
        args = [self._arg(each) for each in op.args]
        if op.f in _INFIX and len(args) == 2:
            return f"({args[0]} {_INFIX[op.f]} {args[1]})"
        if out and op.out is not None:
            # By place is faster; of the largest and the smallest NumPy wants `out` by name.
            is_ufunc = isinstance(op.f, np.ufunc) and op.f not in (np.maximum, np.minimum)
            if is_ufunc or op.f is np.dot:
                args.append(self._ref(op.out))
            else:
                args.append(f"out={self._ref(op.out)}")
        args += [f"{name}={self._arg(each)}" for name, each in op.options.items() if name != "expected"]
        return f"{self._bind(op.f)}({', '.join(args)})"

    def _write(self, op: Op) -> None:
        out = self._arg(op.out)
        if op.kind == "out":
            line = self._call(op, out=True)
        elif op.kind == "into":
            line = f"into({out}, {self._call(op)})"
        elif op.kind == "copy":
            given = f"{out}, {self._arg(op.args[0])}"
            casting = f", {op.options['casting']!r}" if "casting" in op.options else ""
            line = f"copyto({given}{casting})"
        elif op.kind == "do":
            line = self._call(op)
        elif op.kind == "several":
            self.lines.append(f"r = {self._call(op)}")
            places = [(i, ref) for i, ref in enumerate(op.outs) if ref is not None]
            self.lines += [f"into({self._ref(ref)}, r[{i}])" for i, ref in places]
            return
        elif op.kind == "guard":
            line = f"if {self._call(op)} != {op.options['expected']!r}: raise Deopt"
        else:
            line = f"{op.name} = {self._call(op)}"
        self.lines.append(line)


def constant_of(ref: Ref) -> Array:
    """Return a constant, or a view of it, as it lay when it was noted."""
    constant = ref.block.constant
    assert constant is not None
    whole = Ref.of(ref.block, constant)
    if ref.mark() == whole.mark():
        return constant
    memory = np.empty(ref.block.size, np.uint8)
    whole.view(memory)[...] = constant
    view = ref.view(memory)
    view.flags.writeable = False
    return view


def function_of(program: Program, at: dict[Block, tuple[Array, int]]) -> Callable[..., None]:
    """Return the program as a function of the arrays of a batch, the step and its key."""
    writer = Writer(program, at)
    bound = {f"k{i}": value for i, value in enumerate(writer.values)}
    bound |= {"into": into, "copyto": np.copyto, "ndarray": np.ndarray, "Deopt": DeoptError}
    inputs = "".join(f"i{i}, " for i in range(len(program.inputs)))
    body = "".join(f"        {line}\n" for line in writer.lines) or "        pass\n"
    text = f"def make({', '.join(bound)}):\n    def run({inputs}step, key):\n{body}    return run\n"
    space: dict[str, Any] = {}
    exec(compile(text, "<program>", "exec"), space)
    made: Callable[..., None] = space["make"](**bound)
    return made


class Listed:
    """A program with memory of its own, to be run step after step."""

    def __init__(self, program: Program, carry: Carry) -> None:
        """Place the program's memory, and write its two functions: from each set to the other."""
        self.program, self.carry = program, carry
        kept = {ref.block for ref in program.logs.values()}
        offsets, size = placed(program.ops, kept)
        workspace = aligned(max(size, 1))
        self.size = size
        self._at = {block: (workspace, start) for block, start in offsets.items()}
        self._runs = [self._made(turn) for turn in (0, 1)]
        self._logs = {name: ref.view(*self._at[ref.block]) for name, ref in program.logs.items()}

    def _made(self, turn: int) -> Callable[..., None]:
        at, sets = dict(self._at), self.carry.sets
        for i, each in enumerate(self.program.carried):
            at[each.ref.block] = sets[turn][i], 0
            if each.next is not None:
                at[each.next] = sets[1 - turn][i], 0
        return function_of(self.program, at)

    def run(self, inputs: list[Array], step: int, key: Any) -> dict[str, Array]:
        """Compute a step from the present set into the other one; return where its logs lie.

        Raises:
            DeoptError: If a guard fails; nothing that is carried has changed.
        """
        self._runs[self.carry.at[0]](*inputs, step, key)
        return self._logs
