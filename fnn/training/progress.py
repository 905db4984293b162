"""Where a run of `fit` stands, so that it can go on bit for bit."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from fnn.errors import OptionError
from fnn.options import integer
from fnn.training.history import Record, records_of
from fnn.training.state import TrainState
from fnn.tree import TreeLike


def _bits(value: Any) -> Any:
    """Return what tells numbers apart by their bits, so that NaN equals itself."""
    if isinstance(value, Mapping):
        return [(name, _bits(each)) for name, each in value.items()]
    if isinstance(value, tuple):
        return [_bits(each) for each in value]
    return struct.pack("<d", value) if isinstance(value, float) else value


@attrs.frozen(repr=False)
class Progress:
    """Where a run of `fit` stands: all that it needs to go on bit for bit; equal by every bit.

    A step counts when it is finished, an epoch when its record is in and all callbacks have
    answered: a run that was stopped while they were asked asks them again.

    Attributes:
        now: State after the last step.
        best: State after the best epoch, None before there is one.
        best_value: The monitored number in that epoch, nan if there is none.
        epoch: Number of finished epochs.
        batch: Batches of the running epoch that were trained on, 0 between epochs.
        count: Examples in those batches.
        sums: What the logs of those batches add up to, each weighted by its examples.
        records: A record per finished epoch.
        stopped: Whether a callback asked to stop after the last epoch.

    Raises:
        OptionError: If the parts contradict each other.
    """

    now: TrainState
    best: TrainState | None = None
    best_value: float = attrs.field(default=math.nan, converter=float, eq=_bits)
    epoch: int = 0
    batch: int = 0
    count: int = 0
    sums: Record = attrs.field(factory=Record, converter=Record, eq=_bits)
    records: tuple[Record, ...] = attrs.field(default=(), converter=records_of, eq=_bits)
    stopped: bool = False

    def __attrs_post_init__(self) -> None:
        """Refuse what `fit` cannot have reached."""
        who = "Progress"
        for name in ("now", "best"):
            state = getattr(self, name)
            if not isinstance(state, TrainState) and (name == "now" or state is not None):
                got = type(state).__name__
                raise OptionError(f"{name}: expected a TrainState, got {got}", path=(who,))
        for name in ("epoch", "batch", "count"):
            integer(who, name, getattr(self, name), least=0)
        if self.epoch != len(self.records):
            got = f"{len(self.records)} of {self.epoch}"
            raise OptionError(f"records: expected one per finished epoch, got {got}", path=(who,))
        if len({bool(self.batch), bool(self.count), bool(self.sums)}) > 1:
            got = f"{self.batch}, {self.count} and {dict(self.sums)}"
            message = f"expected batch, count and sums of a running epoch, or none, got {got}"
            raise OptionError(message, path=(who,))
        if self.best is None and not math.isnan(self.best_value):
            raise OptionError(f"best_value: expected nan without a best state, got {self.best_value}")

    def __repr__(self) -> str:
        place = f"{self.epoch} epochs, {self.batch} batches, {self.now.step} steps"
        return f"Progress({place}{', stopped' if self.stopped else ''})"

    def misfits(self, like: TrainState) -> list[str]:
        """Return a line per path in which its states differ in shape or dtype from `like`.

        The key has to be the same one; steps and values do not count.
        """
        states = {"now": self.now} if self.best is None else {"now": self.now, "best": self.best}
        lines = []
        for name, state in states.items():
            if state.key != like.key:
                lines.append(f"{name}/key: expected {like.key!r}, got {state.key!r}")
            for part in ("params", "state", "opt_state"):
                at = f"{name}/{part}"
                lines += differences(getattr(state, part), getattr(like, part), at)
        return lines


def differences(tree: TreeLike, like: TreeLike, path: str = "") -> list[str]:
    """Return a line per path at which two trees differ in structure, shape or dtype."""
    got, expected = dict(_described(tree, path)), dict(_described(like, path))
    return [
        f"{at}: expected {expected.get(at, 'no such path')}, got {got.get(at, 'no such path')}"
        for at in sorted(got.keys() | expected.keys())
        if got.get(at) != expected.get(at)
    ]


def _described(node: TreeLike, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(node, Mapping):
        yield path, f"{node.dtype}{list(node.shape)}"
    elif not node and path:
        yield f"{path}/", "nothing"
    for name, value in node.items() if isinstance(node, Mapping) else ():
        yield from _described(value, f"{path}/{name}" if path else name)
