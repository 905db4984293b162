"""Training as a fold: a pure step from one TrainState to the next, scanned over batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn import tree
from fnn.datasets import Dataset
from fnn.errors import DataError, DivergedError, OptionError
from fnn.keys import Key
from fnn.layer import Layer, Shape
from fnn.optimizers import Transform, apply_updates, global_norm
from fnn.options import integer
from fnn.tree import Array, Tree

Batch: TypeAlias = tuple[Any, ...]
"""(x, target) or (x, target, weight)."""

Loss: TypeAlias = Callable[..., tuple[Any, Array]]
Metric: TypeAlias = Callable[[Any, Any], Any]
Metrics: TypeAlias = Mapping[str, Metric] | Iterable[Metric] | Metric
Step: TypeAlias = "Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]"


@attrs.frozen
class TrainState:
    """All that a step changes.

    Attributes:
        step: Number of steps taken, a Python int; the one clock.
        key: Where all randomness of training comes from; it never changes.
        params: What is trained.
        state: What is carried, such as running moments.
        opt_state: The optimizer's memory.
    """

    step: int = attrs.field(converter=int)
    key: Key
    params: Tree = attrs.field(converter=tree.freeze)
    state: Tree = attrs.field(converter=tree.freeze)
    opt_state: Tree = attrs.field(converter=tree.freeze)


def init_train_state(net: Layer, optimizer: Transform, in_shape: Shape, key: Key) -> TrainState:
    """Return the state before the first step; weights are drawn from `key.fold("init")`.

    Args:
        net: The network.
        optimizer: The transform that will train it.
        in_shape: Shape of one example.
        key: Root of all randomness of the run.
    """
    if not isinstance(key, Key):
        raise OptionError(f"init_train_state: expected a Key, got {key!r}; write Key.of(seed)")
    _, params, state = net.init(key.fold("init"), tuple(in_shape))
    return TrainState(0, key, params, state, optimizer.init(params))


def unpack(batch: Batch) -> tuple[Any, Any, dict[str, Any]]:
    """Return x, target and the loss's keyword arguments of a batch.

    Raises:
        DataError: If the batch is not (x, target) or (x, target, weight).
    """
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        kind = f"{len(batch)} of them" if isinstance(batch, tuple | list) else type(batch).__name__
        raise DataError(f"expected a batch (x, target) or (x, target, weight), got {kind}")
    x, target, *weight = batch
    return x, target, {"weight": weight[0]} if weight else {}


def metric_table(metrics: Metrics) -> dict[str, Metric]:
    """Return metrics by name; those without one go by the name of the function.

    Raises:
        OptionError: If something is no function, or two have one name.
    """
    if isinstance(metrics, Mapping):
        table = dict(metrics)
    else:
        listed = [metrics] if callable(metrics) else list(metrics)
        table = {getattr(metric, "__name__", repr(metric)): metric for metric in listed}
        if len(table) < len(listed):
            raise OptionError(f"metrics: expected distinct names, got {listed}")
    for name, metric in table.items():
        if not callable(metric):
            raise OptionError(f"metrics: expected functions, got {name!r}: {metric!r}")
    return table


def value_and_grad(net: Layer, loss: Loss) -> Callable[..., tuple[Any, Tree]]:
    """Return the function (params, state, batch, *, train=False, key=None) -> (value, grads).

    `grads` is the gradient of the loss in the parameters, a tree of their structure.
    """

    def at(
        params: Any, state: Any, batch: Batch, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, Tree]:
        x, target, weight = unpack(batch)
        y, _, pullback = net.vjp(params, state, x, train=train, key=key)
        value, dy = loss(y, target, **weight)
        grads, _ = pullback(dy, need_dx=False)
        return value, Tree(grads)  # type: ignore[arg-type]

    return at


@attrs.frozen
class TrainStep:
    """The pure step of `train_step`; its parts stay readable, for loops that do more with them."""

    net: Layer
    loss: Loss
    optimizer: Transform
    metrics: dict[str, Metric] = attrs.field(factory=dict, converter=metric_table)

    def grads(self, now: TrainState, batch: Batch) -> tuple[Any, Tree, Tree, dict[str, Any]]:
        """Return the loss, its gradient, the carried state after it, and the metrics.

        Raises:
            DivergedError: If the loss is not finite.
        """
        x, target, weight = unpack(batch)
        key = now.key.fold("step", now.step) if self.net.traits.stochastic else None
        y, state, pullback = self.net.vjp(now.params, now.state, x, train=True, key=key)
        value, dy = self.loss(y, target, **weight)
        grads, _ = pullback(dy, need_dx=False)
        if not math.isfinite(value):
            raise _diverged(value, self.optimizer, now, x, grads)
        logs = {name: metric(y, target) for name, metric in self.metrics.items()}
        return value, Tree(grads), Tree(state), logs  # type: ignore[arg-type]

    def __call__(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Return the state after `batch` and {"loss": value, **metrics} before it."""
        # Overflow shows in the loss, which is checked; a warning would only say it twice.
        with np.errstate(all="ignore"):
            value, grads, state, logs = self.grads(now, batch)
            updates, opt_state = self.optimizer.update(grads, now.opt_state, now.params, now.step)
            params = apply_updates(now.params, updates)
        moved = TrainState(now.step + 1, now.key, params, state, opt_state)
        return moved, {"loss": value, **logs}


