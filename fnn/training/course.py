"""A course of steps: the first ones as they are written, the others as a program once it is trusted.

What a guard of the program refuses, and what is not finite, goes back to the ordinary step from the
state before, which takes the batch or says by path what is wrong.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.compile.listing import Carry
from fnn.compile.trust import Kind, Kinds, Variant, same_bits
from fnn.errors import FnnError
from fnn.kernels.memory import Arena, recycled
from fnn.kernels.values import map_arrays
from fnn.training.evaluation import measure
from fnn.training.plans import MisfitError, planned, structure
from fnn.training.replay import Layout, arrays_and_mark, record
from fnn.training.state import Batch, Reached, TrainState, is_finite, settled, trained
from fnn.training.step import TrainStep
from fnn.tree import Array, Tree

MOST_LAYOUTS = 16
"""For how many structures of states a thread keeps programs."""


class Programs(Kinds):
    """What one thread keeps of a step and of states of one layout.

    Attributes:
        last: The state that a program reached last.
        begun: The state that was loaded last.
    """

    def __init__(self, step: TrainStep, layout: Layout) -> None:
        """Begin without any program."""
        super().__init__()
        self.step, self.layout, self.begun = step, layout, layout.like
        self._draws = step.net.traits.stochastic
        self.last: Reached | None = None

    # --- what lies in memory ---

    def is_of(self, now: Any) -> bool:
        """Return whether a state is the one that lies in memory."""
        return self.carry is not None and self.carry.loaded is now

    def load(self, now: TrainState) -> None:
        """Go on from a state."""
        carry = self.carry
        if carry is None or carry.loaded is now:
            return
        if self.last is not None:  # Somebody may come back to it.
            self.last.state()
            self.last = None
        carry.loaded = None
        carry.load(self.layout.arrays(now), now.step)
        self.begun, carry.loaded = now, now

    def holds(self, now: TrainState | Reached, kind: Kind) -> bool:
        """Return whether a trusted program goes on from a state that lies in memory now."""
        if not kind.trusted:
            return False
        if isinstance(now, Reached):
            return now is self.last
        self.load(now)
        return True

    def state(self, turn: int, step: int) -> TrainState:
        """Return the state that lies in one set of memory, in memory of its own."""
        assert self.carry is not None
        return self.layout.state(self.carry.arrays[turn], step, self.begun)

    # --- running ---

    def run(
        self, kind: Kind, batch: Batch, arrays: list[Array]
    ) -> tuple[Reached, dict[str, Any]] | None:
        """Take a step from what is loaded; None if it is for the ordinary step."""
        carry = self.carry
        assert carry is not None
        for variant in kind.trusted:
            logs = self._tried(variant, carry, batch, arrays)
            if logs is None:
                continue
            kind.used(variant)
            turn, step = carry.at
            carry.loaded = None
            carry.at = 1 - turn, step + 1
            self.last = Reached(self, 1 - turn, step + 1)
            return self.last, logs
        return None

    @np.errstate(all="ignore")
    def _tried(
        self, variant: Variant, carry: Carry, batch: Batch, arrays: list[Array]
    ) -> dict[str, Any] | None:
        """Run a program; return its logs if all numbers are finite, and change nothing else."""
        turn, step = carry.at
        key = self.begun.key.fold("step", step) if self._draws else None
        try:
            found = variant.listed.run(arrays, step, key)
        except Exception:
            return None
        value = found["loss"][()]
        if not math.isfinite(value):
            return None
        after = carry.arrays[1 - turn]
        for i in self.layout.checked:
            if not is_finite(after[i]):
                return None
        logs: dict[str, Any] = {"loss": value}
        if self.step.metrics:
            parts = iter([array.copy("K") for name, array in found.items() if name != "loss"])
            outputs = map_arrays(lambda _: next(parts), variant.outputs)
            weight = {"weight": batch[2]} if len(batch) > 2 else {}
            logs |= measure(self.step.metrics, outputs, batch[1], **weight)
        return logs

    # --- learning ---

    def taken(
        self, kind: Kind, now: TrainState, batch: Batch, after: TrainState, logs: dict[str, Any]
    ) -> None:
        """Learn from a step that the ordinary way took."""
        trial = kind.trial()
        if trial is None:
            self.learn(kind, lambda: record(self.step, self.layout, now, batch))
        else:
            self._compare(kind, trial, now, batch, after, logs)

    def _compare(
        self, kind: Kind, trial: Variant, now: TrainState, batch: Batch, after: TrainState, logs: Any
    ) -> None:
        """Run a program beside the step, and go on from what it wrote if all bits are equal."""
        carry = self.carry
        assert carry is not None
        self.load(now)
        found = self._tried(trial, carry, batch, arrays_and_mark(batch)[0])
        if found is None:  # It goes another way with these numbers.
            kind.missed(trial)
            return
        turn, step = carry.at
        expected = self.layout.arrays(after)
        if found.keys() == logs.keys() and all(
            [
                *map(same_bits, carry.arrays[1 - turn], expected),
                *(same_bits(found[name], logs[name]) for name in logs),
            ]
        ):
            kind.passed(trial)
            carry.at = 1 - turn, step + 1
            carry.loaded = after
        else:
            kind.refuse(trial)


class Course:
    """What a thread does with a step: the ordinary one at first, and programs once they are trusted."""

    def __init__(self, step: TrainStep, arena: Arena) -> None:
        """Begin without any program; the memory of ordinary steps serves again in the next."""
        self._step, self._arena = step, arena
        self.programs: dict[Any, Programs] = {}
        self._last: Programs | None = None

    def taken(
        self, now: TrainState | Reached, batch: Batch
    ) -> tuple[TrainState | Reached, dict[str, Any]]:
        """Return what the step returns; the state may lie in memory of a program, see `Reached`."""
        programs: Programs | None = now.programs if isinstance(now, Reached) else self._of(now)
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

    def handed_out(self, reached: TrainState | Reached) -> TrainState:
        """Return a state that stays what it is, to be known again in the next call."""
        if not isinstance(reached, Reached):
            return reached
        with recycled(self._arena):
            now = reached.state()
        programs: Programs = reached.programs
        assert programs.carry is not None
        programs.carry.loaded, programs.last = now, None
        return now

    def _ordinary(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Take the step as it is written, in memory of earlier ones."""
        with recycled(self._arena):
            return self._step(now, batch)

    def _of(self, now: TrainState) -> Programs | None:
        """Return the programs for states of such a structure; None if there are none."""
        if self._last is not None and self._last.is_of(now):
            return self._last
        trees = (now.params, now.state, now.opt_state) if isinstance(now, TrainState) else ()
        if not trees or not all(type(each) is Tree for each in trees):
            return None
        step, mark = self._step, tuple(map(structure, trees))
        if mark not in self.programs:
            if len(self.programs) >= MOST_LAYOUTS:
                return None
            own = trained(step.net, now.params)
            plan = planned(own) if step.optimizer.rule is not None else None
            try:
                self.programs[mark] = Programs(step, Layout(step, plan, now))
            except (MisfitError, FnnError):
                return None
        self._last = self.programs[mark]
        return self._last
