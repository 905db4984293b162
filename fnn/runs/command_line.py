"""The command line of a script: flags from its config's fields, and the verbs."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fnn.errors import FnnError
from fnn.files import lenient_output, shown, write_line
from fnn.runs.config import C, parse
from fnn.runs.experiment.comparison import replay
from fnn.runs.experiment.execution import Train, begin, default_folder, recorded, resume, script_of
from fnn.runs.experiment.folders import read_run
from fnn.runs.experiment.guard import stop_if_imported
from fnn.runs.experiment.interrupts import SIGTERM, kept_interrupts


@lenient_output()
def main(train: Train[C], config_class: type[C], argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run an experiment from the command line; one flag per field of the config.

    SIGTERM ends a run as Ctrl-C does: what it reached is saved, and one line says how to resume.

    Returns:
        What `train` returned, as plain numbers; it is printed too, with the folder.

    Raises:
        SystemExit: 2 for a bad command line; 1 for a replay that differs, and for an error of this
            library, a missing optional package or missing memory, which stands on stderr; 130 after
            Ctrl-C, 143 after SIGTERM.
    """
    stop_if_imported()
    words = list(sys.argv[1:] if argv is None else argv)
    verb = _VERBS[words.pop(0)] if words and words[0] in _VERBS else _run
    with _terminable() as terminated:
        try:
            return verb(train, config_class, words)
        except (FnnError, ImportError) as error:
            _exit(f"error: {error}", 1)
        except MemoryError as error:
            _exit(f"error: out of memory{f': {error}' if str(error) else ''}", 1)
        except KeyboardInterrupt as error:
            line = "; ".join(["interrupted", *getattr(error, "__notes__", [])])
            _exit(line, 143 if terminated else 130)


def _run(train: Train[C], config_class: type[C], words: list[str]) -> dict[str, Any]:
    name, _, description = script_of(train)
    config = parse(config_class, words, prog=f"{name}.py", description=description, epilog=_HELP)
    # Spelt out, even the default folder is one that the user chose.
    chosen = any(word.split("=")[0] == "--out" for word in words)
    started = time.monotonic()
    folder, result = begin(train, config, default_folder(train, config), numbered=not chosen)
    return _show(result, folder, started)


def _resume(train: Train[C], config_class: type[C], words: list[str]) -> dict[str, Any]:
    about = "Go on with a run that was interrupted, killed or failed, from its newest checkpoint."
    parser = _parser(train, "resume", about)
    parser.add_argument(
        "--changed-code", action="store_true", help="go on although the program has been edited"
    )
    given = parser.parse_args(words)
    folder, started = given.run, time.monotonic()
    if recorded(train, config_class, folder)[1]["status"] == "finished":
        write_line(f"{folder} is finished")
    result = resume(train, config_class, folder, changed_code=given.changed_code)
    return _show(result, folder, started)


def _replay(train: Train[C], config_class: type[C], words: list[str]) -> dict[str, Any]:
    about = "Train again from a run's run.json; status 1 if digest or metrics differ."
    parser = _parser(train, "replay", about)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the replay goes (default: RUN-replay)"
    )
    given = parser.parse_args(words)
    done = replay(train, config_class, given.run, given.out)
    for line in done.lines:
        write_line(line)
    if not done.identical:
        raise SystemExit(1)
    return dict(read_run(done.folder)["result"])


def _sweep(train: Train[C], config_class: type[C], words: list[str]) -> dict[str, Any]:
    # Imported here: what it needs of processes takes longer than the rest of a script's imports.
    from fnn.runs.sweep.verb import command

    return command(train, config_class, words)


_VERBS = {"run": _run, "resume": _resume, "replay": _replay, "sweep": _sweep}
_HELP = """\
verbs:
  run [options]               train, as without a verb
  resume RUN                  go on with a run that was interrupted, killed or failed;
                              --changed-code if its program has been edited since
  replay RUN [--out DIR]      train again from run.json and compare; status 1 if anything differs
  sweep --grid ... --seeds N  train many; `sweep --help` says more
"""


def _parser(train: Train[C], verb: str, description: str) -> argparse.ArgumentParser:
    prog = f"{script_of(train)[0]}.py {verb}"
    parser = argparse.ArgumentParser(prog, description=description, allow_abbrev=False)
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    return parser


def _show(result: dict[str, Any], folder: Path, started: float) -> dict[str, Any]:
    minutes = f"{(time.monotonic() - started) / 60:.2f}"
    lines = {**result, "minutes": minutes, "folder": folder}
    width = max(map(len, lines))
    for key, value in lines.items():
        write_line(f"{key:<{width}}  {f'{value:.6g}' if isinstance(value, float) else shown(value)}")
    return result


@contextlib.contextmanager
def _terminable() -> Iterator[list[int]]:
    """Let SIGTERM act as Ctrl-C does; give a list that is not empty if it came."""
    caught: list[int] = []
    # Python allows no other thread to ask for signals.
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def end(number: int, frame: Any) -> NoReturn:
        caught.append(number)
        raise KeyboardInterrupt(SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        with kept_interrupts():
            yield caught
    finally:
        # None stands for a handler that was not set by Python and cannot be set again.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _exit(line: str, code: int) -> NoReturn:
    write_line(line, sys.stderr)
    raise SystemExit(code)
