"""Metrics that are sums: taken batch by batch, and merged where several processes took a part each.

    stream = streaming(accuracy)
    total = stream.start()
    for x, y in batches:
        total = stream.add(total, predict(net, now, x), y)
    stream.value(total)

In whatever batches the examples come, and in whatever order their totals are merged, the value is
that of the metric over all of them at once, to rounding.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast, overload

import attrs
import numpy as np

from fnn.errors import DataError, OptionError, ShapeError
from fnn.metrics.checks import Metric, batch_weight, share
from fnn.tree import Array


@attrs.frozen(eq=False)
class Total:
    """What a streaming metric knows of the examples so far; immutable, small, and it pickles.

    Attributes:
        metric: Name of the metric.
        parts: Sums over the examples, as the metric needs them; none before the first example.
    """

    metric: str
    parts: tuple[Any, ...] = ()

    def __attrs_post_init__(self) -> None:
        for part in self.parts:
            if isinstance(part, np.ndarray):
                part.setflags(write=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Total, (self.metric, self.parts)


class StreamingMetric(Protocol):
    """A metric that is computed from totals; every method is a pure function.

    `start()` is the total of no examples, and changes nothing that it is merged with.
    """

    def start(self) -> Total:
        """Return the total of no examples."""

    def add(self, total: Total, pred: Array, target: Array, weight: Array | None = None) -> Total:
        """Return the total with a batch more; without weights every example counts as 1."""

    def merge(self, a: Total, b: Total) -> Total:
        """Return the total of the examples of both."""

    def value(self, total: Total) -> float:
        """Return the metric of all examples in the total."""


Parts: TypeAlias = tuple[Any, ...]
Values: TypeAlias = Callable[[Array, Array], Array]
Finish: TypeAlias = Callable[[float], float]


@attrs.frozen
class Sums:
    """A streaming metric of three functions.

    Attributes:
        name: Of the metric, for errors.
        of: From pred, target and weight to the parts of a batch; none if nothing of it counts.
        joined: From the parts of two batches to those of both.
        finished: From parts to the value.
    """

    name: str
    of: Callable[[Array, Array, Any], Parts]
    joined: Callable[[Parts, Parts], Parts]
    finished: Callable[[Parts], float]

    def start(self) -> Total:
        """Return the total of no examples."""
        return Total(self.name)

    def add(self, total: Total, pred: Array, target: Array, weight: Array | None = None) -> Total:
        """Return the total with a batch more.

        Raises:
            ShapeError, DTypeError, DataError: As the metric itself, but that the weights of a batch may
                all be 0.
        """
        with np.errstate(all="ignore"):
            return self.merge(total, Total(self.name, self.of(pred, target, weight)))

    def merge(self, a: Total, b: Total) -> Total:
        """Return the total of the examples of both.

        Raises:
            OptionError: If one is no total of this metric.
            ShapeError: If one is of examples of another shape.
        """
        self._check(a)
        self._check(b)
        if not a.parts or not b.parts:
            return a if a.parts else b
        shapes = [tuple(map(np.shape, each.parts)) for each in (a, b)]
        if shapes[0] != shapes[1]:
            expected = f"totals of examples of one shape, got parts of {shapes[0]} and {shapes[1]}"
            raise ShapeError(f"expected {expected}", path=(self.name,))
        with np.errstate(all="ignore"):
            return Total(self.name, self.joined(a.parts, b.parts))

    def value(self, total: Total) -> float:
        """Return the metric of all examples in the total.

        Raises:
            OptionError: If it is no total of this metric.
            DataError: If there are no examples in it, or all have weight 0.
        """
        self._check(total)
        if not total.parts:
            raise _nothing(self.name, 0.0)
        with np.errstate(all="ignore"):
            return float(self.finished(total.parts))

    def _check(self, total: Any) -> None:
        if not isinstance(total, Total) or total.metric != self.name:
            got = f"one of {total.metric}" if isinstance(total, Total) else repr(total)[:80]
            raise OptionError(f"expected a total that it started, got {got}", path=(self.name,))


def check_total_weight(who: str, weight: float) -> None:
    """Refuse examples none of which counts, or which count more than a number can say."""
    if not 0 < weight < math.inf:
        raise _nothing(who, weight)


def _nothing(who: str, weight: float) -> DataError:
    return DataError(f"expected weights with a finite sum above 0, got {weight}", path=(who,))


def added(a: Parts, b: Parts) -> Parts:
    """Return the sums of the parts, one by one."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


