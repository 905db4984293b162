"""Processes for members: fresh ones, which can be told to end and say why they did not begin."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor
from concurrent.futures.process import ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NoReturn

from fnn.errors import OptionError
from fnn.runs.experiment.guard import MARK, UNGUARDED, WHY

_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")

GRACE = 10.0
"""Seconds in which a member that is told to end may save what it has reached; then it is killed."""

_OR_THREADS = "or run members in threads: executor=ThreadPoolExecutor(2)"


class _Context(SpawnContext):
    """Starts fresh processes, and knows which."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[SpawnProcess] = []

    def Process(self, *given: Any, **more: Any) -> SpawnProcess:  # type: ignore[override]
        child = SpawnProcess(*given, **more)
        self.children.append(child)
        return child

    def started(self) -> list[SpawnProcess]:
        return [child for child in self.children if child.pid is not None]


@contextlib.contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Give a pool of fresh processes with one BLAS thread each; an error ends their members.

    They are asked to first, and may save what they have reached. One that goes on all the same, since
    it takes what asks it for an error of its own, is killed after `GRACE` seconds or another Ctrl-C.

    Raises:
        OptionError: If the script cannot be imported by a process without training; says what to do.
    """
    context = _Context()
    # BLAS reads these when NumPy is loaded, before any function of ours could run there.
    variables = {**dict.fromkeys(_THREADS, "1"), MARK: str(os.getpid())}
    with _environment(variables):
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_settle)
        try:
            yield pool
        except BaseException:
            for child in context.started():
                child.terminate()
            raise
        finally:
            # Beside: Python 3.14 waits here for members although told not to, where one was killed.
            more = {"wait": False, "cancel_futures": True}
            threading.Thread(target=pool.shutdown, kwargs=more, daemon=True).start()
            _outlive(context.started())
    if any(_status(child) == UNGUARDED for child in context.started()):
        raise OptionError(WHY, path=("sweep",))


def _nothing() -> None:
    """Do nothing, in a worker."""


def watch_all(executor: Executor) -> None:
    """Let a pool of processes see to all that it has started.

    A pool looks at its processes when it is given work, and only then starts another one for it: the
    end of that one would not be noticed before another member comes back.
    """
    if isinstance(executor, ProcessPoolExecutor):
        with contextlib.suppress(BrokenExecutor):
            executor.submit(_nothing)


def _outlive(children: Iterable[SpawnProcess]) -> None:
    """Wait for processes that end by themselves, and kill those that do not."""
    left = {child.sentinel: child for child in children}
    deadline = time.monotonic() + GRACE
    try:
        while left and (seconds := deadline - time.monotonic()) > 0:
            for sentinel in wait(list(left), seconds):
                del left[sentinel]  # type: ignore[arg-type]
    finally:  # Another Ctrl-C comes here at once.
        for child in left.values():
            child.kill()


def _status(child: SpawnProcess) -> int | None:
    """Return the status of a process that has ended."""
    deadline = time.monotonic() + GRACE
    # While a thread of the pool asks the system for it, nobody else is told.
    while child.exitcode is None and time.monotonic() < deadline:
        time.sleep(0.001)
    return child.exitcode


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _settle() -> None:
    """Leave Ctrl-C to the sweep, and do not live on without it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> NoReturn:
        wait([parent.sentinel])  # type: ignore[union-attr]
        os._exit(1)

    if parent is not None:
        threading.Thread(target=follow, daemon=True).start()


def end_soon() -> None:
    """Kill this process after `GRACE` seconds, unless it has ended by then."""
    timer = threading.Timer(GRACE, os.kill, (os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM)))
    timer.daemon = True
    timer.start()


def check_sendable(train: Any, config: Any) -> None:
    """See that other processes can be given a function and a config.

    Raises:
        OptionError: If they cannot, for one because they are from a notebook; says what to do.
    """
    try:
        sent = bytes(ForkingPickler.dumps((train, config)))
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        how = f"define it at the top level of a module, {_OR_THREADS}"
        message = f"train or its config cannot be given to other processes ({why:.200}); {how}"
        raise OptionError(message, path=("sweep",)) from None
    main = sys.modules.get("__main__")
    file = None if getattr(main, "__spec__", None) is not None else getattr(main, "__file__", None)
    # Python calls standard input a file, and looks for it in vain when it starts a process.
    if file is not None and not Path(file).is_file():
        how = f"write it into a file and run that, {_OR_THREADS}"
        message = f"the script is no file that other processes can import, got {file!r:.80}; {how}"
        raise OptionError(message, path=("sweep",))
    # By this name a process looks for what no file holds. Of `python -m` it has one.
    if b"__main__" in sent and file is None and getattr(main, "__spec__", None) is None:
        where = "are from a notebook or a prompt, which no other process can import"
        how = f"write them into a module and import that, {_OR_THREADS}"
        raise OptionError(f"train or its config {where}; {how}", path=("sweep",))
