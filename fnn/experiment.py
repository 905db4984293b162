"""Experiments: a frozen config becomes a command line, and a run of it a folder that says it all.

@attrs.frozen
class Config:
    epochs: int = option(20, "passes over the training set", least=1)
    out: Path = option(Path("out/demo"), "folder for the report and the pictures")

def train(config: Config, run: Run) -> dict[str, float]: ...

if __name__ == "__main__":
    main(train, Config)
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import numbers
import platform
import re
import sys
import time
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

import attrs
import numpy as np

from fnn.checkpoint import PathLike, replacing
from fnn.errors import DataError, FnnError, OptionError

C = TypeVar("C")
_FORMAT = 1
_SPELLING = {
    int: "INT",
    float: "FLOAT",
    str: "TEXT",
    Path: "PATH",
    bool: "true|false",
    type(None): "none",
}

# --- configs ----------------------------------------------------------------------------------


def option(default: Any, help: str, *, least: float | None = None, below: float | None = None) -> Any:
    """Declare a field of a config: its default, what it means, and its range [least, below).

    The range holds for numbers and for every entry of a tuple; None passes. `attrs.NOTHING` as the
    default makes the flag required.

    Raises:
        OptionError: When a config is made with a value out of range; names the field.
    """

    def check(_: Any, field: Any, value: Any) -> None:
        for entry in value if isinstance(value, tuple) else (value,):
            if entry is None:
                continue
            # Asked this way round, NaN is outside too.
            inside = (least is None or entry >= least) and (below is None or entry < below)
            if not inside:
                low, high = "(-inf" if least is None else f"[{least}", "inf" if below is None else below
                raise OptionError(f"{field.name}: expected a value in {low}, {high}), got {value!r}")

    return attrs.field(default=default, validator=check, metadata={"help": help})


def config_from(config_class: type[C], values: Mapping[str, Any]) -> C:
    """Make a config of plain values, as `run.json` holds them; absent ones take their defaults.

    Raises:
        OptionError: If a name is unknown, or a value ill-typed or out of range; names it.
    """
    hints = typing.get_type_hints(config_class)
    fields = [field.name for field in attrs.fields(config_class)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise OptionError(f"{config_class.__name__}: unknown {unknown}, expected among {fields}")
    read = {}
    for name, value in values.items():
        try:
            read[name] = _read(hints[name], value)
        except ValueError as error:
            raise OptionError(f"{name}: {error}") from None
    return config_class(**read)


def _spell(hint: Any) -> str:
    """Return how a value of type `hint` is written on the command line."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return "|".join(_spell(member) for member in args)
    if origin is Literal:
        return "|".join(map(str, args))
    if origin is tuple:
        return ",".join("..." if member is ... else _spell(member) for member in args)
    if hint not in _SPELLING:
        raise TypeError(f"a config's field cannot be {hint}; use int, float, str, bool, Path or so")
    return _SPELLING[hint]


def _read(hint: Any, value: Any, *, text: bool = False) -> Any:
    """Return `value`, a plain one or the text of a flag, as what `hint` says, or raise ValueError."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        # None first: "none" is a text as well.
        for member in sorted(args, key=lambda member: member is not type(None)):
            try:
                return _read(member, value, text=text)
            except ValueError:
                continue
    elif origin is Literal:
        for choice in args:
            if value == str(choice) if text else value == choice and type(value) is type(choice):
                return choice
    elif origin is tuple:
        parts = (value.split(",") if value else []) if text else value
        if isinstance(parts, list | tuple):
            if args[-1] is ...:
                args = (args[0],) * len(parts)
            if len(args) == len(parts):
                return tuple(_read(a, part, text=text) for a, part in zip(args, parts, strict=True))
    elif hint is type(None) or hint is bool:
        words: dict[Any, Any] = {"none": None} if hint is type(None) else {"true": True, "false": False}
        if text and value.lower() in words:
            return words[value.lower()]
        if any(value is word for word in words.values()):
            return value
    elif hint in (str, Path) and isinstance(value, str | hint):
        return hint(value)
    elif (
        hint in (int, float) and (text or isinstance(value, int | hint)) and not isinstance(value, bool)
    ):
        try:
            number = hint(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise ValueError(f"expected {_spell(hint)}, got {value!r}")


def plain(value: Any) -> Any:
    """Return `value` as JSON holds it: NaN and infinities become "nan", "inf" and "-inf".

    Raises:
        OptionError: If it is neither a number, text, None, a path nor made of those.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if attrs.has(type(value)):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else str(float(value))
    raise OptionError(f"expected numbers, text or paths, got {type(value).__name__}")


# --- run folders ------------------------------------------------------------------------------


