"""What all losses share: the contract, and how examples are weighed and reduced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np

from fnn.errors import DTypeError, ShapeError
from fnn.kernels.noting import as_array
from fnn.losses.checks import check_reduction, check_weight
from fnn.options import returned
from fnn.tree import Array

Pointwise: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]
LossFunction: TypeAlias = Callable[..., "tuple[Any, Array]"]


class Loss(Protocol):
    """A function of predictions and targets that comes with its gradient.

    The value is Σ wᵢ ℓᵢ / Σ wᵢ over the examples on axis 0, a NumPy scalar of pred's dtype, where
    ℓᵢ is averaged over the other axes (but for the axis of the classes, the last). `weight` has
    shape (batch,), entries of 0 or more and a sum above 0; without it every w is 1. An example of
    weight 0 counts for nothing, even if its loss is infinite or NaN. The gradient is a fresh array
    of pred's shape and dtype. NaN in pred that enters the loss gives NaN, and no loss warns.

    The losses of this library also take `reduction`: "sum" gives Σ wᵢ ℓᵢ with its gradient, "none"
    the values wᵢ ℓᵢ, shape (batch,), with every example's own gradient, divided by no n.

    One that silences NumPy's warnings itself may have a function `unsilenced` that does not, for
    loops that have silenced them for a whole step.

    A loss that complex numbers do not pass through (`np.abs` and comparisons lose the imaginary
    part) says so by an attribute `complex_safe = False`; who tests it then takes differences.
    """

    def __call__(
        self, pred: Array, target: Array, /, *, weight: Array | None = None
    ) -> tuple[Any, Array]:
        """Return (value, dpred)."""


def unsilenced(loss: Any) -> Any:
    """Return what computes a loss and leaves NumPy's warnings as they are."""
    return getattr(loss, "unsilenced", loss)


def value_and_dpred(loss: Any, pred: Any, target: Any, **weight: Any) -> tuple[Any, Any]:
    """Return what a loss returns, NumPy's warnings left as they are.

    Raises:
        OptionError: If that is no pair: somebody's function of the value alone is no loss.
    """
    value, dpred = returned("the loss", unsilenced(loss)(pred, target, **weight), ("value", "dpred"))
    return value, dpred


def weigh(values: Array, dvalues: Array, weight: Array) -> tuple[Array, Array]:
    """Multiply by one weight per example; a weight of 0 silences infinities and NaN too."""
    weight = weight.astype(values.real.dtype)
    absent = weight == 0
    if absent.any():
        values, dvalues = values.copy(), dvalues.copy()
        values[absent] = dvalues[absent] = 0
    by_example = weight.reshape(-1, *(1,) * (values.ndim - 1))
    return values * by_example, dvalues * weight.reshape(-1, *(1,) * (dvalues.ndim - 1))


def reduced(
    who: str, values: Array, dvalues: Array, weight: Array | None, reduction: str = "mean"
) -> tuple[Any, Array]:
    """Return Σ wᵢ ℓᵢ / Σ wᵢ, Σ wᵢ ℓᵢ or all wᵢ ℓᵢ, with the gradient.

    Args:
        who: Name of the loss, for errors.
        values: ℓ, axis 0 running over examples; the other axes are averaged.
        dvalues: ∂ℓ/∂pred, of pred's shape.
        weight: Shape (batch,), or None.
        reduction: "mean", "sum" or "none".
    """
    n = len(values)
    if reduction == "mean":
        scale = 1.0 / values.size
        if weight is None:
            return np.add.reduce(values, axis=None) / values.size, dvalues * scale
        wide, total = check_weight(who, weight, n)
        # Shares n w / Σ w are near 1, so that no precision is lost to underflow in float32.
        values, dvalues = weigh(values, dvalues, wide / total * n)
        return np.add.reduce(values, axis=None) / values.size, dvalues * scale
    check_reduction(who, reduction)
    inner = values.size // n
    if weight is not None:
        values, dvalues = weigh(values, dvalues, check_weight(who, weight, n)[0])
    each = np.add.reduce(values.reshape(n, -1), axis=1) / inner
    return each if reduction == "none" else np.add.reduce(each), dvalues * (1.0 / inner)


def fitted(
    who: str, name: str, result: Any, pred: Array, shape: tuple[int, ...] | None = None
) -> Array:
    """Return what a function of somebody's gave, in pred's dtype and its shape or the one given."""
    array, expected = as_array(result), f"pred's shape {pred.shape}"
    if shape is not None:
        expected = f"one per example, shape {shape}"
    if array.shape != (pred.shape if shape is None else shape):
        raise ShapeError(f"expected {name} of {expected}, got {array.shape}", path=(who,))
    if array.dtype.kind not in ("fciub" if pred.dtype.kind == "c" else "fiub"):
        raise DTypeError(f"expected {name} in {pred.dtype}, got {array.dtype}", path=(who,))
    return array.astype(pred.dtype, copy=False)
