"""The loop around the step: epochs, evaluation, what was best, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import attrs
import numpy as np

from fnn import tree
from fnn.datasets.dataset import Batches, Dataset, batches
from fnn.datasets.entries import precision
from fnn.errors import DataError, DivergedError, OptionError
from fnn.kernels.parts import length, mapped, rows
from fnn.keys import Key
from fnn.layers.contract import Layer
from fnn.optimizers.transform import Transform
from fnn.options import integer
from fnn.training.evaluation import Metrics, check_weighed, evaluate, metric_table, weighed
from fnn.training.history import (
    Callback,
    EarlyStopping,
    History,
    Mode,
    Progress,
    Record,
    better,
    checked_mode,
    differences,
    early_stopping,
)
from fnn.training.progress import Bar, EpochLines, bar
from fnn.training.state import TrainState, cast, init_train_state, trained
from fnn.training.step import Loss, jit, train_step
from fnn.tree import TreeLike

__all__ = ["Fit", "History", "early_stopping", "fit"]


@attrs.frozen(repr=False)
class Fit:
    """What `fit` reached; as a text it is the table of its epochs.

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

    def __repr__(self) -> str:
        best = next((r["epoch"] for r in self.history if r["step"] == self.best.step), None)
        parts = [f"{len(self.history)} epochs, {self.last.step} steps"]
        parts += [] if best is None else [f"best after epoch {best}"]
        parts += ["interrupted"] if self.interrupted else []
        return f"Fit({', '.join(parts)})"

    def __str__(self) -> str:
        return f"{self!r}\n{self.history.table()}"


_Place: TypeAlias = tuple[TrainState, int, int, dict[str, float], tuple[int, Any, float, bool]]
"""now, batch, count and sums of a Progress; and its epoch, best, best_value and stopped."""


def _progress(place: _Place, records: list[Record]) -> Progress:
    now, batch, count, sums, (epoch, best, best_value, stopped) = place
    history = History.of(tuple(records[:epoch]))
    return Progress(now, best, best_value, epoch, batch, count, sums, history, stopped)


def _means(sums: Mapping[str, float], mass: float) -> dict[str, float]:
    return {name: value / mass for name, value in sums.items()}


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


def _check_start(
    start: Any,
    like: TrainState,
    columns: list[str],
    logs: set[str],
    monitor: str,
    mode: Mode,
    order: Batches,
) -> None:
    """Refuse to go on with a run from what another one reached."""
    path = ("fit", "start")
    if not isinstance(start, Progress):
        raise OptionError(f"expected a Progress, got {type(start).__name__}", path=path)
    misfits = start.misfits(like)
    if misfits:
        raise DataError("does not fit:\n  " + "\n  ".join(misfits), path=path)
    for record in start.records:
        if set(record) != {"epoch", "step", *columns}:
            raise DataError(f"records: expected {columns}, got {list(record)}", path=path)
    if start.sums and set(start.sums) != logs:
        raise DataError(f"sums: expected {sorted(logs)}, got {sorted(start.sums)}", path=path)
    seen = min(start.batch * order.size, len(order.dataset))
    if start.batch > len(order) or start.count != seen:
        got = f"{start.count} examples in {start.batch} batches"
        raise DataError(
            f"expected batches of {order.size} of {len(order.dataset)}, got {got}", path=path
        )
    best: Record | None = None
    for record in start.records:
        if best is None or better(record[monitor], best[monitor], mode):
            best = record
    step = None if start.best is None else start.best.step
    if step != (None if best is None else best["step"]):
        expected = f"the best {monitor!r} ({mode}) after step {best and best['step']}"
        raise DataError(f"best: expected {expected}, got that of step {step}", path=path)


