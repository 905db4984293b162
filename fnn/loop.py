"""The loop around the step: epochs, evaluation, what was best, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NoReturn, TypeAlias, overload

import attrs
import numpy as np

from fnn.datasets import Dataset, batches
from fnn.errors import DataError, DivergedError, OptionError
from fnn.keys import Key
from fnn.layer import Layer
from fnn.optimizers import Transform
from fnn.options import integer, real
from fnn.plans import jit
from fnn.progress import Bar, bar
from fnn.training import (
    Loss,
    Metrics,
    TrainState,
    evaluate,
    init_train_state,
    metric_table,
    train_step,
)

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


def _records(given: Iterable[Mapping[str, Any]]) -> tuple[Record, ...]:
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

    records: tuple[Record, ...] = attrs.field(default=(), converter=_records)

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


@attrs.frozen
class Fit:
    """What `fit` reached.

    Attributes:
        best: State after the epoch in which the monitored number was best; `last` if there was none.
        last: State after the last step.
        history: A record per finished epoch.
        interrupted: Whether Ctrl-C ended it.
    """

    best: TrainState
    last: TrainState
    history: History
    interrupted: bool = False


Callback: TypeAlias = Callable[[TrainState, History], Any]


def _better(value: float, than: float, mode: Mode, by: float = 0.0) -> bool:
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
            if _better(records[i][name], best, self.mode, self.min_delta if at >= 0 else 0.0):
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
    return EarlyStopping(patience, monitor, _mode(who, mode, monitor), min_delta)


def _mode(who: str, mode: Any, monitor: str) -> Mode:
    # "min" for an accuracy would quietly keep the worst epoch.
    if mode is None and monitor in ("loss", "validation_loss"):
        return "min"
    if mode not in ("min", "max"):
        for_what = f" for {monitor!r}" if mode is None else ""
        raise OptionError(f"mode: expected 'min' or 'max'{for_what}, got {mode!r}", path=(who,))
    return mode


class _Means:
    """Means over an epoch's examples: every batch weighs as many examples as it has."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: dict[str, float] = {}

    def add(self, logs: Mapping[str, Any], count: int) -> None:
        self.count += count
        for name, value in logs.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value) * count

    def values(self) -> dict[str, float]:
        return {name: value / self.count for name, value in self.sums.items()}


def _check_callbacks(callbacks: Any, columns: list[str]) -> tuple[Callback, ...]:
    listed = (callbacks,) if callable(callbacks) else tuple(callbacks)
    for callback in listed:
        if not callable(callback):
            raise OptionError(f"callbacks: expected functions, got {callback!r}", path=("fit",))
        if isinstance(callback, EarlyStopping) and callback.monitor not in columns:
            message = f"callbacks: expected a monitor of {columns}, got {callback.monitor!r}"
            raise OptionError(message, path=("fit",))
    return listed


def _check_set(name: str, dataset: Any) -> None:
    if not isinstance(dataset, Dataset):
        raise DataError(f"{name}: expected a Dataset, got {type(dataset).__name__}", path=("fit",))


@np.errstate(all="ignore")
def _rehearse(
    net: Layer,
    loss: Loss,
    now: TrainState,
    train: Dataset,
    validation: Dataset | None,
    size: int,
    drop_last: bool,
) -> None:
    """Raise before the first step what a later batch, target or validation would raise.

    Costs one forward pass over a batch, and the loss of every target beside one and the same output.
    """
    # The smallest batch of the epoch: batch norm, for one, refuses a last batch of one example.
    n = size if drop_last else len(train) % size or size
    key = now.key.fold("step", now.step)
    outputs = [(train, net.vjp(now.params, now.state, train.x[:n], train=True, key=key)[0])]
    if validation is not None:
        outputs.append((validation, net.apply(now.params, now.state, validation.x[:1])[0]))
    for data, pred in outputs:
        if isinstance(pred, np.ndarray):
            for start in range(0, len(data), size):
                target = data.y[start : start + size]
                loss(np.repeat(pred[:1], len(target), axis=0), target)


