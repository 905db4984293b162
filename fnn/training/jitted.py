"""`jit` and `scan`: many steps with what they share done once, bit for bit what single ones give."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from fnn import tree
from fnn.errors import OptionError
from fnn.kernels.memory import Arena, recycled
from fnn.optimizers.transform import Rule
from fnn.training.plans import Flat, MisfitError, Owned, Plan, planned, signature
from fnn.training.state import Batch, TrainState, is_finite, merged, trained
from fnn.training.step import Step, TrainStep
from fnn.tree import Array, Tree

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
        self._rule: Any = step.optimizer.rule if type(step) is TrainStep else None
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
        opt_state = plan.scatter_roles(rule.memory, held)
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
    elementwise optimizer are kept with their memory as one vector each between calls, and updated
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

    The same bits as calling the step batch by batch. Nobody can see the states in between, so that
    two sets of vectors are written in turn. Without any batch that is `(now, {})`.
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