@attrs.frozen
class Run:
    """A run's folder, to which `train` reports."""

    folder: Path

    def say(self, text: str) -> None:
        """Print a line at once, and keep it in log.txt."""
        _write_line(text)
        with (self.folder / "log.txt").open("a", encoding="utf-8", newline="\n") as log:
            log.write(text + "\n")

    def record(self, **numbers: Any) -> None:
        """Add a line of JSON to metrics.jsonl, e.g. `run.record(epoch=3, loss=0.1)`.

        Raises:
            OptionError: If a value is no number, text or list of those.
        """
        line = json.dumps(plain(numbers), allow_nan=False)
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8", newline="\n") as metrics:
            metrics.write(line + "\n")

    def path(self, name: str) -> Path:
        """Return where the file `name` of this run goes; folders on the way are made.

        Raises:
            OptionError: If it would lie outside the run's folder.
        """
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise OptionError(f"Run.path: expected a name within {self.folder}, got {name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _write_line(text: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    # A console that knows no "½" must not end a training.
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()


def _script(train: Callable[..., Any]) -> tuple[str, str]:
    """Return the name and the docstring of the script that `train` is from."""
    module = sys.modules[train.__module__]
    file = getattr(module, "__file__", None)
    return Path(file).stem if file else module.__name__, module.__doc__ or ""


def _versions() -> dict[str, str]:
    try:
        fnn = importlib.metadata.version("fnn")
    except importlib.metadata.PackageNotFoundError:
        fnn = "not installed"
    return {"python": platform.python_version(), "numpy": np.__version__, "fnn": fnn}


def execute(train: Callable[[C, Run], Mapping[str, Any] | None], config: C) -> dict[str, Any]:
    """Train in the config's folder and write run.json, at the start and again at the end.

    Results are those that `train` returns. An earlier run's log and metrics in the folder are
    replaced. Whatever ends the run early stands in run.json and is raised again.

    Raises:
        DataError: If the folder cannot be written to.
    """
    name, _ = _script(train)
    run = Run(Path(getattr(config, "out", None) or Path("out", name)))
    for file in ("metrics.jsonl", "log.txt"):
        with replacing(run.folder / file):
            pass
    started = time.monotonic()
    about = {
        "format": _FORMAT,
        "experiment": name,
        "config": plain(config),
        "seed": getattr(config, "seed", None),
        "versions": _versions(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }

    def write(status: str, **more: Any) -> None:
        entries = {**about, "status": status, "minutes": (time.monotonic() - started) / 60, **more}
        with replacing(run.folder / "run.json") as file:
            file.write(json.dumps(entries, indent=2, allow_nan=False).encode() + b"\n")

    write("running")
    try:
        result = plain(dict(train(config, run) or {}))
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        write("interrupted" if stopped else "failed", error=f"{type(error).__name__}: {error}")
        raise
    write("finished", result=result)
    return result


def read_run(folder: PathLike) -> dict[str, Any]:
    """Return what run.json says of a run; `config_from` makes its "config" one again.

    Raises:
        DataError: If the folder holds no run, or a damaged or newer one.
    """
    path = Path(folder) / "run.json"
    try:
        about = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: no run can be read here ({error.strerror or error})") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}: expected JSON; damaged, or no run of fnn") from None
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        found = about.get("format") if isinstance(about, dict) else about
        raise DataError(f"{path}: expected a run of format {_FORMAT}, got {found!r:.80}")
    if not isinstance(about.get("config"), dict):
        raise DataError(f"{path}: expected a config, got {about.get('config')!r:.80}")
    return about


# --- the command line -------------------------------------------------------------------------


def parse(config_class: type[C], argv: Sequence[str], *, prog: str, description: str) -> C:
    """Return the config that the flags in `argv` ask for.

    Raises:
        SystemExit: After `--help`, and with code 2 and one line if a flag is unknown or a value
            ill-typed or out of range.
    """
    parser = argparse.ArgumentParser(
        prog,
        usage="%(prog)s [options]",
        description=description.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        # Only what was given: defaults are the config's own.
        argument_default=argparse.SUPPRESS,
    )
    hints = typing.get_type_hints(config_class)
    for field in attrs.fields(config_class):  # type: ignore[arg-type]
        _add_flag(parser, field, hints[field.name])
    given = parser.parse_args(_normal(argv))
    try:
        return config_class(**vars(given))
    except OptionError as error:
        parser.error(str(error))


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_show, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _add_flag(parser: argparse.ArgumentParser, field: Any, hint: Any) -> None:
    def read(text: str) -> Any:
        try:
            return _read(hint, text, text=True)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
    help = field.metadata.get("help", "")
    if default is not attrs.NOTHING:
        help += f" (default: {_show(default)})"
    # argparse reads % as the start of a format.
    words: dict[str, Any] = {"help": help.strip().replace("%", "%%"), "dest": field.name}
    words["required"] = default is attrs.NOTHING
    if hint is bool:
        words["action"] = argparse.BooleanOptionalAction
    else:
        words.update(type=read, metavar=_spell(hint))
    parser.add_argument("--" + field.name.replace("_", "-"), **words)


def _normal(argv: Sequence[str]) -> list[str]:
    """Spell flags with dashes, and tie negative values to their flags: argparse takes -1e-3 for one."""
    tokens: list[str] = []
    for token in argv:
        if tokens and re.fullmatch(r"--[^=]+", tokens[-1]) and re.match(r"-(\d|\.\d|inf|nan)", token):
            tokens[-1] += "=" + token
        elif token.startswith("--"):
            flag, *value = token.split("=", 1)
            tokens.append("=".join([flag.replace("_", "-"), *value]))
        else:
            tokens.append(token)
    return tokens


def main(
    train: Callable[[C, Run], Mapping[str, Any] | None],
    config_class: type[C],
    argv: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Run an experiment from the command line; one flag per field of the config.

    Returns:
        What `train` returned, as plain numbers; it is printed too, with the folder.

    Raises:
        SystemExit: 2 for a bad command line, 1 for an error of this library or a missing optional
            package, with one line on stderr; 130 for a Ctrl-C that `train` did not handle.
    """
    name, description = _script(train)
    argv = sys.argv[1:] if argv is None else argv
    config = parse(config_class, argv, prog=f"{name}.py", description=description)
    try:
        result = execute(train, config)
    except (FnnError, ImportError) as error:
        _exit(f"error: {error}", 1)
    except KeyboardInterrupt:
        _exit("interrupted", 130)
    shown = {**result, "folder": getattr(config, "out", None) or Path("out", name)}
    width = max(map(len, shown))
    for key, value in shown.items():
        _write_line(f"{key:<{width}}  {f'{value:.6g}' if isinstance(value, float) else value}")
    return result


def _exit(line: str, code: int) -> NoReturn:
    sys.stderr.write(line + "\n")
    raise SystemExit(code)