def _beginning(
    net: Layer, first: TrainState, optimizer: Transform, params: Any, state: Any, dtype: Any
) -> TrainState:
    """Return the state before the first step with the weights that were given in place of its own."""
    if dtype is not None:
        first = cast(first, dtype)
        params, state = (each if each is None else tree.cast(each, dtype) for each in (params, state))
    given = {"params": params, "state": state}
    changes = {name: tree.freeze(value) for name, value in given.items() if value is not None}
    misfits = [
        line
        for name, value in changes.items()
        for line in differences(value, getattr(first, name), name)
    ]
    if misfits:
        if dtype is None and {leaf.dtype.name for leaf in tree.leaves(changes)} == {"float64"}:
            misfits.append("fit(..., dtype='float64') trains in the precision that they have")
        raise DataError("weights do not fit the network:\n  " + "\n  ".join(misfits), path=("fit",))
    if "params" in changes:
        changes["opt_state"] = optimizer.init(trained(net, changes["params"]))
    return attrs.evolve(first, **changes)


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
    outputs = [(train, net.vjp(now.params, now.state, rows(train.x, slice(n)), train=True, key=key)[0])]
    if validation is not None:
        outputs.append((validation, net.apply(now.params, now.state, rows(validation.x, slice(1)))[0]))
    for data, pred in outputs:
        if isinstance(pred, np.ndarray | tuple):
            for start in range(0, len(data), size):
                at = slice(start, start + size)
                target, weight = rows(data.y, at), None if data.weight is None else data.weight[at]
                n = length(target)
                copies = mapped(lambda part, n=n: np.repeat(part[:1], n, axis=0), pred)
                # A part of a validation set may be of weight 0 alone; the whole never is.
                if weight is None or weight.any():
                    weighed("loss", loss, copies, target, weight)


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
    params: TreeLike | None = None,
    state: TreeLike | None = None,
    dtype: str | None = None,
    progress: bool | Literal["bar"] = True,
    start: Progress | None = None,
    save: Callable[[Progress], Any] | None = None,
    save_every: int | None = None,
) -> Fit:
    """Train for some epochs, each over all batches in an order of its own.

    Everything random follows from `key`: the weights from `key.fold("init")`, the order of epoch i
    (from 0) from `key.fold("epoch", i)`, masks from the key and the step. Ctrl-C ends it cleanly
    with what was reached; no finished epoch is lost. What does not fit together raises before the
    first step.

    A run may be stopped after any step and continued: with `start`, everything goes on where it was,
    and ends with the bits that it would have had without the stop.

    Args:
        net: The network.
        loss: `loss(pred, target, *, weight=None) -> (value, dpred)`; weights are those of the data.
        optimizer: The transform that turns gradients into updates.
        train: Examples to train on; those of weight 0 are left out.
        epochs: How often to go through them, 0 or more.
        batch_size: Examples per step; the last batch of an epoch may be smaller.
        key: Root of all randomness.
        validation: Examples to evaluate on after every epoch.
        metrics: `metric(pred, target, *, weight=None)`, by name or by themselves. On the training set
            they and the loss are means over the epoch's batches as training saw them, weighted by
            their sizes, or the sums of their weights; on the validation set they are exact.
        callbacks: Called as `callback(now, history)` after every epoch; a true value stops it.
        monitor: Column of the history that says which epoch was best: "validation_loss" by default,
            "loss" without a validation set.
        mode: Whether smaller ("min") or larger ("max") is better; needed unless a loss is monitored.
        drop_last: Leave out a last batch that is smaller.
        params: Weights to begin with, such as those of `load_model`; drawn from the key if None.
        state: What the network carries at first, such as running moments; `init`'s if None.
        dtype: "float32" or "float64", in which to train: weights, state and floating data are cast.
            Weights are drawn in float32 whatever it is, so that runs in both begin alike.
        progress: Say every epoch in a line on stderr, but at most one line a second; and while an
            epoch runs, show a bar where tqdm is installed and stderr is a terminal. "bar" shows
            the bar alone, False nothing.
        start: What an earlier `fit` gave to its `save`, to go on from with the same arguments
            (`epochs` may be another number); `params` and `state` are then those that it has. If
            that many epochs are done, or a callback asked to stop, nothing is trained.
        save: Called as `save(progress)` after every epoch, when its callbacks have answered; when
            Ctrl-C ends it, with what was reached; and as `save_every` says.
        save_every: Save also after every step whose number it divides.

    Raises:
        DivergedError: If a step's loss, or what comes after it, is not finite. It brings a note with
            the epoch; a callback that saves what it sees has every epoch before.
        OptionError: If an argument is out of its range.
        DataError, ShapeError, DTypeError: If data, network and loss do not fit together, or `start`
            is of a run with others; names the paths that differ.
    """
    epochs = integer("fit", "epochs", epochs, least=0)
    dtype = precision("fit", dtype)
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
    if not isinstance(progress, bool | np.bool_) and (type(progress) is not str or progress != "bar"):
        raise OptionError(f"progress: expected True, False or 'bar', got {progress!r}", path=("fit",))
    listeners = _check_callbacks(callbacks, names)
    if save is not None and not callable(save):
        raise OptionError(f"save: expected a function, got {save!r}", path=("fit",))
    if save_every is not None:
        save_every = integer("fit", "save_every", save_every)
        if save is None:
            raise OptionError("save_every: expected save beside it, got None", path=("fit",))
    if dtype is not None:
        train, validation = train.cast(dtype), None if validation is None else validation.cast(dtype)
    if any(data is not None and data.weight is not None for data in (train, validation)):
        for name, fn in {"loss": loss, **table}.items():
            check_weighed(name, fn)
    # These check their arguments before there is anything to lose.
    order = batches(train, batch_size, drop_last=drop_last)
    train = order.dataset  # Without what has weight 0, so that no epoch looks for it again.
    step = jit(train_step(net, loss, optimizer, metrics=table))
    # Made also where a run goes on: it tells which paths, shapes and dtypes `start` has to have.
    first = init_train_state(net, optimizer, train.in_shape, key)
    first = _beginning(net, first, optimizer, params, state, dtype)
    if start is None:
        start = Progress(first)
    else:
        _check_start(start, first, names, {"loss", *table}, monitor, mode, order)
    now, skipped = start.now, start.batch
    records = list(start.records)
    done = start.epoch, start.best, start.best_value, start.stopped
    # Ctrl-C may come between any two operations, so what belongs together changes at once: in `place`
    # what a run goes on from, in `reached` the number of records and what is best among them.
    place: _Place = now, skipped, start.count, dict(start.sums), done
    reached = done[:3]
    interrupted = False
    lines = EpochLines(epochs) if progress and progress != "bar" else None

    def train_on() -> None:
        # Apart from what catches Ctrl-C: an interrupt at a backward jump passes by the handlers of its
        # own function in Python 3.14, where the compiler has turned the jump around.
        nonlocal now, skipped, done, place, reached
        _rehearse(net, loss, now, train, validation, batch_size, drop_last)
        for epoch in range(start.epoch, 0 if start.stopped else epochs):
            order = batches(train, batch_size, key=key.fold("epoch", epoch), drop_last=drop_last)
            left, n_left = order.since(skipped), len(order) - skipped
            shown = bar(left, n_left, f"epoch {epoch + 1}/{epochs}") if progress else left
            _, _, count, sums, _ = place
            mass = order.mass(skipped)
            for i, batch in enumerate(shown, skipped + 1):
                now, logs = step(now, batch)
                n = length(batch[0])
                count, share = count + n, float(batch[2].sum()) if len(batch) > 2 else n
                mass += share
                sums = {
                    name: sums.get(name, 0.0) + float(value) * share for name, value in logs.items()
                }
                place = now, i, count, sums, done
                if save_every is not None and save is not None and now.step % save_every == 0:
                    save(_progress(place, records))
                if isinstance(shown, Bar) and shown.is_drawn:
                    shown.show(**_means(sums, mass))
            record = {"epoch": epoch + 1, "step": now.step, **_means(sums, mass)}
            if validation is not None:
                measured = evaluate(net, now, validation, {"loss": loss, **table})
                record |= {f"validation_{name}": value for name, value in measured.items()}
            records.append(Record(record))
            _, best, best_value = reached
            if best is None or better(record[monitor], best_value, mode):
                best, best_value = now, record[monitor]
            reached = len(records), best, best_value
            stopped = False
            if listeners:
                history = History.of(tuple(records))
                # Every one is called, also after one that stops.
                answers = [callback(now, history) for callback in listeners]
                stopped = any(answers)
            done, skipped = (*reached, stopped), 0
            place = now, 0, 0, {}, done
            if save is not None:
                save(_progress(place, records))
            if lines is not None:
                lines.show(records[-1], is_last=stopped or epoch + 1 == epochs)
            if stopped:
                break

    try:
        train_on()
    except KeyboardInterrupt:
        interrupted = True
        if save is not None:
            save(_progress(place, records))
    except DivergedError as error:
        error.add_note(f"in epoch {len(records) + 1} of {epochs}")
        raise
    finally:
        if lines is not None and reached[0] > start.epoch:
            lines.end(records[reached[0] - 1])
    count, best, _ = reached
    return Fit(
        place[0] if best is None else best, place[0], History.of(tuple(records[:count])), interrupted
    )
