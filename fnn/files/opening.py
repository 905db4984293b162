"""Open, add to, create, list and remove files without following a link below a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader, FileIO
from typing import TypeAlias

from fnn.errors import DataError

PathLike: TypeAlias = str | os.PathLike[str]
Spot: TypeAlias = tuple[str, int | None]
"""A file's name and its open folder; where there is no folder, the name is a path."""

# Windows cannot open a name in an open folder; there everything is looked at before and after.
_DIRECT = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW") and hasattr(os, "O_DIRECTORY")
_PLAIN = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# Neither waits for the other end of a pipe nor makes a terminal our own, should one have taken the
# place of the file since it was looked at.
_WARY = _PLAIN | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_TRIES = 100
_NOWHERE = ("", os.curdir, os.pardir)
_COPIED = 1 << 20
_REPARSE = (
    getattr(stat, "IO_REPARSE_TAG_SYMLINK", None),
    getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None),
)


# Which folders are held, by their spelling: (device, inode), more than one where a run has begun in the
# place of another that does not know it yet.
_held: dict[str, list[tuple[int, int]]] = {}


@contextlib.contextmanager
def holding(folder: PathLike) -> Iterator[tuple[int, int]]:
    """While it lasts, let no path `within` the folder lead into another one of that name.

    A folder that was deleted or moved is not made anew, and what stands in its place is left alone: to
    look whether it is still there and to write afterwards would leave a moment in between.

    Raises:
        OSError: If the folder cannot be seen.
    """
    with contextlib.ExitStack() as stack:
        handle = None
        if _DIRECT:
            # While it is open, no other folder gets its number, which would pass for it.
            handle = _entered(os.fspath(folder), None, follow=True)
            stack.callback(os.close, handle)
        status = os.stat(folder if handle is None else handle)
        name, mine = os.path.normpath(os.fspath(folder)), (status.st_dev, status.st_ino)
        _held.setdefault(name, []).append(mine)
        try:
            yield mine
        finally:
            _held[name].remove(mine)
            if not _held[name]:
                del _held[name]


def _check_held(folder: str, handle: int | None) -> None:
    """Raise OSError if a folder is held and is no longer the one that was."""
    held = _held.get(os.path.normpath(folder))
    if held is not None:
        status = os.stat(folder if handle is None else handle)
        if (status.st_dev, status.st_ino) not in held:
            raise OSError(errno.ESTALE, "Another folder stands in its place", folder)


