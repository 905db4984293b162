"""What the numbers were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """Return versions, processor, cores, the BLAS of NumPy and how busy the machine is now."""
    blas: Any = np.show_config(mode="dicts")
    blas = blas["Build Dependencies"]["blas"]
    packages = ("fnn", "numpy", "torch", "jax", "scikit-learn")
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: version for name in packages if (version := _version(name))},
        },
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "cpu": _cpu(),
        "cores": _cores(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def sentence(machine: dict[str, Any]) -> str:
    """Return the description as a line of Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    load = f"; load {machine['load'][0]:.1f} before" if machine["load"] else ""
    return f"{machine['cores']} cores, {machine['cpu']}; {versions}, {machine['blas']}{load}."
