"""The resident memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path


def start_counting() -> None:
    """Let the kernel forget the peak so far, where it can: imports have peaks of their own."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def memory() -> tuple[float, float]:
    """Return the resident memory of this process, at its peak and now, in MiB."""
    try:
        # Not ru_maxrss where there is a choice: on Linux a child starts with its parent's.
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
        return int(sizes["VmHWM"]) / 1024, int(sizes["VmRSS"]) / 1024
    except (OSError, KeyError):
        import resource

        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        return peak, peak
