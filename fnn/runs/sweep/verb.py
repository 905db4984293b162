"""The verb `sweep` of an experiment's command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fnn.errors import OptionError
from fnn.files import write_line
from fnn.runs.config import C, built, flags_of, given_by, leaves, nested, plain, split
from fnn.runs.config.fields import flag_of
from fnn.runs.experiment.execution import Train, default_folder, script_of
from fnn.runs.sweep.grids import combined
from fnn.runs.sweep.sweeps import sweep

_EPILOG = """\
Further flags are those of a run and hold for every member. Values that have commas themselves are
separated by semicolons: --grid "widths=20,10;5". Those of a config within are varied by their full
names: --grid optimizer.rate=0.1,0.01. A field that is called like one of the flags above
is set by --grid FIELD=VALUE. The same command goes on where a sweep stopped.
"""


def command(train: Train[C], config_class: type[C], argv: Sequence[str]) -> dict[str, Any]:
    """Run a sweep from the command line.

    Args:
        train: The function that trains.
        config_class: The class of its config.
        argv: What stands after the verb.

    Returns:
        What sweep.json says of members, by name.

    Raises:
        SystemExit: 2 for a bad command line, before anything runs; 1 if a member did not finish.
        DataError, OptionError, KeyboardInterrupt: As `sweep`.
    """
    name, _, _ = script_of(train)
    parser = argparse.ArgumentParser(
        f"{name}.py sweep",
        description="Train every combination of values with every seed; end with a table.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--grid", action="append", default=[], metavar="FIELD=A,B,...", help="values of a field")
    add("--seeds", type=int, metavar="N", help="seeds for each: the config's, the next and so on")
    add("--workers", type=int, metavar="N", help="processes at a time (default: one per processor)")
    add("--out", type=Path, metavar="DIR", help="folder (default: that of a run, and -sweep)")
    add("--changed-code", action="store_true", help="go on with members of an edited program")
    marks = parser.add_mutually_exclusive_group()
    marks.add_argument("--max", metavar="RESULT", help="the best row has most of it")
    marks.add_argument("--min", metavar="RESULT", help="the best row has least of it")
    given, flags = parser.parse_known_args(argv)
    try:
        base, configs = _read(config_class, given.grid, flags, given.seeds, parser.prog)
        if given.workers is not None and given.workers < 1:
            raise OptionError(f"--workers: expected 1 or more, got {given.workers}")
    except OptionError as error:
        parser.error(error.message if error.path == ("grid",) else str(error))
    folder = given.out
    if folder is None:
        usual = default_folder(train, base)
        folder = usual.with_name(usual.name + "-sweep")
    done = sweep(
        train,
        configs,
        out=folder,
        workers=given.workers,
        monitor=given.max or given.min,
        mode="min" if given.min else "max" if given.max else None,
        changed_code=given.changed_code,
    )
    for line in ["", *done.table.splitlines(), "", f"folder  {folder}"]:
        write_line(line)
    monitor = given.max or given.min
    if monitor is not None and not any(monitor in row.results for row in done.rows):
        found = list(dict.fromkeys(name for row in done.rows for name in row.results))
        write_line(f"no row is marked: expected a result among {found}, got {monitor!r}")
    if not done.finished:
        raise SystemExit(1)
    return {name: plain(member.result) for name, member in done.members.items()}


def _read(
    config_class: type[C], grids: list[str], flags: list[str], seeds: int | None, prog: str
) -> tuple[C, dict[str, C]]:
    """Return the first config, and all of them by name; values are read as those of flags are."""
    fields = {name: field for name, field in leaves(config_class).items() if name != "out"}
    spelt = flags_of(config_class)
    pieces: dict[str, list[str]] = {}
    for word in grids:
        field, equals, values = word.partition("=")
        if not equals or not field:
            raise OptionError(f"--grid: expected FIELD=A,B,..., got {word!r}")
        # By its name, or as its flag is written.
        field = next((name for name in fields if spelt[name] == flag_of(field)), field)
        if field not in fields:
            raise OptionError(f"--grid: expected a field among {', '.join(fields)}, got {field!r}")
        if field in pieces:
            raise OptionError(f"--grid {field}: expected the field once, got it twice")
        pieces[field] = _pieces(field, values, compound=fields[field].has_commas)
    given = given_by(config_class, flags, prog=prog, besides=pieces)
    axes: dict[str, list[Any]] = {}
    for field, texts in pieces.items():
        if field in given:
            raise OptionError(f"--grid {field}: expected the field once, got it twice")
        kind = fields[field].kind
        assert kind is not None
        read = kind.read if fields[field].has_commas else kind.read_item
        try:
            axes[field] = [read(text) for text in texts]
        except ValueError as error:
            raise OptionError(f"argument {spelt[field]}: {error}") from None

    def make(point: dict[str, Any]) -> C:
        return built(config_class, nested({**given, **point}))

    base = make({field: values[0] for field, values in axes.items()})
    return base, combined(axes, make, base, seeds)


def _pieces(field: str, values: str, *, compound: bool) -> list[str]:
    """Return the texts of a field's values; one of a compound field holds commas itself."""
    try:
        found = split(values, ";")
        if len(found) < 2 and not compound:
            found = split(values)
    except ValueError as error:
        raise OptionError(f"--grid {field}: {error}") from None
    if not all(found) or not found:
        raise OptionError(f"--grid {field}: expected values, got {values!r}")
    return found
