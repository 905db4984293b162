"""A course of steps: the first ones as they are written, the others as a program once it is trusted.

For every set of shapes the first batch takes the ordinary step. The second and the third take it too
and are recorded; if both recordings say the same, the program runs beside the ordinary step for two
batches more, and from then on, if all bits were equal, in its place. What a guard refuses, and what is
not finite, goes back to the ordinary step from the state before, which takes the batch or says by path
what is wrong.
"""

from __future__ import annotations

import math
import traceback
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from fnn.compile.listing import Carry, DeoptError, Listed
from fnn.compile.recording import Program
from fnn.compile.values import UntraceableError
from fnn.errors import FnnError
from fnn.kernels.values import map_arrays
from fnn.training.evaluation import measure
from fnn.training.replay import Layout, inputs_of, record, signature
from fnn.training.state import Batch, TrainState, is_finite
from fnn.training.step import TrainStep
from fnn.tree import Array

TRIALS = 2
"""How many batches a program runs beside the ordinary step: one from each set of memory."""

MOST_RECORDINGS = 12
"""How often the step is recorded for batches of one kind: its way may depend on the numbers."""

MOST_KINDS = 16
"""For how many kinds of batches programs are kept."""


@attrs.define(eq=False)
class Variant:
    """One way through the step, as a program."""

    listed: Listed
    outputs: Any
    trials: int = 0


@attrs.define(eq=False)
class Kind:
    """Batches of one set of shapes.

    Attributes:
        seen: Whether the ordinary step has taken one.
        variants: The programs, the last used first.
        pending: Recordings that wait for another that says the same.
        recordings: How many were made.
        reason: Why there is no program, or no other.
    """

    seen: bool = False
    variants: list[Variant] = attrs.field(factory=list)
    pending: list[tuple[Program, Any]] = attrs.field(factory=list)
    recordings: int = 0
    reason: str = ""

    def is_ready(self) -> bool:
        """Return whether a program is trusted."""
        return any(each.trials >= TRIALS for each in self.variants)

    def sizes(self) -> list[int]:
        """Return of how many operations the trusted programs are."""
        return [len(each.listed.program.ops) for each in self.variants if each.trials >= TRIALS]


