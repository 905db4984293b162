"""How fast the library is beside PyTorch, JAX, scikit-learn and straightforward NumPy.

    python experiments/benchmark.py

Result: a table. 10 minutes on two cores.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
from bench.lockstep import measure
from bench.report import table
from bench.summary import summarize
from bench.worker import MODULES
from bench.workloads import LONG, WORKLOADS

from fnn.config import plain
from fnn.experiment import Run, main, option


@attrs.frozen
class Config:
    """What can be set from the command line."""

    only: tuple[str, ...] = option((), "which workloads; all by default", among=[*WORKLOADS, *LONG])
    peers: tuple[str, ...] = option(tuple(MODULES), "which peers", among=MODULES)
    rounds: int = option(9, "how many blocks every peer runs", least=1)
    seconds: float = option(0.4, "how long a block is", least=0.001)
    out: Path = option(Path("out/benchmark"), "folder for the report")


def train(config: Config, run: Run) -> dict[str, Any]:
    """Measure, and write the report."""
    rows = {}
    for name in config.only or WORKLOADS:
        workload = (WORKLOADS | LONG)[name]
        found = measure(name, list(config.peers), config.rounds, config.seconds)
        rows[name] = summarize(workload, found)
        run.say(table({name: rows[name]}))
    run.path("benchmark.json").write_text(json.dumps(plain({"workloads": rows}), indent=1), "utf-8")
    run.path("benchmark.md").write_text(table(rows), "utf-8")
    return {}


if __name__ == "__main__":
    main(train, Config)
