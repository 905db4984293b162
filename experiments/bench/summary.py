"""Medians, ratios and whether the bars are met."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from bench.workloads import Workload

OURS = ("fnn", "fnn_fast")
"""The list of NumPy calls, and machine code."""

RIVALS = ("torch", "jax_jit", "jax_scan")
"""Whose best our bars are against."""


def ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Return the median and the quartiles of the ratios within each round."""
    low, middle, high = np.percentile(np.array(ours) / np.array(theirs), [25, 50, 75]).tolist()
    return {"median": middle, "low": low, "high": high}


def _whole(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Return the ratio of two whole trainings, with the quartiles over their epochs."""
    return {**ratio(ours, theirs), "median": sum(ours) / sum(theirs)}


def summarize(workload: Workload, found: dict[str, Any]) -> dict[str, Any]:
    """Return what the report says of one workload."""
    times = {peer: entry["seconds"] for peer, entry in found.items() if "seconds" in entry}
    whole = workload.kind == "training"
    medians = {peer: (sum if whole else median)(each) for peer, each in times.items()}
    compare = _whole if whole else ratio
    row: dict[str, Any] = {"medians": medians, "peers": found, "ratios": {}, "bars": []}
    row["training"] = whole
    rivals = [peer for peer in RIVALS if peer in times]
    if rivals:
        row["best"] = min(rivals, key=medians.__getitem__)
    row["ratios"] = {
        ours: {peer: compare(times[ours], each) for peer, each in times.items() if peer != ours}
        for ours in OURS
        if ours in times
    }
    for ours, bars in (("fnn", workload.bars), ("fnn_fast", workload.fast)):
        for name, most in bars.items():
            peer = row.get("best") if name == "best" else name
            if ours in times and peer in times:
                met = row["ratios"][ours][peer]["median"] <= most
                row["bars"].append({"ours": ours, "peer": peer, "most": most, "met": met})
    if "bare" in row["ratios"].get("fnn", {}):
        row["overhead"] = row["ratios"]["fnn"]["bare"]["median"] - 1
    return row
