"""Progress on a terminal: a bar where tqdm is installed and somebody looks, nothing otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Bar(Generic[T]):
    """Batches that pass through while a bar advances; every iteration draws a bar of its own."""

    def __init__(self, batches: Iterable[T], total: int | None, label: str) -> None:
        """Keep what to iterate over; nothing is drawn before that."""
        self._batches, self._total, self._label = batches, total, label
        self._meter: Any = None

    def __iter__(self) -> Iterator[T]:
        self._meter = meter = _meter(self._total, self._label)
        try:
            for batch in self._batches:
                yield batch
                if meter is not None:
                    meter.update(1)
        finally:
            self._meter = None
            if meter is not None:
                meter.close()

    @property
    def is_drawn(self) -> bool:
        """Whether somebody sees the bar now, so that running numbers are worth computing."""
        return self._meter is not None

    def show(self, **numbers: float) -> None:
        """Set the running numbers beside the bar; without a bar nothing happens."""
        if self._meter is not None:
            self._meter.set_postfix(
                {name: f"{float(value):.4g}" for name, value in numbers.items()}, refresh=False
            )


def _meter(total: int | None, label: str) -> Any:
    """Return a tqdm bar, or None where stderr is no terminal or tqdm is not installed."""
    # A windowed Python has no stderr at all.
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    try:
        # Imported on use: an optional package must not slow down `import fnn`.
        from tqdm import tqdm
    except ImportError:
        return None
    # The bar goes when the epoch is over; what is worth keeping is said in a line of its own.
    return tqdm(total=total, desc=label, leave=False, dynamic_ncols=True, file=sys.stderr)


def bar(batches: Iterable[T], total: int | None, label: str) -> Bar[T]:
    """Return `batches` with a progress bar, e.g. `for batch in bar(batches, n, "epoch 3")`.

    The batches are the same with and without a bar. `.show(loss=…)` sets the running numbers; the
    bar closes when the batches end, and when the loop is left early.
    """
    return Bar(batches, total, label)
