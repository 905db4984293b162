"""What a network says and how good it is, exactly, whatever the batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import signature
from typing import Any, TypeAlias

import numpy as np

from fnn.datasets.dataset import Dataset
from fnn.errors import DataError, OptionError
from fnn.kernels.conversion import as_array, as_arrays, first_infinite, is_frame
from fnn.kernels.memory import Arena, recycled
from fnn.kernels.values import map_arrays, named_arrays, take_rows
from fnn.layers.contract import Layer
from fnn.metrics.checks import Metric
from fnn.options import integer
from fnn.training.state import TrainState, is_finite
from fnn.tree import Array, TreeLike

Metrics: TypeAlias = Mapping[str, Any] | Iterable[Any] | Metric
Weights: TypeAlias = TrainState | tuple[TreeLike, TreeLike]
"""A TrainState, or (params, state)."""


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
            hint = f"; write METRICS[{metric!r}]" if isinstance(metric, str) else ""
            raise OptionError(f"metrics: expected functions, got {metric!r}{hint}")
        if not isinstance(name, str) or name in taken:
            raise OptionError(f"metrics: expected names other than {sorted(taken)}, got {name!r}")
    return table


def measure(
    table: Mapping[str, Metric], pred: Any, target: Any, weight: Any = None
) -> dict[str, float]:
    """Return every metric as a float; of a loss, which also gives a gradient, the value counts.

    Raises:
        OptionError: If a metric gives no number, or there are weights and it takes none.
    """
    found = {}
    for name, metric in table.items():
        what = f"metrics: {name!r}"
        found[name] = _number(name, weighed(what, metric, pred, target, weight))
    return found


def weighed(what: str, fn: Callable[..., Any], pred: Any, target: Any, weight: Any) -> Any:
    """Return fn(pred, target), of a loss or a metric, with the weights if there are any.

    Raises:
        OptionError: If there are weights and the function takes none.
    """
    if weight is None:
        return fn(pred, target)
    try:
        return fn(pred, target, weight=weight)
    except TypeError:
        check_weighed(what, fn)
        raise


def check_weighed(what: str, fn: Callable[..., Any]) -> None:
    """Refuse a loss or a metric that takes no weights; one of unknown arguments passes."""
    try:
        given = signature(fn).parameters.values()
    except (TypeError, ValueError):
        return
    if not any(each.name == "weight" or each.kind is each.VAR_KEYWORD for each in given):
        expected = "a function of (pred, target, *, weight=None), for the data have weights"
        raise OptionError(f"{what}: expected {expected}, got one that takes none") from None


def _number(name: str, result: Any) -> float:
    value = result[0] if isinstance(result, tuple) else result
    if not isinstance(value, int | float | np.number | np.bool_) and not (
        isinstance(value, np.ndarray) and value.ndim == 0
    ):
        what = f"shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise OptionError(f"metrics: expected a number from {name!r}, got {what}")
    return float(value)


def _weights(net: Any, now: Any) -> tuple[Any, Any]:
    """Return params and state, of a TrainState or of the pair of them."""
    if isinstance(net, Layer):
        if isinstance(now, TrainState):
            return now.params, now.state
        if isinstance(now, tuple) and len(now) == 2 and all(isinstance(each, Mapping) for each in now):
            return now
    expected = "a Layer, and a TrainState of it or its (params, state)"
    raise OptionError(f"expected {expected}, got {net!r:.80} and {now!r:.80}")


def _outputs(net: Layer, now: Weights, x: Any, given: list[tuple[str, Array]], size: int) -> Any:
    # Here, so that a training step, which measures, does not import what records programs.
    from fnn.training.outputs import outputs

    weights = _weights(net, now)
    n = len(given[0][1]) if given and given[0][1].ndim else 0
    # What does not fit together is for the layer to refuse.
    if n <= size or any(part.shape[:1] != (n,) for _, part in given):
        return outputs(net, weights, x)
    starts, arena, parts = range(0, n, size), Arena(), []
    for start in starts:
        with recycled(arena):
            parts.append(outputs(net, weights, take_rows(x, slice(start, start + size))))
    return map_arrays(lambda *each: np.concatenate(each), *parts)


def _size(who: str, batch_size: Any, given: list[tuple[str, Array]]) -> int:
    """Return how many examples are taken at a time."""
    if batch_size is not None:
        return integer(who, "batch_size", batch_size)
    # Measured: products of vectors gain up to a thousand of them, while what comes between two layers
    # of a small network over images leaves the cache from some hundred on, at twice the time.
    for _, part in given:
        if part.ndim > 2:
            return 128
    return 1000


def predict(net: Layer, now: Weights, x: Any, *, batch_size: int | None = None) -> Any:
    """Return the network's output in evaluation mode, computed in batches of `batch_size`.

    Args:
        net: The network.
        now: Any TrainState of it, or its weights as a pair (params, state).
        x: Examples (n, *in_shape), finite; n may be 0. A tuple of arrays for a network that takes one;
            a data frame of numbers is the array that it holds.
        batch_size: How many examples at a time; the bits of the result may depend on it. By default
            1000 vectors, or 128 examples of more axes.

    Raises:
        DataError: If x holds NaN or infinity; names the first place.
        ShapeError, DTypeError: If the network does not take such x; names the layer.
    """
    if is_frame(x):
        x = as_array("x", x, ("predict",))
    if type(x) is np.ndarray:
        given = [("x", x)]
    else:
        x = as_arrays("x", x, ("predict",))
        given = named_arrays(x, "x")
    size = _size("predict", batch_size, given)
    with np.errstate(all="ignore"):
        for name, part in given:
            # In another order of memory the quick look would copy all of it first.
            is_quick = part.flags.c_contiguous and is_finite(part)
            if not is_quick and (place := first_infinite(part)) is not None:
                at = f"{name}[{', '.join(map(str, place))}]"
                raise DataError(f"expected finite inputs, got {at} = {part[place]}", path=("predict",))
        return _outputs(net, now, x, given, size)


def evaluate(
    net: Layer,
    now: Weights,
    dataset: Dataset,
    metrics: Metrics,
    *,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Return every metric over the whole data set, in evaluation mode.

    Predictions are made in batches and measured at once, so that every metric is exact whatever the
    batch size, also one that is no mean over examples. A loss serves as a metric: its value counts.
    Where the data set has weights, every metric is given them as `weight=`.

    Args:
        net: The network.
        now: Any TrainState of it, or its weights as a pair (params, state).
        dataset: Examples to measure on.
        metrics: `metric(pred, target, *, weight=None)`, by name or by themselves.
        batch_size: How many examples at a time; by default as in `predict`.

    Raises:
        OptionError: If a metric is no function or gives no number, or two have one name, or if it
            takes no weights where there are some.
        DataError, ShapeError, DTypeError: If data, network and metrics do not fit together.
    """
    if not isinstance(dataset, Dataset):
        raise DataError(f"expected a Dataset, got {type(dataset).__name__}", path=("evaluate",))
    given = named_arrays(dataset.x)
    size = _size("evaluate", batch_size, given)
    table = metric_table(metrics)
    with np.errstate(all="ignore"):
        pred = _outputs(net, now, dataset.x, given, size)
        return measure(table, pred, dataset.y, dataset.weight)
