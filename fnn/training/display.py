"""Progress of a training: a line per epoch, and a bar on a terminal where tqdm is installed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from fnn.files import markup, shown, write_line

T = TypeVar("T")


class Bar(Generic[T]):
    """Batches that pass through while a bar advances; every iteration draws a bar of its own."""

    def __init__(self, batches: Iterable[T], total: int | None, label: str) -> None:
        """Keep what to iterate over; nothing is drawn before that."""
        self._batches, self._total, self._label = batches, total, label
        self._meter: Any = None

    def __iter__(self) -> Iterator[T]:
        self._meter = _meter(self._total, self._label)
        try:
            for batch in self._batches:
                yield batch
                self._draw("update", 1)
        finally:
            self._draw("close")
            self._meter = None

    @property
    def is_drawn(self) -> bool:
        """Whether somebody sees the bar now, so that running numbers are worth computing."""
        return self._meter is not None

    def show(self, **numbers: float) -> None:
        """Set the running numbers beside the bar; without a bar nothing happens."""
        texts = {name: f"{float(value):.4g}" for name, value in numbers.items()}
        self._draw("set_postfix", texts, refresh=False)

    def _draw(self, what: str, *args: Any, **options: Any) -> None:
        if self._meter is not None:
            try:
                getattr(self._meter, what)(*args, **options)
            except (OSError, ValueError):  # A terminal that is gone or closed ends no training.
                self._meter = None


def _meter(total: int | None, label: str) -> Any:
    """Return a tqdm bar, or None where stderr is no terminal or tqdm is not installed."""
    try:
        # A windowed Python has no stderr at all; a closed one, or one of somebody's own, may not say.
        if not sys.stderr.isatty():
            return None
    except (AttributeError, OSError, ValueError):
        return None
    try:
        # Imported on use: an optional package must not slow down `import fnn`.
        from tqdm import tqdm
    except ImportError:
        return None
    try:
        # The bar goes when the epoch is over; what is worth keeping is said in a line of its own.
        return tqdm(total=total, desc=label, leave=False, dynamic_ncols=True, file=sys.stderr)
    except (OSError, ValueError):
        return None


def bar(batches: Iterable[T], total: int | None, label: str) -> Bar[T]:
    """Return `batches` with a progress bar, e.g. `for batch in bar(batches, n, "epoch 3")`.

    The batches are the same with and without a bar. `.show(loss=…)` sets the running numbers; the
    bar closes when the batches end, and when the loop is left early.
    """
    return Bar(batches, total, label)


def in_words(record: Mapping[str, Any]) -> str:
    """Return the numbers of an epoch as one line: "loss 0.2210  validation accuracy 0.9400"."""
    numbers = {name: value for name, value in record.items() if name not in ("epoch", "step")}
    return "  ".join(f"{shown(name.replace('_', ' '))} {_number(n)}" for name, n in numbers.items())


def _number(value: float) -> str:
    is_usual = value == 0 or 1e-4 <= abs(value) < 1e6
    return f"{value:.4f}" if is_usual else f"{value:.4g}"


class LiveCurves:
    """Curves below a notebook's cell that grow with every epoch, at most twice a second."""

    def __init__(self, display: Any, *, seconds: float = 0.5) -> None:
        """Keep IPython's `display`, and the time between two pictures."""
        self._display, self._seconds = display, seconds
        self._columns: dict[str, list[Any]] = {}
        self._shown: float | None = None
        self._handle: Any = None

    def _repr_html_(self) -> str:
        return markup.history(self._columns)

    def show(self, record: Mapping[str, Any], *, is_last: bool) -> None:
        """Add an epoch, and draw the curves anew unless it is too soon."""
        for name, value in record.items():
            self._columns.setdefault(name, []).append(value)
        now = time.monotonic()
        if not is_last and self._shown is not None and now - self._shown < self._seconds:
            return
        self._shown = now
        try:
            if self._handle is None:
                self._handle = self._display(self, display_id=True)
            else:
                self._handle.update(self)
        except Exception:  # A notebook that is gone ends no training.
            self._handle = None

    def end(self, record: Mapping[str, Any]) -> None:
        """Draw the last finished epoch, whatever ended the training."""
        if self._handle is not None:
            self._handle.update(self)


def epochs_shown(epochs: int) -> EpochLines | LiveCurves:
    """Return what shows the epochs of a training: curves in a notebook, lines elsewhere."""
    # Asked, not imported: whoever runs in a notebook has it.
    ipython = sys.modules.get("IPython")
    shell = getattr(ipython, "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:
        return EpochLines(epochs)
    return LiveCurves(getattr(sys.modules.get("IPython.display"), "display", None))


class EpochLines:
    """A line per finished epoch on stderr, for a terminal, a pipe, a log and a notebook alike.

    Lines that would come sooner than a second after the one before are left out, so that many short
    epochs fill no log; the first epoch and the last are always said.
    """

    def __init__(self, epochs: int, *, seconds: float = 1.0) -> None:
        """Keep how many epochs there will be, and the time between two lines."""
        self._epochs, self._seconds = epochs, seconds
        self._said: float | None = None
        self._last: Any = None

    def show(self, record: Mapping[str, Any], *, is_last: bool) -> None:
        """Say an epoch, unless it is too soon; what stderr refuses is no reason to end a training."""
        now = time.monotonic()
        if not is_last and self._said is not None and now - self._said < self._seconds:
            return
        self._said, self._last = now, record["epoch"]
        width = len(str(self._epochs))
        line = f"epoch {record['epoch']:{width}d}/{self._epochs}  {in_words(record)}"
        # A windowed Python has no stderr at all.
        if sys.stderr is not None:
            write_line(line, sys.stderr)

    def end(self, record: Mapping[str, Any]) -> None:
        """Say the last finished epoch if that was left out, whatever ended the training."""
        if record["epoch"] != self._last:
            self.show(record, is_last=True)
