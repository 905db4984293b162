"""A training under way: epoch after epoch, and at every moment what it can go on from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from fnn.datasets.augmentation.making import Transformation
from fnn.datasets.dataset import Dataset, batches
from fnn.kernels.values import length
from fnn.keys import Key
from fnn.layers.contract import Layer
from fnn.optimizers.rescaling import rescaled
from fnn.optimizers.transform import Transform
from fnn.training.display import Bar, EpochLines, LiveCurves, bar, epochs_shown
from fnn.training.evaluation import evaluate
from fnn.training.history import Callback, History, Mode, Record, better
from fnn.training.jitted import Jitted
from fnn.training.plateau import Pace, Plateau
from fnn.training.progress import Progress
from fnn.training.state import Batch, Reached, TrainState, settled

Done: TypeAlias = tuple[int, TrainState | None, float, bool]
"""Finished epochs: how many, the best state, its monitored number, whether a callback asked to stop."""

Running: TypeAlias = tuple[TrainState | Reached, int, int, Mapping[str, float], Done]
"""The last state, batches and examples of the running epoch, what their logs add up to; and `Done`."""


@attrs.define
class Training:
    """What `fit` trains, how, and how far it has come.

    Ctrl-C may come between any two operations, so that what belongs together changes at once: in
    `running` all that a run goes on from, in `best` the number of records and the best among them.

    Attributes:
        net: The network.
        step: The jitted step.
        train, validation: The data.
        measures: The loss and the metrics of the validation set, by name.
        epochs, batch_size, key, drop_last, augment, monitor, mode, save, save_every: As in `fit`.
        callbacks: In their order.
        show: As `progress` of `fit`.
        start: Where it began.
        optimizer: That of the step, at full rate.
        steps: From an optimizer to its jitted step.
        plateau: How the learning rate is cut.
        shows_rate: Whether records hold the learning rate.
    """

    net: Layer
    step: Jitted
    train: Dataset
    validation: Dataset | None
    measures: Mapping[str, Any]
    epochs: int
    batch_size: int
    key: Key
    drop_last: bool
    augment: Transformation | None
    monitor: str
    mode: Mode
    callbacks: tuple[Callback, ...]
    save: Callable[[Progress], Any] | None
    save_every: int | None
    show: bool | Literal["bar"]
    start: Progress
    optimizer: Transform
    steps: Callable[[Transform], Jitted]
    plateau: Plateau | None
    shows_rate: bool
    pace: Pace = attrs.field(init=False)
    paced: Transform = attrs.field(init=False)
    records: list[Record] = attrs.field(init=False)
    running: Running = attrs.field(init=False)
    best: tuple[int, TrainState | None, float] = attrs.field(init=False)
    lines: EpochLines | LiveCurves | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        start = self.start
        self.records = list(start.records)
        done = start.epoch, start.best, start.best_value, start.stopped
        self.running = start.now, start.batch, start.count, dict(start.sums), done
        self.best = done[:3]
        self.pace, self.paced = Pace(), self.optimizer
        for record in self.records:
            self._slow_down(record)
        self.lines = epochs_shown(self.epochs) if self.show and self.show != "bar" else None

    def run(self) -> None:
        """Train until the last epoch, or until a callback asks to stop.

        What catches Ctrl-C is the caller: in Python 3.14 an interrupt at a backward jump passes by the
        handlers of its own function, where the compiler has turned the jump around.
        """
        for epoch in range(self.start.epoch, 0 if self.start.stopped else self.epochs):
            now, logs = self._trained(epoch)
            rate = self._rate(now.step)
            logs = {**logs, **self._validated(now), **rate}
            record = Record({"epoch": epoch + 1, "step": now.step, **logs})
            if self._ended(now, record):
                break
            self._slow_down(record)

    def _slow_down(self, record: Record) -> None:
        """Take the next steps at the rate that the plateau leaves."""
        if self.plateau is None:
            return
        before, self.pace = self.pace, self.plateau.after(self.pace, record)
        if self.pace.scale != before.scale:
            self.paced = rescaled(self.optimizer, self.pace.scale)
            self.step = self.steps(self.paced)

    def _rate(self, step: int) -> dict[str, float]:
        """Return the learning rate of the last step, if records show it."""
        numbers = self.paced.numbers(max(0, step - 1)) if self.shows_rate else {}
        return {name: value for name, value in numbers.items() if name == "learning_rate"}

    def _trained(self, epoch: int) -> tuple[TrainState, dict[str, float]]:
        """Train on what is left of an epoch; return the state after it, and the means of its logs."""
        key = self.key.fold("epoch", epoch)
        size, last = self.batch_size, self.drop_last
        order = batches(self.train, size, key=key, drop_last=last, transform=self.augment)
        now, skipped, count, sums, done = self.running
        left: Iterable[Batch] = order.since(skipped)
        if self.show:
            left = bar(left, len(order) - skipped, f"epoch {epoch + 1}/{self.epochs}")
        mass = order.mass(skipped)
        for i, batch in enumerate(left, skipped + 1):
            now, logs = self.step.taken(now, batch)
            n = length(batch[0])
            count, share = count + n, float(batch[2].sum()) if len(batch) > 2 else n
            mass += share
            sums = {name: sums.get(name, 0.0) + float(value) * share for name, value in logs.items()}
            self.running = now, i, count, sums, done
            if self.save_every is not None and now.step % self.save_every == 0:
                self._save()
            if isinstance(left, Bar) and left.is_drawn:
                left.show(**_means(sums, mass))
        now = settled(now)
        self.running = now, *self.running[1:]
        return now, _means(sums, mass)

    def _validated(self, now: TrainState) -> dict[str, float]:
        if self.validation is None:
            return {}
        measured = evaluate(self.net, now, self.validation, self.measures)
        return {f"validation_{name}": value for name, value in measured.items()}

    def _ended(self, now: TrainState, record: Record) -> bool:
        """Take down a finished epoch, and ask the callbacks; return whether to stop."""
        self.records.append(record)
        _, best, value = self.best
        if best is None or better(record[self.monitor], value, self.mode):
            best, value = now, record[self.monitor]
        self.best = len(self.records), best, value
        stopped = False
        if self.callbacks:
            history = History.of(tuple(self.records))
            # Every one is called, also after one that stops.
            answers = [callback(now, history) for callback in self.callbacks]
            stopped = any(answers)
        self.running = now, 0, 0, {}, (*self.best, stopped)
        self._save()
        if self.lines is not None:
            self.lines.show(record, is_last=stopped or record["epoch"] == self.epochs)
        return stopped

    def _save(self) -> None:
        if self.save is not None:
            self.save(self.progress())

    def progress(self) -> Progress:
        """Return what a run goes on from."""
        now, batch, count, sums, (epoch, best, value, stopped) = self.running
        now = settled(now)
        history = History.of(tuple(self.records[:epoch]))
        return Progress(now, best, value, epoch, batch, count, sums, history, stopped)

    def end_lines(self) -> None:
        """Say the last finished epoch, if it has not been said."""
        n_records = self.best[0]
        if self.lines is not None and n_records > self.start.epoch:
            self.lines.end(self.records[n_records - 1])


def _means(sums: Mapping[str, float], mass: float) -> dict[str, float]:
    return {name: value / mass for name, value in sums.items()}
