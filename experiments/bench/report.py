"""The report in Markdown."""

from __future__ import annotations

from typing import Any

from bench.worker import MODULES


def duration(seconds: float) -> str:
    """Return seconds with three digits, in the unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            break
    return f"{seconds / size:.3g} {unit}" if seconds / size < 1000 else f"{seconds / size:.0f} {unit}"


def _ratios(row: dict[str, Any]) -> str:
    best = row.get("best")
    if best is None:
        return "–"
    r = row["ratios"][best]
    return f"**{r['median']:.2f}** ({r['low']:.2f}–{r['high']:.2f}) of {best}"


def _bars(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{bar['most']} of {bar['peer']}: {'met' if bar['met'] else '**missed**'}"
        for bar in row["bars"]
    )


def _line(name: str, row: dict[str, Any], peers: list[str]) -> str:
    cells = [duration(row["medians"][peer]) if peer in row["medians"] else "–" for peer in peers]
    overhead = f"{row['overhead']:+.0%}" if "overhead" in row else "–"
    entries = [row["peers"].get(peer, {}) for peer in ("fnn", "torch")]
    sizes = [
        f"{entry['peak']:.0f} ({entry['peak'] - entry['before']:+.0f})" if "peak" in entry else "–"
        for entry in entries
    ]
    return " | ".join(["", name, *cells, _ratios(row), _bars(row) or "–", *sizes, overhead, ""]).strip()


def table(rows: dict[str, Any]) -> str:
    """Return the table of all workloads, and what went wrong below it."""
    peers = [peer for peer in MODULES if any(peer in row["peers"] for row in rows.values())]
    head = ["workload", *peers, "ours / best rival", "bar", "MiB, fnn", "MiB, torch", "over bare"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [_line(name, row, peers) for name, row in rows.items()]
    troubles = [
        f"- {name}, {peer}: {entry['trouble']}"
        for name, row in rows.items()
        for peer, entry in row["peers"].items()
        if entry.get("trouble", "–") != "–"
    ]
    return "\n".join(lines + [""] * bool(troubles) + troubles) + "\n"
