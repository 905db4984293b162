"""Scratch memory: the large arrays of one step serve again in the next.

Fresh memory is slow: an array of a few hundred kilobytes comes from new pages, and touching those
takes longer than most arithmetic. So kernels ask here for what they write to. Inside
`recycled(arena)`, which a jitted step enters for its own duration, they get memory of earlier steps;
elsewhere NumPy allocates as ever.

Nothing is taken back by force. An arena holds one reference to every buffer it made, every array in
that buffer holds another, and a buffer is lent again only while the interpreter counts none but the
arena's. Whatever a user, a pullback or another thread can still reach is therefore never written to,
and there is no reset to forget. Other interpreters than CPython do not count references, and one
without its lock counts them otherwise; there nothing is recycled.
"""

from __future__ import annotations

import functools
import math
import sys
import threading
from typing import Any

import numpy as np

from fnn.tree import Array

SMALL = 1 << 14
"""Below this many bytes NumPy's own allocation is as fast."""

_LINE = 64  # Bytes of a cache line, where every array begins.

Buffer = tuple[Array, int]
"""Bytes, and where in them the first cache line begins."""


def _first_idle(buffers: list[Buffer], count: int) -> Buffer | None:
    """Return the first buffer with at most `count` references, as they are counted here."""
    for buffer in buffers:
        if sys.getrefcount(buffer[0]) <= count:
            return buffer
    return None


def _idle_count() -> int:
    """Return how many references `_first_idle` counts for bytes that their buffer alone holds."""
    return next(n for n in range(10) if _first_idle([(np.empty(1), 0)], n) is not None)


_COUNTED = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
_IDLE = _idle_count() if _COUNTED else 0


@functools.lru_cache(maxsize=4096)
def _buffer_size(shape: tuple[int, ...], itemsize: int) -> int:
    """Return how many bytes the buffer of such an array has."""
    n = math.prod(shape) * itemsize
    # Eight sizes between two powers of two: little is wasted, and arrays of about one size share
    # their buffers.
    unit = 1 << max(n.bit_length() - 4, 6)
    return -(-n // unit) * unit


class Arena:
    """Buffers by size, for one thread at a time. They go with the arena, and with what was lent."""

    poison = False
    """Whether memory is filled with NaN before it is lent again, so that a test sees a kernel that
    reads what it has not written."""

    def __init__(self) -> None:
        self._buffers: dict[int, list[Buffer]] = {}
        self._lent: dict[int, int] = {}
        self._grown: set[int] = set()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an array in row-major order, its values undefined."""
        size = _buffer_size(shape, dtype.itemsize)
        buffers = self._buffers.get(size)
        if buffers is None:
            buffers = self._buffers[size] = []
        self._lent[size] = self._lent.get(size, 0) + 1
        buffer = _first_idle(buffers, _IDLE)
        if buffer is None:
            self._grown.add(size)
            fresh = np.empty(size + _LINE, np.uint8)
            buffer = fresh, -fresh.ctypes.data % _LINE
            buffers.append(buffer)
        else:
            buffer[0].flags.writeable = True  # Its last borrower may have sealed it.
            if self.poison:
                # NaN in float32 and in float64, far out of range as an integer.
                buffer[0].view(np.uint32)[:] = 0x7FFFFFFF
        return np.ndarray(shape, dtype, *buffer)

    def settle(self) -> None:
        """End a step: forget the oldest of more buffers than two steps like it would lend.

        Somebody keeps those, states of training perhaps; when they go, their memory is to go too.
        """
        for size in self._grown:
            buffers = self._buffers[size]
            del buffers[: max(0, len(buffers) - 2 * self._lent[size])]
        self._grown.clear()
        self._lent.clear()

    def size(self) -> int:
        """Return how many bytes all buffers take together."""
        return sum(size * len(buffers) for size, buffers in self._buffers.items())


class _Current(threading.local):
    arena: Arena | None = None


_current = _Current()


class recycled:  # noqa: N801 - a context manager, written as a class because that enters faster.
    """Let kernels of this thread draw from an arena inside the block."""

    __slots__ = ("arena", "before")

    def __init__(self, arena: Arena) -> None:
        self.arena = arena if _COUNTED else None

    def __enter__(self) -> None:
        self.before, _current.arena = _current.arena, self.arena

    def __exit__(self, *_: object) -> None:
        _current.arena = self.before
        if self.arena is not None:
            self.arena.settle()


def room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
    """Return an array for a function's `out`, or None where NumPy had better allocate."""
    arena = _current.arena
    if arena is None or _buffer_size(shape, dtype.itemsize) < SMALL:
        return None
    return arena.empty(shape, dtype)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array in row-major order, its values undefined."""
    array = None if _current.arena is None else room(shape, dtype)
    return np.empty(shape, dtype) if array is None else array


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array of zeros in row-major order."""
    array = room(shape, dtype)
    if array is None:
        return np.zeros(shape, dtype)
    array.fill(0)
    return array


def like(x: Array, other: Array | None = None, dtype: np.dtype[Any] | None = None) -> Array | None:
    """Return an array laid out like x for a ufunc's `out`, or None where NumPy had better allocate.

    Args:
        x: Operand whose shape and memory order the result takes.
        other: Another operand; if it is of another dtype or lies otherwise, NumPy decides, as it
            does outside of a step: sums over the result would else run in another order.
        dtype: Of the result; x's by default.
    """
    arena = _current.arena
    if arena is None or x.nbytes < SMALL:
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