# --- how metrics are declared


def summed(name: str, values: Values, finish: Finish | None = None) -> Sums:
    """Return the streaming form of `averaged`: the weighted sum of all values, and of the weights."""

    def of(pred: Array, target: Array, weight: Any) -> Parts:
        found = values(pred, target)
        n = len(pred)
        each = found.size // n
        if weight is None:
            if found.dtype == bool:  # Exact, whatever their number.
                return int(np.count_nonzero(found)), found.size
            return float(found.sum(dtype=np.float64)), found.size
        wide = batch_weight(name, weight, n)
        if not wide.any():
            return ()
        # What does not count may be infinite.
        sums = found.reshape(n, -1)[wide > 0].sum(axis=1, dtype=np.float64)
        return float(np.add.reduce(wide[wide > 0] * sums)), float(np.add.reduce(wide)) * each

    def finished(parts: Parts) -> float:
        check_total_weight(name, parts[1])
        mean = parts[0] / parts[1]
        return mean if finish is None else finish(mean)

    return Sums(name, of, added, finished)


@overload
def averaged(values: Values, /) -> Metric: ...
@overload
def averaged(*, finish: Finish) -> Callable[[Values], Metric]: ...
def averaged(values: Values | None = None, /, *, finish: Finish | None = None) -> Any:
    """Declare a metric by the numbers that it is the mean of: metric = finish(Σ wᵢ vᵢ / Σ wᵢ).

    Weights, the form for streams and the arguments `(pred, target, *, weight=None)` come with it.
    Numbers of an example share its weight.

    Args:
        values: From pred and target, which it checks, to as many numbers or truth values per example.
        finish: From the mean to the metric; by default it is the mean.
    """
    if values is None:
        return functools.partial(averaged, finish=finish)
    each, name = values, values.__name__

    def compute(pred: Array, target: Array, weight: Any) -> float:
        mean = share(name, each(pred, target), len(pred), weight)
        return mean if finish is None else float(finish(mean))

    return _metric(values, summed(name, values, finish), compute)


def streamed(
    joined: Callable[[Parts, Parts], Parts], finished: Callable[[Parts], float]
) -> Callable[[Callable[[Array, Array, Any], Parts]], Metric]:
    """Declare a metric by `parts = f(pred, target, weight)` of a batch's total; see `Sums`."""

    def declare(of: Callable[[Array, Array, Any], Parts]) -> Metric:
        stream = Sums(of.__name__, of, joined, finished)

        def compute(pred: Array, target: Array, weight: Any) -> float:
            return stream.value(stream.add(stream.start(), pred, target, weight))

        return _metric(of, stream, compute)

    return declare


def _metric(
    told: Callable[..., Any], stream: Sums, compute: Callable[[Array, Array, Any], float]
) -> Metric:
    """Return the metric that `compute` computes, with the name and docstring of `told`."""

    @functools.wraps(told, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def metric(pred: Array, target: Array, *, weight: Array | None = None) -> float:
        with np.errstate(all="ignore"):  # What is not finite shows in the value.
            return compute(pred, target, weight)

    shown: Any = metric
    shown.stream = stream
    del shown.__wrapped__  # Its arguments are other ones.
    return cast(Metric, shown)


def streaming(metric: Metric) -> StreamingMetric:
    """Return the form of a metric that takes examples batch by batch.

    The accuracies, the errors of regression, R², perplexity and the calibration errors have one.
    Areas under curves depend on the order of all predictions and have none: `evaluate` is exact for
    those too. A metric of one's own has one as its attribute `stream`, a `StreamingMetric`.

    Raises:
        OptionError: If the metric is no sum.
    """
    stream = getattr(metric, "stream", None)
    methods = ("start", "add", "merge", "value")
    if not all(callable(getattr(stream, name, None)) for name in methods):
        got = getattr(metric, "__name__", None) or repr(metric)[:80]
        expected = "a metric that is computed from sums over the examples"
        raise OptionError(f"expected {expected}, got {got}", path=("streaming",))
    return cast(StreamingMetric, stream)
