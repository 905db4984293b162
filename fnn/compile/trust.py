"""When a program is trusted: two recordings say the same, and its bits are those of the code itself."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from fnn.compile.faster import Faster
from fnn.compile.listing import Carry
from fnn.compile.recording import Program
from fnn.compile.values import UntraceableError

TRIALS = 2
"""How often a program runs beside the code itself: once from each set of memory."""

MOST_MISSES = 8
"""How often a trial may go another way before its program is forgotten."""

MOST_RECORDINGS = 12
"""How often code is recorded for arguments of one kind: its way may depend on their numbers."""

MOST_KINDS = 16
"""For how many kinds of arguments programs are kept."""


def signature(arrays: list[tuple[str, Any]]) -> Any:
    """Return what arguments share that one program serves; None where there is none for them."""
    marks = []
    for name, array in arrays:
        if type(array) is not np.ndarray or not array.flags.c_contiguous:
            return None
        marks.append((name, array.shape, array.dtype))
    return tuple(marks) or None


@attrs.define(eq=False)
class Variant:
    """One way through the code, as a program, and the structure of what comes out."""

    listed: Faster
    outputs: Any
    trials: int = 0
    misses: int = 0

    @property
    def is_trusted(self) -> bool:
        """Whether it may run in place of the code."""
        return self.trials >= TRIALS


@attrs.define(eq=False)
class Kind:
    """Arguments of one set of shapes.

    Attributes:
        seen: Whether the code itself has run for some.
        variants: The programs.
        trusted: Those that may run in place of the code, the last used first.
        pending: Recordings that wait for another that says the same.
        recordings: How many were made.
        reason: Why there is no program, or no other.
    """

    seen: bool = False
    variants: list[Variant] = attrs.field(factory=list)
    trusted: list[Variant] = attrs.field(factory=list)
    pending: list[tuple[Program, Any]] = attrs.field(factory=list)
    recordings: int = 0
    reason: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether a program is trusted."""
        return bool(self.trusted)

    def trial(self) -> Variant | None:
        """Return the program that is to run beside the code next."""
        return next((each for each in self.variants if not each.is_trusted), None)

    def passed(self, variant: Variant) -> None:
        """Count a trial in which a program gave the bits of the code."""
        variant.trials += 1
        if variant.is_trusted:
            self.trusted.append(variant)

    def used(self, variant: Variant) -> None:
        """Let a program be the first to be asked."""
        if variant is not self.trusted[0]:
            self.trusted.remove(variant)
            self.trusted.insert(0, variant)

    def missed(self, variant: Variant) -> None:
        """Forget a program that is never asked for: no other is tried while it waits for its trials."""
        variant.misses += 1
        if variant.misses >= MOST_MISSES:
            self.variants.remove(variant)
            self.reason = "a program went another way at every trial"

    def refuse(self, variant: Variant) -> None:
        """Forget a program whose bits were others, and make none any more."""
        self.variants.remove(variant)
        self.reason, self.recordings = "a program gave other bits than the code", MOST_RECORDINGS

    def sizes(self) -> list[int]:
        """Return of how many operations the trusted programs are."""
        return [len(each.listed.program.ops) for each in self.variants if each.is_trusted]

    def in_machine_code(self) -> int:
        """Return how many of the trusted programs run as machine code."""
        return sum(each.is_trusted and each.listed.is_machine_code for each in self.variants)


class Kinds:
    """What one thread keeps of some code: programs by the kind of its arguments, and their memory."""

    def __init__(self) -> None:
        """Begin without any program."""
        self.kinds: dict[Any, Kind] = {}
        self.carry: Carry | None = None
        self.busy = False

    def kind(self, mark: Any) -> Kind | None:
        """Return what is known of arguments of a signature; None for those that no program serves."""
        found = self.kinds.get(mark)
        if found is None and mark is not None and len(self.kinds) < MOST_KINDS:
            # The first kind has been seen: a step is asked for programs from its second call on.
            found = self.kinds[mark] = Kind(seen=not self.kinds)
        return found

    def learn(self, kind: Kind, record: Callable[[], tuple[Program, Any]]) -> None:
        """Record the code once more, if that is still worth it; the first time it only runs."""
        if not kind.seen:
            kind.seen = True
            return
        if kind.recordings >= MOST_RECORDINGS:
            return
        kind.recordings += 1
        try:
            program, outputs = record()
        except Exception as error:
            says = str(error) if isinstance(error, UntraceableError) else repr(error)
            kind.reason, kind.recordings = f"{says}{_place(error)}", MOST_RECORDINGS
            return
        for other, _ in kind.pending:
            if program.is_like(other):
                if self.carry is None:
                    self.carry = Carry(program)
                kind.variants.append(Variant(Faster(program, self.carry), outputs))
                kind.pending.clear()
                return
        kind.pending = [*kind.pending[-2:], (program, outputs)]
        if kind.recordings == MOST_RECORDINGS and not kind.variants:
            kind.reason = "it goes another way at every call"

    def texts(self) -> list[str]:
        """Return the trusted programs as texts."""
        return [
            f"{_described(each.listed.program)}: {len(each.listed.program.ops)} operations, "
            f"{each.listed.size:,} bytes between them{_by(each.listed)}\n{each.listed.program}"
            for kind in self.kinds.values()
            for each in kind.variants
            if each.is_trusted
        ]


def same_bits(a: Any, b: Any) -> bool:
    """Return whether two arrays or numbers are equal bit for bit."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _by(program: Faster) -> str:
    """Return what carries a program out, where that is more than the list."""
    says = program.says()
    return "" if says == "list" else f", by {says}"


def _described(program: Program) -> str:
    return ", ".join(f"{name} {ref.dtype}{list(ref.shape)}" for name, ref in program.inputs.items())


def _place(error: Exception) -> str:
    """Return where the code is that asked for what cannot be recorded."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [each for each in frames if Path(each.filename).parent.name != "compile"]
    return f", at {outside[-1].filename}:{outside[-1].lineno} ({outside[-1].line})" if outside else ""
