"""`jit` and `scan`: many steps with what they share done once, bit for bit what single ones give."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from fnn.compile.trust import replays
from fnn.errors import FnnError, OptionError
from fnn.kernels.memory import Arena, recycled
from fnn.training.course import Programs, Reached, settled
from fnn.training.plans import MisfitError, planned, structure
from fnn.training.replay import Layout, arrays_and_mark
from fnn.training.state import Batch, TrainState, trained
from fnn.training.step import Step, TrainStep
from fnn.tree import Array, Tree

MOST_LAYOUTS = 16
"""For how many structures of states a thread keeps programs."""


class _Kept(threading.local):
    """What a thread keeps from one call of a jitted step to the next."""

    def __init__(self) -> None:
        self.arena = Arena()
        self.programs: dict[Any, Programs] = {}
        self.last: Programs | None = None


class Jitted:
    """A step made by `jit`; calls like the step it wraps, bit for bit."""

    def __init__(self, step: Step) -> None:
        """Wrap `step`; nothing is recorded before the first call."""
        self.step = step
        # Not of a subclass: what it overrides is to be heard.
        is_ours = type(step) is TrainStep and replays()
        self._recorded = cast(TrainStep, step) if is_ours else None
        self._kept = _Kept()

    def __call__(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Return what the step returns."""
        reached, logs = self.taken(now, batch)
        if not isinstance(reached, Reached):  # Of a step of somebody's own it may be anything.
            return reached, logs
        with recycled(self._kept.arena):
            return reached.handed_out(), logs

    def taken(
        self, now: TrainState | Reached, batch: Batch
    ) -> tuple[TrainState | Reached, dict[str, Any]]:
        """Return what the step returns; the state may lie in memory of a program, see `Reached`."""
        programs = now.programs if isinstance(now, Reached) else self._programs(now)
        arrays, mark = arrays_and_mark(batch)
        kind = None if programs is None or programs.busy else programs.kind(mark)
        if programs is None or kind is None:
            return self._ordinary(settled(now), batch)
        programs.busy = True
        try:
            if programs.holds(now, kind):
                found = programs.run(kind, batch, arrays)
                if found is not None:
                    return found
            before = settled(now)
            after, logs = self._ordinary(before, batch)
            programs.taken(kind, before, batch, after, logs)
            return after, logs
        finally:
            programs.busy = False

    def _ordinary(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Take the step as it is written, in memory of earlier ones."""
        with recycled(self._kept.arena):
            return self.step(now, batch)

    def _programs(self, now: TrainState) -> Programs | None:
        """Return the programs of this thread for states of such a structure; None if there are none."""
        kept, step = self._kept, self._recorded
        if kept.last is not None and kept.last.is_of(now):
            return kept.last
        trees = (now.params, now.state, now.opt_state) if isinstance(now, TrainState) else ()
        if step is None or not trees or not all(type(each) is Tree for each in trees):
            return None
        mark = tuple(map(structure, trees))
        if mark not in kept.programs:
            if len(kept.programs) >= MOST_LAYOUTS:
                return None
            own = trained(step.net, now.params)
            plan = planned(own) if step.optimizer.rule is not None else None
            try:
                kept.programs[mark] = Programs(step, Layout(step, plan, now))
            except (MisfitError, FnnError):
                return None
        kept.last = kept.programs[mark]
        return kept.last

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
        made = sum(kind.in_machine_code() for kind in kinds)
        says += f", {made} as machine code" if made else ""
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

    With llvmlite (extra "fast") a program that has run for half a second becomes machine code, in a
    thread beside it, and runs as that once it has given the same bits; FNN_EXECUTOR=list leaves it as
    it is.

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
