"""The lock of a run's folder: one writer at a time, and none for ever."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fnn.errors import DataError
from fnn.files import content, parse_json

LOCK = "lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only writer of a run's folder.

    The lock is a file that names its process and host. That of a process that is gone is taken over.

    Raises:
        DataError: If another process writes here, or the file system refuses.
    """
    path = folder / LOCK
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "start": _birth(os.getpid())}
    try:
        with _alone(folder):
            holder = _holder(path)
            if holder is not None and _alive(holder):
                who = f"process {holder.get('pid')} on {holder.get('host')}"
                raise DataError(f"{folder}: {who} is writing here; if it is gone, delete {path}")
            path.unlink(missing_ok=True)
            with path.open("x", encoding="utf-8") as file:
                json.dump(mine, file)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from None
    try:
        yield
    finally:
        if _holder(path) == mine:
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from looking at the lock while it is replaced, where the system can do that."""
    with contextlib.ExitStack() as stack:
        # Elsewhere a file that is created exclusively has to do, as on some network file systems.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _holder(path: Path) -> dict[str, Any] | None:
    """Return who holds a lock; None if nobody does, or it was cut short by the end of its process."""
    try:
        holder = parse_json(content(path))
    except (FileNotFoundError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


def _alive(holder: dict[str, Any]) -> bool:
    pid = holder.get("pid")
    # What runs elsewhere cannot be seen from here, and on Windows to ask is to interrupt.
    if holder.get("host") != socket.gethostname() or type(pid) is not int or os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    # Numbers of processes are used again, soon so in containers.
    return holder.get("start") == _birth(pid)


def _birth(pid: int) -> str | None:
    """Return when a process began, in ticks since the machine did; None where unknown or over."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    # One that has ended and waits to be noticed writes no more.
    return "ended" if fields[0] == "Z" else fields[19]
