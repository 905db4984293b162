"""A program is done by the list until machine code of it is ready, and has given the same bits."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.compile import EXECUTOR
from fnn.compile.listing import Carry, DeoptError, Listed
from fnn.compile.recording import Program

Array = np.ndarray

STEPS, SECONDS = 50, 0.5
"""After how many steps, and how long, machine code is made: what ends sooner has no use for it."""

TRIALS = 2
"""How often machine code runs beside the list before it is trusted."""


Run = Callable[[list[Array], int, Any], dict[str, Array]]


class Faster:
    """A program with memory of its own; see `Listed`.

    Attributes:
        run: Computes a step as `Listed.run` does.
        reason: Why there is no machine code, "" while there is or may be some.
    """

    def __init__(self, program: Program, carry: Carry) -> None:
        """Begin with the list."""
        self.program, self.carry = program, carry
        self.reason = ""
        self._at_work: Any = Listed(program, carry)
        self._made: Any = None
        self._passed = [0, 0]
        self._steps, self._began = 0, 0.0
        self.run: Run = self._waiting
        wanted = os.environ.get(EXECUTOR)
        if wanted == "machine":
            self._make()
            self.run = self._tried
        elif wanted == "list":
            self._settle()

    @property
    def size(self) -> int:
        """How many bytes lie between the operations."""
        return int((self._made if self.is_machine_code else self._at_work).size)

    @property
    def is_machine_code(self) -> bool:
        """Whether machine code carries the program out."""
        return self._made is not None and sum(self._passed) >= TRIALS

    def says(self) -> str:
        """Return what carries the program out."""
        if self.is_machine_code:
            return str(self._made.says())
        return "list" + (f" ({self.reason})" if self.reason else "")

    # --- making it ---

    def _make(self) -> None:
        try:
            from fnn.compile.machine.executor import Machine

            self._made = Machine(self.program, self.carry)
        except Exception as error:  # Whatever it is, the list goes on.
            self.reason = f"no machine code: {error or type(error).__name__}"

    def _waiting(self, inputs: list[Array], step: int, key: Any) -> dict[str, Array]:
        """Run the list; make machine code in a thread beside it once that has run for long enough."""
        now = time.perf_counter()
        self._began = self._began or now
        self._steps += 1
        if self._steps > STEPS and now - self._began > SECONDS:
            self.run = self._tried
            try:
                threading.Thread(target=self._make, name="fnn machine code").start()
            except RuntimeError as error:  # The process ends.
                self.reason = f"no machine code: {error}"
        logs: dict[str, Array] = self._at_work.run(inputs, step, key)
        return logs

    # --- trusting it ---

    def _settle(self) -> None:
        """Go on with what is at work, without any question."""
        self.run = self._at_work.run

    def _tried(self, inputs: list[Array], step: int, key: Any) -> dict[str, Array]:
        """Run the list, and machine code, if it is there, before it: it has to give the same bits."""
        logs: dict[str, Array]
        if self._made is None:
            if self.reason:
                self._settle()
            logs = self._at_work.run(inputs, step, key)
            return logs
        turn = self.carry.at[0]
        if self._passed[turn] and sum(self._passed) >= TRIALS:
            if all(self._passed):
                self._at_work = self._made
                self._settle()
            logs = self._made.run(inputs, step, key)
            return logs
        found = self._outcome(inputs, step, key)
        try:
            logs = self._at_work.run(inputs, step, key)
        except DeoptError:
            if found is not None:
                self._refuse("took a batch that the list refuses")
            raise
        if found is None or found != self._bits(logs):
            self._refuse("gave other bits than the list")
        else:
            self._passed[turn] += 1
        return logs

    def _outcome(self, inputs: list[Array], step: int, key: Any) -> list[bytes] | None:
        """Return the bits that machine code gives; None if it refuses the batch."""
        try:
            return self._bits(self._made.run(inputs, step, key))
        except Exception:
            return None

    def _bits(self, logs: dict[str, Array]) -> list[bytes]:
        after = self.carry.arrays[1 - self.carry.at[0]]
        moved = [
            a for a, each in zip(after, self.program.carried, strict=True) if each.next is not None
        ]
        return [array.tobytes() for array in (*moved, *logs.values())]

    def _refuse(self, why: str) -> None:
        self._made = None
        self._settle()
        self.reason = f"machine code {why}"
