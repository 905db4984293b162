"""Where the elements of arrays lie, seen from one loop over all of them.

An elementwise operation runs over the elements of what it writes, in the order in which they lie in
memory. `dims` are the lengths of the nested loops that do so; every array has one stride for each of
them, 0 where it is broadcast.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from fnn.compile.program import Block, Ref

Dims = tuple[int, ...]


def broadcast(ref: Ref, shape: Dims) -> Dims | None:
    """Return the strides of an array seen as another shape; None if it cannot be."""
    missing = len(shape) - len(ref.shape)
    if missing < 0:
        return None
    strides = [0] * missing
    for size, wide, stride in zip(ref.shape, shape[missing:], ref.strides, strict=True):
        if size not in (wide, 1):
            return None
        strides.append(stride if size == wide and size > 1 else 0)
    return tuple(strides)


def in_order(shape: Dims, out: Dims, others: list[Dims]) -> tuple[Dims, list[Dims]] | None:
    """Return loops over an array in the order of its memory, and strides of it and of others there.

    None if two elements lie at one place.
    """
    axes = [i for i, size in enumerate(shape) if size != 1]
    axes.sort(key=lambda i: -out[i])
    room = 0
    for i in reversed(axes):
        if out[i] <= room:
            return None
        room = out[i] * (shape[i] - 1) + room
    dims = tuple(shape[i] for i in axes)
    return coalesced(dims, [tuple(each[i] for i in axes) for each in (out, *others)])


def coalesced(dims: Dims, strides: list[Dims]) -> tuple[Dims, list[Dims]]:
    """Return the same with as few loops as possible."""
    kept: list[int] = []
    steps: list[list[int]] = []
    for size, *each in zip(dims, *strides, strict=True):
        if kept and all(s[-1] == size * e for s, e in zip(zip(*steps, strict=True), each, strict=True)):
            kept[-1] *= size
            steps[-1] = each
        else:
            kept.append(size)
            steps.append(each)
    if not kept:
        return (1,), [(0,) for _ in strides]
    return tuple(kept), [tuple(each) for each in zip(*steps, strict=True)]


def products(dims: Dims) -> set[int]:
    """Return after how many elements each of the loops begins anew."""
    return {math.prod(dims[i:]) for i in range(len(dims))}


def refinement(cuts: set[int]) -> Dims | None:
    """Return loops that begin anew at all of these; None if there are none."""
    before, dims = 1, []
    for cut in sorted(cuts):
        if cut % before:
            return None
        dims.append(cut // before)
        before = cut
    dims = [size for size in reversed(dims) if size != 1]
    return tuple(dims) or (1,)


def refined(dims: Dims, strides: Dims, finer: Dims) -> Dims:
    """Return strides along finer loops."""
    found: list[int] = []
    left = list(zip(dims, strides, strict=True))
    size, stride = left.pop() if left else (1, 0)
    inner = 1
    for each in reversed(finer):
        while inner == size and left:
            (size, stride), inner = left.pop(), 1
        found.append(stride * inner if each != 1 else 0)
        inner *= each
    return tuple(reversed(found))


def extent(ref: Ref) -> tuple[int, int]:
    """Return between which bytes of its block an array lies."""
    ends = [(size - 1) * stride for size, stride in zip(ref.shape, ref.strides, strict=True)]
    low = ref.offset + sum(min(end, 0) for end in ends)
    return low, ref.offset + sum(max(end, 0) for end in ends) + ref.dtype.itemsize


def are_apart(a: Ref, b: Ref) -> bool:
    """Return whether one array begins where the other has ended."""
    if a.block is not b.block:
        return True
    (low, high), (other, end) = extent(a), extent(b)
    return high <= other or end <= low


@attrs.define(eq=False)
class Overlaps:
    """Which arrays share memory; of two in one block that is looked at closely."""

    _memory: dict[Block, Any] = attrs.field(factory=dict)
    _known: dict[Any, bool] = attrs.field(factory=dict)

    def __call__(self, a: Ref, b: Ref) -> bool:
        """Return whether two arrays may have an element in common."""
        if a.block is not b.block:
            return False
        if a.offset == b.offset:  # Both begin there.
            return True
        if are_apart(a, b):
            return False
        key = a.block, a.mark(), b.mark()
        if key not in self._known:
            self._known[key] = self._looked_at(a, b)
        return self._known[key]

    def _looked_at(self, a: Ref, b: Ref) -> bool:
        if a.block not in self._memory:
            self._memory[a.block] = np.empty(a.block.size, np.uint8)
        one, two = a.view(self._memory[a.block]), b.view(self._memory[a.block])
        try:
            return np.shares_memory(one, two, max_work=10_000)  # type: ignore[arg-type]
        except np.exceptions.TooHardError:
            return True