def fit(
    net: Layer,
    loss: Loss,
    optimizer: Transform,
    train: Dataset,
    *,
    epochs: int,
    batch_size: int,
    key: Key,
    validation: Dataset | None = None,
    metrics: Metrics = (),
    callbacks: Callback | Iterable[Callback] = (),
    monitor: str | None = None,
    mode: Mode | None = None,
    drop_last: bool = False,
    progress: bool = True,
) -> Fit:
    """Train for some epochs, each over all batches in an order of its own.

    Everything random follows from `key`: the weights from `key.fold("init")`, the order of epoch i
    (from 0) from `key.fold("epoch", i)`, masks from the key and the step. Ctrl-C ends it cleanly
    with what was reached; no finished epoch is lost. What does not fit together raises before the
    first step.

    Args:
        net: The network.
        loss: `loss(pred, target) -> (value, dpred)`.
        optimizer: The transform that turns gradients into updates.
        train: Examples to train on.
        epochs: How often to go through them, 0 or more.
        batch_size: Examples per step; the last batch of an epoch may be smaller.
        key: Root of all randomness.
        validation: Examples to evaluate on after every epoch.
        metrics: `metric(pred, target)`, by name or by themselves. On the training set they and the
            loss are means over the epoch's batches as training saw them, weighted by their sizes;
            on the validation set they are exact.
        callbacks: Called as `callback(now, history)` after every epoch; a true value stops it.
        monitor: Column of the history that says which epoch was best: "validation_loss" by default,
            "loss" without a validation set.
        mode: Whether smaller ("min") or larger ("max") is better; needed unless a loss is monitored.
        drop_last: Leave out a last batch that is smaller.
        progress: Show a bar per epoch where tqdm is installed and stderr is a terminal.

    Raises:
        DivergedError: If a step's loss, or what comes after it, is not finite. It brings a note with
            the epoch; a callback that saves what it sees has every epoch before.
        OptionError: If an argument is out of its range.
        DataError, ShapeError, DTypeError: If data, network and loss do not fit together.
    """
    epochs = integer("fit", "epochs", epochs, least=0)
    _check_set("train", train)
    names = ["loss"]
    if validation is not None:
        _check_set("validation", validation)
        names += ["validation_loss"]
    table = metric_table(metrics, reserved=["epoch", "step", "loss", "validation_loss"])
    names += [*table, *(f"validation_{name}" for name in table if validation is not None)]
    if len(set(names)) < len(names):
        raise OptionError(f"metrics: expected distinct columns, got {names}", path=("fit",))
    monitor = names[validation is not None] if monitor is None else monitor
    if monitor not in names:
        raise OptionError(f"monitor: expected one of {names}, got {monitor!r}", path=("fit",))
    mode = _mode("fit", mode, monitor)
    listeners = _check_callbacks(callbacks, names)
    # These check their arguments before there is anything to lose.
    batches(train, batch_size, drop_last=drop_last)
    step = jit(train_step(net, loss, optimizer, metrics=table))
    now = init_train_state(net, optimizer, train.x.shape[1:], key)
    records: list[Record] = []
    # How many records there are and which state is best change at once: Ctrl-C may come anywhere.
    reached: tuple[int, TrainState | None, float] = 0, None, math.nan
    interrupted = False
    try:
        _rehearse(net, loss, now, train, validation, batch_size, drop_last)
        for epoch in range(epochs):
            order = batches(train, batch_size, key=key.fold("epoch", epoch), drop_last=drop_last)
            shown = bar(order, len(order), f"epoch {epoch + 1}/{epochs}") if progress else order
            means = _Means()
            for batch in shown:
                now, logs = step(now, batch)
                means.add(logs, len(batch[0]))
                if isinstance(shown, Bar) and shown.is_drawn:
                    shown.show(**means.values())
            record = {"epoch": epoch + 1, "step": now.step, **means.values()}
            if validation is not None:
                measured = evaluate(net, now, validation, {"loss": loss, **table})
                record |= {f"validation_{name}": value for name, value in measured.items()}
            records.append(Record(record))
            _, best, best_value = reached
            if best is None or _better(record[monitor], best_value, mode):
                best, best_value = now, record[monitor]
            reached = len(records), best, best_value
            if listeners:
                history = History.of(tuple(records))
                # Every one is called, also after one that stops.
                answers = [callback(now, history) for callback in listeners]
                if any(answers):
                    break
    except KeyboardInterrupt:
        interrupted = True
    except DivergedError as error:
        error.add_note(f"in epoch {len(records) + 1} of {epochs}")
        raise
    count, best, _ = reached
    return Fit(now if best is None else best, now, History.of(tuple(records[:count])), interrupted)