def train_step(net: Layer, loss: Loss, optimizer: Transform, *, metrics: Metrics = ()) -> TrainStep:
    """Close over what is fixed; return the pure step `(now, batch) -> (next, logs)`.

    The next state has the structure, shapes and dtypes of the present one. Randomness depends on
    `now.key` and `now.step` alone, so that a resumed run repeats the original bit for bit. Logs hold
    the batch's loss and metrics, computed in training mode and before the update.

    Raises (from the step):
        DivergedError: If the loss is not finite; `now` is what it was.
    """
    return TrainStep(net, loss, optimizer, metrics)


def _diverged(value: Any, optimizer: Transform, now: TrainState, x: Any, grads: Any) -> DivergedError:
    """Say where the numbers went bad: the first leaf that is not finite."""
    places = [("x", x), *tree.items(now.params, "params"), *tree.items(now.state, "state")]
    places += tree.items(grads, "grads")
    leaf = next((path for path, array in places if not np.isfinite(array).all()), "loss")
    rate = optimizer.numbers(now.step).get("learning_rate")
    norm = global_norm(grads)
    return DivergedError(
        f"expected a finite loss at step {now.step}, got {float(value)}; first bad leaf {leaf!r}, "
        f"learning rate {rate}, gradient norm {norm:.3g}",
        step=now.step,
        leaf=leaf,
        learning_rate=rate,
        grad_norm=norm,
    )


def scan(step: Step, now: TrainState, batches: Iterable[Batch]) -> tuple[TrainState, dict[str, Array]]:
    """Fold `step` over `batches`; return the last state and the logs, stacked.

    Without any batch that is `(now, {})`.
    """
    logs: list[dict[str, Any]] = []
    for batch in batches:
        now, log = step(now, batch)
        logs.append(log)
    return now, {name: np.array([log[name] for log in logs]) for name in (logs[0] if logs else ())}


def predict(net: Layer, now: TrainState, x: Any, *, batch_size: int = 1000) -> Array:
    """Return the network's output in evaluation mode, computed in batches of `batch_size`.

    Args:
        net: The network.
        now: Any TrainState of it; the parameters and the carried state are used.
        x: Examples (n, *in_shape), finite.
        batch_size: How many examples at a time; the bits of the result may depend on it.

    Raises:
        DataError: If x holds NaN or infinity; names the first place.
    """
    size = integer("predict", "batch_size", batch_size)
    if isinstance(x, np.ndarray) and x.dtype.kind in "fc" and not np.isfinite(x).all():
        place = [int(i) for i in np.argwhere(~np.isfinite(x))[0]]
        raise DataError(f"predict: expected finite inputs, got x{place} = {x[tuple(place)]}")
    if not isinstance(x, np.ndarray) or len(x) <= size:
        return net.apply(now.params, now.state, x)[0]
    parts = [
        net.apply(now.params, now.state, x[start : start + size])[0] for start in range(0, len(x), size)
    ]
    return np.concatenate(parts)


def evaluate(
    net: Layer, now: TrainState, dataset: Dataset, metrics: Metrics, *, batch_size: int = 1000
) -> dict[str, float]:
    """Return every metric over the whole data set, in evaluation mode.

    Predictions are made in batches and measured at once, so that every metric is exact whatever the
    batch size, also one that is no mean over examples. A loss serves as a metric: its value counts.
    """
    pred = predict(net, now, dataset.x, batch_size=batch_size)
    table = metric_table(metrics)
    return {name: _number(metric(pred, dataset.y)) for name, metric in table.items()}


def _number(result: Any) -> float:
    return float(result[0] if isinstance(result, tuple) else result)
