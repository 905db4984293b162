"""Folders of strangers, secrets beside them, and what must hold whatever is done with either."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tracemalloc
from pathlib import Path


def snapshot(folder):
    """Return what is in a folder: names, kinds, modes and digests."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(place, name)
            status = path.lstat()
            what = os.readlink(path) if path.is_symlink() else ""
            if path.is_file() and not path.is_symlink():
                what = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path)] = (status.st_mode, what)
    return found


class Canary:
    """A tree of somebody's own files beside a stranger's folder, that nobody may touch."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "checkpoints").mkdir(parents=True)
        for name in (
            ".profile",
            "run.json",
            "log.txt",
            "metrics.jsonl",
            "checkpoints/step-000000001.npz",
        ):
            (folder / name).write_text(f"my own {name}\n")
        self._before = snapshot(folder)

    def check(self):
        """Assert that nothing was written, made or removed."""
        assert snapshot(self.folder) == self._before


@contextlib.contextmanager
def memory_of(most):
    """Assert that what is done within takes at most so many bytes at a time."""
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        yield
        took = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert took <= most, f"{took:,} bytes, above {most:,}"
