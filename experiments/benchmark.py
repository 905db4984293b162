"""How fast the library is beside PyTorch, JAX, scikit-learn and straightforward NumPy.

Every peer trains the same networks from the same weights on the same batches, each in a process of
its own; the processes take turns, so that noise hits all alike, and ratios are taken within a round.
What is not installed is left out (`pip install -e ".[bench,fast]"` brings all). `--check` compares with
plain NumPy alone and fails when a ratio exceeds its bound; `--growth` measures how time and memory
grow; `--compile` what a program costs before it pays; `--long` adds two whole trainings on MNIST
beside PyTorch ($FNN_DATA says where it is).

    python experiments/benchmark.py --growth --compile --long

Result: benchmark.md, benchmark.png, benchmark.json and growth.png in the run's folder (README.md has
the table); 10 minutes on two cores with `--growth --long`, `--check` alone half a minute.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import attrs
from bench import check, compiling, growth, picture, report
from bench.lockstep import measure
from bench.machine import describe
from bench.summary import summarize
from bench.worker import MODULES
from bench.workloads import LONG, WORKLOADS

from fnn import pictures
from fnn.experiment import Run, main, option
from fnn.files import write_line
from fnn.runs.config import plain


@attrs.frozen
class Config:
    """What can be set from the command line."""

    only: tuple[str, ...] = option((), "which workloads; all by default", among=[*WORKLOADS, *LONG])
    peers: tuple[str, ...] = option(tuple(MODULES), "which peers", among=MODULES)
    rounds: int = option(9, "how many blocks every peer runs", least=1)
    seconds: float = option(0.4, "how long a block is", least=0.001)
    check: bool = option(False, "only compare with plain NumPy; status 1 if that became too slow")
    compile: bool = option(False, "measure what programs cost too")
    growth: bool = option(False, "measure growth curves too")
    long: bool = option(False, "train twice on MNIST too")
    picture: bool = option(True, "draw benchmark.png")
    out: Path = option(Path("out/benchmark"), "folder for the report")


def train(config: Config, run: Run) -> dict[str, Any]:
    """Measure, and write the report."""
    if config.check:
        failures = check.failures(config.only, run.say)
        if failures:
            write_line("\n".join(failures), sys.stderr)
            raise SystemExit(1)
        return {"check": "passed"}
    if config.picture:
        pictures.require()
    machine, rows = describe(), {}
    for name in config.only or (*WORKLOADS, *(LONG if config.long else ())):
        workload = (WORKLOADS | LONG)[name]
        rounds = workload.epochs if workload.kind == "training" else config.rounds
        rows[name] = summarize(workload, measure(name, list(config.peers), rounds, config.seconds))
        run.say(report.words(name, rows[name]))
    grown = growth.curves(min(config.rounds, 5), config.seconds / 4, run.say) if config.growth else {}
    made = {}
    for name in compiling.KINDS if config.compile else ():
        made[name] = compiling.measure(name, 3)
        run.say("  ".join(compiling.row(name, made[name])))
    about = {"machine": machine, "workloads": rows, "compile": made, "growth": grown}
    run.path("benchmark.json").write_text(json.dumps(plain(about), indent=1) + "\n", "utf-8")
    text = report.markdown(machine, rows)
    text += "".join(f"\n{each.table(of)}" for each, of in ((compiling, made), (growth, grown)) if of)
    run.path("benchmark.md").write_text(text, "utf-8")
    if config.picture:
        picture.draw(run.path("benchmark.png"), rows)
        if grown:
            growth.draw(run.path("growth.png"), grown)
    bars = [bar["met"] for row in rows.values() for bar in row["bars"]]
    return {"bars": len(bars), "met": sum(bars)}


if __name__ == "__main__":
    main(train, Config)
