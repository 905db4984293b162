"""The text of one loop: what it reads is loaded once, what others need is stored once."""

from __future__ import annotations

import itertools
from typing import Any

import attrs

from fnn.compile.machine.groups import Item
from fnn.compile.machine.primitives import PRIMITIVES, Lines
from fnn.compile.machine.spaces import Dims, coalesced, refined, refinement
from fnn.compile.machine.types import LANES, in_memory, scalar, wide
from fnn.compile.machine.work import Arg, Constant, Place, Work
from fnn.compile.program import Name, Ref

Key = tuple[Any, ...]


@attrs.frozen(eq=False)
class Code:
    """A function as a text in which @F stands for its name.

    It takes pointers to arrays and then numbers, and gives 0, or 1 where a program must end.
    """

    text: str
    refs: list[Ref]
    names: list[str]
    intrinsics: frozenset[str] = frozenset()


def key_of(place: Place, dims: Dims, finer: Dims) -> Key:
    """Return what says which elements a loop meets there, and in which order."""
    return place.ref.block, place.ref.offset, place.kind, refined(dims, place.strides, finer)


class Loop:
    """Writes the function of an item that is a loop."""

    def __init__(self, item: Item) -> None:
        """Find the loops, the arrays and what of them is loaded and stored."""
        finer = refinement(item.cuts)
        assert finer is not None
        self._names = itertools.count()
        self._lines: list[str] = []
        self._intrinsics: set[str] = set()
        self.works = item.works
        self.keys: dict[int, Key] = {}
        places: dict[Key, Place] = {}
        loaded: set[Key] = set()
        stored: dict[Key, None] = {}
        for work in item.works:
            for place in (*work.reads(), work.out):
                key = key_of(place, work.dims, finer)
                self.keys[id(place)] = key
                places.setdefault(key, place)
            for place in work.reads():
                if self.keys[id(place)] not in stored:
                    loaded.add(self.keys[id(place)])
            stored[self.keys[id(work.out)]] = None
        stored = {key: None for key in stored if key[0] not in item.inner}
        self.stored = list(stored)
        used = [key for key in places if key in loaded or key in stored]
        self.dims, strides = coalesced(finer, [key[3] for key in used])
        self.strides = dict(zip(used, strides, strict=True))
        self.pointers = {key: f"%p{i}" for i, key in enumerate(used)}
        self.refs = [places[key].ref for key in used]
        self.numbers: dict[str, str] = {}
        for name in sorted({a.name for w in item.works for a in w.args if isinstance(a, Name)}):
            self.numbers[name] = f"%n{len(self.numbers)}"
        # What one loop further in goes on with: values that are the same at all of its turns.
        self._held: dict[Key, str] = {}

    def code(self) -> Code:
        """Return the function."""
        *outer, inner = range(len(self.dims))
        self._lines.append("entry:")
        indices: list[str] = []
        self._hold(-1, indices)
        ends: list[tuple[str, str, str]] = []
        here = "entry"
        for axis in outer:
            label, index = f"l{axis}", f"%i{axis}"
            self._lines += [
                f"  br label %{label}",
                f"{label}:",
                f"  {index} = phi i64 [ 0, %{here} ], [ {index}n, %{label}e ]",
            ]
            ends.append((label, index, str(self.dims[axis])))
            indices.append(index)
            here = label
            self._hold(axis, indices)
        self._inner(inner, indices, here)
        for label, index, size in reversed(ends):
            self._lines += [
                f"  br label %{label}e",
                f"{label}e:",
                f"  {index}n = add nuw nsw i64 {index}, 1",
                f"  {index}c = icmp ult i64 {index}n, {size}",
                f"  br i1 {index}c, label %{label}, label %{label}x",
                f"{label}x:",
            ]
        self._lines.append("  ret i64 0")
        given = [
            f"ptr noalias {p}" if self._is_own(key) else f"ptr {p}" for key, p in self.pointers.items()
        ]
        given += [f"double {number}" for number in self.numbers.values()]
        text = f"define i64 @F({', '.join(given)}) {{\n" + "\n".join(self._lines) + "\n}\n"
        return Code(text, self.refs, list(self.numbers), frozenset(self._intrinsics))

    def _is_own(self, key: Key) -> bool:
        """Return whether no other array of the loop lies in the same block."""
        return sum(other[0] is key[0] for other in self.pointers) == 1

    def _place(self, key: Key, indices: list[str], inner: str = "") -> str:
        """Write the address of an element, or of the first of a run."""
        pointer = self.pointers[key]
        steps = self.strides[key]
        at = list(zip(indices, steps, strict=False))
        if inner:
            at.append((inner, steps[-1]))
        for index, step in at:
            if step:
                name = f"%a{next(self._names)}"
                self._lines.append(f"  {name} = mul nsw i64 {index}, {step}")
                moved = f"%a{next(self._names)}"
                self._lines.append(f"  {moved} = getelementptr i8, ptr {pointer}, i64 {name}")
                pointer = moved
        return pointer

    def _hold(self, axis: int, indices: list[str]) -> None:
        """Load what does not change further in; find where the others of the innermost loop begin."""
        last = len(self.dims) - 1
        for key, steps in self.strides.items():
            deepest = max((i for i, step in enumerate(steps) if step), default=-1)
            if deepest == axis < last and key not in self.stored:
                self._held[key] = self._loaded(self._place(key, indices), key[2], 1, 0)
        if axis == last - 1:
            self._starts = {
                key: self._place(key, indices) for key in self.strides if key not in self._held
            }

    def _inner(self, axis: int, indices: list[str], here: str) -> None:
        """Write the innermost loop: by LANES, and what is left in halves."""
        size = self.dims[axis]
        whole = size // LANES
        splats = {key: self._splat(key[2], value, LANES) for key, value in self._held.items()}
        numbers = {
            name: self._splat("f8", value, LANES) for name, value in self.numbers.items()
        }  # fmt: skip
        start = 0
        if whole > 1:
            self._lines += [
                "  br label %body",
                "body:",
                f"  %j = phi i64 [ 0, %{here} ], [ %jn, %body ]",
            ]
            self._body("%j", LANES, splats, numbers)
            self._lines += [
                f"  %jn = add nuw nsw i64 %j, {LANES}",
                f"  %jc = icmp ult i64 %jn, {whole * LANES}",
                "  br i1 %jc, label %body, label %rest",
                "rest:",
            ]
            start = whole * LANES
        elif whole:
            self._body("0", LANES, splats, numbers)
            start = LANES
        lanes = LANES // 2
        while start < size:
            if start + lanes <= size:
                held = {key: self._splat(key[2], value, lanes) for key, value in self._held.items()}
                given = {name: self._splat("f8", each, lanes) for name, each in self.numbers.items()}
                self._body(str(start), lanes, held, given)
                start += lanes
            lanes //= 2

    def _splat(self, name: str, value: str, lanes: int) -> str:
        if lanes == 1:
            return value
        type_ = wide(scalar(name), lanes)
        one, all_ = f"%s{next(self._names)}", f"%s{next(self._names)}"
        self._lines += [
            f"  {one} = insertelement {type_} poison, {scalar(name)} {value}, i64 0",
            f"  {all_} = shufflevector {type_} {one}, {type_} poison, <{lanes} x i32> zeroinitializer",
        ]
        return all_

    def _body(self, j: str, lanes: int, held: dict[Key, str], numbers: dict[str, str]) -> None:
        """Write one turn: the works on so many elements from number j on."""
        to = Lines(lanes, self._names, self._lines)
        values = dict(held)
        for work in self.works:
            values[self.keys[id(work.out)]] = self._work(work, to, j, values, numbers)
        for key in self.stored:
            self._store(self._at(key, j), key[2], self.strides[key][-1], values[key], lanes)
        self._intrinsics |= to.intrinsics

    def _at(self, key: Key, j: str) -> str:
        step = self.strides[key][-1]
        if j == "0" or not step:
            return self._starts[key]
        if j.isdigit():
            name = f"%a{next(self._names)}"
            self._lines.append(
                f"  {name} = getelementptr i8, ptr {self._starts[key]}, i64 {int(j) * step}"
            )
            return name
        name, moved = f"%a{next(self._names)}", f"%a{next(self._names)}"
        self._lines.append(
            f"  {name} = mul nuw nsw i64 {j}, {step}"
            if step > 0
            else f"  {name} = mul nsw i64 {j}, {step}"
        )
        self._lines.append(f"  {moved} = getelementptr i8, ptr {self._starts[key]}, i64 {name}")
        return moved

    def _work(
        self, work: Work, to: Lines, j: str, values: dict[Key, str], numbers: dict[str, str]
    ) -> str:
        kinds = [work.kind] * len(work.args)
        if work.f == "where":
            kinds[0] = "b1"
        args = [
            self._arg(arg, name, to, j, values, numbers)
            for arg, name in zip(work.args, kinds, strict=True)
        ]
        return to.converted(work.result, work.out.kind, written(work.f, to, work.kind, args))

    def _arg(
        self, arg: Arg, name: str, to: Lines, j: str, values: dict[Key, str], numbers: dict[str, str]
    ) -> str:
        if isinstance(arg, Constant):
            return to.number(name, arg.value)
        if isinstance(arg, Name):
            return to.converted("f8", name, numbers[arg.name])
        key = self.keys[id(arg)]
        if key not in values:
            values[key] = self._loaded(self._at(key, j), arg.kind, to.lanes, self.strides[key][-1])
        return to.converted(arg.kind, name, values[key])

    def _loaded(self, address: str, name: str, lanes: int, step: int) -> str:
        """Write a load of so many numbers, `step` bytes from one to the next."""
        to = Lines(lanes, self._names, self._lines)
        size, type_ = max(int(name[1:]), 1), in_memory(name)
        if lanes == 1 or step == size:
            value = to.new(f"load {wide(type_, lanes)}, ptr {address}, align {size}")
        else:
            value = "poison"
            for i in range(lanes):
                at = to.new(f"getelementptr i8, ptr {address}, i64 {i * step}")
                one = to.new(f"load {type_}, ptr {at}, align {size}")
                value = to.new(f"insertelement {wide(type_, lanes)} {value}, {type_} {one}, i64 {i}")
        if name != "b1":
            return value
        return to.new(
            f"icmp ne {wide(type_, lanes)} {value}, {'0' if lanes == 1 else 'zeroinitializer'}"
        )

    def _store(self, address: str, name: str, step: int, value: str, lanes: int) -> None:
        to = Lines(lanes, self._names, self._lines)
        size, type_ = max(int(name[1:]), 1), in_memory(name)
        if name == "b1":
            value = to.new(f"zext {to.type('b1')} {value} to {wide('i8', lanes)}")
        if lanes == 1 or step == size:
            self._lines.append(f"  store {wide(type_, lanes)} {value}, ptr {address}, align {size}")
            return
        for i in range(lanes):
            one = to.new(f"extractelement {wide(type_, lanes)} {value}, i64 {i}")
            at = to.new(f"getelementptr i8, ptr {address}, i64 {i * step}")
            self._lines.append(f"  store {type_} {one}, ptr {at}, align {size}")


def written(f: Any, to: Lines, name: str, args: list[str]) -> str:
    """Write what a work computes from its inputs."""
    if f == "copy":
        return args[0]
    if f == "where":
        return to.select(name, *args)
    value = PRIMITIVES[f](to, name, *args)
    assert value is not None
    return value


def is_written(work: Work) -> bool:
    """Return whether there is machine code for a work."""
    if isinstance(work.f, str):
        return True
    to = Lines(LANES, itertools.count(), [])
    args = ["%x"] * len(work.args)
    return PRIMITIVES[work.f](to, work.kind, *args) is not None
