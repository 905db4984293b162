"""Files that appear whole or not at all, and are read without surprises."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, TypeAlias

from fnn.errors import DataError

PathLike: TypeAlias = "str | os.PathLike[str]"

_TEMPORARY = re.compile(r"\..+\.(\d+)-[0-9a-f]{8}\.tmp")
# By their names, which are unlike any other, however their folder is spelled.
_writing: set[str] = set()


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[IO[bytes]]:
    """Give a file to write to that takes the place of `path` all at once, on success only.

    Written beside it, synced, renamed, and the folder synced: whatever happens, `path` holds either
    its old content or all of the new one. Missing folders are made.

    Raises:
        DataError: If the file system refuses; names the path.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    _writing.add(temporary.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("x+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
            _writing.discard(temporary.name)
    except OSError as error:
        if (
            error.errno is None
        ):  # Of another making, such as a server's answer while the file is written.
            raise
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # Without this the rename may be lost with the power. Windows has no such call, and some
    # network file systems refuse it; neither is a reason to fail a write that has happened.
    if os.name != "nt":
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def opened(path: PathLike) -> BufferedReader:
    """Open a regular file to read; whoever put a pipe in its place does not make us wait.

    Raises:
        OSError: If there is none, or it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "Not a regular file", str(path))


def content(path: PathLike) -> bytes:
    """Return all bytes of a regular file, or raise OSError."""
    with opened(path) as file:
        return file.read()


def parse_json(text: bytes) -> Any:
    """Return what JSON says, or raise ValueError; NaN, infinities and deep nesting are none."""
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"expected finite numbers, got {text:.80}")
    return number


def is_temporary(name: str) -> bool:
    """Return whether `replacing` names its files so before it renames them."""
    return _TEMPORARY.fullmatch(name) is not None


def sweep(folder: PathLike) -> None:
    """Remove the temporary files that writers left in `folder` when they were killed.

    Those of `replacing` calls that still run stay, whichever process of this machine they are in.
    What cannot be removed stays too.
    """
    with contextlib.suppress(OSError):
        for file in list(Path(folder).iterdir()):
            name = _TEMPORARY.fullmatch(file.name)
            if name is not None and file.name not in _writing and not _runs_elsewhere(int(name[1])):
                with contextlib.suppress(OSError):
                    file.unlink()


def _runs_elsewhere(process: int) -> bool:
    # Windows has no harmless signal, but refuses to remove what somebody still writes to.
    if process == os.getpid() or os.name == "nt":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
