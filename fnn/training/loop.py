"""`fit`: what it takes, what it refuses, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import attrs

from fnn.datasets.augmentation.making import Transformation, checked_transform
from fnn.datasets.dataset import Dataset, batches
from fnn.datasets.entries import precision
from fnn.errors import DivergedError, OptionError
from fnn.files import markup
from fnn.keys import Key
from fnn.layers.contract import Layer
from fnn.losses.reduction import Loss
from fnn.optimizers.transform import Transform
from fnn.options import flag, integer
from fnn.training import arguments
from fnn.training.epochs import Training
from fnn.training.evaluation import Metrics, check_weighed
from fnn.training.health import Diagnosis, Watch, advice
from fnn.training.history import Callback, History, Mode, checked_mode, early_stopping
from fnn.training.jitted import Jitted, jit
from fnn.training.penalties import checked_penalty
from fnn.training.plateau import Plateau
from fnn.training.progress import Progress
from fnn.training.state import TrainState, init_train_state, settled
from fnn.training.step import train_step
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
        health: A diagnosis per epoch that was watched.
    """

    best: TrainState
    last: TrainState
    history: History
    interrupted: bool = False
    health: tuple[Diagnosis, ...] = ()

    def __repr__(self) -> str:
        best = next((r["epoch"] for r in self.history if r["step"] == self.best.step), None)
        parts = [f"{len(self.history)} epochs, {self.last.step} steps"]
        parts += [] if best is None else [f"best after epoch {best}"]
        parts += ["interrupted"] if self.interrupted else []
        return f"Fit({', '.join(parts)})"

    def __str__(self) -> str:
        text = f"{self!r}\n{self.history.table()}"
        return "\n".join([text, *self.advice()])

    def _repr_html_(self) -> str:
        """Return the curves of the history and the advice, for notebooks."""
        said = "".join(f"<div>{markup.escaped(text)}</div>" for text in self.advice())
        return f"<div>{markup.escaped(repr(self))}</div>{self.history._repr_html_()}{said}"

    def advice(self) -> list[str]:
        """Return what is wrong at the end, in words, if it was watched; empty where all is well."""
        return advice(self.health, len(self.history) - len(self.health) + 1)


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
    plateau: Plateau | None = None,
    drop_last: bool = False,
    augment: Transformation | None = None,
    penalty: Any = None,
    params: TreeLike | None = None,
    state: TreeLike | None = None,
    dtype: str | None = None,
    progress: bool | Literal["bar"] = True,
    start: Progress | None = None,
    save: Callable[[Progress], Any] | None = None,
    save_every: int | None = None,
    watch: bool = False,
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
        plateau: How the learning rate is cut where a column of the history stands still, by
            `reduce_on_plateau`. A rate that it cuts, or that is one of the library's schedules, is a
            column of the history: "learning_rate", that of the epoch's last step.
        drop_last: Leave out a last batch that is smaller.
        augment: Sends every batch of training through an augmentation, such as `random_flip()`, or a
            pure function `(key, x) -> x`; see `transform` of `batches`. What becomes of an example
            follows from the key, the epoch and its number in `train` alone.
        penalty: Added to the loss of every step, as in `train_step`; that of the validation set is the
            loss alone.
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
        watch: Whether to `diagnose` every epoch on the first batch of `train`, in its own order: what
            layers give, gradients and updates, and advice where something is wrong, in `Fit.health` and
            the text of `Fit`. It takes about a step per epoch, and changes no number.

    Raises:
        DivergedError: If a step's loss, or what comes after it, is not finite. It brings a note with
            the epoch; a callback that saves what it sees has every epoch before.
        OptionError: If an argument is out of its range.
        DataError, ShapeError, DTypeError: If data, network and loss do not fit together, or `start`
            is of a run with others; names the paths that differ.
    """
    epochs = integer("fit", "epochs", epochs, least=0)
    dtype = precision("fit", dtype)
    arguments.check_set("train", train)
    if validation is not None:
        arguments.check_set("validation", validation)
    table, names = arguments.checked_columns(metrics, validated=validation is not None)
    monitor = names[validation is not None] if monitor is None else monitor
    if monitor not in names:
        raise OptionError(f"monitor: expected one of {names}, got {monitor!r}", path=("fit",))
    mode = checked_mode("fit", mode, monitor)
    arguments.check_progress(progress)
    listeners = arguments.checked_callbacks(callbacks, names)
    shows_rate = arguments.checked_rate(optimizer, plateau, names)
    save_every = arguments.checked_save(save, save_every)
    augment = checked_transform("fit", "augment", augment)
    penalty = checked_penalty("fit", penalty)
    if dtype is not None:
        train, validation = train.cast(dtype), None if validation is None else validation.cast(dtype)
    measures = {"loss": loss, **table}
    if any(data is not None and data.weight is not None for data in (train, validation)):
        for name, fn in measures.items():
            check_weighed(name, fn)
    # These check their arguments before there is anything to lose.
    order = batches(train, batch_size, drop_last=drop_last)
    train = order.dataset  # Without what has weight 0, so that no epoch looks for it again.

    def steps(paced: Transform) -> Jitted:
        return jit(train_step(net, loss, paced, metrics=table, penalty=penalty))

    watching = None
    if flag("fit", "watch", watch):
        some = train.take(min(batch_size, len(train)))
        weight = () if some.weight is None else (some.weight,)
        watching = Watch(net, loss, optimizer, (some.x, some.y, *weight))
        listeners = (watching, *listeners)

    step = steps(optimizer)
    # Made also where a run goes on: it tells which paths, shapes and dtypes `start` has to have.
    first = init_train_state(net, optimizer, train.in_shape, key)
    first = arguments.with_weights(net, first, optimizer, params, state, dtype)
    if start is None:
        start = Progress(first)
    else:
        columns = [*names, "learning_rate"] if shows_rate else names
        arguments.check_start(start, first, columns, set(measures), monitor, mode, order)
    training = Training(
        net, step, train, validation, measures, epochs, batch_size, key, drop_last,
        augment, monitor, mode, listeners, save, save_every, progress, start,
        optimizer, steps, plateau, shows_rate,
    )  # fmt: skip
    interrupted = False
    try:
        arguments.rehearse(net, loss, start.now, train, validation, batch_size, drop_last, augment)
        training.run()
    except KeyboardInterrupt:
        interrupted = True
        if save is not None:
            save(training.progress())
    except DivergedError as error:
        error.add_note(f"in epoch {len(training.records) + 1} of {epochs}")
        raise
    finally:
        training.end_lines()
    n_records, best, _ = training.best
    last, history = settled(training.running[0]), History.of(tuple(training.records[:n_records]))
    health = () if watching is None else tuple(watching.seen)
    return Fit(last if best is None else best, last, history, interrupted, health)
