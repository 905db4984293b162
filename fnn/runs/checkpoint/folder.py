"""The checkpoints of a run: a folder that always holds one to go on from."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fnn.errors import DataError
from fnn.files import PathLike, names, remove, remove_leftovers
from fnn.options import integer
from fnn.runs.checkpoint.runs import fitted, load_checkpoint, save_checkpoint
from fnn.training.progress import Progress
from fnn.training.state import TrainState

_TRIES = 100
_NAME = re.compile(r"step-(\d{9,})\.npz")


def _keep(value: Any) -> int:
    return integer("Checkpoints", "keep", value)


@attrs.frozen
class Checkpoints:
    """The newest checkpoints of a run in a folder of their own, `step-000001234.npz`.

    The best state is part of every checkpoint, so that the newest brings it along. `fit` takes `save`
    as it is: `fit(..., start=checkpoints.latest(), save=checkpoints.save, save_every=100)`.

    Attributes:
        folder: Where they are; made at the first save.
        keep: How many of the newest stay.
        about: What every checkpoint is to say, as JSON takes it; see `read_about`.
        within: The folder that the caller chose, the run's for one, below which no link is followed;
            without, it is `folder` itself.
        skipped: Why `latest` passed over newer files, a line for each.
    """

    folder: Path = attrs.field(converter=Path)
    keep: int = attrs.field(default=2, converter=_keep)
    about: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    within: PathLike | None = attrs.field(default=None, kw_only=True)
    skipped: list[str] = attrs.field(factory=list, init=False, eq=False)

    def save(self, progress: Progress) -> Path:
        """Write a checkpoint, and only then remove what is older than the newest `keep`.

        One of a later step goes too: the run went on from before it, another way or over a damaged
        file. Temporary files of killed writers are removed.

        Returns:
            The file.

        Raises:
            OptionError, TreeError: If it cannot stand in a file; see `save_checkpoint`.
            DataError: If the file system refuses; the last good checkpoint is then untouched.
        """
        path = self.folder / f"step-{progress.now.step:09d}.npz"
        remove_leftovers(self.folder, within=self._root)
        save_checkpoint(path, progress, about=self.about, within=self._root)
        older = [file for step, file in self._files() if step <= progress.now.step]
        for _, file in self._files():
            if file not in older[: self.keep]:
                try:
                    remove(file, within=self._root)
                except OSError as error:
                    raise DataError(f"{file}: cannot be removed ({error.strerror})") from error
        return path

    def latest(self, like: TrainState | None = None) -> Progress | None:
        """Return what the newest checkpoint holds that is whole, None if there are none.

        Damaged ones are passed over; `skipped` says which and why.

        Args:
            like: A state of the same run that it has to fit; see `load_checkpoint`.

        Raises:
            DataError: If there are some and none is whole, or the newest whole one does not fit
                `like`: a checkpoint of another network is no damage to pass over.
        """
        for _ in range(_TRIES):
            self.skipped.clear()
            try:
                for _, file in self._files():
                    try:
                        progress = load_checkpoint(file, within=self._root)
                    except DataError as error:
                        # A writer has made a newer one since, and removed this one.
                        if isinstance(error.__cause__, FileNotFoundError):
                            raise error.__cause__ from None
                        self.skipped.append(str(error))
                    else:
                        return fitted(file, progress, like)
                break
            except FileNotFoundError as error:
                self.skipped.append(str(error))
        if self.skipped:
            lines = "\n  ".join(self.skipped)
            raise DataError(f"{self.folder}: expected a checkpoint that is whole, got\n  {lines}")
        return None

    def _files(self) -> list[tuple[int, Path]]:
        """Return (step, file) of every checkpoint, the newest first."""
        found = []
        try:
            with contextlib.suppress(FileNotFoundError):
                for file in names(self.folder, within=self._root):
                    name = _NAME.fullmatch(file)
                    if name is not None:
                        found.append((int(name[1]), self.folder / file))
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be read ({error.strerror})") from error
        return sorted(found, reverse=True)

    @property
    def _root(self) -> PathLike:
        return self.folder if self.within is None else self.within
