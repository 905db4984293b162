"""The pure step from one TrainState to the next, and the loss with its gradient that it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn import tree
from fnn.errors import DivergedError, DTypeError, FnnError, OptionError, ShapeError
from fnn.kernels.checks import check_cotangent
from fnn.kernels.noting import as_array
from fnn.keys import Key
from fnn.layers.calls import placed_error
from fnn.layers.contract import Layer
from fnn.losses.reduction import Loss, value_and_dpred
from fnn.metrics.checks import Metric
from fnn.optimizers.compose import apply_updates
from fnn.optimizers.constraints import global_norm
from fnn.optimizers.transform import At, Transform
from fnn.training.evaluation import Metrics, measure, metric_table
from fnn.training.penalties import PenaltyFunction, checked_penalty
from fnn.training.state import (
    Batch,
    TrainState,
    check_kept,
    check_parts,
    is_finite,
    merged,
    trained,
    unpack,
)
from fnn.tree import Tree

Step: TypeAlias = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]


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
        value, dy = value_and_dpred(loss, y, target, **weight)
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
    penalty: PenaltyFunction | None = attrs.field(default=None, kw_only=True)

    @np.errstate(all="ignore")  # What is not finite raises; a warning would only say it twice.
    def __call__(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Return the state after `batch`, and {"loss": value, **metrics} as they were before it."""
        value, grads, state, logs = self.grads(now, batch)
        return self.moved(now, batch, value, grads, state), logs

    def grads(self, now: TrainState, batch: Batch) -> tuple[Any, Tree, Tree, dict[str, Any]]:
        """Return the loss, its gradient, the carried state after it, and all logs.

        To be called where numbers that are not finite give no warning.

        Raises:
            DivergedError: If the loss or the carried state is not finite, and the optimizer does not
                skip what is not.
            TreeError, ShapeError, DTypeError: If the carried state changed its structure.
        """
        net = self.net
        key = now.key.fold("step", now.step) if net.traits.stochastic else None
        value, grads, state, y = self.computed(now.params, now.state, batch, key)
        try:
            math.isfinite(value)
        except TypeError:
            raise DTypeError(f"loss: expected a real number, got {type(value).__name__}") from None
        skips = self.optimizer.skips_nonfinite
        if not math.isfinite(value) and not skips:
            raise self.diverged(now, batch, value, grads)
        if state is not now.state:
            state = tree.freeze(state)
            check_kept(now.state, state, "state")
            if not is_finite(state):
                if not skips:
                    raise self.diverged(now, batch, value, grads, after={"state": state})
                state = now.state
        logs = {"loss": value}
        if self.metrics:
            _, target, weight = unpack(batch)
            logs |= measure(self.metrics, y, target, **weight)
        return value, grads, state, logs

    def computed(self, params: Any, state: Any, batch: Batch, key: Key | None) -> tuple[Any, ...]:
        """Return the loss, its gradient, the carried state and the outputs; no number is looked at."""
        x, target, weight = unpack(batch)
        net = self.net
        try:
            # Without what a call from outside has checked and silenced; here that is done already.
            y, state, pullback = net.core.vjp(params, state, x, train=True, key=key)
        except (FnnError, KeyError) as error:
            raise placed_error(error, net.name, net.where) from error.__cause__
        value, dy = value_and_dpred(self.loss, y, target, **weight)
        if getattr(value, "ndim", 0):
            hint = "a step follows a mean or a sum, no reduction='none'"
            raise ShapeError(f"loss: expected one value, got shape {value.shape}; {hint}")
        try:
            check_cotangent("dy", dy, y)
            grads, _ = pullback(dy, need_dx=False)
            grads = tree.freeze(grads)
        except (FnnError, KeyError) as error:
            raise placed_error(error, net.name, net.where) from error.__cause__
        value, grads = self._penalised(params, value, grads)
        return value, grads, state, y

    def moved(self, now: TrainState, batch: Batch, value: Any, grads: Tree, state: Tree) -> TrainState:
        """Return the state after the update; to be called where overflow does not warn."""
        net, optimizer, own = self.net, self.optimizer, trained(self.net, now.params)
        at: tuple[At, ...] = ()
        if optimizer.needs_gradient:
            key = now.key.fold("step", now.step) if net.traits.stochastic else None
            at = (self.elsewhere(now.params, own, now.state, batch, key, value, grads),)
        updates, opt_state = optimizer.update(trained(net, grads), now.opt_state, own, now.step, *at)
        moved = apply_updates(own, updates)
        if not is_finite(moved):
            raise self.diverged(now, batch, value, grads, after={"params": moved})
        params = merged(net, now.params, moved)
        return TrainState(now.step + 1, now.key, params, state, opt_state)

    def elsewhere(
        self,
        params: Any,
        own: Any,
        state: Any,
        batch: Batch,
        key: Key | None,
        value: Any,
        grads: Tree,
    ) -> At:
        """Return the loss and gradient of the batch as a function of what is trained.

        Args:
            params, state, batch, key: Of the step.
            own: What of params is trained.
            value, grads: The loss and its gradient there.
        """
        net = self.net

        def at(there: Any) -> tuple[Any, Any]:
            if there is own:
                return value, trained(net, grads)
            new_value, slopes, _, _ = self.computed(merged(net, params, there), state, batch, key)
            return new_value, trained(net, slopes)

        return at

    def _penalised(self, params: Any, value: Any, grads: Tree) -> tuple[Any, Tree]:
        """Return the loss and its gradient with the penalty on what is trained."""
        if self.penalty is None:
            return value, grads
        own = trained(self.net, params)
        more, dmore = self.penalty(own)
        added = tree.map(np.add, trained(self.net, grads), dmore)
        return value + as_array(more, value.dtype)[()], merged(self.net, grads, added)

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


def train_step(
    net: Layer,
    loss: Loss,
    optimizer: Transform,
    *,
    metrics: Metrics = (),
    penalty: Any = None,
) -> TrainStep:
    """Close over what is fixed; return the pure step `(now, batch) -> (next, logs)`.

    The next state has the structure, shapes and dtypes of the present one. Randomness depends on
    `now.key` and `now.step` alone, so that a resumed run repeats the original bit for bit. Logs hold
    the batch's loss and metrics, computed in training mode and before the update.

    Args:
        net: The network.
        loss: `loss(pred, target, *, weight=None) -> (value, dpred)`.
        optimizer: The transform that turns gradients into updates.
        metrics: `metric(pred, target)`, by name or by themselves; none may be called "loss".
        penalty: Added to the loss, and its gradient to the gradient: `l2_penalty(1e-4)`, any function
            from what is trained to (value, grads), or several of them.

    Raises:
        OptionError: If an argument is something else.
        DivergedError: From the step, if the loss, or what would come after it, is not finite; `now`
            is what it was. Under `skip_nonfinite` only if the parameters would not be.
        DataError, ShapeError, DTypeError, TreeError: From the step, if the batch, the network, the
            loss and the state do not fit together.
    """
    check_parts("train_step", net, optimizer)
    if not callable(loss):
        raise OptionError(f"loss: expected a function, got {loss!r}", path=("train_step",))
    penalty = checked_penalty("train_step", penalty)
    return TrainStep(net, loss, optimizer, metrics, penalty=penalty)
