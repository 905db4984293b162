"""The bar chart: a panel per workload, every peer a bar, ours in colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.report import duration
from bench.summary import OURS as BOTH
from bench.worker import MODULES

NAMES = {
    "fnn": "fnn", "fnn_fast": "fnn, machine code", "fnn_step": "fnn, plain step", "torch": "PyTorch",
    "torch_compile": "PyTorch compiled",
    "jax_jit": "JAX jit", "jax_scan": "JAX scan", "sklearn": "scikit-learn",
    "numpy": "NumPy, plain", "bare": "NumPy, bare calls",
}  # fmt: skip
OURS, RIVAL, OTHER = "#0072B2", "#E69F00", "#B8BEC6"
WIDE = 25.0
"""From which ratio of the slowest to the fastest on an axis is logarithmic."""


def _panel(at: Any, name: str, row: dict[str, Any]) -> None:
    medians = row["medians"]
    peers = [peer for peer in MODULES if peer in medians]
    values = [medians[peer] for peer in peers]
    colours = [OURS if p in BOTH else RIVAL if p == row.get("best") else OTHER for p in peers]
    at.barh(range(len(peers)), values, color=colours, height=0.72)
    at.set_yticks(range(len(peers)), [NAMES[peer] for peer in peers], fontsize=9)
    at.invert_yaxis()
    for label, peer in zip(at.get_yticklabels(), peers, strict=True):
        label.set_fontweight("bold" if peer in BOTH else "normal")
    if max(values) > WIDE * min(values):
        at.set_xscale("log")
        at.set_xlim(min(values) / 2, max(values) * 6)
        scale = ", logarithmic"
    else:
        at.set_xlim(0, max(values) * 1.28)
        scale = ""
    for i, value in enumerate(values):
        weight = "bold" if peers[i] in BOTH else "normal"
        text = f" {duration(value)}"
        at.text(value, i, text, va="center", fontsize=9, fontweight=weight, color="#222222")
    verdict = ""
    found = [f"{row['ratios'][o][row['best']]['median']:.2f}" for o in row["ratios"] if "best" in row]
    if found:
        verdict = f"  {', '.join(found)} × {NAMES[row['best']]}"
    at.set_title(name, fontsize=11, fontweight="bold", loc="left")
    at.set_title(verdict + scale, fontsize=9, loc="right", color="#555555")
    at.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
    at.tick_params(axis="y", length=0)
    at.spines[["top", "right", "bottom"]].set_visible(False)


def draw(path: Path, rows: dict[str, Any]) -> None:
    """Draw the medians of all workloads that have any."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    rows = {name: row for name, row in rows.items() if row["medians"]}
    columns = min(3, len(rows)) or 1
    lines = -(-len(rows) // columns) or 1
    figure, axes = plt.subplots(
        lines, columns, figsize=(5.2 * columns, 0.9 + 2.7 * lines), squeeze=False, layout="constrained"
    )
    for at in axes.flat[len(rows) :]:
        at.set_visible(False)
    for at, (name, row) in zip(axes.flat, rows.items(), strict=False):
        _panel(at, name, row)
    title = "Median time of a step; shorter is better (blue: fnn, orange: best of PyTorch and JAX)"
    figure.suptitle(title, fontsize=13)
    figure.savefig(path, dpi=130)
    plt.close(figure)
