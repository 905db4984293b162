"""Training as a fold: a pure step from one TrainState to the next, scanned over batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn import tree
from fnn.datasets import Dataset
from fnn.errors import DataError, DivergedError, DTypeError, OptionError, ShapeError, TreeError
from fnn.keys import Key
from fnn.layer import Layer, Shape
from fnn.optimizers import Transform, apply_updates, global_norm
from fnn.options import integer
from fnn.tree import Array, Tree, TreeLike

Batch: TypeAlias = tuple[Any, ...]
"""(x, target) or (x, target, weight)."""

Loss: TypeAlias = Callable[..., tuple[Any, Array]]
Metric: TypeAlias = Callable[[Any, Any], Any]
Metrics: TypeAlias = Mapping[str, Metric] | Iterable[Metric] | Metric
Step: TypeAlias = "Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]"


def _step(value: Any) -> int:
    return value if type(value) is int and value >= 0 else integer("TrainState", "step", value, least=0)


def _key(value: Any) -> Key:
    if not isinstance(value, Key):
        raise OptionError(
            f"key: expected a Key, got {value!r}; write Key.of(seed)", path=("TrainState",)
        )
    return value


@attrs.frozen
class TrainState:
    """All that a step changes; immutable, picklable, and equal if all its numbers are.

    Plain dicts are taken for trees, and arrays that their owner could still write to are copied.
    `attrs.evolve(now, params=...)` gives a changed one.

    Attributes:
        step: Number of steps taken, a Python int of 0 or more; the one clock.
        key: Where all randomness of training comes from; it never changes.
        params: What is trained.
        state: What is carried, such as running moments.
        opt_state: The optimizer's memory.
    """

    step: int = attrs.field(converter=_step)
    key: Key = attrs.field(converter=_key)
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

    Raises:
        OptionError: If an argument is something else.
        ShapeError: If the network does not take examples of that shape.
    """
    who = "init_train_state"
    _check_parts(who, net, optimizer)
    if not isinstance(key, Key):
        raise OptionError(f"key: expected a Key, got {key!r}; write Key.of(seed)", path=(who,))
    if not isinstance(in_shape, tuple | list):
        expected = "the shape of one example, e.g. (784,)"
        raise OptionError(f"in_shape: expected {expected}, got {in_shape!r}", path=(who,))
    shape = tuple(integer(who, "in_shape", n, least=0) for n in in_shape)
    _, params, state = net.init(key.fold("init"), shape)
    return TrainState(0, key, params, state, optimizer.init(params))


def _check_parts(who: str, net: Any, optimizer: Any) -> None:
    for name, value, kind in (("net", net, Layer), ("optimizer", optimizer, Transform)):
        if not isinstance(value, kind):
            hint = f"; call it: {value.__name__}(...)" if hasattr(value, "__name__") else ""
            raise OptionError(f"{name}: expected a {kind.__name__}, got {value!r}{hint}", path=(who,))


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


def metric_table(metrics: Metrics, *, reserved: Iterable[str] = ()) -> dict[str, Metric]:
    """Return metrics by name; those without one go by the name of the function.

    Raises:
        OptionError: If something is no function, two have one name, or one has a reserved name.
    """
    if isinstance(metrics, Mapping):
        table = dict(metrics)
    else:
        if not callable(metrics) and (isinstance(metrics, str) or not isinstance(metrics, Iterable)):
            raise OptionError(f"metrics: expected functions, got {metrics!r}")
        listed = [metrics] if callable(metrics) else list(metrics)
        table = {getattr(metric, "__name__", repr(metric)): metric for metric in listed}
        if len(table) < len(listed):
            names = [getattr(metric, "__name__", repr(metric)) for metric in listed]
            raise OptionError(f"metrics: expected distinct names, got {names}; give {{name: function}}")
    taken = set(reserved)
    for name, metric in table.items():
        if not callable(metric):
            raise OptionError(f"metrics: expected functions, got {name!r}: {metric!r}")
        if not isinstance(name, str) or name in taken:
            raise OptionError(f"metrics: expected names other than {sorted(taken)}, got {name!r}")
    return table


def measure(table: Mapping[str, Metric], pred: Any, target: Any) -> dict[str, float]:
    """Return every metric as a float; of a loss, which also gives a gradient, the value counts.

    Raises:
        OptionError: If a metric gives no number.
    """
    return {name: _number(name, metric(pred, target)) for name, metric in table.items()}


def _number(name: str, result: Any) -> float:
    value = result[0] if isinstance(result, tuple) else result
    if not isinstance(value, int | float | np.number | np.bool_) and not (
        isinstance(value, np.ndarray) and value.ndim == 0
    ):
        what = f"shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise OptionError(f"metrics: expected a number from {name!r}, got {what}")
    return float(value)


