"""The loop around the step: epochs, evaluation, what was best, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from fnn.datasets import Dataset, batches
from fnn.errors import DataError, DivergedError, OptionError
from fnn.evaluation import Metrics, evaluate, metric_table
from fnn.history import (
    Callback,
    EarlyStopping,
    History,
    Mode,
    Record,
    better,
    checked_mode,
    early_stopping,
)
from fnn.keys import Key
from fnn.layer import Layer
from fnn.optimizers import Transform
from fnn.options import integer
from fnn.progress import Bar, bar
from fnn.state import TrainState, init_train_state
from fnn.training import Loss, jit, train_step

__all__ = ["Fit", "History", "early_stopping", "fit"]


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
    mode = checked_mode("fit", mode, monitor)
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
            if best is None or better(record[monitor], best_value, mode):
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