class Programs:
    """What one thread keeps of a step and of states of one layout."""

    def __init__(self, step: TrainStep, layout: Layout) -> None:
        """Begin without any program; `last` is the state that the last program has reached."""
        self.step, self.layout = step, layout
        self.kinds: dict[Any, Kind] = {}
        self.key = layout.like.key
        self.carry: Carry | None = None
        self.last: Reached | None = None
        self.busy = False

    def kind(self, batch: Batch) -> Kind | None:
        """Return what is known of batches like this one."""
        mark = signature(batch)
        if mark is None or (mark not in self.kinds and len(self.kinds) >= MOST_KINDS):
            return None
        return self.kinds.setdefault(mark, Kind())

    def texts(self) -> list[str]:
        """Return the trusted programs as texts."""
        return [
            f"{_described(mark)}: {len(each.listed.program.ops)} operations, "
            f"{each.listed.size:,} bytes for what is between\n{each.listed.program}"
            for mark, kind in self.kinds.items()
            for each in kind.variants
            if each.trials >= TRIALS
        ]

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
        self.key, carry.loaded = now.key, now

    def holds(self, now: TrainState | Reached, kind: Kind) -> bool:
        """Return whether a trusted program goes on from a state that lies in memory now."""
        if not kind.is_ready():
            return False
        if not isinstance(now, Reached):
            self.load(now)
            return True
        return now is self.last

    # --- running ---

    def run(self, kind: Kind, batch: Batch) -> tuple[Reached, dict[str, Any]] | None:
        """Take a step from what is loaded; None if it is for the ordinary step."""
        carry = self.carry
        assert carry is not None
        for variant in kind.variants:
            if variant.trials < TRIALS:
                continue
            logs = self._tried(variant, carry, batch)
            if logs is None:
                continue
            if variant is not kind.variants[0]:
                kind.variants.remove(variant)
                kind.variants.insert(0, variant)
            turn, step = carry.at
            carry.loaded = None
            carry.at = 1 - turn, step + 1
            self.last = Reached(self, 1 - turn, step + 1)
            return self.last, logs
        return None

    @np.errstate(all="ignore")
    def _tried(self, variant: Variant, carry: Carry, batch: Batch) -> dict[str, Any] | None:
        """Run a program; return its logs if all numbers are finite, and change nothing else."""
        program = variant.listed.program
        turn, step = carry.at
        key = self.key.fold("step", step) if self.step.net.traits.stochastic else None
        try:
            found = variant.listed.run([array for _, array in inputs_of(batch)], step, key)
        except (DeoptError, FnnError):  # The ordinary step takes it, or says by path what is wrong.
            return None
        value = found["loss"][()]
        if not math.isfinite(value):
            return None
        for i in self.layout.checked:
            if program.carried[i].next is not None and not is_finite(carry.held(i, 1 - turn)):
                return None
        logs: dict[str, Any] = {"loss": value}
        if self.step.metrics:
            parts = iter([array.copy("K") for name, array in found.items() if name != "loss"])
            outputs = map_arrays(lambda _: next(parts), variant.outputs)
            weight = {"weight": batch[2]} if len(batch) > 2 else {}
            logs |= measure(self.step.metrics, outputs, batch[1], **weight)
        return logs

    # --- learning ---

    def learn(
        self, kind: Kind, now: TrainState, batch: Batch, after: TrainState, logs: dict[str, Any]
    ) -> bool:
        """Learn from a step that the ordinary way took; return whether `after` is loaded now."""
        trial = next((each for each in kind.variants if each.trials < TRIALS), None)
        if trial is not None:
            return self._compared(kind, trial, now, batch, after, logs)
        if not kind.seen:
            kind.seen = True
        elif kind.recordings < MOST_RECORDINGS:
            kind.recordings += 1
            self._record(kind, now, batch)
        return False

    def _record(self, kind: Kind, now: TrainState, batch: Batch) -> None:
        try:
            program, outputs = record(self.step, self.layout, now, batch)
        except Exception as error:
            says = str(error) if isinstance(error, UntraceableError) else repr(error)
            kind.reason, kind.recordings = f"{says}{_place(error)}", MOST_RECORDINGS
            return
        for other, _ in kind.pending:
            if program.is_like(other):
                if self.carry is None:
                    self.carry = Carry(program)
                kind.variants.append(Variant(Listed(program, self.carry), outputs))
                kind.pending.clear()
                return
        kind.pending = [*kind.pending[-2:], (program, outputs)]
        kind.reason = "another way at every step" if kind.recordings == MOST_RECORDINGS else ""

    def _compared(
        self, kind: Kind, trial: Variant, now: TrainState, batch: Batch, after: TrainState, logs: Any
    ) -> bool:
        """Run a program beside the step; forget it if a bit differs."""
        carry = self.carry
        assert carry is not None
        self.load(now)
        found = self._tried(trial, carry, batch)
        if found is None:  # It goes another way with these numbers.
            return False
        turn, step = carry.at
        expected = self.layout.arrays(after)
        same = all(
            _same_bits(carry.held(i, 1 - turn if each.next is not None else turn), expected[i])
            for i, each in enumerate(trial.listed.program.carried)
        )
        if not same or not _same_logs(found, logs):
            kind.variants.remove(trial)
            kind.reason = "its bits were others than those of the step"
            kind.recordings = MOST_RECORDINGS
            carry.loaded = None
            return False
        trial.trials += 1
        carry.at = 1 - turn, step + 1
        carry.loaded = after
        return True


def _described(mark: Any) -> str:
    return ", ".join(f"{name} {np.dtype(dtype)}{list(shape)}" for name, shape, dtype in mark)


def _place(error: Exception) -> str:
    """Return where the code is that asked for what cannot be recorded."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [each for each in frames if Path(each.filename).parent.name != "compile"]
    return f", at {outside[-1].filename}:{outside[-1].lineno} ({outside[-1].line})" if outside else ""


def _same_bits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _same_logs(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        _same_bits(np.asarray(a[name]), np.asarray(b[name])) for name in a
    )


@attrs.define(eq=False)
class Reached:
    """A state that lies in the memory of programs; valid until the second step after it.

    What comes between (a state that is loaded) gives it memory of its own before.
    """

    programs: Programs
    turn: int
    step: int
    _state: TrainState | None = None

    def state(self) -> TrainState:
        """Return it in memory of its own."""
        if self._state is None:
            carry, layout = self.programs.carry, self.programs.layout
            assert carry is not None
            held = [carry.held(i, self.turn) for i in range(len(carry.refs))]
            self._state = layout.state(held, self.step, self.programs.key)
        return self._state

    def handed_out(self) -> TrainState:
        """Return the same, to be known again in the next call."""
        now = self.state()
        assert self.programs.carry is not None
        self.programs.carry.loaded, self.programs.last = now, None
        return now


def settled(now: TrainState | Reached) -> TrainState:
    """Return a state that stays what it is."""
    return now.state() if isinstance(now, Reached) else now
