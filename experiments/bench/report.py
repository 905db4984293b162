"""The report in Markdown."""

from __future__ import annotations

from typing import Any

from bench.machine import sentence
from bench.summary import OURS
from bench.worker import MODULES
from fnn.runs.tables import markdown_table


def duration(seconds: float) -> str:
    """Return seconds with three digits, in the unit that suits them."""
    unit, size = next(
        (each for each in (("s", 1.0), ("ms", 1e-3)) if seconds >= 0.9995 * each[1]), ("µs", 1e-6)
    )
    return f"{seconds / size:.3g} {unit}" if seconds < 999.5 * size else f"{seconds / size:.0f} {unit}"


def _ratio(row: dict[str, Any], ours: str, peer: str | None) -> str:
    r = row["ratios"].get(ours, {}).get(peer)
    return f"{r['median']:.2f} ({r['low']:.2f}–{r['high']:.2f}) {peer}" if r else "–"


def _bars(row: dict[str, Any]) -> str:
    verdicts = [
        f"{bar['ours']} {bar['most']} {bar['peer']} "
        f"({row['ratios'][bar['ours']][bar['peer']]['median']:.2f}): "
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
    for peer, entry in row["peers"].items():
        if row["training"] and "values" in entry:
            last, best = entry["values"][-1], max(entry["values"])
            notes.append(f"{name}, {peer}: test accuracy {last:.2%}, {best:.2%} in the best epoch")
    return notes


ABOUT = """
Medians of the time of a step; of an epoch for input_pipeline, and whole trainings where they are. A bar
is the most that our time may be of that of a peer: of the best of torch, jax_jit and jax_scan, or of
one that was named before. fnn is the list of NumPy calls, fnn_fast machine code (extra "fast"),
fnn_step the step as it is written.
MiB: the whole process at its peak, and above what it took after imports and data. Over bare: over the
same mathematics in bare NumPy calls.
"""


def markdown(machine: dict[str, Any], rows: dict[str, Any]) -> str:
    """Return the whole report but for the growth curves."""
    peers = [peer for peer in MODULES if any(peer in row["medians"] for row in rows.values())]
    head = [
        "workload",
        *peers,
        "fnn / best rival",
        "fnn_fast / best rival",
        "bars",
        "MiB fnn",
        "MiB torch",
        "over bare",
    ]
    table = []
    for name, row in rows.items():
        overhead = f"{row['overhead']:+.0%}" if "overhead" in row else "–"
        sizes = [_memory(row["peers"].get(peer, {})) for peer in ("fnn", "torch")]
        ratios = [_ratio(row, ours, row.get("best")) for ours in OURS]
        cells = [name, *_times(row, peers), *ratios, _bars(row), *sizes, overhead]
        table.append(cells)
    notes = [f"- {note}" for name, row in rows.items() for note in _notes(name, row)]
    return (
        "\n".join(
            ["# Benchmark", "", sentence(machine), "", markdown_table(head, table), ABOUT, *notes]
        )
        + "\n"
    )