@contextlib.contextmanager
def reached(path: PathLike, within: PathLike | None, *, make: bool = False) -> Iterator[Spot]:
    """Give the spot of a file, to whose folder no link below `within` has led.

    Args:
        path: The file; it need not be there.
        within: The folder that the caller chose, which may be a link itself; None if the caller
            chose the file, whose folders are then as they are.
        make: Whether to make missing folders.

    Raises:
        OSError: If there is no such folder, or a link on the way.
        DataError: If `path` is not below `within`.
    """
    if within is None:
        if make:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        yield os.fspath(path), None
        return
    *folders, last = _below(path, within)
    here, handle = os.fspath(within), None
    if make and os.path.normpath(here) not in _held:
        os.makedirs(within, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if _DIRECT:
            handle = _entered(here, None, follow=True)
            stack.callback(os.close, handle)
        _check_held(here, handle)
        for name in folders:
            here = os.path.join(here, name)
            spot = (name, handle) if _DIRECT else (here, None)
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(spot[0], dir_fd=spot[1])
            _refuse_link(os.stat(spot[0], dir_fd=spot[1], follow_symlinks=False), here)
            if _DIRECT:
                handle = _entered(name, handle, follow=False)
                stack.callback(os.close, handle)
        yield (last, handle) if _DIRECT else (os.path.join(here, last), None)


def _below(path: PathLike, within: PathLike) -> list[str]:
    """Return the names that lead from `within` to `path`, told by their spelling alone."""
    head, last = os.path.split(path)
    if head == os.fspath(within) and last not in _NOWHERE and os.name != "nt":
        return [last]  # As most are; the rest of this takes longer than to write a line.
    whole, root = (os.path.normpath(os.fspath(each)) for each in (path, within))
    start = "" if root == os.curdir else os.path.join(root, "")
    parts = whole.removeprefix(start).split(os.sep)
    # A colon makes a drive or a stream of a name on Windows.
    odd = os.path.isabs(whole.removeprefix(start)) or (os.name == "nt" and ":" in whole[len(start) :])
    if not whole.startswith(start) or odd or parts[0] in _NOWHERE:
        raise DataError(f"{os.fspath(path)}: expected a path within {os.fspath(within)}")
    return parts


def _entered(name: str, folder: int | None, *, follow: bool) -> int:
    # To pass through a folder takes no right to list it.
    flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | _PLAIN
    return os.open(name, flags if follow else flags | _NO_LINK, dir_fd=folder)


def _refuse_link(status: os.stat_result, path: str) -> None:
    tag = getattr(status, "st_reparse_tag", 0)
    if stat.S_ISLNK(status.st_mode) or (tag and tag in _REPARSE):
        raise OSError(errno.ELOOP, "Is a link, which is not followed", path)


def _refuse_special(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", path)


def _regular(spot: Spot, path: str, flags: int, *, follow: bool) -> int:
    """Open a regular file that is there, and no link unless `follow` says so."""
    name, folder = spot
    for _ in range(_TRIES):
        # First, because merely to open a device may do something, a tape is rewound for one.
        before = os.stat(name, dir_fd=folder, follow_symlinks=follow)
        _refuse_link(before, path)
        _refuse_special(before, path)
        handle = os.open(name, flags | _WARY | (0 if follow else _NO_LINK), dir_fd=folder)
        try:
            now = os.fstat(handle)
            _refuse_special(now, path)
        except BaseException:
            os.close(handle)
            raise
        if follow or _NO_LINK or os.path.samestat(before, now):
            return handle
        os.close(handle)  # Replaced meanwhile, by a writer or by a link.
    raise _restless(path)


def _restless(path: str) -> OSError:
    return OSError(errno.EAGAIN, "Is replaced again and again", path)


def opened(path: PathLike, *, within: PathLike | None = None) -> BufferedReader:
    """Open a regular file to read; whoever put a pipe in its place does not make us wait.

    Args:
        path: The file.
        within: The folder that the caller chose, below which no link is followed; None if the
            caller chose the file, which may be a link then.

    Raises:
        OSError: If there is none, or it cannot be read.
    """
    with reached(path, within) as spot:
        handle = _regular(spot, os.fspath(path), os.O_RDONLY, follow=within is None)
    return os.fdopen(handle, "rb")


def content(path: PathLike, *, most: int, within: PathLike | None = None) -> bytes:
    """Return all bytes of a regular file, `most` at most.

    Raises:
        OSError: If there is none, it cannot be read, or it is larger.
    """
    with opened(path, within=within) as file:
        # Asked first: a file of zeros may be larger than the disk and take no room there. And no more
        # is asked for than that, since what is asked for is allocated.
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= most else b""
        if size < len(data) <= most:  # It grows.
            data += file.read(most + 1 - len(data))
    if max(size, len(data)) > most:
        raise OSError(errno.EFBIG, f"Larger than {most:,} bytes", os.fspath(path))
    return data


def appending(path: PathLike, *, within: PathLike | None = None) -> FileIO:
    """Open a regular file to add to, made if it is not there.

    One that has another name elsewhere is copied first, and the other stays as it is.

    Raises:
        OSError: If it is a link or no regular file, or cannot be written.
    """
    return FileIO(_appending(path, within), "ab")


def _appending(path: PathLike, within: PathLike | None) -> int:
    flags = os.O_WRONLY | os.O_APPEND
    with reached(path, within) as spot:
        for _ in range(_TRIES):
            try:
                handle = _regular(spot, os.fspath(path), flags, follow=False)
            except FileNotFoundError:
                try:
                    handle = fresh(spot, flags)
                except FileExistsError:
                    continue
            if os.fstat(handle).st_nlink <= 1:
                return handle
            os.close(handle)
            _part(spot, os.fspath(path))
    raise _restless(os.fspath(path))


def fresh(spot: Spot, flags: int) -> int:
    """Make a file that is not there yet, and open it."""
    # With O_EXCL the last name is never followed, on any system.
    return os.open(spot[0], flags | os.O_CREAT | os.O_EXCL | _PLAIN, 0o666, dir_fd=spot[1])


def _part(spot: Spot, path: str) -> None:
    """Put a copy of a file in its place, so that its other names lead to another file."""
    head, name = os.path.split(spot[0])
    beside = (os.path.join(head, f".{name}.{os.getpid()}-{os.urandom(4).hex()}.tmp"), spot[1])
    with os.fdopen(_regular(spot, path, os.O_RDONLY, follow=False), "rb") as old:
        try:
            with os.fdopen(fresh(beside, os.O_WRONLY), "wb") as copy:
                while part := old.read(_COPIED):
                    copy.write(part)
            renamed(beside, spot)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(beside[0], dir_fd=beside[1])


def renamed(old: Spot, new: Spot) -> None:
    """Give a file another name in its folder, in place of what has that; a link is not followed."""
    where = {} if old[1] is None else {"src_dir_fd": old[1], "dst_dir_fd": new[1]}
    os.replace(old[0], new[0], **where)


def append(path: PathLike, data: bytes, *, within: PathLike | None = None) -> None:
    """Add bytes to a file at once, so that a crash of this process loses none of them.

    Raises:
        OSError: If it is a link or no regular file, or cannot be written.
    """
    rest = memoryview(data)
    handle = _appending(path, within)
    try:
        while rest:
            rest = rest[os.write(handle, rest) :]
    finally:
        os.close(handle)


def create(path: PathLike, data: bytes, *, within: PathLike | None = None) -> None:
    """Write a file that is not there yet.

    Raises:
        OSError: If something of that name is there, a link to nothing too, or it cannot be written.
    """
    with reached(path, within) as spot, os.fdopen(fresh(spot, os.O_WRONLY), "wb") as file:
        file.write(data)


def present(path: PathLike, *, within: PathLike | None = None) -> bool:
    """Return whether there is a file or a folder of that name.

    Raises:
        OSError: If there is a link, be it to nothing, a pipe or the like, or a link is on the way.
    """
    try:
        with reached(path, within) as (name, folder):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    _refuse_link(status, os.fspath(path))
    if not stat.S_ISDIR(status.st_mode):
        _refuse_special(status, os.fspath(path))
    return True


def names(folder: PathLike, *, within: PathLike | None = None) -> list[str]:
    """Return the names in a folder, sorted.

    Raises:
        OSError: If there is none, it is a link below `within`, or it cannot be read.
    """
    if within is None or os.path.normpath(folder) == os.path.normpath(within):
        return sorted(os.listdir(folder))
    with reached(folder, within) as (name, place):
        status = os.stat(name, dir_fd=place, follow_symlinks=False)
        _refuse_link(status, os.fspath(folder))
        if not _DIRECT:
            return sorted(os.listdir(name))
        handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK | _PLAIN, dir_fd=place)
        try:
            return sorted(os.listdir(handle))
        finally:
            os.close(handle)


def remove(path: PathLike, *, within: PathLike | None = None) -> None:
    """Remove a file if it is there; of a link the link, not what it leads to.

    Raises:
        OSError: If it cannot be removed.
    """
    with contextlib.suppress(FileNotFoundError), reached(path, within) as (name, folder):
        os.unlink(name, dir_fd=folder)
