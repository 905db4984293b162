"""The short way to a loss of one's own: a function with its derivative."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.kernels.ordinary import check_ordinary
from fnn.losses.checks import check_pred
from fnn.losses.reduction import Loss, Pointwise, fitted, pointwise, reduced
from fnn.tree import Array


@attrs.frozen
class MadeLoss:
    """A loss made of a function and its derivative; pickles if `f` does.

    Attributes:
        name: What errors and logs call it.
        f: The function.
        per_example: Whether `f` gives one value per example, not one per entry.
        complex_safe: Whether complex numbers pass through `f`.
    """

    name: str
    f: Pointwise
    per_example: bool = attrs.field(default=False, kw_only=True)
    complex_safe: bool = attrs.field(default=True, kw_only=True)

    @property
    def __name__(self) -> str:
        return self.name

    @np.errstate(all="ignore")
    def __call__(
        self, pred: Array, target: Array, *, weight: Array | None = None, reduction: str = "mean"
    ) -> tuple[Any, Array]:
        """Return (value, dpred)."""
        if not self.per_example:
            return pointwise(self.name, self.f, pred, target, weight, reduction)
        who = self.name
        check_pred(who, "pred", pred)
        target = _targets(who, pred, target)
        values, dpred = self.f(pred, target)
        values = fitted(who, "l", values, pred, pred.shape[:1])
        return reduced(who, values, fitted(who, "dl", dpred, pred), weight, reduction)


def _targets(who: str, pred: Array, target: Any) -> Array:
    check_ordinary("target", target, (who,))
    if target.ndim == 0 or len(target) != len(pred):
        message = f"expected one target per example of pred {pred.shape}, got {target.shape}"
        raise ShapeError(message, path=(who,))
    return target.astype(pred.real.dtype, copy=False) if target.dtype.kind == "f" else target


def make_loss(name: str, f: Pointwise, *, per_example: bool = False, complex_safe: bool = True) -> Loss:
    """Make a loss of a function of single numbers: value = mean of l, where l, dl = f(pred, target).

        def log_cosh(pred, target):
            d = pred - target
            return np.log(np.cosh(d)), np.tanh(d)

        loss = make_loss("log_cosh", log_cosh)

    Shapes are checked, and weights and reductions taken care of. The derivative is believed: hold it
    to a gradient test.

    Args:
        name: What errors and logs call it.
        f: From pred and target, arrays of one shape and precision, to l and dl = ∂l/∂pred of that
            shape; it must not write to its arguments.
        per_example: `f` gives one l per example, shape (batch,), and dl = ∂l/∂pred of pred's shape, for
            losses that tie the entries of an example together. Its target has one entry per example
            on axis 0 and is otherwise what `f` makes of it; integers stay integers.
        complex_safe: Say False where `f` takes absolute values or compares complex numbers, so that a
            test takes differences and no complex steps.

    Raises:
        OptionError: If name is no text, or f no function.
    """
    if not isinstance(name, str) or not name:
        raise OptionError(f"name: expected a text, got {name!r}", path=("make_loss",))
    if not callable(f):
        raise OptionError(f"f: expected a function, got {f!r}", path=("make_loss",))
    return MadeLoss(name, f, per_example=bool(per_example), complex_safe=bool(complex_safe))
