"""How losses are declared, the library's own and those of its users: by their mathematics alone.

    @LOSSES.builtin("squared_error")
    @pointwise
    def squared_error(pred, target):
        \"\"\"Return the mean of (pred - target)² and its gradient in pred.\"\"\"
        d = pred - target
        return d * d, 2 * d

becomes `squared_error(pred, target, *, weight=None, reduction="mean") -> (value, dpred)`: the checks of
the arrays, weights, reductions and silence are those of every other loss, and so is what its docstring
says about them. The names of the two arguments are what callers and errors call the arrays.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeAlias, overload

import attrs
import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.kernels.conversion import check_ordinary
from fnn.kernels.noting import contiguous
from fnn.losses.checks import check_labels, check_pred, check_real, classes_back, classes_last
from fnn.losses.reduction import Loss, LossFunction, Pointwise, fitted, reduced
from fnn.options import flag, returned
from fnn.tree import Array

Check: TypeAlias = Callable[[str, Array], None]
"""check(name of the loss, array): refuses an array that is out of range."""

_SHARED = {
    "weight": "weight: One weight per example, shape (batch,).",
    "axis": "axis: Where the classes are, if not last; 0 is the batch.",
    "reduction": 'reduction: "mean", "sum" or "none", as in `Loss`.',
}
_RAISES = """
Raises:
    ShapeError, DTypeError, DataError: If an array is not as above or the batch is empty.
    OptionError: If there is no such {}reduction.
