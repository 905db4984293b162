"""Run folders on disk: what they say, under which names, and lines that stay readable."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fnn.errors import DataError
from fnn.files import PathLike, content, parse_json, replacing

FORMAT = 2
RUN = "run.json"


def read_run(folder: PathLike) -> dict[str, Any]:
    """Return what run.json says of a run; `config_from` makes its "config" one again.

    Runs of format 1, which kept no checkpoints, are read too; their "format" says so.

    Raises:
        DataError: If the folder holds no run, or a damaged or newer one.
    """
    path = Path(folder) / RUN
    try:
        about = parse_json(content(path))
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


def read_metrics(folder: PathLike) -> list[dict[str, Any]]:
    """Return the records of a run's metrics.jsonl; a last line that a crash cut short is left out.

    Raises:
        DataError: If the file cannot be read, or a line is no record; names it.
    """
    path = Path(folder) / "metrics.jsonl"
    try:
        lines = content(path).split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise DataError(f"{path}:{number}: expected an object of JSON, got {line[:80]!r}")
        records.append(record)
    return records


def append(path: Path, text: str) -> None:
    """Add text to a file at once, so that a crash of this process loses none of it.

    Raises:
        DataError: If the file system refuses, for one because the disk is full; names the path.
    """
    data = memoryview(text.encode())
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            while data:
                data = data[os.write(handle, data) :]
        finally:
            os.close(handle)
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
        self.path, self._at, self._old, self._check = path, 0, b"", check
        if again:
            try:
                self._old = content(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None

    def add(self, line: str) -> None:
        """Add a line, unless it is the next of those that stand there."""
        data = line.encode() + b"\n"
        if self._old.startswith(data, self._at):
            self._at += len(data)
        else:
            self.cut()
            if self._check is not None:
                self._check()
            append(self.path, line + "\n")

    def cut(self) -> None:
        """Drop the lines that were not added again, and a last one that is not complete."""
        if self._at < len(self._old):
            if self._check is not None:
                self._check()
            with replacing(self.path) as file:
                file.write(self._old[: self._at])
        self._old, self._at = b"", 0


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
