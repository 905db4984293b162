"""What trains and measures members: losses, metrics and optimizers, lifted over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from fnn.ensemble.layers import stacked
from fnn.ensemble.members import stack, unstack
from fnn.errors import DivergedError, OptionError, ShapeError
from fnn.kernels.noting import contiguous
from fnn.kernels.values import take_rows
from fnn.losses.reduction import Loss, unsilenced
from fnn.losses.sums import half_squared_error
from fnn.optimizers.making import check_inner
from fnn.optimizers.transform import Transform
from fnn.options import integer
from fnn.recipe import constructor
from fnn.training.state import Batch, TrainState
from fnn.training.step import TrainStep, train_step
from fnn.tree import Array


@attrs.frozen
class OverMembers:
    """A loss of one network, as that of all members; made by `over_members`."""

    loss: Loss
    shared: bool

    @property
    def __name__(self) -> str:
        return f"over_members({getattr(self.loss, '__name__', self.loss)})"

    @np.errstate(all="ignore")
    def __call__(self, pred: Array, target: Array, *, weight: Array | None = None) -> tuple[Any, Array]:
        """Return (value, dpred)."""
        if not isinstance(pred, np.ndarray) or pred.ndim < 2:
            got = getattr(pred, "shape", type(pred).__name__)
            expected = "pred of shape (batch, members, ...)"
            raise ShapeError(f"expected {expected}, got {got}", path=(self.__name__,))
        rows = contiguous(pred.swapaxes(0, 1))
        if self.loss is half_squared_error and weight is None and target.shape == self._like(rows):
            # A sum of single terms: all members at once give each the bits that it gets alone.
            lead = len(rows) * rows.shape[1], *rows.shape[2:]
            whole = np.broadcast_to(target, rows.shape) if self.shared else target.swapaxes(0, 1)
            value, dpred = unsilenced(self.loss)(rows.reshape(lead), whole.reshape(lead))
            return value, dpred.reshape(rows.shape).swapaxes(0, 1)
        dpred = np.empty_like(rows)
        total = rows.dtype.type(0)
        given = (target,) if weight is None else (target, weight)
        for i, own in enumerate(rows):
            parts = [self.part(i, len(rows), values) for values in given]
            named = {} if weight is None else {"weight": parts[1]}
            value, dpred[i] = unsilenced(self.loss)(own, parts[0], **named)
            total = total + value
        return total, dpred.swapaxes(0, 1)

    def _like(self, rows: Array) -> tuple[int, ...]:
        return rows.shape[1:] if self.shared else (rows.shape[1], len(rows), *rows.shape[2:])

    def part(self, i: int, n: int, values: Array) -> Array:
        """Return what of targets or weights is that of member i of n."""
        if self.shared:
            return values
        if values.ndim < 2 or values.shape[1] != n:
            expected = f"targets and weights of {n} members on axis 1"
            raise ShapeError(f"expected {expected}, got {values.shape}", path=(self.__name__,))
        return contiguous(values[:, i])


def over_members(loss: Loss, *, shared: bool = True) -> OverMembers:
    """Return the loss Σᵢ loss(pred[:, i], target) over members i, whose gradient is each one's own.

    Args:
        loss: Loss of one network.
        shared: Whether the members have target and weight in common; otherwise target is
            (batch, members, ...) and weight (batch, members).

    Raises:
        OptionError: If `loss` is no function.
    """
    if not callable(loss):
        raise OptionError(f"loss: expected a function, got {loss!r}", path=("over_members",))
    return OverMembers(loss, shared)


def member_metrics(
    metric: Callable[..., Any], n: int, *, shared: bool = True
) -> dict[str, Callable[..., Any]]:
    """Return `metric` of each of n members by name: {"accuracy_0": ..., "accuracy_1": ...}.

    A step, `fit` and `evaluate` take them. A loss is a metric too.

    Args:
        metric: `metric(pred, target)` of one network.
        n: How many members.
        shared: Whether the members have the target in common; otherwise it is (batch, n, ...).

    Raises:
        OptionError: If `metric` is no function.
    """
    if not callable(metric):
        raise OptionError(f"metric: expected a function, got {metric!r}", path=("member_metrics",))

    def of(i: int) -> Callable[..., Any]:
        def own(pred: Any, target: Any, *, weight: Any = None) -> Any:
            part = {} if weight is None else {"weight": weight if shared else weight[:, i]}
            return metric(pred[:, i], target if shared else target[:, i], **part)

        return own

    name = getattr(metric, "__name__", "metric")
    return {f"{name}_{i}": of(i) for i in range(integer("member_metrics", "n", n))}


@constructor
def per_member(optimizer: Transform, n: int) -> Transform:
    """Update each of n members by itself: for optimizers that look at a whole network.

    `clip_by_global_norm` of a stacked network would clip the norm over all members. An elementwise
    optimizer needs none of this, and is faster without.

    Raises:
        OptionError: If `optimizer` is no Transform.
    """
    if not isinstance(optimizer, Transform):
        raise OptionError(f"optimizer: expected a Transform, got {optimizer!r}", path=("per_member",))
    check_inner("per_member", optimizer)
    n = integer("per_member", "n", n)
    own_init, own_update, numbers = optimizer.core

    def init(params: Any) -> Any:
        return stack([own_init(unstack(params, i)) for i in range(n)])

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, Any]:
        parts = [
            own_update(unstack(updates, i), unstack(opt_state, i), unstack(params, i), step)
            for i in range(n)
        ]
        return stack([moved for moved, _ in parts]), stack([held for _, held in parts])

    return Transform(
        "per_member",
        init,
        update,
        numbers=numbers,
        frozen=optimizer.frozen,
        skips_nonfinite=optimizer.skips_nonfinite,
        clock=optimizer.clock,
    )


def diverging(step: Any, now: TrainState, batch: Batch) -> dict[int, DivergedError]:
    """Return the members for which a step that raised DivergedError raises it, each tried alone.

    Args:
        step: What `train_step` made of a stacked network and a loss over its members, jitted or not.
        now: The state before the step, its key `Keys`.
        batch: The batch.

    Raises:
        OptionError: If `step` is something else.
    """
    step = getattr(step, "step", step)
    made = step.net.recipe if isinstance(step, TrainStep) else None
    if made is None or made.call is not stacked or not isinstance(step.loss, OverMembers):
        expected = "the train_step of a stacked network and an over_members loss"
        raise OptionError(f"step: expected {expected}, got {step!r:.200}", path=("diverging",))
    net, n = made.args
    shared = made.kwargs.get("shared", True)
    optimizer, recipe = step.optimizer, step.optimizer.recipe
    if recipe is not None and recipe.call is per_member:
        optimizer = recipe.args[0]
    alone = train_step(net, step.loss.loss, optimizer)
    x, *rest = batch
    found: dict[int, DivergedError] = {}
    for i in range(n):
        own = (
            x if shared else take_rows(x, (slice(None), i)),
            *(step.loss.part(i, n, each) for each in rest),
        )
        try:
            alone(unstack(now, i), own)
        except DivergedError as error:
            found[i] = error
    return found
