"""The lock of a run's folder: one writer at a time, and none for ever."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fnn.errors import DataError
from fnn.files import content, create, holding, parse_json, remove

LOCK = "lock"
_MOST = 1 << 12
_STOPPED = "it was deleted, moved or started anew (or this process changed its working directory)"


class Held:
    """The right to write into a folder, for as long as the folder and its lock are what they were."""

    def __init__(self, folder: Path, inode: tuple[int, int], token: str) -> None:
        """Remember which folder this is and which lock; raise OSError if that cannot be seen."""
        self._folder, self._path, self._token = folder, folder / LOCK, token
        self._inode = inode
        self._seen = self._look()

    def _look(self) -> tuple[int, ...]:
        found = os.stat(self._path, follow_symlinks=False)
        return (*_identity(found), found.st_ctime_ns, found.st_size)

    def check(self) -> None:
        """Raise DataError unless what is written now goes into the folder that was locked.

        To be asked before every write: a folder may be deleted, moved or started anew at any time, and
        what another run has in its place must not get our lines.
        """
        try:
            seen = self._look()
            if seen == self._seen:
                return
            # A backup or chmod touches a lock too: only its content says whose it is.
            holder = _holder(self._path)
            if _identity(os.stat(self._folder)) != self._inode:
                raise DataError(f"{self._folder}: another folder stands in its place; {_STOPPED}")
            if holder is None or holder.get("token") != self._token:
                who = "nobody" if holder is None else f"process {holder.get('pid')!s:.20}"
                raise DataError(f"{self._folder}: its lock is of {who}, no longer ours; {_STOPPED}")
            self._seen = seen
        except OSError as error:
            what = "its lock is gone" if self._is_there() else "the folder is gone"
            reason = error.strerror or error
            raise DataError(f"{self._folder}: {what} ({reason}); {_STOPPED}") from None

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError):
            return _identity(os.stat(self._folder)) == self._inode
        return False


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Held]:
    """Be the only writer of a run's folder; gives what tells whether this is still so.

    The lock is a file that names its process and host. That of a process that is gone is taken over.

    Raises:
        DataError: If another process writes here, or the file system refuses.
    """
    path = folder / LOCK
    with contextlib.ExitStack() as stack:
        try:
            held = _taken(folder, stack)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from None
        try:
            yield held
        finally:
            # Of a fault in the body and one here, the first is told.
            with contextlib.suppress(OSError, DataError):
                held.check()
                remove(path, within=folder)


def _taken(folder: Path, stack: contextlib.ExitStack) -> Held:
    path, token = folder / LOCK, os.urandom(8).hex()
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "start": _birth(os.getpid())}
    inode = stack.enter_context(holding(folder))
    with _alone(folder):
        holder = _holder(path)
        if holder is not None and _alive(holder):
            who = f"process {holder.get('pid')} on {holder.get('host')}"
            raise DataError(f"{folder}: {who} is writing here; if it is gone, delete {path}")
        remove(path, within=folder)
        create(path, json.dumps({**mine, "token": token}).encode(), within=folder)
        return Held(folder, inode, token)


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
        holder = parse_json(content(path, within=path.parent, most=_MOST))
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        if error.errno == errno.EFBIG:  # Larger than any of ours.
            return None
        raise
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
