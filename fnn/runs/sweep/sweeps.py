"""A sweep: its folder, its members and how far each one is."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import attrs

from fnn import files
from fnn.errors import DataError, OptionError
from fnn.files import PathLike, write_line
from fnn.options import integer
from fnn.runs.config import C, placed, plain, settled
from fnn.runs.experiment import read_run
from fnn.runs.experiment.execution import Train, script_of
from fnn.runs.experiment.folders import holds
from fnn.runs.experiment.guard import stop_if_imported
from fnn.runs.experiment.lock import LOCK, Held, locked
from fnn.runs.sweep.grids import about, varied
from fnn.runs.sweep.processes import check_sendable
from fnn.runs.sweep.tables import Row, markdown, numbers, rows_of
from fnn.runs.sweep.workers import run_all
from fnn.training.history import Mode

FORMAT = 1
FILE, TABLE = "sweep.json", "sweep.md"


@attrs.frozen
class Member:
    """A run of a sweep.

    Attributes:
        config: Its config, `out` its folder.
        status: "waiting", "finished", "failed", "killed" (its process ended twice, the second time with
            no other beside it) or "interrupted".
        result: What it returned.
        error: What ended it, in a line.
    """

    config: Any
    status: str = "waiting"
    result: dict[str, Any] | None = None
    error: str = ""


@attrs.frozen
class Sweep:
    """What a sweep came to.

    Attributes:
        folder: Where it is.
        members: By name.
        rows: A row per grid point.
        table: The rows as Markdown.
    """

    folder: Path
    members: dict[str, Member]
    rows: list[Row]
    table: str

    @property
    def finished(self) -> bool:
        """Whether every member is."""
        return all(member.status == "finished" for member in self.members.values())


def sweep(
    train: Train[C],
    configs: Mapping[str, C],
    *,
    out: PathLike,
    executor: Executor | None = None,
    workers: int | None = None,
    monitor: str | None = None,
    mode: Mode | None = None,
    changed_code: bool = False,
    say: Callable[[str], None] = write_line,
) -> Sweep:
    """Train every config in a folder of its own below `out`; go on where an earlier sweep stopped.

    `out` gets sweep.json and sweep.md, and stderr.log with what processes write there. A member that
    fails leaves its error and the others go on. One whose process is killed runs once more, alone.

    Args:
        train: The function that trains; for processes one that a module holds, not a closure.
        configs: By name, as `grid` makes them; the names are those of the folders.
        out: The folder of the sweep.
        executor: Where members run: any executor, which stays open, or by default fresh processes with
            one BLAS thread each. Members in threads print as they do alone.
        workers: How many run at a time; as many as there are processors, or as an executor takes.
        monitor: The result by which the best row is marked; the first number by default.
        mode: Whether a small ("min") or a large one ("max") is good; by default its name tells.
        changed_code: Whether to go on with members that were begun by a program that has been edited
            since; such a member fails without. Those that are finished stay as they are.
        say: Called with every line of progress.

    Raises:
        DataError: If `out` holds another sweep or anything else, is being written to, or cannot be.
        OptionError: If there are no configs, they have no field `out`, or could not be recorded and
            read again; or if other processes cannot import what trains, or would train by importing it.
        KeyboardInterrupt: After Ctrl-C, when members have been stopped and saved, or killed where they
            do not stop. Threads cannot be stopped: those that run come to their end.
    """
    if not configs or not all(hasattr(config, "out") for config in configs.values()):
        raise OptionError("configs: expected one or more with a field 'out'", path=("sweep",))
    stop_if_imported()
    configs = {name: settled(config)[0] for name, config in configs.items()}
    if executor is None:
        for config in {type(config): config for config in configs.values()}.values():
            check_sendable(train, config)
    if mode not in (None, "min", "max"):
        raise OptionError(f"mode: expected 'min' or 'max', got {mode!r}", path=("sweep",))
    # What has begun when a pool breaks is lost: no more than the pool takes at a time.
    usual = getattr(executor, "_max_workers", len(configs)) if executor is not None else _processors()
    width = usual if workers is None else integer("sweep", "workers", workers)
    going = _Going(train, configs, Path(out), monitor, mode, say)
    try:
        going.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error})") from None
    with locked(going.folder) as held:
        going.open(held)
        jobs = deque(
            (name, member.config) for name, member in going.members.items() if not member.result
        )
        jobs = deque(
            (name, config) for name, config in jobs if going.members[name].status != "finished"
        )
        try:
            width = min(width, max(len(jobs), 1))
            run_all(jobs, train, executor, width, going.report, changed_code=changed_code)
        except KeyboardInterrupt as error:
            error.add_note("the same command goes on with the sweep")
            raise
        finally:
            going.close()
    return going.result()


def _processors() -> int:
    # Not all that the machine has are given to every process.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Going:
    """A sweep under way."""

    def __init__(
        self,
        train: Any,
        configs: Mapping[str, Any],
        folder: Path,
        monitor: str | None,
        mode: Mode | None,
        say: Callable[[str], None],
    ) -> None:
        self.folder, self._monitor, self._mode, self._say = folder, monitor, mode, say
        self._experiment = script_of(train)[0]
        self._varied = varied(configs)
        self.members = {name: Member(placed(config, folder / name)) for name, config in configs.items()}
        self._began, self._before = time.monotonic(), 0

    def open(self, held: Held) -> None:
        """Take up what is there, or refuse it; `held` is the lock of the folder."""
        self._held = held
        path = self.folder / FILE
        files.remove_leftovers(self.folder)
        if holds(self.folder, FILE):
            self._check_same(path)
        elif any(name != LOCK and not files.is_temporary(name) for name in files.names(self.folder)):
            raise DataError(f"{self.folder}: expected a sweep or nothing, got other files")
        for name, member in self.members.items():
            try:
                run = read_run(self.folder / name)
            except DataError:
                continue
            if run.get("status") == "finished":
                result = run.get("result") or {}
                if not isinstance(result, dict):
                    raise DataError(
                        f"{self.folder / name}: result: expected a dict, got {result!r:.80}"
                    )
                self.members[name] = attrs.evolve(member, status="finished", result=result)
        self._before = self._count()
        self._write()
        if self._before:
            self._say(f"{self._before} of {len(self.members)} members are finished already")

    def _check_same(self, path: Path) -> None:
        try:
            there = files.parse_json(files.content(path, within=self.folder, most=files.limit("sweep")))
            known = {name: dict(member["config"]) for name, member in there["members"].items()}
            kind, experiment = there["format"], there["experiment"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f"{path}: expected what a sweep writes; damaged?") from None
        if kind != FORMAT:
            raise DataError(f"{path}: expected a sweep of format {FORMAT}, got {kind!r:.80}")
        mine = {name: about(member.config) for name, member in self.members.items()}
        other = "name another folder (`--out`)"
        if experiment != self._experiment:
            raise DataError(
                f"{path}: holds a sweep of {experiment!r:.80}, not {self._experiment}; {other}"
            )
        for name in sorted(known.keys() | mine.keys()):
            if name not in known or name not in mine:
                has = "with" if name in known else "without"
                raise DataError(f"{path}: holds another sweep, {has} the member {name}; {other}")
            fields = [field for field in mine[name] if mine[name][field] != known[name].get(field)]
            if fields or len(known[name]) != len(mine[name]):
                field = fields[0] if fields else min(known[name].keys() - mine[name].keys())
                was, now = known[name].get(field), mine[name].get(field)
                text = f"{name}: expected {field}={was!r}, got {now!r}"
                raise DataError(f"{path}: holds another sweep; {text}; {other}")

    def report(self, name: str, status: str, result: dict[str, Any] | None, error: str) -> None:
        """Take in how a member ended, and say it."""
        error = next(iter(error.splitlines()), "")
        self.members[name] = attrs.evolve(self.members[name], status=status, result=result, error=error)
        main = list(numbers(result or {}).items())[:3]
        text = f"{status}: {error}" if error else "  ".join(f"{key} {value:.5g}" for key, value in main)
        self._write()
        done, total = self._count(), len(self.members)
        self._say(f"[{done:{len(str(total))}}/{total}] {name}  {text}{self._left(done, total)}")

    def _count(self) -> int:
        return sum(member.status != "waiting" for member in self.members.values())

    def _left(self, done: int, total: int) -> str:
        if done == total:
            return ""
        seconds = (time.monotonic() - self._began) / (done - self._before) * (total - done)
        minutes, seconds = divmod(math.ceil(seconds), 60)
        return f"  ({minutes} min {seconds} s left)" if minutes else f"  ({seconds} s left)"

    def close(self) -> None:
        """Write how far each member is; one that began and did not end was interrupted."""
        for name, member in self.members.items():
            if member.status == "waiting" and holds(self.folder, name):
                self.members[name] = attrs.evolve(member, status="interrupted")
        self._write()
        errors = self.folder / "stderr.log"
        with contextlib.suppress(OSError):
            if not files.content(errors, within=self.folder, most=0):
                files.remove(errors, within=self.folder)

    def result(self) -> Sweep:
        """Return what the sweep came to so far."""
        fields = [field for field in self._varied if field != "seed"]
        results = (
            ({field: about(member.config).get(field) for field in fields}, member.result)
            for member in self.members.values()
        )
        rows, best_by = rows_of(results, self._monitor, self._mode)
        lines = [markdown(rows, best_by)]
        for name, member in self.members.items():
            if member.status != "finished":
                lines.append(f"{member.status}: {name}" + (f": {member.error}" if member.error else ""))
        return Sweep(self.folder, dict(self.members), rows, "\n".join(lines))

    def _write(self) -> None:
        done = self.result()
        members = {
            name: {
                "config": about(member.config),
                "status": member.status,
                "result": member.result,
                "error": member.error,
            }
            for name, member in self.members.items()
        }
        entries = {
            "format": FORMAT,
            "experiment": self._experiment,
            "grid": {field: values for field, values in self._varied.items() if field != "seed"},
            "seeds": self._varied.get("seed", []),
            "members": members,
            "table": [row.plain() for row in done.rows],
        }
        self._held.check()
        with files.replacing(self.folder / FILE, within=self.folder) as file:
            file.write(json.dumps(plain(entries), indent=2, allow_nan=False).encode() + b"\n")
        with files.replacing(self.folder / TABLE, within=self.folder) as file:
            text = f"# Sweep of {self._experiment}\n\n{done.table}\n"
            file.write(text.encode("utf-8", "backslashreplace"))
