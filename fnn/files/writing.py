"""Files that appear whole or not at all, and what is left of those that did not."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fnn.errors import DataError
from fnn.files.opening import PathLike, Spot, fresh, names, reached, remove, renamed

_TEMPORARY = re.compile(r"\..+\.(\d+)-[0-9a-f]{8}\.tmp")
# By their names, which are unlike any other, however their folder is spelled.
_writing: set[str] = set()


@contextlib.contextmanager
def replacing(path: PathLike, *, within: PathLike | None = None) -> Iterator[IO[bytes]]:
    """Give a file to write to that takes the place of `path` all at once, on success only.

    Written beside it, synced, renamed, and the folder synced: whatever happens, `path` holds either
    its old content or all of the new one. Missing folders are made. A link of that name is replaced,
    never followed.

    Args:
        path: The file.
        within: The folder that the caller chose, below which no link is followed.

    Raises:
        DataError: If the file system refuses; names the path.
    """
    try:
        with reached(path, within, make=True) as spot:
            head, name = os.path.split(spot[0])
            temporary = f".{name}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
            beside = (os.path.join(head, temporary), spot[1])
            _writing.add(temporary)
            try:
                with os.fdopen(fresh(beside, os.O_RDWR), "w+b") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                renamed(beside, spot)
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(beside[0], dir_fd=beside[1])
                _writing.discard(temporary)
            _sync_folder((head or os.curdir, spot[1]))
    except OSError as error:
        # Of another making, such as a server's answer while the file is written.
        if error.errno is None:
            raise
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error


def _sync_folder(spot: Spot) -> None:
    # Without this the rename may be lost with the power. Windows has no such call, and some
    # network file systems refuse it; neither is a reason to fail a write that has happened.
    if os.name != "nt":
        with contextlib.suppress(OSError):
            handle = os.open(spot[0], os.O_RDONLY, dir_fd=spot[1])
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def make_folder(folder: PathLike, *, within: PathLike | None = None) -> None:
    """Make a folder and those above it, unless they are there.

    Raises:
        OSError: If it cannot be made, or is a link or something else below `within`.
    """
    with reached(Path(folder, "any"), within, make=True):
        pass


def is_temporary(name: str) -> bool:
    """Return whether `replacing` names its files so before it renames them."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_leftovers(folder: PathLike, *, within: PathLike | None = None) -> None:
    """Remove the temporary files that writers left in `folder` when they were killed.

    Those of `replacing` calls that still run stay, whichever process of this machine they are in.
    What cannot be removed stays too.
    """
    with contextlib.suppress(OSError):
        for file in names(folder, within=within):
            name = _TEMPORARY.fullmatch(file)
            if name is not None and file not in _writing and not _runs_elsewhere(int(name[1])):
                with contextlib.suppress(OSError):
                    remove(Path(folder, file), within=folder if within is None else within)


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
