"""`jit` and `scan`: many steps with what they share done once, bit for bit what single ones give."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from fnn.errors import FnnError, OptionError
from fnn.kernels.memory import Arena, recycled
from fnn.training.course import Kind, Programs, Reached, settled
from fnn.training.plans import Flat, MisfitError, Plan, planned, signature
from fnn.training.replay import Layout
from fnn.training.state import Batch, TrainState, is_finite, merged, trained
from fnn.training.step import Step, TrainStep
from fnn.tree import Array, Tree

EXECUTOR = "FNN_EXECUTOR"
"""Variable of the environment: "plain" makes every step as it is written, none by a program."""

MOST_LAYOUTS = 16
"""For how many structures of states a thread keeps programs."""

MOST_PLANS = 64
"""How many plans a step keeps; more structures than that are planned anew at every call."""


class _Kept(threading.local):
    """What a thread keeps from one call of a jitted step to the next."""

    def __init__(self) -> None:
        self.arena = Arena()
        self.last: Flat | None = None
        self.programs: dict[Any, Programs] = {}


class Jitted:
    """A step made by `jit`; calls like the step it wraps, bit for bit."""

    def __init__(self, step: Step) -> None:
        """Wrap `step`; nothing is planned before the first call."""
        self.step = step
        # Not of a subclass: what it overrides is to be heard.
        self._rule: Any = step.optimizer.rule if type(step) is TrainStep else None
        self._replays = type(step) is TrainStep and os.environ.get(EXECUTOR) != "plain"
        self._plans: dict[tuple[Any, ...], Plan | None] = {}
        self._kept = _Kept()

    def __call__(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Return what the step returns."""
        reached, logs = self.taken(now, batch)
        if type(reached) is not Reached:
            return reached, logs  # type: ignore[return-value]
        with recycled(self._kept.arena):
            return reached.programs.handed_out(), logs

    def _ordinary(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Take the step as it is written, in memory of earlier ones."""
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

    def taken(
        self, now: TrainState | Reached, batch: Batch
    ) -> tuple[TrainState | Reached, dict[str, Any]]:
        """Return what the step returns; the state may lie in memory of a program, see `Reached`."""
        programs = now.programs if type(now) is Reached else self._programs(cast(TrainState, now))
        kind = None if programs is None or programs.busy else programs.kind(batch)
        if programs is None or kind is None:
            return self._ordinary(settled(now), batch)
        programs.busy = True
        try:
            return self._taken(programs, kind, now, batch)
        finally:
            programs.busy = False

    def _taken(
        self, programs: Programs, kind: Kind, now: TrainState | Reached, batch: Batch
    ) -> tuple[TrainState | Reached, dict[str, Any]]:
        if kind.variants:
            key = programs.layout.like.key
            if type(now) is TrainState and programs.ready(kind):
                programs.load(now)
            if programs.holds(now):
                logs = programs.run(kind, batch, key)
                if logs is not None:
                    return Reached(programs, *programs.at), logs
        before = settled(now)
        after, logs = self._ordinary(before, batch)
        programs.learn(kind, before, batch, after, logs)
        return after, logs

    def _programs(self, now: TrainState) -> Programs | None:
        """Return the programs of this thread for states of such a structure; None if there are none."""
        if not self._replays:
            return None
        mark = now.key, *(signature(part) for part in (now.params, now.state, now.opt_state))
        kept = self._kept.programs
        if mark not in kept:
            if len(kept) >= MOST_LAYOUTS:
                return None
            own = trained(self.step.net, now.params)
            plan = planned(own) if self._rule is not None and type(own) is Tree else None
            try:
                kept[mark] = Programs(self.step, Layout(self.step, plan, now))
            except (MisfitError, FnnError):
                return None
        return kept[mark]

    def __reduce__(self) -> tuple[Any, ...]:
        return jit, (self.step,)

    def program(self) -> str:
        """Return the programs of this thread as a text: operations in order, shapes and memory."""
        kept = list(self._kept.programs.values())
        return "\n\n".join(text for each in kept for text in each.texts()) or "no program"

    def __repr__(self) -> str:
        kinds = [kind for each in list(self._kept.programs.values()) for kind in each.kinds.values()]
        sizes = [n for kind in kinds for n in kind.sizes()]
        reasons = sorted({kind.reason for kind in kinds if kind.reason and not kind.sizes()})
        says = f"{len(sizes)} program{'s' * (len(sizes) > 1)}" if sizes else "no program"
        says += f" of {', '.join(map(str, sizes))} operations" if sizes else " yet" * (not reasons)
        return f"jit({self.step!r}: {'; '.join([says, *reasons])})"


def jit(step: Step) -> Jitted:
    """Return `step` with what its calls share done once; results are equal bit for bit.

    The first batches of every set of shapes take the step as it is written, and it is recorded on the
    way: every operation of NumPy, with the memory that it reads and writes. Once two recordings say
    the same, and the program has given the same bits as the step for two batches, it is replayed in
    the step's place: without the calls between the operations, and in memory that is placed once. What
    is not as it was when the step was recorded (shapes, a branch that depends on numbers, a number that
    is not finite) takes the step itself, which says by path what is wrong. `repr` shows the programs,
    or what in the step, and where, cannot be recorded; `program()` prints them.

    Layers, losses and optimizers are pure functions: what one does beside returning, such as printing
    or counting, happens only where the step runs as it is written. FNN_EXECUTOR=plain in the
    environment makes that every step. Metrics see the outputs of every step.

    Purity stays: the states handed out are immutable and stay what they are, and any state may be
    given, not only the last.

    Raises:
        OptionError: If `step` is no function.
    """
    if not callable(step):
        raise OptionError(f"expected a step, got {step!r}", path=("jit",))
    return step if isinstance(step, Jitted) else Jitted(step)


def scan(step: Step, now: TrainState, batches: Iterable[Batch]) -> tuple[TrainState, dict[str, Array]]:
    """Fold `step` over `batches`; return the last state and the logs, one entry per step.

    The same bits as calling the step batch by batch. Nobody can see the states in between, so that
    once a program of the step is trusted two sets of memory are written in turn. Without any batch
    that is `(now, {})`.
    """
    step = jit(step)
    logs: list[dict[str, Any]] = []
    reached: TrainState | Reached = now
    for batch in batches:
        reached, log = step.taken(reached, batch)
        logs.append(log)
    return settled(reached), {
        name: np.array([log[name] for log in logs]) for name in (logs[0] if logs else ())
    }
