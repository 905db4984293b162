"""Scratch memory: the large arrays of one step serve again in the next.

Fresh memory is slow: an array of a few hundred kilobytes comes from new pages, and touching those
takes longer than most arithmetic. So kernels ask here for what they write to. Inside
`recycled(arena)`, which a jitted step enters for its own duration, they get memory of earlier steps;
elsewhere NumPy allocates as ever.

Nothing is taken back by force. An arena holds one reference to every buffer it made, every array in
that buffer holds another, and a buffer is lent again only while the interpreter counts none but the
arena's. Whatever a user, a pullback or another thread can still reach is therefore never written to,
and there is no reset to forget. A buffer that somebody remembers by a weak reference is not lent
again either: it would be taken for what it was. Other interpreters than CPython do not count
references, and one without its lock counts them otherwise; there nothing is recycled.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterable
from contextvars import ContextVar
from operator import indexOf
from threading import get_ident
from typing import Any
from weakref import getweakrefcount

import numpy as np

from fnn.tree import Array

SMALL = 1 << 14
"""Below this many bytes NumPy's own allocation is as fast."""

_LINE = 64  # Bytes of a cache line, where every array begins.

# --- who else holds it ------------------------------------------------------------------------


def _counts(things: Iterable[Any]) -> Iterable[int]:
    # Counted from C: how many references the interpreter lends or takes for a call written in
    # Python depends on its version, and on how often the call has run.
    return map(sys.getrefcount, things)


def _idle_count() -> int:
    """Return how many references are counted for what one list alone holds, 0 where that says nothing.

    It says nothing unless everything that can keep an array alive adds one, and takes it away again.
    """
    if sys.implementation.name != "cpython" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return 0
    held = [np.empty(8, np.uint8)]
    (alone,) = _counts(held)
    keeping: Any = (lambda a: a, lambda a: a[1:], lambda a: np.ndarray((2,), np.int32, a), memoryview)
    for keep in keeping:
        kept = keep(held[0])
        (shared,) = _counts(held)
        del kept
        if shared != alone + 1 or [*_counts(held)] != [alone]:
            return 0
    return alone


_IDLE = _idle_count()


