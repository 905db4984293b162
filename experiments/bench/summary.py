"""Medians, ratios and whether the bars are met."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from bench.workloads import Workload

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
    if "fnn" not in times:
        return row
    row["ratios"] = {peer: compare(times["fnn"], each) for peer, each in times.items() if peer != "fnn"}
    rivals = [peer for peer in RIVALS if peer in times]
    bars = dict(workload.bars)
    if rivals:
        row["best"] = min(rivals, key=medians.__getitem__)
        if workload.bar is not None:
            bars = {row["best"]: min(workload.bar, bars.pop(row["best"], workload.bar)), **bars}
    for peer, most in bars.items():
        if peer in times:
            met = row["ratios"][peer]["median"] <= most
            row["bars"].append({"peer": peer, "most": most, "met": met})
    if "bare" in row["ratios"]:
        row["overhead"] = row["ratios"]["bare"]["median"] - 1
    return row
