"""When a run saves where it stands: by the clock, so that it costs little, and whenever it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from fnn.files import PathLike
from fnn.runs.checkpoint import Checkpoints, save_tree
from fnn.training.progress import Progress
from fnn.training.state import TrainState

EVERY = 10
"""Steps between two looks at the clock."""
# The largest part of the time that saving may take.
_SHARE = 0.02


class Saver:
    """Checkpoints by the clock: which moments are saved never shows in the numbers."""

    def __init__(
        self, checkpoints: Checkpoints, seconds: float, check: Callable[[], None] | None = None
    ) -> None:
        """Keep where to save, and when.

        Args:
            checkpoints: Where.
            seconds: Time between two saves; 0 saves at every call.
            check: Called before each; it raises if nothing may be written.
        """
        self._checkpoints, self._seconds, self._check = checkpoints, seconds, check
        self._due = time.monotonic() + seconds
        self._waiting: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Take note of a moment, and save it if it is time: what `fit` calls."""
        self._waiting = progress
        if time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Save the last progress that was seen, unless it is saved already."""
        if self._waiting is None:
            return
        began = time.monotonic()
        if self._check is not None:
            self._check()
        self._checkpoints.save(self._waiting)
        self._waiting, ended = None, time.monotonic()
        self._due = ended + (max(self._seconds, (ended - began) / _SHARE) if self._seconds else 0.0)


def save_epoch(path: PathLike, now: TrainState, epoch: int, *, within: PathLike) -> None:
    """Write the weights after an epoch: params, state and place/{epoch,step}.

    Raises:
        DataError: If the file system refuses.
    """
    place = {"epoch": np.array(epoch), "step": np.array(now.step)}
    save_tree(path, {"params": now.params, "state": now.state, "place": place}, within=within)
