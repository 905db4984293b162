"""Training as a fold: a pure step from one TrainState to the next, scanned over batches."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import attrs
import numpy as np

from fnn import tree
from fnn.errors import DivergedError, FnnError, OptionError, ShapeError
from fnn.kernels.checks import check_cotangent
from fnn.kernels.memory import Arena, recycled
from fnn.keys import Key
from fnn.layers.calls import placed_error
from fnn.layers.contract import Layer
from fnn.losses.reduction import unsilenced
from fnn.optimizers.compose import apply_updates
from fnn.optimizers.entrywise import Rule, rule_of
from fnn.optimizers.restraint import global_norm
from fnn.optimizers.transform import Transform
from fnn.training.evaluation import Metric, Metrics, evaluate, measure, metric_table, predict
from fnn.training.plans import Flat, MisfitError, Owned, Plan, planned, signature
from fnn.training.state import (
    Batch,
    TrainState,
    check_kept,
    check_parts,
    init_train_state,
    is_finite,
    merged,
    trained,
    unpack,
)
from fnn.tree import Array, Tree

__all__ = [
    "Batch",
    "Loss",
    "Metric",
    "Metrics",
    "Step",
    "TrainState",
    "TrainStep",
    "evaluate",
    "init_train_state",
    "jit",
    "predict",
    "scan",
    "train_step",
    "value_and_grad",
]

Loss: TypeAlias = Callable[..., tuple[Any, Array]]
Step: TypeAlias = "Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]"


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

    @np.errstate(all="ignore")  # What is not finite raises; a warning would only say it twice.
    def __call__(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Return the state after `batch`, and {"loss": value, **metrics} as they were before it."""
        value, grads, state, logs = self.grads(now, batch)
        return self.moved(now, batch, value, grads, state), logs

    def grads(self, now: TrainState, batch: Batch) -> tuple[Any, Tree, Tree, dict[str, Any]]:
        """Return the loss, its gradient, the carried state after it, and all logs.

        To be called where numbers that are not finite give no warning.

        Raises:
            DivergedError: If the loss or the carried state is not finite.
            TreeError, ShapeError, DTypeError: If the carried state changed its structure.
        """
        x, target, weight = unpack(batch)
        net = self.net
        key = now.key.fold("step", now.step) if net.traits.stochastic else None
        try:
            # Without what a call from outside has checked and silenced; here that is done already.
            y, state, pullback = net.core.vjp(now.params, now.state, x, train=True, key=key)
        except (FnnError, KeyError) as error:
            raise placed_error(error, net.name, net.where) from error.__cause__
        value, dy = unsilenced(self.loss)(y, target, **weight)
        if getattr(value, "ndim", 0):
            hint = "a step follows a mean or a sum, no reduction='none'"
            raise ShapeError(f"loss: expected one value, got shape {value.shape}; {hint}")
        try:
            check_cotangent("dy", dy, y)
            grads, _ = pullback(dy, need_dx=False)
            grads = tree.freeze(grads)
        except (FnnError, KeyError) as error:
            raise placed_error(error, net.name, net.where) from error.__cause__
        if not math.isfinite(value):
            raise self.diverged(now, batch, value, grads)
        if state is not now.state:
            state = tree.freeze(state)
            check_kept(now.state, state, "state")
            if not is_finite(state):
                raise self.diverged(now, batch, value, grads, after={"state": state})
        logs = {"loss": value}
        if self.metrics:
            logs |= measure(self.metrics, y, target, **weight)
        return value, grads, state, logs

    def moved(self, now: TrainState, batch: Batch, value: Any, grads: Tree, state: Tree) -> TrainState:
        """Return the state after the update; to be called where overflow does not warn."""
        net, optimizer, own = self.net, self.optimizer, trained(self.net, now.params)
        updates, opt_state = optimizer.update(trained(net, grads), now.opt_state, own, now.step)
        moved = apply_updates(own, updates)
        if not is_finite(moved):
            raise self.diverged(now, batch, value, grads, after={"params": moved})
        params = merged(net, now.params, moved)
        return TrainState(now.step + 1, now.key, params, state, opt_state)

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
    check_parts("train_step", net, optimizer)
    if not callable(loss):
        raise OptionError(f"loss: expected a function, got {loss!r}", path=("train_step",))
    return TrainStep(net, loss, optimizer, metrics)


MOST_PLANS = 64
"""How many plans a step keeps; more structures than that are planned anew at every call."""


class _Kept(threading.local):
    """What a thread keeps from one call of a jitted step to the next."""

    def __init__(self) -> None:
        self.arena = Arena()
        self.last: Flat | None = None


