"""Train in a folder of its own, from the start or from where an earlier process stopped."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from fnn.errors import DataError, OptionError
from fnn.files import PathLike, remove_leftovers
from fnn.runs.config import C, config_from, entries, is_default, placed, recordable, settled
from fnn.runs.experiment.conditions import changes, conditions
from fnn.runs.experiment.folders import FORMAT, METRICS, RUN, holds, new_folder, read_run
from fnn.runs.experiment.guard import stop_if_imported
from fnn.runs.experiment.lock import locked
from fnn.runs.experiment.origin import script_of as script_of
from fnn.runs.experiment.program import Program, check_record, last_program, program_of
from fnn.runs.experiment.runs import Run

Train: TypeAlias = "Callable[[C, Run], Mapping[str, Any] | None]"


def execute(train: Train[C], config: C) -> dict[str, Any]:
    """Train in the config's folder and return what `train` does, as plain numbers.

    run.json is written at the start and again at the end; whatever ends the run early stands in it
    and is raised again. The default folder of the config is numbered if it is taken; another one
    must not hold a run. An entry of the result that run.json cannot hold is left out, and said.

    Raises:
        DataError: If the folder holds a run, is being written to, or cannot be.
        OptionError: If the config holds what cannot be recorded and read again; nothing is written.
    """
    config = settled(config)[0]
    default = is_default(config, "out")
    return begin(train, config, default_folder(train, config), numbered=default)[1]


def default_folder(train: Callable[..., Any], config: Any) -> Path:
    """Return the folder that a config names, or else out/ and the name of the script."""
    return Path(getattr(config, "out", None) or Path("out", script_of(train)[0]))


def begin(
    train: Train[C],
    config: C,
    folder: Path,
    *,
    numbered: bool,
    command: Sequence[str] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Start a run; return its folder and its result.

    Args:
        train: The function that trains.
        config: What it is given, with `out` set to the folder.
        folder: Where the run goes.
        numbered: Whether to take the next free number if that exists.
        command: The command to record, where it is not that of this process.

    Raises:
        DataError, OptionError: As `execute`.
    """
    name, file, _ = script_of(train)
    stop_if_imported()
    # Both before anything is written.
    config, program = settled(config)[0], program_of(train)
    if numbered:
        folder = new_folder(folder)
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from None
    with locked(folder) as held:
        if any(holds(folder, made) for made in (RUN, METRICS, "checkpoints")):
            again = shlex.join(["resume", str(folder)])
            ways = f"resume it (`{again}`) or name another folder (`--out`)"
            raise DataError(f"{folder}: holds a run already; {ways}")
        remove_leftovers(folder)
        config = placed(config, folder)
        about = {
            "format": FORMAT,
            "experiment": name,
            "status": "running",
            "command": shlex.join(sys.orig_argv if command is None else command),
            "config": entries(config),
            "seed": entries(config).get("seed"),
            "started": _now(),
            "ended": None,
            "seconds": 0.0,
            **conditions(file),
            **program.entries(),
        }
        return folder, _train(train, config, Run(folder, about=about, held=held, program=program))


def resume(
    train: Train[C], config_class: type[C], folder: PathLike, *, changed_code: bool = False
) -> dict[str, Any]:
    """Go on with a run from its newest checkpoint, or from the start if it has none.

    Its config is that of run.json. A finished run is left alone.

    Args:
        train: The function that trains.
        config_class: The class of its config.
        folder: The run.
        changed_code: Whether to go on although the script or a module below its folder is not what
            trained so far. run.json then says from which step on which program ran.

    Returns:
        The run's result.

    Raises:
        DataError: If the folder holds no run of this script that can be resumed, its program has
            changed, or another process is at it.
    """
    folder = Path(folder)
    recorded(train, config_class, folder)
    with locked(folder) as held:
        # Read anew: what held the lock a moment ago may have finished the run.
        config, about = recorded(train, config_class, folder)
        if about.get("status") == "finished":
            return dict(about.get("result") or {})
        program, before = program_of(train), last_program(about)
        edited = program.changed_since(before)
        if edited and not changed_code:
            ways = "undo that, or go on all the same (`--changed-code`)"
            raise DataError(f"{folder}: the program changed since it ran: {_few(edited)}; {ways}")
        remove_leftovers(folder)
        config = placed(config, folder)
        about = _gone_on_with(about, program, before, edited, script_of(train)[1])
        run = Run(folder, resumed=True, about=about, held=held, program=program)
        if edited:
            run.say(f"resumed with a changed program: {_few(edited)}")
        return _train(train, config, run)


