"""Runs as event files of TensorBoard: those that are there, and those that are being trained.

    python -m fnn.interop.tensorboard out/mnist_cnn out/parity -o out/board
    fnn.fit(…, callbacks=TensorBoard("out/board/now"))

Needs the extra `tensorboard` (tensorboardX). Every number of an epoch's record is a scalar by its name,
at the number of its epoch, or of its record where it has none; a run's config is a text.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fnn.errors import DataError
from fnn.files import PathLike, write_line
from fnn.interop.rules import needed
from fnn.runs.experiment.folders import each_record, read_run
from fnn.training.history import History
from fnn.training.state import TrainState

_board: Any = needed("tensorboardX", "tensorboard")


def _scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a record; what is no number, or no finite one, has no place in a curve."""
    numbers = {
        name: float(value)
        for name, value in record.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


class TensorBoard:
    """A callback of `fit` that writes every epoch's record as scalars, for TensorBoard to show at once.

    Args:
        folder: Where the event file is written; made if it is not there.

    A run that goes on in the same folder adds a file of its own, of which TensorBoard shows the later
    values. `close` ends the file; every epoch is flushed as it is.
    """

    def __init__(self, folder: PathLike) -> None:
        """Begin without a file: it is made with the first record."""
        self.folder = folder
        self._writer: Any = None

    def __call__(self, now: TrainState, history: History) -> None:
        """Write the numbers of the last epoch."""
        self.add(history[-1], len(history))

    def add(self, record: Mapping[str, Any], step: int) -> None:
        """Write the numbers of a record at a step.

        Raises:
            DataError: If the file system refuses.
        """
        try:
            if self._writer is None:
                self._writer = _board.SummaryWriter(str(self.folder))
            for name, value in _scalars(record).items():
                if name not in ("epoch", "step"):
                    self._writer.add_scalar(name, value, step)
            self._writer.flush()
        except OSError as error:
            message = f"{self.folder}: expected a folder to write to, got: {error}"
            raise DataError(message, path=("TensorBoard",)) from error

    def text(self, name: str, text: str) -> None:
        """Write a text."""
        if self._writer is None:
            self._writer = _board.SummaryWriter(str(self.folder))
        self._writer.add_text(name, text)

    def close(self) -> None:
        """End the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def write_events(run: PathLike, folder: PathLike) -> int:
    """Write a run's records as event files, and return how many there were.

    Args:
        run: The run's folder.
        folder: Where the event file is written.

    Raises:
        DataError: If it is no run's folder, or its records cannot be read.
    """
    about = read_run(run)
    board, count = TensorBoard(folder), 0
    config = json.dumps(about["config"], indent=1, sort_keys=True, ensure_ascii=False)
    board.text("config", "\n".join(f"    {line}" for line in config.splitlines()))
    for count, record in enumerate(each_record(run), 1):
        board.add(record, int(record.get("epoch", count)))
    board.close()
    return count


def main(given: Sequence[str] | None = None) -> None:
    """Turn runs into event files: `python -m fnn.interop.tensorboard RUN… -o FOLDER`."""
    parser = argparse.ArgumentParser(
        prog="python -m fnn.interop.tensorboard", description="runs as event files of TensorBoard"
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/board"), help="where to write")
    options = parser.parse_args(given)
    names = [run.resolve().name for run in options.runs]
    for run, name in zip(options.runs, names, strict=True):
        own = name if names.count(name) == 1 else str(run).strip("/").replace("/", "_")
        try:
            n = write_events(run, options.out / own)
        except DataError as error:
            write_line(str(error), sys.stderr)
            raise SystemExit(1) from None
        write_line(f"{run}: {n} records in {options.out / own}", sys.stdout)


if __name__ == "__main__":
    main()
