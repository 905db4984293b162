"""What a worker process times: one peer's steps on one workload, from the same start every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np


class Unavailable(Exception):  # noqa: N818
    """This peer has no such workload, or is not installed; the text says which."""


def nothing() -> None:
    """Reset what has no state."""


@attrs.define
class Job:
    """A step, what it is called with, and how to go back to the start.

    Attributes:
        step: Takes one of `items`; returns something that float() reads the loss from.
        items: What the steps cycle through.
        reset: Brings back the first weights.
        many: Takes several items at once instead of `step`, if the peer has a loop of its own.
        multiple: Of how many items at a time `many` is made.
        outputs: What the correctness check compares, if not the losses of the first steps.
        goes_on: A block starts where the last one ended, as the epochs of a training do.
    """

    step: Callable[[Any], Any]
    items: Sequence[Any]
    reset: Callable[[], None] = nothing
    many: Callable[[int, int], Any] | None = None
    multiple: int = 1
    outputs: Callable[[], list[float]] | None = None
    goes_on: bool = False
    at: int = 0

    def start(self) -> None:
        """Go back to the first weights and the first batch."""
        if not self.goes_on:
            self.at = 0
            self.reset()

    def run(self, n: int) -> float:
        """Take n steps; read the last loss at the end only."""
        start, self.at = self.at, self.at + n
        if self.many is not None:
            return float(self.many(start, n))
        step, items, count = self.step, self.items, len(self.items)
        loss: Any = 0.0
        for i in range(start, start + n):
            loss = step(items[i % count])
        # A prediction is an array; its first number has been waited for like all of it.
        return float(np.asarray(loss).reshape(-1)[0])

    def first(self, n: int = 3) -> list[float]:
        """Return the losses of the first n steps, which every peer must agree on."""
        self.start()
        return self.outputs() if self.outputs else [self.run(1) for _ in range(n)]
