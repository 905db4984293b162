"""Works are tried at their first use: on numbers of all kinds they must give NumPy's bits."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from fnn.compile.listing import function_of
from fnn.compile.machine.code import COMPILER, Function
from fnn.compile.machine.groups import Item
from fnn.compile.machine.loops import Code, Loop
from fnn.compile.machine.spaces import products
from fnn.compile.machine.types import LANES
from fnn.compile.machine.work import Constant, Place, Work
from fnn.compile.program import Block, Op, Ref
from fnn.compile.recording import Program

Array = np.ndarray

N = 64 * LANES + 15
"""On how many numbers: whole turns of the loop, and one of each of the shorter ones."""

_passed: dict[Any, bool] = {}


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def edges(name: str) -> Array:
    """Return numbers of a kind at which functions go wrong, and common ones."""
    dtype = np.dtype(name)
    rng = _generator(0)
    if name == "b1":
        return rng.random(N) < 0.5
    if name[0] in "iu":
        info = np.iinfo(dtype)
        some = np.array([0, 1, 2, 3, info.max, info.max - 1, info.min, info.min + 1], dtype)
        near = rng.integers(-4 if name[0] == "i" else 0, 5, N // 2).astype(dtype)
        far = rng.integers(info.min, info.max, N - near.size - some.size, dtype, endpoint=True)
        return np.concatenate([some, near, far])
    limits = np.finfo(dtype)
    noted = [0.0, 1, 2, 0.5, 3, np.inf, np.nan, limits.max, limits.tiny, limits.smallest_subnormal,
            limits.eps, 1 + limits.eps, 88.72283, 88.72284, 103.97208, 87.33655, 16.635532]  # fmt: skip
    both = np.array([*noted, *(-each for each in noted)], dtype)
    middle = rng.normal(0, 3, N // 2).astype(dtype)
    bits = rng.integers(0, 2 ** (8 * dtype.itemsize) - 1, N - both.size - middle.size, f"u{name[1:]}")
    return np.concatenate([both, middle, bits.view(dtype)])


def mark_of(work: Work) -> Any:
    """Return what works share that one trial serves."""
    kinds = tuple(each.kind if isinstance(each, Place) else "number" for each in work.args)
    return work.f, work.kind, kinds, work.result, work.out.kind


@np.errstate(all="ignore")
def tried(works: list[Work]) -> list[bool]:
    """Return for each work whether it gives NumPy's bits on this machine."""
    new = {mark_of(work): work for work in works if mark_of(work) not in _passed}
    trials = {mark: _Trial(work) for mark, work in new.items()}
    functions = COMPILER.functions(trial.code for trial in trials.values())
    for (mark, trial), function in zip(trials.items(), functions, strict=True):
        _passed[mark] = trial.passes(function.address)
    return [_passed[mark_of(work)] for work in works]


class _Trial:
    """A work alone, on arrays of edges."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._given: list[Any] = []
        args: list[Any] = []
        for i, each in enumerate(work.args):
            name = each.kind if isinstance(each, Place | Constant) else "f8"
            values = _mixed(edges(name), i)
            self._given.append(values)
            args.append(_place(values))
        self._out = np.zeros(N, work.out.ref.dtype)
        out = _place(self._out)
        alone = Work(work.f, work.kind, args, work.result, out, (N,))
        reads = [each.ref for each in args]
        item = Item(None, [alone], reads, [out.ref], cuts=products((N,)))
        self.code: Code = Loop(item).code()
        self._arrays = {ref.block: a for ref, a in zip(reads, self._given, strict=True)}
        self._arrays[out.ref.block] = self._out

    def passes(self, address: int) -> bool:
        pointers = [self._arrays[ref.block].ctypes.data for ref in self.code.refs]
        function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(pointers))(address)
        function(*pointers)
        return agree(self._out, self._expected())

    def _expected(self) -> Array:
        work, given = self._work, self._given
        out = np.zeros(N, self._out.dtype)
        if work.f == "copy":
            np.copyto(out, given[0], casting="unsafe")
        elif work.f == "where":
            np.copyto(out, np.where(*given), casting="same_kind")
        else:
            cast = [each.astype(work.kind) for each in given]
            work.f(*cast, out=out, casting="unsafe")
        return out


@np.errstate(all="ignore")
def calls_tried(calls: list[tuple[Op, Code]], functions: list[Function]) -> list[bool]:
    """Return for each operation whether its code gives NumPy's bits, on arrays of the same form."""
    marks = [_mark_of_call(op, code) for op, code in calls]
    for mark, (op, code), function in zip(marks, calls, functions, strict=True):
        if mark not in _passed:
            _passed[mark] = _call_passes(op, code, function.address)
    return [_passed[mark] for mark in marks]


def _mark_of_call(op: Op, code: Code) -> Any:
    """Return what operations share that one trial serves: what is called, on arrays of what form."""
    forms = tuple((ref.shape, ref.strides, ref.dtype.str) for ref in op.refs())
    return hash(code.text), op.kind, op.called(), forms, repr(sorted(op.options))


def _call_passes(op: Op, code: Code, address: int) -> bool:
    if op.kind == "guard":
        return True
    rng = _generator(0)
    memory: dict[Block, Array] = {}
    # Integers may be places: within the shortest axis they are within all.
    most = min((size for ref in op.refs() for size in ref.shape), default=1)
    for ref in op.refs():
        if ref.block not in memory:
            memory[ref.block] = np.zeros(ref.block.size, np.uint8)
            if ref.block.constant is not None:
                Ref.of(ref.block, ref.block.constant).view(memory[ref.block])[...] = ref.block.constant
        if ref.block.constant is None:
            view = ref.view(memory[ref.block])
            if ref.dtype.kind == "f":
                view[...] = rng.standard_normal(ref.shape, np.float32)
            else:
                view[...] = rng.integers(0, 2 if ref.dtype.kind == "b" else most, ref.shape)
    other = {block: array.copy() for block, array in memory.items()}
    run = function_of(Program([op], {}, [], {}, []), {block: (a, 0) for block, a in memory.items()})
    try:
        run(0, None)
    except Exception:  # It does not take such numbers; nothing says what its code does.
        return False
    pointers = [other[ref.block].ctypes.data + ref.offset for ref in code.refs]
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(pointers))(address)
    if function(*pointers):
        return False
    return all(memory[block].tobytes() == other[block].tobytes() for block in memory)


def _place(values: Array) -> Place:
    block = Block("temp", values)
    return Place(Ref.of(block, values), values.strides)


def _mixed(values: Array, i: int) -> Array:
    """Return the numbers in another order for every argument, so that all meet all."""
    if not i:
        return values
    return _generator(i).permutation(values)


def agree(a: Array, b: Array) -> bool:
    """Return whether all bits are equal; of what is no number, only that it is none in both."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return a.tobytes() == b.tobytes()
    none = np.isnan(a)
    return bool((none == np.isnan(b)).all()) and a[~none].tobytes() == b[~none].tobytes()
