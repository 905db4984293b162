"""`--compile`: what a program costs before it pays, each executor in a process of its own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from statistics import median
from typing import Any

import fnn
from bench import ours
from bench.lockstep import environment
from bench.report import duration
from bench.workloads import WORKLOADS, make_batches
from fnn.runs.tables import markdown_table

FIRST, LATER = 12, 24
"""Steps until every program is trusted, and steps that are timed after them."""

KINDS = tuple(name for name, each in WORKLOADS.items() if each.kind == "step")


ABOUT = f"""
Single calls of `jit`. To make: what the first {FIRST} steps took beyond as many later ones; pays after:
how many steps it takes until that is made up for.
"""


def timed(name: str, peer: str) -> dict[str, float]:
    """Return the seconds of the first step, of the first ones together, and of a later one."""
    ours.executed(peer)
    workload = WORKLOADS[name]
    step, now = fnn.jit(ours.train_step(workload)), ours.begin(workload)
    batches, seconds = make_batches(workload), []
    for i in range(FIRST + LATER):
        start = time.perf_counter()
        now, _ = step(now, batches[i % len(batches)])
        seconds.append(time.perf_counter() - start)
    return {"first": seconds[0], "together": sum(seconds[:FIRST]), "later": median(seconds[FIRST:])}


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Return of each executor the medians over rounds in processes of their own."""
    found: dict[str, Any] = {}
    for peer in ("fnn_step", "fnn", "fnn_fast"):
        code = "import json, sys; from bench.compiling import timed; "
        code += "print(json.dumps(timed(*sys.argv[1:])))"
        answers = []
        for _ in range(rounds):
            done = subprocess.run(
                [sys.executable, "-c", code, name, peer],
                capture_output=True,
                text=True,
                env=environment(),
                check=False,
            )
            if done.returncode:
                break
            answers.append(json.loads(done.stdout.splitlines()[-1]))
        if answers:
            found[peer] = {key: median(each[key] for each in answers) for key in answers[0]}
    return found


def cost(found: dict[str, Any], peer: str) -> float:
    """Return the seconds that the first steps took beyond as many later ones."""
    own = found[peer]
    return max(0.0, float(own["together"] - FIRST * own["later"]))


def even(found: dict[str, Any], peer: str) -> float:
    """Return after how many steps a program has taken no longer than the step as it is written."""
    saved = found["fnn_step"]["later"] - found[peer]["later"]
    lost = cost(found, peer) - cost(found, "fnn_step")
    return math.inf if saved <= 0 else max(0.0, lost / saved)


def row(name: str, found: dict[str, Any]) -> list[str]:
    """Return one line of the table."""
    cells = [name, duration(found["fnn_step"]["later"])]
    for peer in ("fnn", "fnn_fast"):
        if peer not in found:
            cells += ["–"] * 3
            continue
        steps = even(found, peer)
        cells += [
            duration(found[peer]["later"]),
            duration(cost(found, peer)),
            "never" if math.isinf(steps) else f"{steps:,.0f}",
        ]
    return cells


def table(found: dict[str, Any]) -> str:
    """Return the section of the report in Markdown."""
    head = [
        "workload",
        "plain step",
        "list",
        "to make",
        "pays after",
        "machine code",
        "to make",
        "pays after",
    ]
    rows = [row(name, each) for name, each in found.items()]
    return f"## What a program costs\n\n{markdown_table(head, rows)}\n{ABOUT}"
