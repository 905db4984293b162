"""Run folders on disk: what they say, under which names, and lines that stay readable."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from fnn.errors import DataError, OptionError
from fnn.files import PathLike, content, limit, opened, parse_json, present, replacing
from fnn.files import append as append_bytes

FORMAT = 2
RUN = "run.json"
METRICS = "metrics.jsonl"
_COPIED = 1 << 20
_NAMES = 1000


def read_run(folder: PathLike, *, most: int | None = None) -> dict[str, Any]:
    """Return what run.json says of a run; `config_from` makes its "config" one again.

    Runs of format 1, which kept no checkpoints, are read too; their "format" says so.

    Args:
        folder: The run's folder.
        most: How many bytes run.json may have; `fnn.files.LIMITS` says without.

    Raises:
        DataError: If the folder holds no run, or a damaged, too large or newer one.
    """
    path = Path(folder) / RUN
    try:
        about = parse_json(content(path, within=folder, most=limit("run", most)))
    except OSError as error:
        raise DataError(f"{path}: no run can be read here ({error.strerror or error})") from None
    except ValueError:
        raise DataError(f"{path}: expected JSON; damaged, or no run of fnn") from None
    form = about.get("format") if isinstance(about, dict) else about
    if type(form) is int and form > FORMAT:
        raise DataError(f"{path}: expected format {FORMAT} or older, got {form}; of a newer fnn")
    if type(form) is not int or form < 1:
        raise DataError(f"{path}: expected a run of format 1 to {FORMAT}, got {form!r:.80}")
    if not isinstance(about.get("config"), dict):
        raise DataError(f"{path}: expected a config, got {about.get('config')!r:.80}")
    return about


def each_record(folder: PathLike, *, most: int | None = None) -> Iterator[dict[str, Any]]:
    """Give the records of a run's metrics.jsonl one by one, with one line in memory at a time.

    A last line that a crash cut short is left out.

    Args:
        folder: The run's folder.
        most: How many bytes the file may have; `fnn.files.LIMITS` says without, and of a line.

    Raises:
        DataError: If the file cannot be read or is too large, or a line is no record; names it.
    """
    path, left, longest = Path(folder) / METRICS, limit("metrics", most), limit("line")
    names: dict[str, str] = {}
    try:
        with opened(path, within=folder) as file:
            number = 0
            while (line := file.readline(longest + 1)).endswith(b"\n") or len(line) > longest:
                number += 1
                left -= len(line)
                if left < 0 or len(line) > longest:
                    what = f"at most {longest:,} bytes in a line, got more at {number}"
                    if left < 0:
                        what = f"at most {limit('metrics', most):,} bytes, got more"
                    raise DataError(f"{path}: expected {what}; $FNN_LIMITS allows more")
                try:
                    record = parse_json(line)
                except ValueError:
                    record = None
                if not isinstance(record, dict):
                    raise DataError(f"{path}:{number}: expected an object of JSON, got {line[:80]!r}")
                # The same few names stand in every line.
                if len(names) < _NAMES:
                    names.update((name, name) for name in record)
                yield {str(names.get(name, name)): value for name, value in record.items()}
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_metrics(folder: PathLike, *, most: int | None = None) -> list[dict[str, Any]]:
    """Return the records of a run's metrics.jsonl; a last line that a crash cut short is left out.

    Args:
        folder: The run's folder.
        most: How many bytes the file may have; `fnn.files.LIMITS` says without, and of a line.

    Raises:
        DataError: If the file cannot be read or is too large, or a line is no record; names it.
    """
    return list(each_record(folder, most=most))


def holds(folder: Path, name: str) -> bool:
    """Return whether a file or a folder of that name is in a run's folder.

    Raises:
        DataError: If it is a link or a pipe or the like, or the file system does not say.
    """
    try:
        return present(folder / name, within=folder)
    except OSError as error:
        raise DataError(f"{folder / name}: cannot be read ({error.strerror or error})") from None


def append(path: Path, text: str) -> None:
    """Add text to a file of a run's folder at once, so that a crash of this process loses none of it.

    Raises:
        DataError: If it is a link, or the file system refuses, for one because the disk is full; names
            the path.
    """
    try:
        # Half a surrogate pair has no bytes in UTF-8.
        append_bytes(path, text.encode("utf-8", "backslashreplace"), within=path.parent)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


class Lines:
    """A file of lines that a resumed run writes again: what stands there already is kept.

    Equal lines are passed over and the first other one cuts what is left, so that no crash, of the
    resumed run either, takes away a line that was right.
    """

    def __init__(
        self, path: Path, *, again: bool = False, check: Callable[[], None] | None = None
    ) -> None:
        """Start a file, or with `again` start to go through the lines that one holds.

        Args:
            path: The file.
            again: Whether what stands there is kept as far as it is written again.
            check: Called before anything is written; it raises if nothing may be.

        Raises:
            DataError: If those cannot be read.
        """
        self.path, self._at, self._end, self._check = path, 0, 0, check
        if again:
            with self._reading() as file:
                self._end = 0 if file is None else file.seek(0, os.SEEK_END)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[BufferedReader | None]:
        try:
            with opened(self.path, within=self.path.parent) as file:
                yield file
        except FileNotFoundError:
            yield None
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{self.path}: cannot be read ({reason})") from None

    def add(self, line: str) -> None:
        """Add a line, unless it is the next of those that stand there.

        Raises:
            OptionError: If it is longer than a line may be that is read again.
            DataError: If the file system refuses.
        """
        data = line.encode() + b"\n"
        if len(data) > limit("line"):
            got = f"got {len(data):,} ($FNN_LIMITS allows more)"
            raise OptionError(f"expected records of at most {limit('line'):,} bytes, {got}")
        if self._at < self._end and self._next(len(data)) == data:
            self._at += len(data)
        else:
            self.cut()
            if self._check is not None:
                self._check()
            append(self.path, line + "\n")

    def _next(self, length: int) -> bytes:
        with self._reading() as file:
            if file is None:
                return b""
            file.seek(self._at)
            return file.read(length)

    def cut(self) -> None:
        """Drop the lines that were not added again, and a last one that is not complete."""
        if self._at < self._end:
            if self._check is not None:
                self._check()
            with replacing(self.path, within=self.path.parent) as kept, self._reading() as old:
                left = self._at
                while old is not None and left and (part := old.read(min(left, _COPIED))):
                    left -= kept.write(part)
        self._at = self._end = 0


def new_folder(folder: Path) -> Path:
    """Make and return `folder`, or the first free of folder-2, folder-3 and so on.

    Raises:
        DataError: If the file system refuses.
    """
    number, made = 1, folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        while True:
            # Making it is what claims it: of two runs that start at once, each gets a name of its own.
            with contextlib.suppress(FileExistsError):
                made.mkdir()
                return made
            number += 1
            made = folder.with_name(f"{folder.name}-{number}")
    except OSError as error:
        raise DataError(f"{made}: cannot be written ({error.strerror or error})") from None
