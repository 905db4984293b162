"""Where the temporaries of a program lie: one workspace, in which the room of the dead serves again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from fnn.compile.program import Block, Ref


class Touching(Protocol):
    """What reads and writes memory: an operation, or several at once."""

    def refs(self) -> Iterator[Ref]:
        """Yield all that is read or written."""


LINE = 64
"""Bytes of a cache line, where every block begins."""


def lifetimes(ops: Sequence[Touching], kept: set[Block]) -> dict[Block, tuple[int, int]]:
    """Return the first and last operation that touches each block; what is kept lives to the end."""
    spans: dict[Block, tuple[int, int]] = {}
    for i, op in enumerate(ops):
        for ref in op.refs():
            first, _ = spans.get(ref.block, (i, i))
            spans[ref.block] = first, i
    end = len(ops)
    return {block: (first, end if block in kept else last) for block, (first, last) in spans.items()}


def placed(ops: Sequence[Touching], kept: set[Block]) -> tuple[dict[Block, int], int]:
    """Return the offset of every temporary in the workspace, and how many bytes that has.

    Each goes into the smallest gap that is free while it lives, the largest first; two that live at
    one time never overlap.
    """
    spans = {b: span for b, span in lifetimes(ops, kept).items() if b.kind == "temp"}
    offsets: dict[Block, int] = {}
    done: list[tuple[int, int, int, int]] = []  # first, last, start, end
    top = 0
    for block in sorted(spans, key=lambda b: (-b.size, spans[b])):
        first, last = spans[block]
        size = -(-block.size // LINE) * LINE
        busy = sorted((s, e) for f, last_, s, e in done if f <= last and first <= last_)
        at, best = 0, None
        for start, end in busy:
            if start - at >= size and (best is None or start - at < best[1]):
                best = at, start - at
            at = max(at, end)
        offsets[block] = at = best[0] if best else at
        done.append((first, last, at, at + size))
        top = max(top, at + size)
    return offsets, top
