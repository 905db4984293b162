"""Wrong versions of losses: of the value, of the gradient, of weights, labels and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import attrs
import numpy as np

from fnn.errors import ShapeError
from fnn.losses.reduction import Loss
from fnn.testing.mutation.gradients import GRADIENT_FAULTS
from fnn.testing.mutation.parts import FACTOR, Buffers, Mutant, halved, overwrite, rounded, wide
from fnn.tree import Array

Change = Callable[[Any, Any, Any, Any], Any]


@attrs.frozen
class _Wrong:
    """A loss with a fault: change(loss, pred, target, weight)."""

    name: str
    loss: Any
    change: Change

    @property
    def __name__(self) -> str:
        return f"{getattr(self.loss, '__name__', self.loss)}[{self.name}]"

    def __call__(self, pred: Array, target: Array, *, weight: Array | None = None) -> tuple[Any, Any]:
        """Return (value, dpred)."""
        with np.errstate(all="ignore"):
            value, dpred = self.change(self.loss, pred, target, weight)
        return value, dpred


def _dpred(fault: Callable[[Array, int], Array]) -> Change:
    def change(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
        value, dpred = loss(pred, target, weight=weight)
        return value, fault(dpred, len(pred))

    return change


def _value(fault: Callable[[Any, Array], Any]) -> Change:
    def change(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
        value, dpred = loss(pred, target, weight=weight)
        return fault(value, pred), dpred

    return change


# --- weights --------------------------------------------------------------------------------


def _unweighted(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    return loss(pred, target)


def _value_unweighted(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    return loss(pred, target)[0], loss(pred, target, weight=weight)[1]


def _dpred_unweighted(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    return loss(pred, target, weight=weight)[0], loss(pred, target)[1]


def _next_weight(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    return loss(pred, target, weight=None if weight is None else np.roll(weight, 1))


def _squared_weight(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    return loss(pred, target, weight=None if weight is None else weight * weight)


def _not_normalised(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    value, dpred = loss(pred, target, weight=weight)
    if weight is None:
        return value, dpred
    share = float(np.mean(weight))
    return value * share, dpred * share


def _lets_nan_through(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    value, dpred = loss(pred, target, weight=weight)
    if weight is not None and (weight == 0).any():
        plain, dplain = loss(pred, target)
        value, dpred = value + 0 * plain, dpred + 0 * dplain
    return value, dpred


# --- targets and memory ---------------------------------------------------------------------


def _shifted(target: Any, pred: Any) -> Any:
    """Return the next class's label, or rows and numbers of the next entry."""
    if target.dtype.kind in "iu":
        return (target + 1) % pred.shape[-1]
    return np.roll(target, 1)


def _dpred_of_shifted(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    return (
        loss(pred, target, weight=weight)[0],
        loss(pred, _shifted(target, pred), weight=weight)[1],
    )


def _value_of_shifted(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    return (
        loss(pred, _shifted(target, pred), weight=weight)[0],
        loss(pred, target, weight=weight)[1],
    )


def _next_example(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    return loss(pred, np.roll(target, 1, axis=0), weight=weight)


def _broadcasting(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    try:
        return loss(pred, target, weight=weight)
    except ShapeError:
        if target.dtype.kind != "f":
            raise
        fitted = np.broadcast_to(target.reshape(target.shape[: pred.ndim]), pred.shape).copy()
        return loss(pred, fitted, weight=weight)


def _writing_to(which: int) -> Change:
    def change(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
        result = loss(pred, target, weight=weight)
        overwrite((pred, target, weight)[which], halved)
        return result

    return change


def _into_pred(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    value, dpred = loss(pred, target, weight=weight)
    if pred.flags.writeable:
        pred[...] = dpred
        return value, pred
    return value, dpred


def _reusing() -> Change:
    buffers = Buffers()
    return _dpred(lambda g, n: buffers(g))


def _counting() -> Change:
    calls = count()
    return _value(lambda value, pred: value * value.dtype.type(1 + 1e-6 * next(calls)))


def _no_imaginary(loss: Any, pred: Any, target: Any, weight: Any) -> Any:
    if pred.dtype.kind != "c":
        return loss(pred, target, weight=weight)
    value, dpred = loss(np.ascontiguousarray(pred.real), target, weight=weight)
    return value.astype(pred.dtype), dpred.astype(pred.dtype)


def _faults() -> Iterator[tuple[str, Change]]:
    for name, fault in GRADIENT_FAULTS.items():
        yield f"dpred {name}", _dpred(fault)
    yield "dpred without its last row", _dpred(lambda g, n: np.concatenate([g[:-1], 0 * g[-1:]]))
    yield "dpred with another 1/n", _dpred(lambda g, n: g / n)
    yield "dpred of another reduction", _dpred(lambda g, n: g * g.shape[-1])
    yield "dpred of shifted targets", _dpred_of_shifted
    yield "dpred aliased buffer", _reusing()
    yield "dpred written into pred", _into_pred
    yield f"value × {FACTOR}", _value(lambda value, pred: value * FACTOR)
    yield "value sign", _value(lambda value, pred: -value)
    yield "value without 1/n", _value(lambda value, pred: value * len(pred))
    yield "value of another reduction", _value(lambda value, pred: value * pred.shape[-1])
    yield "value of shifted targets", _value_of_shifted
    yield "value rounded", _value(lambda value, pred: rounded(value))
    yield "value float64 leak", _value(lambda value, pred: wide(value))
    yield "value changes with every call", _counting()
    yield "imaginary part dropped", _no_imaginary
    yield "weight ignored", _unweighted
    yield "weight ignored in the value", _value_unweighted
    yield "weight ignored in the gradient", _dpred_unweighted
    yield "weight of the next example", _next_weight
    yield "weight squared", _squared_weight
    yield "weight not normalised", _not_normalised
    yield "weight of 0 lets NaN through", _lets_nan_through
    yield "target of the next example", _next_example
    yield "target broadcast", _broadcasting
    for which, name in enumerate(("pred", "target", "weight")):
        yield f"{name} overwritten", _writing_to(which)


def loss_mutants(loss: Loss) -> Iterator[Mutant]:
    """Yield wrong versions of the loss, one fault each."""
    for name, change in _faults():
        yield Mutant(name, _Wrong(name, loss, change))
