"""Run members in an executor, and outlive those that do not come back."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from fnn.errors import DataError
from fnn.files import appending, present, shown
from fnn.runs.experiment import read_run, resume
from fnn.runs.experiment.execution import begin
from fnn.runs.experiment.folders import RUN
from fnn.runs.sweep.processes import end_soon, processes, watch_all

Job: TypeAlias = tuple[str, Any]
"""A member's name and its config."""

Report: TypeAlias = Callable[[str, str, "dict[str, Any] | None", str], None]
"""Called with a member's name, its status, its result and the error that ended it."""


# --- in the worker


def work(
    train: Any, config: Any, caller: int, command: list[str], changed_code: bool
) -> tuple[dict[str, Any] | None, str]:
    """Train a member, from where an earlier process left it; return its result, or the error.

    Args:
        train: The function that trains.
        config: The member's config, `out` its folder.
        caller: The process of the sweep; in any other one the member prints to no screen.
        command: The command of the sweep, which run.json records as that of the member.
        changed_code: Whether to go on with a member whose program has been edited since.
    """
    with contextlib.ExitStack() as stack:
        if os.getpid() != caller:
            stack.enter_context(_apart(Path(config.out).parent))
        try:
            return _trained(train, config, command, changed_code), ""
        except (Exception, SystemExit) as error:
            # As text: an error that does not unpickle would bring down the executor.
            return None, _error_text(error)


def _error_text(error: BaseException) -> str:
    """Return an error in words that every file can hold; some errors fail to say what they are."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = type(error).__name__
    # Half a letter, as paths have where their bytes are no text, is in no encoding.
    return shown(text, lines=True)


def _trained(train: Any, config: Any, command: list[str], changed_code: bool) -> dict[str, Any]:
    try:
        read_run(config.out)
        begun = True
    except DataError:
        begun = False
    if begun:
        return resume(train, type(config), config.out, changed_code=changed_code)
    return begin(train, config, Path(config.out), numbered=False, command=command)[1]


@contextlib.contextmanager
def _apart(folder: Path) -> Iterator[None]:
    """Print to files, as many workers share one screen; let SIGTERM end the member as Ctrl-C would."""
    terminated = False

    def end(number: int, frame: Any) -> NoReturn:
        nonlocal terminated
        terminated = True
        # Once: a second one must not disturb what is saved now.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # A member may take what is raised now for an error of its own, and go on.
        end_soon()
        raise KeyboardInterrupt("SIGTERM")

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if is_main else None
    # What a member says stands in its log.txt.
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        io.TextIOWrapper(
            appending(folder / "stderr.log", within=folder),
            encoding="utf-8",
            errors="backslashreplace",
            line_buffering=True,
        ) as errors,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(errors),
    ):
        try:
            yield
        finally:
            if terminated:
                # The process was asked to go; as a worker it would wait for the next member.
                errors.flush()
                os._exit(128 + signal.SIGTERM)
            if is_main:
                signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


# --- in the sweep


def run_in(
    executor: Executor,
    jobs: deque[Job],
    train: Any,
    width: int,
    report: Report,
    *,
    changed_code: bool = False,
) -> tuple[list[Job], bool]:
    """Run jobs, taken from the left; return those that were lost and whether the executor broke.

    Args:
        executor: Where to.
        jobs: Name and config of every member.
        train: The function that trains.
        width: How many may be under way, so that none is lost that had not begun.
        report: Told about each that came back.
        changed_code: Whether to go on with members whose program has been edited since.
    """
    running: dict[Future[Any], Job] = {}
    command = list(sys.orig_argv)
    lost: list[Job] = []
    broken = False
    try:
        while running or (jobs and not broken):
            while jobs and not broken and len(running) < width:
                job = jobs.popleft()
                try:
                    given = (train, job[1], os.getpid(), command, changed_code)
                    running[executor.submit(work, *given)] = job
                except BrokenExecutor:
                    lost.append(job)
                    broken = True
            watch_all(executor)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, error = running.pop(future), future.exception()
                broken = broken or isinstance(error, BrokenExecutor)
                if isinstance(error, BrokenExecutor | KeyboardInterrupt):
                    lost.append(job)
                elif error is not None:
                    report(job[0], "failed", None, _error_text(error))
                else:
                    result, text = future.result()
                    report(job[0], "failed" if text else "finished", result, text)
    except BaseException:
        for future in running:
            future.cancel()
        raise
    return lost, broken


def run_all(
    jobs: deque[Job],
    train: Any,
    executor: Executor | None,
    width: int,
    report: Report,
    *,
    changed_code: bool = False,
) -> None:
    """Run all jobs; those that are lost with their process once more, each alone.

    A process that dies takes its pool with it, so that nobody knows whose fault it was. An `executor`
    that broke takes no more: what it lost runs again in a process of this library, what it has not
    begun stays in `jobs`.
    """

    def pool(workers: int) -> contextlib.AbstractContextManager[Executor]:
        return processes(workers) if executor is None else contextlib.nullcontext(executor)

    broken = False
    while jobs and not (broken and executor is not None):
        with pool(width) as place:
            lost, broken = run_in(place, jobs, train, width, report, changed_code=changed_code)
        for job in lost:
            with processes(1) if broken else pool(1) as place:
                alone = deque([job])
                again, _ = run_in(place, alone, train, 1, report, changed_code=changed_code)
            if again:
                report(job[0], "killed", None, _end_of(job[1]))


def _end_of(config: Any) -> str:
    """Say how a member ended whose process did so twice."""
    with contextlib.suppress(OSError):
        if present(Path(config.out) / RUN, within=config.out):
            return "its process ended, and again when it ran alone"
    # Its stderr goes to that of the sweep until the member begins.
    return "its process ended before the member began, and again when it ran alone; see stderr"
