"""`jit` and `scan`: many steps with what they share done once, bit for bit what single ones give."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fnn.compile import replays
from fnn.errors import OptionError
from fnn.kernels.memory import Arena, recycled
from fnn.training.state import Batch, Reached, TrainState, settled
from fnn.training.step import Step, TrainStep
from fnn.tree import Array

if TYPE_CHECKING:
    from fnn.training.course import Course, Programs


class _Kept(threading.local):
    """What a thread keeps from one call of a jitted step to the next."""

    def __init__(self) -> None:
        self.arena = Arena()
        self.has_begun = False
        self.course: Course | None = None


class Jitted:
    """A step made by `jit`; calls like the step it wraps, bit for bit."""

    def __init__(self, step: Step) -> None:
        """Wrap `step`; nothing is recorded before the second call."""
        self.step = step
        # Not of a subclass: what it overrides is to be heard.
        self._is_ours = type(step) is TrainStep and replays()
        self._kept = _Kept()

    def __call__(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Return what the step returns."""
        reached, logs = self.taken(now, batch)
        if self._kept.course is None:
            return reached, logs  # type: ignore[return-value]  # Of a step of one's own it may be anything.
        with recycled(self._kept.arena):
            return self._kept.course.handed_out(reached), logs

    def taken(
        self, now: TrainState | Reached, batch: Batch
    ) -> tuple[TrainState | Reached, dict[str, Any]]:
        """Return what the step returns; the state may lie in memory of a program, see `Reached`."""
        kept = self._kept
        if kept.course is not None:
            return kept.course.taken(now, batch)
        if self._is_ours and kept.has_begun:
            # Not before the second step: it takes as long as a small one to import.
            from fnn.training.course import Course

            kept.course = Course(cast(TrainStep, self.step), kept.arena)
            return kept.course.taken(now, batch)
        kept.has_begun = True
        with recycled(kept.arena):
            return self.step(cast(TrainState, now), batch)

    def __reduce__(self) -> tuple[Any, ...]:
        return jit, (self.step,)

    def _programs(self) -> list[Programs]:
        course = self._kept.course
        return [] if course is None else list(course.programs.values())

    def program(self) -> str:
        """Return the programs of this thread as a text: operations in order, shapes and memory."""
        return "\n\n".join(text for each in self._programs() for text in each.texts()) or "no program"

    def __repr__(self) -> str:
        kinds = [kind for each in self._programs() for kind in each.kinds.values()]
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