# --- arenas -----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _buffer_size(shape: tuple[int, ...], itemsize: int) -> int:
    """Return how many bytes the buffer of such an array has."""
    n = math.prod(shape) * itemsize
    # Eight sizes between two powers of two: little is wasted, and arrays of about one size share
    # their buffers.
    unit = 1 << max(n.bit_length() - 4, 6)
    return -(-n // unit) * unit


class _Shelf:
    """Buffers of one size, and where in each the first cache line begins."""

    __slots__ = ("buffers", "starts")

    def __init__(self) -> None:
        self.buffers: list[Array] = []
        self.starts: list[int] = []

    def idle(self) -> int:
        """Return the place of a buffer that nobody knows of, or -1."""
        while True:
            try:
                place = indexOf(_counts(self.buffers), _IDLE)
            except ValueError:
                return -1
            if not getweakrefcount(self.buffers[place]):
                return place
            self.drop(slice(place, place + 1))

    def drop(self, cut: slice) -> None:
        del self.buffers[cut], self.starts[cut]


class Arena:
    """Buffers by size, for one thread at a time. They go with the arena, and with what was lent."""

    least = SMALL
    """How many bytes an array has that is worth asking for."""

    poison = False
    """Whether memory is filled with NaN before it is lent again, so that a test sees a kernel that
    reads what it has not written."""

    def __init__(self) -> None:
        self._shelves: dict[int, _Shelf] = {}
        self._lent: dict[int, int] = {}
        self._grown: set[int] = set()
        self._is_lending = False

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an array in row-major order, its values undefined."""
        if self._is_lending:
            # A signal handler or a finaliser runs between a count and its loan.
            return np.empty(shape, dtype)
        try:
            self._is_lending = True
            return np.ndarray(shape, dtype, *self._buffer(_buffer_size(shape, dtype.itemsize)))
        finally:
            self._is_lending = False

    def _buffer(self, size: int) -> tuple[Array, int]:
        """Return a buffer that nobody holds, and where in it the array shall begin."""
        shelf = self._shelves.get(size)
        if shelf is None:
            shelf = self._shelves[size] = _Shelf()
        self._lent[size] = self._lent.get(size, 0) + 1
        place = shelf.idle()
        if place < 0:
            self._grown.add(size)
            buffer = np.empty(size + _LINE, np.uint8)
            start = -buffer.ctypes.data % _LINE
            shelf.buffers.append(buffer)
            shelf.starts.append(start)
            return buffer, start
        buffer = shelf.buffers[place]
        buffer.flags.writeable = True  # Its last borrower may have sealed it.
        if self.poison:
            # NaN in float32 and in float64, far out of range as an integer.
            buffer.view(np.uint32)[:] = 0x7FFFFFFF
        return buffer, shelf.starts[place]

    def settle(self) -> None:
        """End a step: forget the oldest of more buffers than two steps like it would lend.

        Somebody keeps those, states of training perhaps; when they go, their memory is to go too.
        """
        if not self._grown:
            self._lent.clear()
            return
        # A step inside of this one, by a signal handler, ends in here as well: each has its own.
        grown, lent, self._grown, self._lent = self._grown, self._lent, set(), {}
        for size in grown:
            shelf = self._shelves[size]
            shelf.drop(slice(max(0, len(shelf.buffers) - 2 * lent.get(size, 0))))

    def size(self) -> int:
        """Return how many bytes all buffers take together."""
        return sum(size * len(shelf.buffers) for size, shelf in self._shelves.items())


class recycled:  # noqa: N801 - a context manager, written as a class because that enters faster.
    """Let kernels draw from an arena inside the block; those of this thread and greenlet alone."""

    __slots__ = ("arena", "before", "thread")

    def __init__(self, arena: Arena) -> None:
        self.arena = arena if _IDLE or not arena.least else None

    def __enter__(self) -> None:
        self.thread = get_ident()
        self.before = _current.get()
        _current.set(self)

    def __exit__(self, *_: object) -> None:
        _current.set(self.before)
        # A task that was started inside keeps a copy of the context: there too it is over.
        arena, self.arena, self.before = self.arena, None, None
        if arena is not None:
            arena.settle()

    def of_thread(self) -> Arena | None:
        """Return the arena in the thread that entered the block, None in others."""
        return self.arena if self.thread == get_ident() else None


_current: ContextVar[recycled | None] = ContextVar("recycled", default=None)
"""What was entered last. Greenlets and tasks have contexts of their own, which a variable of the thread
would mix up: the one would leave what the other has entered."""


def scratch(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
    """Return memory of earlier steps for a ufunc's `out`; None where NumPy allocates as fast."""
    current = _current.get()
    if current is None:
        return None
    arena = current.of_thread()
    if arena is None or _buffer_size(shape, dtype.itemsize) < arena.least:
        return None
    return arena.empty(shape, dtype)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array in row-major order, its values undefined."""
    array = None if _current.get() is None else scratch(shape, dtype)
    return np.empty(shape, dtype) if array is None else array


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array of zeros in row-major order."""
    array = None if _current.get() is None else scratch(shape, dtype)
    if array is None:
        return np.zeros(shape, dtype)
    array.fill(0)
    return array


def scratch_like(
    x: Array, other: Array | None = None, dtype: np.dtype[Any] | None = None
) -> Array | None:
    """Return an array laid out like x for a ufunc's `out`, or None where NumPy had better allocate.

    Args:
        x: Operand whose shape and memory order the result takes.
        other: Another operand; if it is of another dtype or lies otherwise, NumPy decides, as it
            does outside of a step: sums over the result would else run in another order.
        dtype: Of the result; x's by default.
    """
    if x.nbytes < SMALL or (current := _current.get()) is None:
        return None
    arena = current.of_thread()
    if arena is None:
        return None
    if other is not None and (other.dtype != x.dtype or other.strides != x.strides):
        return None
    dtype = x.dtype if dtype is None else dtype
    if x.flags.c_contiguous:
        return arena.empty(x.shape, dtype)
    if x.T.flags.c_contiguous:
        return arena.empty(x.shape[::-1], dtype).T
    # The batch innermost, as images lie.
    inner = x.transpose(*range(1, x.ndim), 0)
    if inner.flags.c_contiguous:
        return arena.empty(inner.shape, dtype).transpose(-1, *range(x.ndim - 1))
    return None


def seal(array: Array) -> None:
    """Make an array read-only with the buffer that it lies in, so that it counts as immutable."""
    array.flags.writeable = False
    if array.base is not None:
        array.base.flags.writeable = False
