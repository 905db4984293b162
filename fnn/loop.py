"""The loop around the step: epochs, evaluation, what was best, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, overload

import attrs

from fnn.datasets import Dataset, batches
from fnn.errors import DataError, OptionError
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
Record: TypeAlias = Mapping[str, Any]


@attrs.frozen(repr=False)
class History(Sequence[Any]):
    """What every epoch came to: `history[-1]` is the last record, `history["loss"]` a column.

    A record holds "epoch" (from 1), "step" (taken so far), "loss" and the metrics over the epoch's
    batches, and, with a validation set, "validation_loss" and its metrics.
    """

    records: tuple[Record, ...] = ()

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


def early_stopping(
    patience: int, *, monitor: str = "validation_loss", mode: Mode = "min", min_delta: float = 0.0
) -> Callback:
    """Return a callback that stops when `monitor` has not improved for `patience` epochs.

    It is a pure function of the history, so that a resumed run stops where the original did.

    Args:
        patience: Epochs to wait after the best one, 1 or more.
        monitor: Column of the history to watch.
        mode: Whether smaller or larger is better.
        min_delta: By how much a value must be better to count.
    """
    patience = integer("early_stopping", "patience", patience)
    min_delta = real("early_stopping", "min_delta", min_delta, least=0)
    _check_mode("early_stopping", mode)

    def stop(now: TrainState, history: History) -> bool:
        best, at = math.nan, -1
        for i, value in enumerate(history[monitor]):
            if _better(value, best, mode, min_delta if at >= 0 else 0.0):
                best, at = value, i
        return len(history) - 1 - max(at, 0) >= patience

    return stop


def _check_mode(who: str, mode: Any) -> None:
    if mode not in ("min", "max"):
        raise OptionError(f"mode: expected 'min' or 'max', got {mode!r}", path=(who,))


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


def _monitored(monitor: str | None, metrics: Mapping[str, Any], validation: Any) -> str:
    names = ["loss", *metrics]
    names += [f"validation_{name}" for name in names] if validation is not None else []
    if monitor is None:
        return "loss" if validation is None else "validation_loss"
    if monitor not in names:
        raise OptionError(f"monitor: expected one of {names}, got {monitor!r}", path=("fit",))
    return monitor


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
    callbacks: Sequence[Callback] = (),
    monitor: str | None = None,
    mode: Mode = "min",
    drop_last: bool = False,
    progress: bool = True,
) -> Fit:
    """Train for some epochs, each over all batches in an order of its own.

    Everything random follows from `key`: the weights from `key.fold("init")`, the order of epoch i
    (from 0) from `key.fold("epoch", i)`, masks from the key and the step. Ctrl-C ends it cleanly
    with what was reached.

    Args:
        net: The network.
        loss: `loss(pred, target) -> (value, dpred)`.
        optimizer: The transform that turns gradients into updates.
        train: Examples to train on.
        epochs: How often to go through them, 0 or more.
        batch_size: Examples per step; the last batch of an epoch may be smaller.
        key: Root of all randomness.
        validation: Examples to evaluate on after every epoch.
        metrics: `metric(pred, target)`, by name or by themselves. On the training set they are means
            over the epoch's batches as training saw them; on the validation set they are exact.
        callbacks: Called as `callback(now, history)` after every epoch; a true value stops it.
        monitor: Column of the history that says which epoch was best: "validation_loss" by default,
            "loss" without a validation set.
        mode: Whether smaller or larger is better.
        drop_last: Leave out a last batch that is smaller.
        progress: Show a bar per epoch where tqdm is installed and stderr is a terminal.

    Raises:
        DivergedError: If the loss of a step is not finite.
        DataError, ShapeError, DTypeError: If data, network and loss do not fit together.
    """
    epochs = integer("fit", "epochs", epochs, least=0)
    table = metric_table(metrics)
    monitor = _monitored(monitor, table, validation)
    _check_mode("fit", mode)
    if not isinstance(train, Dataset):
        raise DataError(f"fit: expected a Dataset to train on, got {type(train).__name__}")
    now = init_train_state(net, optimizer, train.x.shape[1:], key)
    step = jit(train_step(net, loss, optimizer, metrics=table))
    records: list[Record] = []
    best, best_value, interrupted = None, math.nan, False
    try:
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
            records.append(record)
            if best is None or _better(record[monitor], best_value, mode):
                best, best_value = now, record[monitor]
            if callbacks:
                history = History(tuple(records))
                # Every one is called, also after one that stops.
                answers = [callback(now, history) for callback in callbacks]
                if any(answers):
                    break
    except KeyboardInterrupt:
        interrupted = True
    return Fit(best or now, now, History(tuple(records)), interrupted)
