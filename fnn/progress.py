"""Progress of a training: a line per epoch, and a bar on a terminal where tqdm is installed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from fnn.files import write_line

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


def in_words(record: Mapping[str, Any]) -> str:
    """Return the numbers of an epoch as one line: "loss 0.2210  validation accuracy 0.9400"."""
    numbers = {name: value for name, value in record.items() if name not in ("epoch", "step")}
    return "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in numbers.items())


class EpochLines:
    """A line per finished epoch on stderr, for a terminal, a pipe, a log and a notebook alike.

    Lines that would come sooner than a second after the one before are left out, so that many short
    epochs fill no log; the first epoch and the last are always said.
    """

    def __init__(self, epochs: int, *, seconds: float = 1.0) -> None:
        """Keep how many epochs there will be, and the time between two lines."""
        self._epochs, self._seconds = epochs, seconds
        self._said: float | None = None

    def show(self, record: Mapping[str, Any], *, is_last: bool) -> None:
        """Say an epoch, unless it is too soon; what stderr refuses is no reason to end a training."""
        now = time.monotonic()
        if not is_last and self._said is not None and now - self._said < self._seconds:
            return
        self._said = now
        width = len(str(self._epochs))
        line = f"epoch {record['epoch']:{width}d}/{self._epochs}  {in_words(record)}"
        # A windowed Python has no stderr at all.
        if sys.stderr is not None:
            write_line(line, sys.stderr)