def value_and_grad(net: Layer, loss: Loss) -> Callable[..., tuple[Any, Tree]]:
    """Return the function (params, state, batch, *, train=False, key=None) -> (value, grads).

    `grads` is the gradient of the loss in the parameters, a tree of their structure. Numbers that
    are not finite pass through, without a warning.
    """

    @np.errstate(all="ignore")
    def at(
        params: Any, state: Any, batch: Batch, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, Tree]:
        x, target, weight = unpack(batch)
        y, _, pullback = net.vjp(params, state, x, train=train, key=key)
        value, dy = loss(y, target, **weight)
        grads, _ = pullback(dy, need_dx=False)
        return value, tree.freeze(grads)

    return at


def _step_metrics(metrics: Metrics) -> dict[str, Metric]:
    return metric_table(metrics, reserved=["loss"])


@attrs.frozen
class TrainStep:
    """The pure step of `train_step`; its parts stay readable, for loops that do more with them."""

    net: Layer
    loss: Loss
    optimizer: Transform
    metrics: dict[str, Metric] = attrs.field(factory=dict, converter=_step_metrics)

    def grads(self, now: TrainState, batch: Batch) -> tuple[Any, Tree, Tree, dict[str, Any]]:
        """Return the loss, its gradient, the carried state after it, and the metrics.

        Raises:
            DivergedError: If the loss or the carried state is not finite.
            TreeError, ShapeError, DTypeError: If the carried state changed its structure.
        """
        x, target, weight = unpack(batch)
        # What is not finite raises below; a warning would only say it twice.
        with np.errstate(all="ignore"):
            key = now.key.fold("step", now.step) if self.net.traits.stochastic else None
            y, state, pullback = self.net.vjp(now.params, now.state, x, train=True, key=key)
            value, dy = self.loss(y, target, **weight)
            grads, _ = pullback(dy, need_dx=False)
            grads = tree.freeze(grads)
            if not math.isfinite(value):
                raise self.diverged(now, batch, value, grads)
            if state is not now.state:
                state = tree.freeze(state)
                check_kept(now.state, state, "state")
                if not is_finite(state):
                    raise self.diverged(now, batch, value, grads, after={"state": state})
            logs = measure(self.metrics, y, target) if self.metrics else {}
        return value, grads, state, logs

    def __call__(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Return the state after `batch`, and {"loss": value, **metrics} as they were before it."""
        value, grads, state, logs = self.grads(now, batch)
        with np.errstate(all="ignore"):
            updates, opt_state = self.optimizer.update(grads, now.opt_state, now.params, now.step)
            params = apply_updates(now.params, updates)
            if not is_finite(params):
                raise self.diverged(now, batch, value, grads, after={"params": params})
        return TrainState(now.step + 1, now.key, params, state, opt_state), {"loss": value, **logs}

    def diverged(
        self, now: TrainState, batch: Batch, value: Any, grads: Tree, *, after: Mapping[str, Any] = {}
    ) -> DivergedError:
        """Return the error that says where the numbers of this step first went bad."""
        given = zip(("x", "target", "weight"), batch, strict=False)
        places = [place for name, values in given for place in _arrays(name, values)]
        for name, node in (("params", now.params), ("state", now.state), ("grads", grads)):
            places += tree.items(node, name)
        places += [place for name, node in after.items() for place in tree.items(node, name)]
        leaf = next((path for path, array in places if not np.isfinite(array).all()), "loss")
        rate = self.optimizer.numbers(now.step).get("learning_rate")
        norm = global_norm(grads)
        expected = f"finite {' and '.join(after)} after" if after else "a finite loss at"
        return DivergedError(
            f"expected {expected} step {now.step}, got a loss of {float(value):.6g}; "
            f"first bad leaf {leaf!r}, learning rate {rate}, gradient norm {norm:.3g}",
            step=now.step,
            leaf=leaf,
            learning_rate=rate,
            grad_norm=norm,
        )


def _arrays(name: str, values: Any) -> list[tuple[str, Any]]:
    if isinstance(values, tuple | list):
        return [place for i, each in enumerate(values) for place in _arrays(f"{name}[{i}]", each)]
    return [(name, values)] if isinstance(values, np.ndarray) else []


def is_finite(node: Any) -> bool:
    """Return whether every number of a tree is finite; call it where overflow does not warn."""
    if isinstance(node, Mapping):
        return all(map(is_finite, node.values()))
    # One pass in BLAS, without a temporary; where the squares overflow, look closely.
    return (
        node.dtype.kind not in "fc"
        or math.isfinite(np.vdot(node, node).real)
        or bool(np.isfinite(node).all())
    )


def check_kept(before: TreeLike, after: TreeLike, path: str) -> None:
    """Refuse a tree that has not the structure, shapes and dtypes that it had.

    Raises:
        TreeError, ShapeError, DTypeError: With the path of the first difference.
    """
    old, new = list(tree.items(before, path)), list(tree.items(after, path))
    for (at, a), (other, b) in zip(old, new, strict=False):
        if at == other and a.shape != b.shape:
            raise ShapeError(f"expected {a.shape} as before the step, got {b.shape}", path=(at,))
        if at == other and a.dtype != b.dtype:
            raise DTypeError(f"expected {a.dtype} as before the step, got {b.dtype}", path=(at,))
    paths, others = [at for at, _ in old], [at for at, _ in new]
    if paths != others:
        raise TreeError(f"expected {paths} as before the step, got {others}")


def train_step(net: Layer, loss: Loss, optimizer: Transform, *, metrics: Metrics = ()) -> TrainStep:
    """Close over what is fixed; return the pure step `(now, batch) -> (next, logs)`.

    The next state has the structure, shapes and dtypes of the present one. Randomness depends on
    `now.key` and `now.step` alone, so that a resumed run repeats the original bit for bit. Logs hold
    the batch's loss and metrics, computed in training mode and before the update.

    Args:
        net: The network.
        loss: `loss(pred, target, *, weight=None) -> (value, dpred)`.
        optimizer: The transform that turns gradients into updates.
        metrics: `metric(pred, target)`, by name or by themselves; none may be called "loss".

    Raises:
        OptionError: If an argument is something else.
        DivergedError: From the step, if the loss, or what would come after it, is not finite; `now`
            is what it was.
        DataError, ShapeError, DTypeError, TreeError: From the step, if the batch, the network, the
            loss and the state do not fit together.
    """
    _check_parts("train_step", net, optimizer)
    if not callable(loss):
        raise OptionError(f"loss: expected a function, got {loss!r}", path=("train_step",))
    return TrainStep(net, loss, optimizer, metrics)


def scan(step: Step, now: TrainState, batches: Iterable[Batch]) -> tuple[TrainState, dict[str, Array]]:
    """Fold `step` over `batches`; return the last state and the logs, one entry per step.

    Without any batch that is `(now, {})`.
    """
    logs: list[dict[str, Any]] = []
    for batch in batches:
        now, log = step(now, batch)
        logs.append(log)
    return now, {name: np.array([log[name] for log in logs]) for name in (logs[0] if logs else ())}


@np.errstate(all="ignore")
def _outputs(net: Layer, now: TrainState, x: Any, size: int) -> Any:
    if not isinstance(x, np.ndarray) or not x.ndim or len(x) <= size:
        return net.apply(now.params, now.state, x)[0]
    starts = range(0, len(x), size)
    parts = [net.apply(now.params, now.state, x[start : start + size])[0] for start in starts]
    if isinstance(parts[0], tuple):
        return tuple(np.concatenate(each) for each in zip(*parts, strict=True))
    return np.concatenate(parts)


def predict(net: Layer, now: TrainState, x: Any, *, batch_size: int = 1000) -> Any:
    """Return the network's output in evaluation mode, computed in batches of `batch_size`.

    Args:
        net: The network.
        now: Any TrainState of it; the parameters and the carried state are used.
        x: Examples (n, *in_shape), finite; n may be 0.
        batch_size: How many examples at a time; the bits of the result may depend on it.

    Raises:
        DataError: If x holds NaN or infinity; names the first place.
        ShapeError, DTypeError: If the network does not take such x; names the layer.
    """
    size = integer("predict", "batch_size", batch_size)
    if isinstance(x, np.ndarray) and x.dtype.kind in "fc" and not np.isfinite(x).all():
        place = tuple(np.argwhere(~np.isfinite(x))[0].tolist())
        at = ", ".join(map(str, place))
        raise DataError(f"expected finite inputs, got x[{at}] = {x[place]}", path=("predict",))
    return _outputs(net, now, x, size)


def evaluate(
    net: Layer, now: TrainState, dataset: Dataset, metrics: Metrics, *, batch_size: int = 1000
) -> dict[str, float]:
    """Return every metric over the whole data set, in evaluation mode.

    Predictions are made in batches and measured at once, so that every metric is exact whatever the
    batch size, also one that is no mean over examples. A loss serves as a metric: its value counts.

    Args:
        net: The network.
        now: Any TrainState of it.
        dataset: Examples to measure on.
        metrics: `metric(pred, target)`, by name or by themselves.
        batch_size: How many examples at a time.

    Raises:
        OptionError: If a metric is no function or gives no number, or two have one name.
        DataError, ShapeError, DTypeError: If data, network and metrics do not fit together.
    """
    size = integer("evaluate", "batch_size", batch_size)
    if not isinstance(dataset, Dataset):
        raise DataError(f"expected a Dataset, got {type(dataset).__name__}", path=("evaluate",))
    table = metric_table(metrics)
    pred = _outputs(net, now, dataset.x, size)
    with np.errstate(all="ignore"):
        return measure(table, pred, dataset.y)
