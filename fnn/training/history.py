"""What the epochs of a run came to, which was best, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import nan
from typing import Any, Literal, NoReturn, TypeAlias, overload

import attrs
import numpy as np

from fnn.errors import OptionError
from fnn.files import markup
from fnn.files import shown as shown_as_line
from fnn.options import integer, real
from fnn.training.state import TrainState

Mode: TypeAlias = Literal["min", "max"]


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    raise TypeError("a record is immutable: dict(record) is a copy of your own")


class Record(dict[str, Any]):
    """What an epoch came to, by name; an immutable dict."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return Record, (dict(self),)


def records_of(given: Iterable[Mapping[str, Any]]) -> tuple[Record, ...]:
    """Return immutable records of what was given, in a tuple."""
    if isinstance(given, History):  # Looked at already: a loop hands over thousands at every epoch.
        return given.records
    return tuple(record if type(record) is Record else Record(record) for record in given)


@attrs.frozen(repr=False)
class History(Sequence[Any]):
    """What every epoch came to: `history[-1]` is the last record, `history["loss"]` a column.

    A record holds "epoch" (from 1), "step" (taken so far), "loss" and the metrics over the epoch's
    batches, and, with a validation set, "validation_loss" and "validation_" before its metrics.
    Histories are immutable, picklable, and equal if their records are.

    Raises:
        OptionError: If there is no column of the name asked for.
    """

    records: tuple[Record, ...] = attrs.field(default=(), converter=records_of)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> History: ...
    @overload
    def __getitem__(self, at: str) -> list[Any]: ...
    def __getitem__(self, at: int | slice | str) -> Any:
        """Return one record, some of them as a History, or the column of that name as a list."""
        if isinstance(at, str):
            if self.records and at not in self.records[0]:
                raise OptionError(f"History: expected one of {sorted(self.records[0])}, got {at!r}")
            return [record[at] for record in self.records]
        return History(self.records[at]) if isinstance(at, slice) else self.records[at]

    @classmethod
    def of(cls, records: tuple[Record, ...]) -> History:
        """Wrap records that are Records already, without looking at each."""
        history = cls.__new__(cls)
        object.__setattr__(history, "records", records)
        return history

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __repr__(self) -> str:
        names = sorted(self.records[0]) if self.records else []
        return f"History({len(self)} epochs of {', '.join(names)})"

    def __str__(self) -> str:
        return self.table()

    def table(self, *, most: int = 20) -> str:
        """Return an aligned table with a line per epoch; of more than `most` the middle is left out.

        Raises:
            OptionError: If `most` is not an integer of 2 or more.
        """
        most = integer("History.table", "most", most, least=2)
        if not self.records:
            return "no epochs"
        names, shown = list(self.records[0]), list(self.records)
        if len(shown) > most:
            shown = [*shown[: most // 2], {}, *shown[-(most - most // 2) :]]  # type: ignore[list-item]
        lines = [[shown_as_line(name.replace("_", " ")) for name in names]]
        lines += [[_cell(record.get(name)) for name in names] for record in shown]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        )

    def _repr_html_(self) -> str:
        """Return curves of all columns, for notebooks."""
        names = list(self.records[0]) if self.records else []
        columns = {name: [each.get(name, nan) for each in self.records] for name in names}
        return markup.history(columns)


def _cell(value: Any) -> str:
    if value is None:
        return "…"
    return f"{value:.4g}" if isinstance(value, float | np.floating) else shown_as_line(value)


Callback: TypeAlias = Callable[[TrainState, History], Any]


def better(value: float, than: float, mode: Mode, by: float = 0.0) -> bool:
    """Return whether `value` beats `than` by more than `by`."""
    # NaN is never better than a number, and every number is better than NaN.
    if math.isnan(than):
        return not math.isnan(value)
    return value < than - by if mode == "min" else value > than + by


@attrs.frozen
class EarlyStopping:
    """The callback made by `early_stopping`."""

    patience: int
    monitor: str
    mode: Mode
    min_delta: float
    # What was seen already, so that long runs do not read their history anew at every epoch:
    # (records, best value, its epoch). The answer never depends on it.
    _memo: list[tuple[tuple[Record, ...], float, int]] = attrs.field(
        factory=list, init=False, eq=False, repr=False
    )

    def __call__(self, now: TrainState, history: History) -> bool:
        """Return whether `monitor` has not improved for `patience` epochs."""
        records, name = history.records, self.monitor
        history[:1][name]  # Refuses a column that is not there.
        seen, best, at = self._memo[0] if self._memo else ((), math.nan, -1)
        if records[: len(seen)] != seen:
            seen, best, at = (), math.nan, -1
        for i in range(len(seen), len(records)):
            if better(records[i][name], best, self.mode, self.min_delta if at >= 0 else 0.0):
                best, at = records[i][name], i
        self._memo[:] = [(records, best, at)]
        return len(records) - 1 - max(at, 0) >= self.patience


def early_stopping(
    patience: int,
    *,
    monitor: str = "validation_loss",
    mode: Mode | None = None,
    min_delta: float = 0.0,
) -> EarlyStopping:
    """Return a callback that stops when `monitor` has not improved for `patience` epochs.

    It is a pure function of the history, so that a resumed run stops where the original did. NaN is
    worse than every number.

    Args:
        patience: Epochs to wait after the best one, 1 or more.
        monitor: Column of the history to watch.
        mode: Whether smaller ("min") or larger ("max") is better; needed unless it is a loss.
        min_delta: By how much a value must be better to count, 0 or more.

    Raises:
        OptionError: If an argument is out of its range.
    """
    who = "early_stopping"
    patience = integer(who, "patience", patience)
    min_delta = real(who, "min_delta", min_delta, least=0)
    return EarlyStopping(patience, monitor, checked_mode(who, mode, monitor), min_delta)


def checked_mode(who: str, mode: Any, monitor: str) -> Mode:
    """Return the mode; without one, a loss is to be small, and anything else is refused."""
    # "min" for an accuracy would quietly keep the worst epoch.
    if mode is None and monitor in ("loss", "validation_loss"):
        return "min"
    if mode not in ("min", "max"):
        for_what = f" for {monitor!r}" if mode is None else ""
        raise OptionError(f"mode: expected 'min' or 'max'{for_what}, got {mode!r}", path=(who,))
    return mode
