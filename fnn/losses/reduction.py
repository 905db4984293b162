"""What all losses share: how examples are weighed, and the short way to a loss of one's own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

import attrs
import numpy as np

from fnn.errors import DTypeError, ShapeError
from fnn.losses.checks import check_pred, check_real, check_weight
from fnn.tree import Array

Pointwise: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]
F = TypeVar("F", bound=Callable[..., tuple[Any, Array]])


def quiet(loss: F) -> F:
    """Return the loss with NumPy's warnings silenced: what is not finite shows in what it returns.

    A loop that has silenced them for a whole step calls `bare(loss)`.
    """

    @functools.wraps(loss)
    def silenced(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            return loss(*args, **kwargs)

    silenced.bare = loss  # type: ignore[attr-defined]
    return silenced  # type: ignore[return-value]


class Loss(Protocol):
    """A function of predictions and targets that comes with its gradient.

    The value is Σ wᵢ ℓᵢ / Σ wᵢ over the examples on axis 0, a NumPy scalar of pred's dtype, where
    ℓᵢ is averaged over the other axes (but for the axis of the classes, the last). `weight` has
    shape (batch,), entries of 0 or more and a sum above 0; without it every w is 1. An example of
    weight 0 counts for nothing, even if its loss is infinite or NaN. The gradient is a fresh array
    of pred's shape and dtype. NaN in pred that enters the loss gives NaN, and no loss warns.
    """

    def __call__(
        self, pred: Array, target: Array, /, *, weight: Array | None = None
    ) -> tuple[Any, Array]:
        """Return (value, dpred)."""


def weigh(values: Array, dvalues: Array, weight: Array) -> tuple[Array, Array]:
    """Multiply by one weight per example; a weight of 0 silences infinities and NaN too."""
    weight = weight.astype(values.real.dtype)
    absent = weight == 0
    if absent.any():
        values, dvalues = values.copy(), dvalues.copy()
        values[absent] = dvalues[absent] = 0
    by_example = weight.reshape(-1, *(1,) * (values.ndim - 1))
    return values * by_example, dvalues * weight.reshape(-1, *(1,) * (dvalues.ndim - 1))


def average(who: str, values: Array, dvalues: Array, weight: Array | None) -> tuple[Any, Array]:
    """Return Σ wᵢ ℓᵢ / Σ wᵢ and its gradient.

    Args:
        who: Name of the loss, for errors.
        values: ℓ, axis 0 running over examples; the other axes are averaged.
        dvalues: ∂ℓ/∂pred, of pred's shape.
        weight: Shape (batch,), or None.
    """
    n = len(values)
    scale = 1.0 / values.size
    if weight is None:
        return np.add.reduce(values, axis=None) / values.size, dvalues * scale
    wide, total = check_weight(who, weight, n)
    # Shares n w / Σ w are near 1, so that no precision is lost to underflow in float32.
    values, dvalues = weigh(values, dvalues, wide / total * n)
    return np.add.reduce(values, axis=None) / values.size, dvalues * scale


def pointwise(
    who: str, f: Pointwise, pred: Array, target: Array, weight: Array | None
) -> tuple[Any, Array]:
    """Check the arrays, call `f` on them and average."""
    check_pred(who, "pred", pred)
    check_real(who, "target", target, pred.shape)
    values, dvalues = f(pred, target.astype(pred.real.dtype, copy=False))
    return average(who, _fitted(who, "l", values, pred), _fitted(who, "dl", dvalues, pred), weight)


def _fitted(who: str, name: str, result: Any, pred: Array) -> Array:
    array = np.asarray(result)
    if array.shape != pred.shape:
        raise ShapeError(
            f"expected {name} of pred's shape {pred.shape}, got {array.shape}", path=(who,)
        )
    if array.dtype.kind not in ("fciub" if pred.dtype.kind == "c" else "fiub"):
        raise DTypeError(f"expected {name} in {pred.dtype}, got {array.dtype}", path=(who,))
    return array.astype(pred.dtype, copy=False)


@attrs.frozen
class PointwiseLoss:
    """A loss made of a function of single numbers and its derivative; pickles if `f` does."""

    name: str
    f: Pointwise

    @property
    def __name__(self) -> str:
        return self.name

    @np.errstate(all="ignore")
    def __call__(self, pred: Array, target: Array, *, weight: Array | None = None) -> tuple[Any, Array]:
        """Return (value, dpred)."""
        return pointwise(self.name, self.f, pred, target, weight)


def make_loss(name: str, f: Pointwise) -> Loss:
    """Make a loss of a function of single numbers: value = mean of l, where l, dl = f(pred, target).

        def log_cosh(pred, target):
            d = pred - target
            return np.log(np.cosh(d)), np.tanh(d)

        loss = make_loss("log_cosh", log_cosh)

    Shapes are checked, and weights and averages taken care of. The derivative is believed: hold it
    to a gradient test.

    Args:
        name: What errors and logs call it.
        f: From pred and target, arrays of one shape and precision, to l and dl = ∂l/∂pred of that
            shape; it must not write to its arguments.
    """
    return PointwiseLoss(name, f)
