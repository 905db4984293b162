"""What a check found: every broken law, where, what came and what should have come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from fnn.errors import FnnError


@attrs.frozen
class Violation:
    """One broken law.

    Attributes:
        law: Name of the law ("adjoint").
        message: What is wrong, in a sentence.
        path: Path of the layer that breaks it ("serial/dense_0").
        mode: "train", "eval" or "" where that makes no difference.
        leaf: What is wrong there: "y", "dx", "params/w", "dparams/b", "state/mean", ...
        index: Index into the leaf of the worst entry.
        got: What came there.
        want: What should have come.
        seed: Seed of the direction or of the draw that shows it.
        shape: Smallest input, the batch included, that shows it.
    """

    law: str
    message: str
    path: str = ""
    mode: str = ""
    leaf: str = ""
    index: tuple[int, ...] | None = None
    got: Any = None
    want: Any = None
    seed: int | None = None
    shape: tuple[int, ...] | None = None

    def __str__(self) -> str:
        place = self.path + (f" [{self.mode}]" if self.mode else "")
        parts = [f"{self.law}: {place}: {self.message}" if place else f"{self.law}: {self.message}"]
        if self.leaf:
            index = "" if self.index is None else "[" + ", ".join(map(str, self.index)) + "]"
            parts.append(f"at {self.leaf}{index}")
        if self.got is not None or self.want is not None:
            parts.append(f"got {self.got!r}, want {self.want!r}")
        if self.seed is not None:
            parts.append(f"seed {self.seed}")
        if self.shape is not None:
            parts.append(f"smallest input {self.shape}")
        return "; ".join(parts)


@attrs.frozen
class Report:
    """What was checked, and what was broken: nothing, if the check returned.

    Attributes:
        subject: What was checked, as code.
        laws: Names of the laws that were checked.
        violations: The broken ones.
        notes: What a reader should know: kinks that were stepped around, laws that do not apply.
    """

    subject: str
    laws: tuple[str, ...]
    violations: tuple[Violation, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the broken laws, each once."""
        return tuple(dict.fromkeys(violation.law for violation in self.violations))

    def __str__(self) -> str:
        if not self.violations:
            return f"{self.subject}: {len(self.laws)} laws hold ({', '.join(self.laws)})"
        count = len(self.violations)
        lines = [
            f"{self.subject} breaks {len(self.broken)} of {len(self.laws)} laws ({count} findings):"
        ]
        lines += [f"  {violation}" for violation in self.violations]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


class LawError(FnnError, AssertionError):
    """At least one law is broken; `report` says which, and the message lists all of them."""

    def __init__(self, report: Report) -> None:
        """Keep the report."""
        super().__init__(str(report))
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        return LawError, (self.report,)


def concluded(
    subject: str, laws: Iterable[str], violations: Iterable[Violation], notes: Iterable[str] = ()
) -> Report:
    """Return the report of a check.

    Raises:
        LawError: If there is a violation.
    """
    report = Report(subject, tuple(laws), tuple(violations), tuple(dict.fromkeys(notes)))
    if report.violations:
        raise LawError(report)
    return report