"""


def declared(
    f: Callable[..., Any], compute: Callable[..., tuple[Any, Array]], **options: Any
) -> LossFunction:
    """Return the loss of the name, arguments and docstring of `f` that `compute` computes.

    Args:
        f: What it is declared by: its first two parameters are pred and target.
        compute: compute(pred, target, **options) -> (value, dpred).
        options: The keyword arguments that it has, with their defaults.
    """
    arrays = list(inspect.signature(f).parameters.values())[:2]
    kinds = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=v) for n, v in options.items()
    ]
    signature = inspect.Signature([*arrays, *kinds])

    def core(*given: Any, **named: Any) -> tuple[Any, Array]:
        if len(given) == 2 and not named:
            return compute(*given, **options)
        if len(given) != 2 or not named.keys() <= options.keys():
            bound = signature.bind(*given, **named).arguments
            given = tuple(bound.pop(each.name) for each in arrays)
            named = bound
        return compute(*given, **{**options, **named})

    @functools.wraps(f)
    def loss(*given: Any, **named: Any) -> tuple[Any, Array]:
        with np.errstate(all="ignore"):  # What is not finite shows in what it returns.
            return core(*given, **named)

    shown: Any = loss
    shown.unsilenced = f if compute is f else core
    shown.__signature__ = signature
    if f.__doc__:
        shared = "\n".join(f"    {_SHARED[name]}" for name in options)
        raises = _RAISES.format("axis or " if "axis" in options else "")
        shown.__doc__ = f"{inspect.cleandoc(f.__doc__)}\n{shared}\n{raises}"
    made: LossFunction = shown
    return made


@overload
def pointwise(f: Pointwise, /) -> LossFunction: ...
@overload
def pointwise(*, check: Check | None) -> Callable[[Pointwise], LossFunction]: ...
def pointwise(f: Any = None, /, *, check: Check | None = None) -> Any:
    """Declare a loss by a function of single numbers: ℓ, ∂ℓ/∂pred = f(pred, target).

    Args:
        f: From pred and target, arrays of one shape and precision, to two of that shape; it must not
            write to its arguments.
        check: Called with the loss's name and the target, to refuse targets out of range.
    """
    if f is None:
        return functools.partial(pointwise, check=check)
    who, (pred_name, target_name) = _names(f)

    def compute(pred: Array, target: Array, *, weight: Any, reduction: str) -> tuple[Any, Array]:
        check_pred(who, pred_name, pred)
        check_real(who, target_name, target, pred.shape)
        if check is not None:
            check(who, target)
        values, dvalues = f(pred, target.astype(pred.real.dtype, copy=False))
        values, dvalues = fitted(who, "l", values, pred), fitted(who, "dl", dvalues, pred)
        return reduced(who, values, dvalues, weight, reduction)

    return declared(f, compute, weight=None, reduction="mean")


@overload
def per_class(f: Pointwise, /) -> LossFunction: ...
@overload
def per_class(*, check: Check | None, rows: bool = False) -> Callable[[Pointwise], LossFunction]: ...
def per_class(f: Any = None, /, *, check: Check | None = None, rows: bool = False) -> Any:
    """Declare a loss over classes: ℓ, ∂ℓ/∂pred = f(pred, target), one ℓ for each row of classes.

    The classes lie on the last axis for `f`, wherever the caller has them.

    Args:
        f: From pred (n, classes), contiguous, and the labels (n,), integers in range, to ℓ (n,) and
            ∂ℓ/∂pred (n, classes), which may not be pred itself.
        check: Called with the loss's name and the real part of pred, to refuse what is out of range.
        rows: The target is not a label but a row of numbers like pred's, in its precision; `check` is
            then called with the target.
    """
    if f is None:
        return functools.partial(per_class, check=check, rows=rows)
    who, (pred_name, target_name) = _names(f)

    def compute(
        pred: Array, target: Array, *, weight: Any, axis: int, reduction: str
    ) -> tuple[Any, Array]:
        check_pred(who, pred_name, pred, 2)
        if rows:
            check_real(who, target_name, target, pred.shape)
        if check is not None:
            check(who, target if rows else pred.real)
        pred = contiguous(classes_last(who, pred, axis))
        *shape, n_classes = pred.shape
        if rows:
            own = contiguous(classes_last(who, target, axis), pred.real.dtype)
            own = own.reshape(-1, n_classes)
        else:
            own = check_labels(who, target, tuple(shape), n_classes, target_name)
        values, dpred = f(pred.reshape(-1, n_classes), own)
        value, dpred = reduced(who, values.reshape(shape), dpred.reshape(pred.shape), weight, reduction)
        return value, classes_back(dpred, axis)

    return declared(f, compute, weight=None, axis=-1, reduction="mean")


def whole(f: Callable[..., tuple[Any, Array]]) -> LossFunction:
    """Declare a loss that checks, weighs and reduces by itself; its options are keyword-only."""
    parameters = inspect.signature(f).parameters.values()
    return declared(
        f, f, **{each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    )


def _names(f: Callable[..., Any]) -> tuple[str, list[str]]:
    return f.__name__, list(inspect.signature(f).parameters)


# --- losses of one's own


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
        return self.unsilenced(pred, target, weight=weight, reduction=reduction)

    def unsilenced(
        self, pred: Array, target: Array, *, weight: Array | None = None, reduction: str = "mean"
    ) -> tuple[Any, Array]:
        """Return the same, where NumPy's warnings are silenced already."""
        who = self.name
        check_pred(who, "pred", pred)
        if self.per_example:
            target, shape = _targets(who, pred, target), pred.shape[:1]
        else:
            check_real(who, "target", target, pred.shape)
            target, shape = target.astype(pred.real.dtype, copy=False), None
        values, dpred = returned("f", self.f(pred, target), ("l", "dl"), who)
        values = fitted(who, "l", values, pred, shape)
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
        OptionError: If name is no text, f no function, or an option neither True nor False; when it is
            called, if f returns anything else than a pair.
    """
    if not isinstance(name, str) or not name:
        raise OptionError(f"name: expected a text, got {name!r}", path=("make_loss",))
    if not callable(f):
        raise OptionError(f"f: expected a function, got {f!r}", path=("make_loss",))
    per_example = flag("make_loss", "per_example", per_example)
    complex_safe = flag("make_loss", "complex_safe", complex_safe)
    return MadeLoss(name, f, per_example=per_example, complex_safe=complex_safe)