def _gone_on_with(
    about: dict[str, Any],
    program: Program,
    before: dict[str, Any],
    edited: list[str],
    script: Path | None,
) -> dict[str, Any]:
    """Return what run.json says of a run that is taken up again, by which program."""
    same = {name: about.get(name) for name in ("data", "network")}  # They are seen to later.
    now = {**conditions(script), **program.entries(), **same}
    again: dict[str, Any] = {
        "started": _now(),
        "changed": changes({**about, **before}, now),
        "steps": [],
    }
    about = {**about, "status": "running", "ended": None}
    about.pop("error", None)
    known = before.get("modules") or {}
    program.modules.update({name: was for name, was in known.items() if name not in program.modules})
    if edited:
        again["program"] = program.entries()
    elif "modules" in before:  # What an older fnn has not looked at is not made up now.
        last = next((each for each in reversed(about.get("resumed") or []) if "program" in each), None)
        (about if last is None else last["program"])["modules"] = program.modules
    return {**about, "resumed": [*(about.get("resumed") or []), again]}


def _few(lines: list[str]) -> str:
    return "; ".join(lines[:4]) + (f" and {len(lines) - 4} more" if len(lines) > 4 else "")


def recorded(train: Train[C], config_class: type[C], folder: Path) -> tuple[C, dict[str, Any]]:
    """Return the config of a run and what its run.json says.

    Raises:
        DataError: If the folder holds no run of this script, one of an old format, or one whose
            config does not fit.
    """
    about, path = read_run(folder), folder / RUN
    name = script_of(train)[0]
    if about["format"] != FORMAT:
        can = "can be read, but neither resumed nor replayed"
        raise DataError(f"{path}: expected format {FORMAT}, got {about['format']}, which {can}")
    if about.get("experiment") != name:
        raise DataError(f"{path}: expected a run of {name}, got {about.get('experiment')!r:.80}")
    for entry, kind in (("data", dict), ("result", dict), ("resumed", list), ("seconds", float | int)):
        if not isinstance(about.get(entry), kind | None):
            name = kind.__name__ if isinstance(kind, type) else "number"
            raise DataError(f"{path}: {entry}: expected a {name}, got {about[entry]!r:.80}")
    if not all(isinstance(digest, str) for digest in (about.get("data") or {}).values()):
        raise DataError(f"{path}: data: expected digests, got {about['data']!r:.80}")
    check_record(about, path)
    if not 0 <= (about.get("seconds") or 0) < 1e12:
        raise DataError(f"{path}: seconds: expected 0 or more, got {about['seconds']!r:.80}")
    try:
        return config_from(config_class, about["config"]), about
    except OptionError as error:
        raise DataError(f"{path}: {error}") from None


def _train(train: Train[C], config: C, run: Run) -> dict[str, Any]:
    began, before = time.monotonic(), run.about.get("seconds") or 0.0

    def close(status: str, **more: Any) -> None:
        seconds = before + time.monotonic() - began
        run.note(status=status, ended=_now(), seconds=seconds, **more)

    run.note()
    try:
        # What cannot be recorded must not make a training that came to its end a failed one.
        result, refused = recordable(train(config, run), "result")
        run.close()
        for line in refused.values():
            run.say(f"not recorded: {line}")
        close("finished", result=result, **({"unrecorded": refused} if refused else {}))
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        # On a full disk this fails as well, and the first fault is the one to tell.
        with contextlib.suppress(DataError):
            close("interrupted" if stopped else "failed", error=f"{type(error).__name__}: {error}")
        file = script_of(train)[1]
        if stopped and file is not None:
            error.add_note(
                f"resume with: {shlex.join(['python', _near(file), 'resume', str(run.folder)])}"
            )
        raise
    return result


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _near(file: Path) -> str:
    """Return a path as somebody in the working directory would write it."""
    file = file.resolve()
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
