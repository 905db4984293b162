"""Sweeps on a page: the runs that one holds, and the table of what they came to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fnn.errors import DataError, FnnError
from fnn.files import content, limit, parse_json
from fnn.runs.experiment.folders import RUN, holds
from fnn.runs.report.parts import Cell, Page, Section, Table, as_number, clip, number, plain_text, words
from fnn.runs.report.reading import RunRecord, read

FILE = "sweep.json"
_FORMAT = 1
_MOST_MEMBERS = 2000


@attrs.frozen(eq=False)
class SweepRecord:
    """What a sweep's folder says.

    Attributes:
        folder: Where it is.
        name: The experiment's name.
        runs: Its members that have begun, as far as they can be read.
        table: What they came to: a row per grid point.
        notes: What did not finish, is damaged or was left out.
    """

    folder: Path
    name: str
    runs: tuple[RunRecord, ...]
    table: Section | None
    notes: tuple[str, ...]


def is_sweep(folder: Path) -> bool:
    """Return whether a folder holds a sweep and no run.

    Raises:
        DataError: If one of their files is a link, or the file system does not say.
    """
    return not holds(folder, RUN) and holds(folder, FILE)


def read_sweep(folder: Path) -> SweepRecord:
    """Return what the folder of a sweep says, and the runs in it.

    Members that cannot be read, or lie elsewhere, are left out with a note.

    Raises:
        DataError: If sweep.json is damaged or of a newer fnn, or no member has begun; names the file.
    """
    path = folder / FILE
    try:
        about = parse_json(content(path, within=folder, most=limit("sweep")))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError:
        raise DataError(f"{path}: expected JSON; damaged, or no sweep of fnn") from None
    members = about.get("members") if isinstance(about, dict) else None
    if not isinstance(members, dict) or about.get("format") != _FORMAT:
        raise DataError(f"{path}: expected a sweep of format {_FORMAT}; damaged, or of another fnn")
    notes: list[str] = []
    runs = []
    for name, member in list(members.items())[:_MOST_MEMBERS]:
        run = _member(folder, name, member, notes)
        if run is not None:
            runs.append(run)
    if len(members) > _MOST_MEMBERS:
        notes.append(f"Only the first {_MOST_MEMBERS:,} of {len(members):,} members are shown.")
    if not runs:
        raise DataError(f"{path}: expected a member that has begun and can be read, got none")
    name = plain_text(about.get("experiment", "sweep"))
    return SweepRecord(folder, name, tuple(runs), _table(about.get("table")), tuple(notes))


def _member(folder: Path, name: str, member: Any, notes: list[str]) -> RunRecord | None:
    told = member if isinstance(member, dict) else {}
    status = plain_text(told.get("status", "of unknown status"))
    error = plain_text(told["error"]) if told.get("error") else ""
    if status != "finished":
        notes.append(f"{clip(name)}: {status}{': ' if error else ''}{error}")
    # A name is that of a folder here, and of no other place.
    if not name or name.startswith(".") or Path(name).name != name or "\\" in name or "\0" in name:
        notes.append(f"{clip(name)}: left out, for that is no name of a folder.")
        return None
    try:
        if not (holds(folder, name) and holds(folder / name, RUN)):
            return None
        return read(folder / name)
    except FnnError as failure:
        notes.append(f"{clip(name)}: left out: {failure}")
        return None


def _table(entries: Any) -> Section | None:
    """Return the sweep's own table: points, runs, mean and standard error, the best row marked."""
    rows = [row for row in entries if isinstance(row, dict)] if isinstance(entries, list) else []
    points = [_dict(row.get("point")) for row in rows]
    results = [_dict(row.get("results")) for row in rows]
    fields = list(dict.fromkeys(name for point in points for name in point))
    names = list(dict.fromkeys(name for result in results for name in result))
    if not names:
        return None
    cells: list[tuple[Cell, ...]] = []
    for row, point, result in zip(rows, points, results, strict=True):
        mark = "best" if row.get("best") is True else ""
        told = [plain_text(point[name]) if name in point else "–" for name in fields]
        reached = [_spread(_dict(result.get(name))) for name in names]
        cells.append((mark, *told, plain_text(row.get("n")), *reached))
    head = ("", *map(words, fields), "runs", *map(words, names))
    table = Table(head, cells, "Mean ± standard error over the seeds of a grid point")
    return Section("The sweep", (table,))


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _spread(result: Mapping[str, Any]) -> str:
    mean, error = (as_number(result.get(name)) for name in ("mean", "standard_error"))
    if mean is None:
        return "–"
    try:
        finite = error is not None and math.isfinite(error)
    except OverflowError:
        finite = False
    return f"{number(mean)} ± {error:.2g}" if finite else number(mean)


def with_table(page: Page, sweeps: list[SweepRecord]) -> Page:
    """Return a page of runs with what the sweeps that hold them say before it."""
    tables = [sweep.table for sweep in sweeps if sweep.table is not None]
    if len(sweeps) > 1:
        tables = [
            attrs.evolve(sweep.table, title=f"The sweep {clip(str(sweep.folder))}")
            for sweep in sweeps
            if sweep.table is not None
        ]
    notes = [note for sweep in sweeps for note in sweep.notes]
    return attrs.evolve(page, sections=(*tables, *page.sections), notes=[*notes, *page.notes])
