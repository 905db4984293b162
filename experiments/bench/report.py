"""The report in Markdown."""

from __future__ import annotations

from typing import Any

from bench.machine import sentence
from bench.worker import MODULES
from fnn.runs.tables import markdown_table


def duration(seconds: float) -> str:
    """Return seconds with three digits, in the unit that suits them."""
    unit, size = next(
        (each for each in (("s", 1.0), ("ms", 1e-3)) if seconds >= 0.9995 * each[1]), ("µs", 1e-6)
    )
    return f"{seconds / size:.3g} {unit}" if seconds < 999.5 * size else f"{seconds / size:.0f} {unit}"


def _ratio(row: dict[str, Any], peer: str | None) -> str:
    if peer not in row["ratios"]:
        return "–"
    r = row["ratios"][peer]
    return f"{r['median']:.2f} ({r['low']:.2f}–{r['high']:.2f}) {peer}"


def _bars(row: dict[str, Any]) -> str:
    verdicts = [
        f"{bar['most']} {bar['peer']} ({row['ratios'][bar['peer']]['median']:.2f}): "
        + ("met" if bar["met"] else "**missed**")
        for bar in row["bars"]
    ]
    return "; ".join(verdicts) or "–"


def _memory(entry: dict[str, Any]) -> str:
    return f"{entry['peak']:.0f} (+{entry['peak'] - entry['before']:.0f})" if "peak" in entry else "–"


def _times(row: dict[str, Any], peers: list[str]) -> list[str]:
    return [duration(row["medians"][peer]) if peer in row["medians"] else "–" for peer in peers]


def words(name: str, row: dict[str, Any]) -> str:
    """Return a line for the screen."""
    there = [peer for peer in MODULES if peer in row["medians"]]
    times = ", ".join(f"{p} {text}" for p, text in zip(there, _times(row, there), strict=True))
    verdict = "" if not row["bars"] else f"; bar {_bars(row)}"
    return "\n".join([f"{name}: {times}{verdict}", *(f"  {each}" for each in _troubles(name, row))])


def _troubles(name: str, row: dict[str, Any]) -> list[str]:
    said = {peer: entry.get("trouble", "–") for peer, entry in row["peers"].items()}
    return [f"{name}, {peer}: {trouble}" for peer, trouble in said.items() if trouble != "–"]


def _notes(name: str, row: dict[str, Any]) -> list[str]:
    notes = _troubles(name, row)
    if row["bars"] and "jax_scan" in row["ratios"] and row.get("best") != row["bars"][0]["peer"]:
        notes.append(f"{name}: fnn / {_ratio(row, 'jax_scan')}")
    for peer, entry in row["peers"].items():
        if row["training"] and "values" in entry:
            last, best = entry["values"][-1], max(entry["values"])
            notes.append(f"{name}, {peer}: test accuracy {last:.2%}, {best:.2%} in the best epoch")
    return notes


ABOUT = """
Medians of the time of a step; of an epoch for input_pipeline, and whole trainings where they are. A bar
is the most that our time may be of the best of torch, jax_jit and jax_scan, or of the peer it names.
MiB: the whole process at its peak, and above what it took after imports and data. Over bare: over the
same mathematics in bare NumPy calls.
"""


def markdown(machine: dict[str, Any], rows: dict[str, Any]) -> str:
    """Return the whole report but for the growth curves."""
    peers = [peer for peer in MODULES if any(peer in row["medians"] for row in rows.values())]
    head = ["workload", *peers, "fnn / best rival", "bar", "MiB fnn", "MiB torch", "over bare"]
    table = []
    for name, row in rows.items():
        overhead = f"{row['overhead']:+.0%}" if "overhead" in row else "–"
        sizes = [_memory(row["peers"].get(peer, {})) for peer in ("fnn", "torch")]
        cells = [name, *_times(row, peers), _ratio(row, row.get("best")), _bars(row), *sizes, overhead]
        table.append(cells)
    notes = [f"- {note}" for name, row in rows.items() for note in _notes(name, row)]
    return (
        "\n".join(
            ["# Benchmark", "", sentence(machine), "", markdown_table(head, table), ABOUT, *notes]
        )
        + "\n"
    )
