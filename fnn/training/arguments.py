"""What `fit` asks of its arguments, before there is anything to lose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.datasets.augmentation.making import Augmentation, Transformation, transformed
from fnn.datasets.dataset import Batches, Dataset
from fnn.errors import DataError, OptionError
from fnn.kernels.values import length, map_arrays, take_rows
from fnn.layers.contract import Layer
from fnn.losses.reduction import Loss
from fnn.optimizers.rescaling import follows_schedule, rescaled
from fnn.optimizers.transform import Transform
from fnn.options import integer
from fnn.training.evaluation import Metrics, metric_table, weighed
from fnn.training.history import Callback, EarlyStopping, Mode, Record, better
from fnn.training.plateau import Plateau
from fnn.training.progress import Progress, differences
from fnn.training.state import TrainState, cast, trained


def checked_columns(metrics: Metrics, *, validated: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the metrics by name, and the columns that the history will have.

    Raises:
        OptionError: If two have one name, or one has a name that the history needs.
    """
    table = metric_table(metrics, reserved=["epoch", "step", "loss", "validation_loss"])
    names = ["loss", *(["validation_loss"] if validated else []), *table]
    names += [f"validation_{name}" for name in table if validated]
    if len(set(names)) < len(names):
        raise OptionError(f"metrics: expected distinct columns, got {names}", path=("fit",))
    return table, names


def checked_save(save: Any, save_every: Any) -> int | None:
    """Return after how many steps to save; None for after epochs alone."""
    if save is not None and not callable(save):
        raise OptionError(f"save: expected a function, got {save!r}", path=("fit",))
    if save_every is None:
        return None
    save_every = integer("fit", "save_every", save_every)
    if save is None:
        raise OptionError("save_every: expected save beside it, got None", path=("fit",))
    return save_every


def check_progress(progress: Any) -> None:
    """Refuse what is no choice of what to show."""
    if not isinstance(progress, bool | np.bool_) and (type(progress) is not str or progress != "bar"):
        raise OptionError(f"progress: expected True, False or 'bar', got {progress!r}", path=("fit",))


def checked_callbacks(callbacks: Any, columns: list[str]) -> tuple[Callback, ...]:
    """Return the callbacks in their order."""
    if not callable(callbacks) and not isinstance(callbacks, Iterable):
        raise OptionError(f"callbacks: expected functions, got {callbacks!r:.80}", path=("fit",))
    listed = (callbacks,) if callable(callbacks) else tuple(callbacks)
    for callback in listed:
        if not callable(callback):
            raise OptionError(f"callbacks: expected functions, got {callback!r}", path=("fit",))
        if isinstance(callback, EarlyStopping) and callback.monitor not in columns:
            message = f"callbacks: expected a monitor of {columns}, got {callback.monitor!r}"
            raise OptionError(message, path=("fit",))
    return listed


def checked_rate(optimizer: Transform, plateau: Any, columns: list[str]) -> bool:
    """Return whether the history shows the learning rate: a plateau cuts it, or a `Schedule` sets it.

    Raises:
        OptionError: If `plateau` is none, or watches no column, or there is no rate to cut.
    """
    if not isinstance(optimizer, Transform):
        return False  # Which is refused where the step is made.
    if plateau is not None:
        if not isinstance(plateau, Plateau):
            message = f"plateau: expected what reduce_on_plateau(...) makes, got {plateau!r}"
            raise OptionError(message, path=("fit",))
        if plateau.monitor not in columns:
            message = f"plateau: expected a monitor of {columns}, got {plateau.monitor!r}"
            raise OptionError(message, path=("fit",))
        try:
            rescaled(optimizer, plateau.factor)
        except OptionError as error:
            raise error.inside("fit", "")  # noqa: B904 - the same error, with its place
    shows = plateau is not None or follows_schedule(optimizer)
    shows = shows and "learning_rate" in optimizer.numbers(0)
    if shows and "learning_rate" in columns:
        message = "metrics: expected another name than 'learning_rate', which shows the rate"
        raise OptionError(message, path=("fit",))
    return shows


def check_set(name: str, dataset: Any) -> None:
    """Refuse what is no Dataset."""
    if not isinstance(dataset, Dataset):
        raise DataError(f"{name}: expected a Dataset, got {type(dataset).__name__}", path=("fit",))


def check_start(
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


def with_weights(
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
def rehearse(
    net: Layer,
    loss: Loss,
    now: TrainState,
    train: Dataset,
    validation: Dataset | None,
    size: int,
    drop_last: bool,
    augment: Transformation | None,
) -> None:
    """Raise before the first step what a later batch, target or validation would raise.

    Costs one forward pass over a batch, and the loss of every target beside one and the same output;
    where an augmentation changes targets, the augmentation of all examples too.
    """
    # The smallest batch of the epoch: batch norm, for one, refuses a last batch of one example.
    n = size if drop_last else len(train) % size or size
    key = now.key.fold("step", now.step)
    changes_targets = isinstance(augment, Augmentation) and augment.targets

    def augmented(data: Dataset, at: slice) -> tuple[Any, Any]:
        x, y = take_rows(data.x, at), take_rows(data.y, at)
        if data is not train or augment is None:
            return x, y
        numbers = np.arange(len(data))[at]
        return transformed(augment, key.fold("transform"), 0, numbers, (x, y))

    x, _ = augmented(train, slice(n))
    outputs = [(train, net.vjp(now.params, now.state, x, train=True, key=key)[0])]
    if validation is not None:
        outputs.append(
            (validation, net.apply(now.params, now.state, take_rows(validation.x, slice(1)))[0])
        )
    for data, pred in outputs:
        if isinstance(pred, np.ndarray | tuple):
            for start in range(0, len(data), size):
                at = slice(start, start + size)
                target = augmented(data, at)[1] if changes_targets else take_rows(data.y, at)
                weight = None if data.weight is None else data.weight[at]
                n = length(target)
                copies = map_arrays(lambda part, n=n: np.repeat(part[:1], n, axis=0), pred)
                # A part of a validation set may be of weight 0 alone; the whole never is.
                if weight is None or weight.any():
                    weighed("loss", loss, copies, target, weight)
