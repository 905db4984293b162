"""What a run ran on: versions, BLAS, processor, platform, and the commit of its script."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = ("versions", "blas", "cpu", "cores", "platform", "git", "script", "network", "data")
"""Entries of run.json that may explain why two runs of one config differ."""
LATER = ("train", "modules", "fnn")
"""Those that older runs do not have, which is no change."""
CODE = ("script: ", "train: ", "modules.", "fnn: ")
"""How the lines of `changes` begin that are of code."""


def conditions(script: Path | None) -> dict[str, Any]:
    """Return what run.json says of the machine and the code; never raises, never uses the network.

    Args:
        script: The file that trains, whose repository is asked for its commit.
    """
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("numpy", "fnn", "attrs")},
        },
        "blas": blas(),
        "cpu": _cpu(),
        "cores": _cores(),
        "platform": platform.platform(),
        "git": None if script is None else _git(script.resolve()),
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a line for every recorded condition in which two runs differ."""
    names = [*RECORDED, *(name for name in LATER if name in before and name in after)]
    old, new = (_flat({name: run.get(name) for name in names}) for run in (before, after))
    return [
        f"{name}: {old.get(name)} -> {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _flat(entries: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entries.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def blas() -> dict[str, Any]:
    """Return what linear algebra NumPy was built with, the kernel it chose and its threads now."""
    built: Any = np.show_config(mode="dicts")
    built = built.get("Build Dependencies", {}).get("blas", {})
    return {
        "name": built.get("name"),
        "version": built.get("version"),
        "config": built.get("openblas configuration"),
        **_blas_at_work(),
    }


def _blas_at_work() -> dict[str, Any]:
    """Return the kernel and the number of threads that BLAS works with."""
    with contextlib.suppress(Exception):
        # An optional package, which alone can see what the library chose on this processor.
        found = importlib.import_module("threadpoolctl").threadpool_info()
        pools = [pool for pool in found if pool.get("user_api") == "blas"]
        # Several libraries may be loaded: the one beside NumPy's own files is NumPy's.
        pools.sort(key=lambda pool: "numpy" not in str(pool.get("filepath")))
        return {"kernel": pools[0].get("architecture"), "threads": pools[0]["num_threads"]}
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdecimal():
            return {"kernel": None, "threads": int(os.environ[name])}
    return {"kernel": None, "threads": _cores()}


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _git(script: Path) -> dict[str, Any] | None:
    """Return the commit of the repository around `script`, whether files differ from it, and how."""

    def ask(*words: str) -> str:
        # Without this, a mere question for the status may write to the index.
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        done = subprocess.run(
            ["git", "-C", str(script.parent), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        return done.stdout.strip()

    try:
        dirty = ask("status", "--porcelain", "--untracked-files=no")
        # A script that no commit has is no part of this one.
        known = ask("ls-files", "--", script.name)
        changed = hashlib.sha256(ask("diff", "HEAD").encode()).hexdigest() if dirty else None
        return {
            "commit": ask("rev-parse", "HEAD"),
            "dirty": bool(dirty) or not known,
            "changes": changed,
        }
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