class Jitted:
    """A step made by `jit`; calls like the step it wraps, bit for bit."""

    def __init__(self, step: Step) -> None:
        """Wrap `step`; nothing is planned before the first call."""
        self.step = step
        # Not of a subclass: what it overrides is to be heard.
        self._rule: Any = rule_of(step.optimizer) if type(step) is TrainStep else None
        self._plans: dict[tuple[Any, ...], Plan | None] = {}
        self._kept = _Kept()

    def __call__(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Return what the step returns."""
        with recycled(self._kept.arena):
            if type(self.step) is TrainStep:
                return self._quick(self.step, now, batch)
            return self.step(now, batch)

    @np.errstate(all="ignore")
    def _quick(
        self, step: TrainStep, now: TrainState, batch: Batch
    ) -> tuple[TrainState, dict[str, Any]]:
        """Return what the step of the library returns."""
        last = self._kept.last
        flat = last if last is not None and last.of is now else self._flatten(now)
        value, grads, state, logs = step.grads(now, batch)
        if flat is not None:
            try:
                self._kept.last = flat = self._moved(flat, batch, value, grads, state)
                return flat.of, logs
            except MisfitError:
                pass  # Let the step say by path what is wrong.
        return step.moved(now, batch, value, grads, state), logs

    def _moved(self, flat: Flat, batch: Batch, value: Any, grads: Any, state: Tree) -> Flat:
        """Return the next state, with its vectors."""
        step: Any = self.step
        rule, now, plan = self._rule, flat.of, flat.plan
        vector, held = flat.updated(rule, plan.leaves(trained(step.net, grads)), now.step)
        moved = plan.scatter(vector)
        if not is_finite(vector):
            raise step.diverged(now, batch, value, grads, after={"params": moved})
        params = merged(step.net, now.params, moved)
        opt_state = plan.scatter_roles(rule.roles, held)
        return Flat(TrainState(now.step + 1, now.key, params, state, opt_state), plan, vector, held)

    def _flatten(self, now: TrainState) -> Flat | None:
        """Return the vectors of `now`, or None if it is for the step itself to do."""
        if self._rule is None or not isinstance(now.params, dict):
            return None
        own = trained(cast(TrainStep, self.step).net, now.params)
        mark = signature(own)
        if mark in self._plans:
            plan = self._plans[mark]
        else:
            plan = planned(own)
            if len(self._plans) < MOST_PLANS:
                self._plans[mark] = plan
        try:
            return None if plan is None else Flat.gathered(plan, self._rule, now, own)
        except MisfitError:
            return None

    def fold(self, now: TrainState) -> _Fold | None:
        """Begin a scan from `now`, or return None if it is for the step itself to do."""
        flat = self._flatten(now)
        if flat is None:
            return None
        return _Fold(cast(TrainStep, self.step), self._rule, self._kept.arena, flat)

    def __reduce__(self) -> tuple[Any, ...]:
        return jit, (self.step,)

    def __repr__(self) -> str:
        sizes = [f"{plan.size} numbers" for plan in list(self._plans.values()) if plan is not None]
        plans = f"{len(sizes)} plan{'s' * (len(sizes) > 1)}, {', '.join(sizes)}" if sizes else "no plan"
        return f"jit({self.step!r}: {plans})"


def jit(step: Step) -> Jitted:
    """Return `step` with what its calls share done once; results are equal bit for bit.

    Its kernels write to memory of earlier calls that nobody holds any more. Parameters trained by an
    entrywise optimizer are kept with their memory as one vector each between calls, and updated
    by a few array operations however many leaves there are. Purity stays: the states handed out are
    immutable and stay what they are, and any state may be given, not only the last. `repr` shows the
    plans made so far, one for every structure of parameters.

    Raises:
        OptionError: If `step` is no function.
    """
    if not callable(step):
        raise OptionError(f"expected a step, got {step!r}", path=("jit",))
    return step if isinstance(step, Jitted) else Jitted(step)


def scan(step: Step, now: TrainState, batches: Iterable[Batch]) -> tuple[TrainState, dict[str, Array]]:
    """Fold `step` over `batches`; return the last state and the logs, one entry per step.

    The same bits as calling the step batch by batch. The states in between are nobody's, so that
    their vectors are written in turn. Without any batch that is `(now, {})`.
    """
    step = jit(step)
    logs: list[dict[str, Any]] = []
    fold: _Fold | None = None
    for batch in batches:
        if not logs:
            fold = step.fold(now)
        if fold is not None:
            try:
                logs.append(fold.take(batch))
                continue
            except MisfitError:  # The step itself says by path what is wrong.
                now, fold = fold.state(), None
        now, log = step(now, batch)
        logs.append(log)
    if fold is not None:
        now = fold.state()
    return now, {name: np.array([log[name] for log in logs]) for name in (logs[0] if logs else ())}


class _Fold:
    """A scan under way, over vectors that are its own."""

    def __init__(self, step: TrainStep, rule: Rule, arena: Arena, flat: Flat) -> None:
        self._step, self._rule, self._arena = step, rule, arena
        self._number, self._key, self._state = flat.of.step, flat.of.key, flat.of.state
        self._vectors = Owned(flat)
        self._frozen = bool(step.net.frozen)
        self._first = flat.of.params if self._frozen else tree.EMPTY

    @np.errstate(all="ignore")
    def take(self, batch: Batch) -> dict[str, Any]:
        """Make a step and return its logs; after an error the fold is over."""
        step, vectors = self._step, self._vectors
        with recycled(self._arena):
            params = vectors.params
            if self._frozen:
                params = merged(step.net, self._first, params)
            now = TrainState(self._number, self._key, params, self._state, tree.EMPTY)
            value, grads, state, logs = step.grads(now, batch)
            moving = trained(step.net, grads) if self._frozen else grads
            after = vectors.updated(self._rule, vectors.plan.leaves(moving), self._number)
            if not is_finite(after):
                moved = vectors.plan.view(after)
                raise step.diverged(now, batch, value, grads, after={"params": moved})
            vectors.swap()
        self._number, self._state = self._number + 1, state
        return logs

    def state(self) -> TrainState:
        """Return the state reached; the fold is over."""
        moved, opt_state = self._vectors.settled(self._rule)
        params = merged(self._step.net, self._first, moved)
        return TrainState(self._number, self._key, params, self._state, opt_state)
