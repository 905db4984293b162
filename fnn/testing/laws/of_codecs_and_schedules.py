"""Laws of schedules and of codecs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.options import integer
from fnn.testing.findings import Findings, named
from fnn.testing.report import Report
from fnn.tree import Array


def check_schedule(schedule: Any, *, steps: int = 100) -> Report:
    """Prove a schedule right, or raise with every law that it breaks.

    Laws, by name: `call`, `number` (one finite number that float() takes), `sign` (0 or more), `pure`
    (in any order of calls), `clock` (steps of any integer type give the same number).

    Args:
        schedule: `step -> float`.
        steps: Steps 0, 1, ..., steps - 1 are asked for.

    Raises:
        LawError: If a law is broken; lists all findings.
        OptionError: If `steps` is not 1 or more.
    """
    steps = integer("check_schedule", "steps", steps)
    found, raw = Findings(f"schedule {named(schedule)}"), None
    with found.law("call"):
        raw = [schedule(i) for i in range(steps)]
    if raw is None:
        return found.concluded()
    values: list[float] = []
    with found.law("number"):
        for i, one in enumerate(raw):
            if isinstance(one, bool | str | complex) or np.ndim(one) or not math.isfinite(float(one)):
                found.broken(f"expected a finite number at step {i}", got=one)
                return found.concluded()
            values.append(float(one))
    if len(values) < steps:
        return found.concluded()
    with found.law("sign"):
        if min(values) < 0:
            found.broken(f"negative at step {values.index(min(values))}", got=min(values))
    with found.law("pure"):
        for i in [*reversed(range(steps)), *range(steps)]:
            if (again := float(schedule(i))) != values[i]:
                found.broken(f"another number when asked again at step {i}", got=again, want=values[i])
                break
    with found.law("clock"):
        for kind in (np.int64, np.int32, np.uint64):
            others = [float(schedule(kind(i))) for i in range(steps)]
            for i in [i for i in range(steps) if others[i] != values[i]][:1]:
                message = f"another number at step {kind.__name__}({i})"
                found.broken(message, got=others[i], want=values[i])
    return found.concluded()


def _unknown(labels: Array) -> Any:
    """Return labels of the kind of these, the last of them none that they hold, or None."""
    if labels.dtype.kind not in "iufU":
        return None
    most = max(labels.tolist())
    return np.append(labels[:-1], f"{most}?" if isinstance(most, str) else most + 1)


def check_codec(codec: Any, labels: Any) -> Report:
    """Prove a codec of labels right, or raise with every law that it breaks.

    Laws, by name: `call`, `round_trip` (decode gives back what encode took), `rows` (a float32 row per
    label, entries of 0 or more that sum to 1, equal for equal labels alone), `untouched`, `pure`,
    `fit` (whatever the order and number of labels), `immutable` (classes are read-only) and
    `unknown` (a label that was not fitted, and rows of another width, raise a ValueError).

    Args:
        codec: A class with `fit(labels)`, or what that returns, with `encode`, `decode`, `classes`.
        labels: An array of two or more distinct labels that the codec knows, all of them.

    Raises:
        LawError: If a law is broken; lists all findings.
    """
    found, given = Findings(f"codec {named(codec)}"), np.array(labels)
    fit: Any = getattr(codec, "fit", None) if isinstance(codec, type) else None
    fitted, rows = None, None
    with found.law("call"):
        fitted = fit(given.copy()) if fit else codec
        rows = np.array(fitted.encode(given.copy()))
    if fitted is None or rows is None:
        return found.concluded()
    with found.law("round_trip"):
        back = np.asarray(fitted.decode(rows.copy()))
        if (
            back.shape != given.shape
            or not (back == given).all()
            or back.dtype.kind != given.dtype.kind
        ):
            found.broken("decode does not give back what encode took", got=back, want=given)
    with found.law("rows"):
        if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != len(given):
            found.broken("expected float32, one row per label", got=f"{rows.dtype}{list(rows.shape)}")
        elif not (rows >= 0).all() or not (rows.sum(axis=1) == 1).all():
            found.broken(
                "expected entries of 0 or more that sum to 1", leaf="rows", got=rows.sum(axis=1)
            )
        same = (rows[:, None] == rows[None]).all(axis=-1)
        if not (same == (given[:, None] == given[None])).all():
            found.broken("rows are equal where labels are not, or the other way round", leaf="rows")
    with found.law("untouched"):
        loose, wide = given.copy(), rows.copy()
        fitted.encode(loose)
        fitted.decode(wide)
        found.same("decode wrote to them", "rows", wide, rows)
        if not (loose == given).all():
            found.broken("encode wrote to them", leaf="labels")
    with found.law("pure"):
        order = np.arange(len(given))[::-1]
        found.same("labels in another order", "rows", fitted.encode(given[order]), rows[order])
        found.same("called again", "rows", fitted.encode(given.copy()), rows)
        if np.shares_memory(fitted.encode(given), fitted.encode(given)):
            found.broken("two results share their memory", leaf="rows")
    with found.law("fit"):
        for other in (given[::-1], np.tile(given, 2)) if fit else ():
            found.same("fitted backwards or twice", "rows", fit(other.copy()).encode(given), rows)
    with found.law("immutable"):
        if fitted.classes.flags.writeable:
            found.broken("can be written to", leaf="classes")
    with found.law("unknown"):
        if (strange := _unknown(given)) is not None:
            found.refused(f"the unknown label {strange[-1]!r}", lambda: fitted.encode(strange))
        for width in (rows.shape[1] - 1, rows.shape[1] + 1):
            message = f"rows {width} wide for {rows.shape[1]} classes"
            found.refused(message, lambda width=width: fitted.decode(np.ones((1, width))))  # type: ignore[misc]
    return found.concluded()
