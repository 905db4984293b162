"""Which operations share one loop, and in what order the rest follows.

An operation goes as late as it can, into the loop of the first operation that needs it: what is only
looked at there is never stored. Two operations share a loop if whatever both touch, and one of them
writes, is met by both at the same turn of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from fnn.compile.machine.spaces import Dims, Overlaps, products, refined, refinement
from fnn.compile.machine.work import Place, Work, work_of
from fnn.compile.program import Block, Name, Op, Ref

MOST_WORKS = 48
"""Of how many operations a loop is at most."""

MOST_EARLY = 4_000_000
"""Up to how many bytes of temporaries things may be done earlier than they are needed."""

NEAR = 8
"""Over how many operations one goes forward: what it makes lies there until it is needed."""

FAR = 400
"""How many operations are looked at for the one that needs another."""


@attrs.define(eq=False)
class Item:
    """What is done at once: a loop over elements, or one operation of another kind.

    Attributes:
        op: The operation, if it is no loop.
        works: The operations of the loop.
        reads, writes: The memory that is touched.
        made, names: The number that is computed, or "", and those that are needed.
        native: How machine code does it; None for what NumPy is called for.
    """

    op: Op | None
    works: list[Work]
    reads: list[Ref]
    writes: list[Ref]
    made: str = ""
    names: set[str] = attrs.field(factory=set)
    native: Any = None
    cuts: set[int] = attrs.field(factory=set)
    inner: set[Block] = attrs.field(factory=set)
    read_blocks: set[Block] = attrs.field(factory=set)
    written_blocks: set[Block] = attrs.field(factory=set)

    @classmethod
    def of(cls, op: Op, work: Work | None) -> Item:
        """Return one operation."""
        outs = [each for each in (op.out, *op.outs) if each is not None]
        reads = [ref for ref in op.refs() if not any(ref is out for out in outs)]
        if work is not None:
            reads = [each.ref for each in work.reads()]
        item = cls(op, [work] if work else [], reads, outs)
        item.cuts = products(work.dims) if work else set()
        item.made, item.names = op.name, set(_names((*op.args, *op.options.values())))
        item.read_blocks, item.written_blocks = {r.block for r in reads}, {r.block for r in outs}
        return item

    def take(self, item: Item) -> None:
        """Do another item's operations before one's own, in the same loop."""
        self.op = None
        self.works = [*item.works, *self.works]
        self.reads, self.writes = [*item.reads, *self.reads], [*item.writes, *self.writes]
        self.cuts |= item.cuts
        self.names |= item.names
        self.read_blocks |= item.read_blocks
        self.written_blocks |= item.written_blocks

    def give(self, item: Item) -> None:
        """Do another item's operations after one's own, in the same loop."""
        item.take(self)
        for field in (
            "op",
            "works",
            "reads",
            "writes",
            "cuts",
            "names",
            "read_blocks",
            "written_blocks",
        ):
            setattr(self, field, getattr(item, field))

    def refs(self) -> Iterator[Ref]:
        """Yield the memory that it needs: no more what only a loop of its own looks at."""
        for ref in (*self.reads, *self.writes):
            if ref.block not in self.inner:
                yield ref


def _names(given: Iterable[Any]) -> Iterator[str]:
    for each in given:
        if isinstance(each, Name):
            yield each.name
        elif isinstance(each, tuple | list):
            yield from _names(each)
        elif isinstance(each, slice):
            yield from _names((each.start, each.stop, each.step))


def conflicts(a: Item, b: Item, overlaps: Overlaps) -> bool:
    """Return whether the order of two items matters, of which a comes first."""
    if a.made and a.made in b.names:
        return True
    if not (a.written_blocks & (b.read_blocks | b.written_blocks) or a.read_blocks & b.written_blocks):
        return False
    return (
        any(overlaps(w, r) for w in a.writes for r in (*b.reads, *b.writes) if w.block is r.block)
        or any(overlaps(r, w) for r in a.reads for w in b.writes if w.block is r.block)
    )  # fmt: skip


def same_turn(a: Place, a_dims: Dims, b: Place, b_dims: Dims, dims: Dims) -> bool:
    """Return whether two places are one, met at the same turn of a loop."""
    return (
        a.ref.offset == b.ref.offset
        and a.ref.dtype == b.ref.dtype
        and refined(a_dims, a.strides, dims) == refined(b_dims, b.strides, dims)
    )


def _meet(work: Work, other: Work, dims: Dims, overlaps: Overlaps) -> bool:
    """Return whether two works may follow each other turn by turn."""
    pairs = [(work.out, each) for each in (*other.reads(), other.out)]
    pairs += [(each, other.out) for each in work.reads()]
    return all(
        same_turn(a, work.dims, b, other.dims, dims)
        for a, b in pairs
        if a.ref.block is b.ref.block and overlaps(a.ref, b.ref)
    )


def reads_itself(work: Work, overlaps: Overlaps) -> bool:
    """Return whether a work reads what it writes at another turn."""
    return not _meet(work, work, work.dims, overlaps)


def may_join(item: Item, loop: Item, overlaps: Overlaps) -> bool:
    """Return whether an item can be done in a later loop, before what that does."""
    if not loop.works or not item.works or len(loop.works) + len(item.works) > MOST_WORKS:
        return False
    if max(item.cuts) != max(loop.cuts):
        return False
    dims = refinement(item.cuts | loop.cuts)
    if dims is None or len(dims) > 6:
        return False
    return all(_meet(work, other, dims, overlaps) for work in item.works for other in loop.works)


def grouped(ops: list[Op], kept: set[Block], overlaps: Overlaps, refused: Any = None) -> list[Item]:
    """Return the operations as items, in an order that gives the same.

    Args:
        ops: The operations.
        kept: Blocks that are read when all is done.
        overlaps: Which arrays share memory.
        refused: Says of a work whether machine code cannot be trusted with it.
    """
    items: list[Item] = []  # The last first.
    for op in reversed(ops):
        work = work_of(op)
        if work is not None and (
            reads_itself(work, overlaps) or (refused is not None and refused(work))
        ):
            work = None
        item = Item.of(op, work)
        home = _home(item, items, overlaps) if work is not None else None
        if home is None:
            items.append(item)
        else:
            home.take(item)
    items = _gathered([*reversed(items)], overlaps)
    _forget_inner(items, kept)
    return items


def _gathered(items: list[Item], overlaps: Overlaps) -> list[Item]:
    """Return the same with each loop in an earlier one that makes what it needs, if it may be there."""
    found: list[Item] = []
    for item in items:
        home = None
        for earlier in found[: -NEAR - 1 : -1] if item.works else ():
            if conflicts(earlier, item, overlaps):
                home = earlier if may_join(earlier, item, overlaps) else None
                break
        if home is None:
            found.append(item)
        else:
            home.give(item)
    return found


def _home(item: Item, items: list[Item], overlaps: Overlaps) -> Item | None:
    """Return the loop that an item is to join: the first that needs it, or any that reads the same."""
    beside: Item | None = None
    for later in items[: -FAR - 1 : -1]:
        if conflicts(item, later, overlaps):
            return later if may_join(item, later, overlaps) else beside
        if beside is None and later.works and may_join(item, later, overlaps):
            small = max(item.cuts) <= 4096
            if (
                small
                or item.read_blocks & later.read_blocks
                or item.written_blocks & later.written_blocks
            ):
                beside = later
    return beside


def _forget_inner(items: list[Item], kept: set[Block]) -> None:
    """Let blocks that one loop alone touches, and writes before it reads them, have no memory."""
    homes: dict[Block, Item | None] = {}
    for item in items:
        for ref in (*item.reads, *item.writes):
            block = ref.block
            homes[block] = item if item.works and homes.get(block, item) is item else None
    for block, home in homes.items():
        if home is None or block.kind != "temp" or block in kept:
            continue
        if _is_inner(block, home):
            home.inner.add(block)


def _is_inner(block: Block, loop: Item) -> bool:
    """Return whether all that is read of a block was written in the same turn of the loop."""
    dims = refinement(loop.cuts)
    assert dims is not None
    written: list[tuple[Place, Dims]] = []
    for work in loop.works:
        for place in work.reads():
            if place.ref.block is block and not any(
                same_turn(place, work.dims, other, other_dims, dims) for other, other_dims in written
            ):
                return False
        if work.out.ref.block is block:
            written.append((work.out, work.dims))
    return True


def scheduled(items: list[Item], overlaps: Overlaps) -> list[Item]:
    """Return items in an order in which machine code and NumPy take turns as rarely as possible.

    Where there is much memory they stay in their places: what is made early has to lie somewhere.
    """
    if _memory(items) > MOST_EARLY:
        numbers = [item for item in items if item.made and not item.reads and item.made[0] != "g"]
        early = _closed(numbers)
        known = set(map(id, early))
        return [*early, *(item for item in items if id(item) not in known)]
    after, waits = _order(items, overlaps)
    ready: tuple[list[int], list[int]] = ([], [])  # For NumPy, and native.
    for i, n in enumerate(waits):
        if not n:
            heapq.heappush(ready[items[i].native is not None], i)
    done: list[Item] = []
    turn = 0
    while ready[0] or ready[1]:
        if not ready[turn]:
            turn = 1 - turn
        i = heapq.heappop(ready[turn])
        done.append(items[i])
        for j in after[i]:
            waits[j] -= 1
            if not waits[j]:
                heapq.heappush(ready[items[j].native is not None], j)
    return done


def _memory(items: list[Item]) -> int:
    """Return how many bytes there would be if none served twice."""
    blocks = {ref.block for item in items for ref in item.refs() if ref.block.kind == "temp"}
    return sum(block.size for block in blocks)


def _closed(numbers: list[Item]) -> list[Item]:
    """Return those that need none but each other and what a program is given."""
    given = {"step", "key"}
    found = []
    for item in numbers:
        if item.names <= given:
            found.append(item)
            given.add(item.made)
    return found


def _order(items: list[Item], overlaps: Overlaps) -> tuple[list[set[int]], list[int]]:
    """Return which items come after each, and for how many each waits."""
    after: list[set[int]] = [set() for _ in items]
    touched: dict[Block, list[tuple[int, Ref, bool]]] = {}
    named: dict[str, int] = {}
    for i, item in enumerate(items):
        for ref, writes in [(r, False) for r in item.reads] + [(w, True) for w in item.writes]:
            for j, other, wrote in touched.setdefault(ref.block, []):
                if j != i and (writes or wrote) and i not in after[j] and overlaps(ref, other):
                    after[j].add(i)
            touched[ref.block].append((i, ref, writes))
        for name in item.names:
            if name in named:
                after[named[name]].add(i)
            if name.startswith("g_"):  # A generator: its draws follow each other.
                named[name] = i
        if item.made:
            named[item.made] = i
    waits = [0] * len(items)
    for each in after:
        for j in each:
            waits[j] += 1
    return after, waits
