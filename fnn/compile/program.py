"""A program: the operations of a step in a straight line, and the memory that they read and write."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

Array = np.ndarray


def _bounds(array: Array) -> tuple[int, int]:
    low, high = np.lib.array_utils.byte_bounds(array)
    return int(low), int(high)


class Block:
    """Memory that was allocated at once.

    Attributes:
        kind: "const", "temp", or what it is for: "x", "target", "carried 3", …
        start, size: Its address while the code was recorded, and how many bytes it has.
        constant: The array itself, of a constant; others are let go.
    """

    def __init__(self, kind: str, array: Array) -> None:
        """Measure an array."""
        self.kind = kind
        self.start, end = _bounds(array)
        self.size = max(1, end - self.start)
        self.constant = array if kind == "const" else None

    def says(self) -> str:
        """Return what it is, for messages."""
        return "a constant" if self.kind == "const" else f"of {self.kind}"


@attrs.frozen
class Name:
    """A number that is computed at every step, by its name in the program."""

    name: str


@attrs.frozen(eq=False)
class Ref:
    """An array of a program: a place in a block."""

    block: Block
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, block: Block, array: Array) -> Ref:
        """Return where an array lies in its block."""
        start = array.__array_interface__["data"][0] - block.start
        return cls(block, start, array.shape, array.strides, array.dtype)

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole block in row-major order."""
        n = self.dtype.itemsize
        if self.offset or math.prod(self.shape) * n != self.block.size:
            return False
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != n:
                return False
            n *= size
        return True

    def mark(self) -> tuple[Any, ...]:
        """Return what says where it lies in its block."""
        return self.block.kind, self.offset, self.shape, self.strides, self.dtype.str

    def view(self, memory: Array, start: int = 0) -> Array:
        """Return the array in other memory, in which the block begins at `start`."""
        return np.ndarray(self.shape, self.dtype, memory, start + self.offset, self.strides)

    def text(self, names: dict[Block, str]) -> str:
        """Return the array as a text: the name of its block, where in it it begins, its shape."""
        kind = self.block.kind
        if kind == "temp":
            name = names.setdefault(self.block, f"t{len(names)}")
        else:
            name = kind.replace("carried ", "c").replace("next ", "n")
        at = f"+{self.offset}" if self.offset else ""
        return f"{name}{at}{list(self.shape)}"


@attrs.define(eq=False)
class Op:
    """One operation.

    Attributes:
        kind: "out": f(*args, out=out, **options); "into": out ← f(*args, **options); "copy":
            out ← args[0]; "do": f(*args, **options), which writes to `out`; "guard": f(*args) has
            to be options["expected"]; "number": name = f(*args); "several": outs ← f(*args, **options).
        f, args, options: What is called, and with what.
        out: What is written to.
        name: Of a number.
        outs: What is written by a function that returns several arrays ("several"); None where one
            is no new memory.
    """

    kind: str
    f: Any
    args: tuple[Any, ...]
    options: dict[str, Any]
    out: Ref | None
    name: str = ""
    outs: tuple[Ref | None, ...] = ()

    def refs(self) -> Iterator[Ref]:
        """Yield all that is read or written."""
        if self.out is not None:
            yield self.out
        yield from _refs(self.outs)
        yield from _refs(self.args)
        yield from _refs(tuple(self.options.values()))

    def moved(self, change: Any) -> None:
        """Let every ref be what `change` makes of it."""
        self.args, self.out = _changed(self.args, change), _changed(self.out, change)
        self.outs = _changed(self.outs, change)
        self.options = {name: _changed(each, change) for name, each in self.options.items()}

    def called(self) -> str:
        """Return the name of what is called."""
        name = getattr(self.f, "__name__", self.kind)
        owner = getattr(self.f, "__self__", None)
        return f"{owner.__name__}.{name}" if isinstance(owner, np.ufunc) else name

    def mark(self, numbers: dict[Block, int]) -> tuple[Any, ...]:
        """Return what two recordings of one step share; `numbers` are those of the blocks so far."""

        def marked(ref: Ref) -> tuple[Any, ...]:
            return numbers.setdefault(ref.block, len(numbers)), *ref.mark()

        args = _changed(self.args, marked)
        options = {name: _changed(each, marked) for name, each in self.options.items()}
        outs = _changed((self.out, *self.outs), marked)
        return self.kind, self.called(), repr(args), repr(options), repr(outs), self.name

    def text(self, names: dict[Block, str]) -> str:
        """Return a line that says what is done; `names` are those of the temporaries so far."""
        options = {name: each for name, each in self.options.items() if name != "expected"}
        given = [_text(each, names) for each in self.args]
        given += [f"{name}={_text(each, names)}" for name, each in options.items()]
        call = f"{self.called()}({', '.join(given)})"
        if self.kind == "guard":
            return f"expect {call} == {self.options['expected']}"
        outs = ", ".join(_text(each, names) for each in (self.out, *self.outs) if each is not None)
        return f"{self.name or outs} = {call}" if self.name or outs else call


def _text(given: Any, names: dict[Block, str]) -> str:
    if isinstance(given, Ref):
        return given.text(names)
    if isinstance(given, Name):
        return given.name
    if isinstance(given, tuple):
        return f"({', '.join(_text(each, names) for each in given)})"
    return repr(given)[:60]


def _refs(given: Any) -> Iterator[Ref]:
    kind = type(given)
    if kind is Ref:
        yield given
    elif kind is tuple or kind is list:
        for each in given:
            yield from _refs(each)
    elif kind is slice:
        yield from _refs((given.start, given.stop, given.step))


def _changed(given: Any, change: Any) -> Any:
    kind = type(given)
    if kind is Ref:
        return change(given)
    if kind is tuple or kind is list:
        return kind(_changed(each, change) for each in given)
    if kind is slice:
        return slice(*(_changed(each, change) for each in (given.start, given.stop, given.step)))
    return given
