"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeAlias

from fnn.errors import DataError

PathLike: TypeAlias = "str | os.PathLike[str]"


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
