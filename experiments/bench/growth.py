"""How time and memory of a step grow: measured curves, each point in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.lockstep import measure
from bench.report import duration
from bench.sizes import SIZES
from fnn.runs.tables import markdown_table


def exponent(sizes: list[int], values: list[float]) -> float | None:
    """Return the slope in log-log over the upper half, by least squares; None if nothing grew."""
    half = len(sizes) // 2
    if min(values[half:]) <= 0:
        return None
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])


def curves(rounds: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure every curve; return sizes, seconds, MiB above the start, and the two exponents."""
    found = {}
    for axis, sizes in SIZES.items():
        times, sizes_mib = [], []
        for n in sizes:
            entry = measure(f"{axis}={n}", ["fnn"], rounds, seconds)["fnn"]
            times.append(median(entry["seconds"]))
            sizes_mib.append(entry["peak"] - entry["before"])
        found[axis] = {
            "sizes": list(sizes),
            "seconds": times,
            "mib": sizes_mib,
            "time_exponent": exponent(list(sizes), times),
            "memory_exponent": exponent(list(sizes), sizes_mib),
        }
        say(", ".join(line(axis, found[axis])))
    return found


def _power(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def line(axis: str, curve: dict[str, Any]) -> list[str]:
    """Return one row of the table."""
    sizes, times, mib = curve["sizes"], curve["seconds"], curve["mib"]
    return [
        f"{axis} {sizes[0]}–{sizes[-1]}",
        f"{duration(times[0])}–{duration(times[-1])}",
        _power(curve["time_exponent"]),
        f"{mib[0]:.0f}–{mib[-1]:.0f} MiB",
        _power(curve["memory_exponent"]),
    ]


def table(found: dict[str, Any]) -> str:
    """Return the curves' ends and exponents in Markdown."""
    head = ["what grows", "a step, or an epoch", "exponent", "memory of it", "exponent"]
    rows = [line(axis, curve) for axis, curve in found.items()]
    return f"## Growth\n\n{markdown_table(head, rows)}\n"


def draw(path: Path, found: dict[str, Any]) -> None:
    """Draw time above and memory below, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, axes = plt.subplots(
        2, len(found), figsize=(3.1 * len(found), 5.6), squeeze=False, layout="constrained"
    )
    rows = (("seconds", "time_exponent", "#0072B2"), ("mib", "memory_exponent", "#D55E00"))
    for (name, power, colour), line_of_axes in zip(rows, axes, strict=True):
        for (axis, curve), at in zip(found.items(), line_of_axes, strict=True):
            sizes, values = curve["sizes"], np.maximum(curve[name], 1e-9)
            at.loglog(sizes, values, "o-", color=colour, markersize=5, linewidth=1.8)
            at.set_xticks(sizes, [f"{n:,}" for n in sizes], fontsize=7)
            at.xaxis.set_minor_formatter(NullFormatter())
            at.yaxis.set_major_formatter(NullFormatter())
            at.yaxis.set_minor_formatter(NullFormatter())
            at.margins(x=0.2, y=0.18)
            for n, value in zip(sizes, values, strict=True):
                text = duration(value) if name == "seconds" else f"{value:.3g} MiB"
                at.annotate(
                    text, (n, value), (-3, 4), textcoords="offset points", ha="right", fontsize=7
                )
            at.grid(alpha=0.25)
            at.spines[["top", "right"]].set_visible(False)
            at.set_xlabel(axis)
            if curve[power] is not None:
                at.set_title(f"exponent {curve[power]:.2f}", fontsize=10, color=colour)
    axes[0, 0].set_ylabel("time of a step or epoch")
    axes[1, 0].set_ylabel("memory above the start")
    figure.suptitle("How time and memory grow; exponents over the upper half", fontsize=13)
    figure.savefig(path, dpi=130)
    plt.close(figure)
