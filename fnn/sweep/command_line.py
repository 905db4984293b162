"""The verb `sweep` of an experiment's command line."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from fnn.config import C, parse, plain
from fnn.errors import OptionError
from fnn.experiment.execution import Train, default_folder, script_of
from fnn.experiment.runs import write_line
from fnn.sweep.grids import grid
from fnn.sweep.sweeps import sweep

_EPILOG = """\
Further flags are those of a run and hold for every member. Values that have commas themselves are
separated by semicolons: --grid "widths=20,10;5". A field that is called like one of the flags above
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
    marks = parser.add_mutually_exclusive_group()
    marks.add_argument("--max", metavar="RESULT", help="the best row has most of it")
    marks.add_argument("--min", metavar="RESULT", help="the best row has least of it")
    given, flags = parser.parse_known_args(argv)
    try:
        base, axes = _read(config_class, given.grid, flags, parser)
        configs = grid(base, axes, seeds=given.seeds)
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
    config_class: type[C], grids: list[str], flags: list[str], parser: argparse.ArgumentParser
) -> tuple[C, dict[str, list[Any]]]:
    """Return the config that holds for all, and the values of the grid, each read as its flag is."""
    hints = typing.get_type_hints(config_class)
    fields = [field.name for field in attrs.fields(config_class) if field.name != "out"]  # type: ignore[arg-type]
    texts: dict[str, list[str]] = {}
    for word in grids:
        field, equals, values = word.partition("=")
        field = field.replace("-", "_")
        if not equals or not field:
            raise OptionError(f"--grid: expected FIELD=A,B,..., got {word!r}")
        if field not in fields:
            raise OptionError(f"--grid: expected a field among {', '.join(fields)}, got {field!r}")
        if field in texts or any(flag.split("=")[0] == _flag(field) for flag in map(_dashed, flags)):
            raise OptionError(f"--grid {field}: expected the field once, got it twice")
        has_commas = ";" in values or typing.get_origin(hints[field]) is tuple
        texts[field] = values.split(";" if has_commas else ",") if values else []
        if not all(texts[field]) or not texts[field]:
            raise OptionError(f"--grid {field}: expected values, got {values!r}")

    def read(**changed: str) -> C:
        tokens = list(flags)
        for field, values in texts.items():
            text = changed.get(field, values[0])
            if hints[field] is bool and text.lower() in ("true", "false"):
                tokens.append(_flag(field) if text.lower() == "true" else "--no-" + _flag(field)[2:])
            else:
                tokens.append(f"{_flag(field)}={text}")
        return parse(config_class, tokens, prog=parser.prog, description="")

    axes = {
        field: [getattr(read(**{field: text}), field) for text in values]
        for field, values in texts.items()
    }
    return read(), axes


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _dashed(flag: str) -> str:
    return flag.replace("_", "-")
