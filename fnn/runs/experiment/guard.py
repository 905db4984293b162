"""Scripts that other processes import: what trains must not begin there by itself."""

from __future__ import annotations

import os
import sys

MARK = "FNN_SWEEP"
"""The environment's variable with the process of a sweep, for the processes that it starts."""

UNGUARDED = 87
"""The status of a process that was to import a script, and was told to train by it."""

WHY = (
    "the script trains as soon as it is imported, and a process that takes a member imports it first; "
    'put what it calls at its end under `if __name__ == "__main__":`'
)


def stop_if_imported() -> None:
    """End a process that is only to import a script for a worker, and is about to train all of it.

    Python's own error of such a script speaks of "bootstrapping", and a lock would be taken for that
    of a run that has died.

    Raises:
        SystemExit: With `UNGUARDED`, in a process that multiprocessing is starting.
    """
    # Who has not loaded it is no such process, and need not pay for loading it.
    process = sys.modules.get("multiprocessing.process")
    if process is None or not getattr(process.current_process(), "_inheriting", False):
        return
    # A sweep says it itself, once for all of its processes.
    if os.environ.get(MARK) != str(os.getppid()):
        sys.stderr.write(f"error: {WHY}\n")
    raise SystemExit(UNGUARDED)
