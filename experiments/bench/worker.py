"""A worker process: one peer on one workload, driven by lines of JSON on standard input.

`python -m bench.worker WORKLOAD PEER` answers every command with a line of JSON: {"do": "first"} with
the losses of the first steps, {"do": "calibrate", "seconds": s} with how many steps fill s seconds,
{"do": "block", "n": n, "skip": k} with the seconds of n steps after k others, and its peak memory.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from typing import Any

import numpy as np

from bench.job import Job, Unavailable
from bench.resident import memory, start_counting
from bench.sizes import GROWTH
from bench.workloads import LONG, WORKLOADS, Workload, make_batches

MODULES = {
    "fnn": "ours", "fnn_fast": "ours", "fnn_step": "ours",
    "torch": "pytorch", "torch_compile": "pytorch",
    "jax_jit": "xla", "jax_scan": "xla", "sklearn": "scikit", "numpy": "plain", "bare": "bare",
}  # fmt: skip
OTHER_KINDS = {"pipeline": "pipeline", "epoch": "pipeline", "training": "training"}
PEERS = {
    "step": list(MODULES),
    "predict": ["fnn", "fnn_fast", "torch", "torch_compile", "jax_jit", "numpy", "bare"],
    "pipeline": ["fnn", "torch", "numpy"],
    "epoch": ["fnn"],
    "training": ["fnn", "fnn_fast", "torch"],
}
PARTS = {
    "swish": "fnn torch jax",
    **dict.fromkeys(
        ("stage", "global_max_pool", "embedding", "positions", "lstm", "block", "layer_norm"),
        "fnn torch",
    ),
}
"""Which peers have a layer that not all of them have."""


def has(peer: str, workload: Workload) -> bool:
    """Return whether a peer is meant to have a workload."""
    family = peer.partition("_")[0]
    layers = all(family in PARTS.get(name, family).split() for name, *_ in workload.layers)
    return layers and peer in PEERS[workload.kind]


def make_job(workload: Workload, peer: str) -> Job:
    """Return the job of a peer on a workload; raises Unavailable if there is none."""
    if not has(peer, workload):
        raise Unavailable("–")
    batches = make_batches(workload) if workload.kind in ("step", "predict") else []
    try:
        module = import_module(f"bench.{OTHER_KINDS.get(workload.kind, MODULES[peer])}")
    except ImportError as error:
        raise Unavailable(f"not installed ({error.name})") from None
    start_counting()
    job: Job = module.make(workload, batches, peer)
    return job


def calibrate(job: Job, seconds: float) -> int:
    """Return how many steps, a multiple of the job's, take about so long; at least one."""
    n, took = job.multiple, 0.0
    job.start()
    job.run(n)
    while True:
        start = time.perf_counter()
        job.run(n)
        took = time.perf_counter() - start
        if took >= seconds / 4:
            return max(1, round(seconds / took * n / job.multiple)) * job.multiple
        n *= max(2, min(10, int(seconds / 2 / max(took, 1e-9))))


def block(job: Job, n: int, skip: int) -> dict[str, Any]:
    """Time n steps from the first weights, after some that wake up the threads."""
    job.start()
    if skip:
        job.run(skip)
    start = time.perf_counter()
    value = job.run(n)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "value": value, "peak": memory()[0]}


def answer(job: Job, command: dict[str, Any]) -> dict[str, Any]:
    """Carry out one command."""
    if command["do"] == "first":
        return {"first": job.first()}
    if command["do"] == "calibrate":
        if job.goes_on:
            return {"n": 1, "skip": 0}
        n = calibrate(job, command["seconds"])
        return {"n": n, "skip": max(1, n // job.multiple // 10) * job.multiple}
    return block(job, command["n"], command["skip"])


def serve(name: str, peer: str) -> None:
    """Answer commands until standard input ends."""
    # Libraries print; the answers go where standard output was, prints to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(reply: dict[str, Any]) -> None:
        answers.write(json.dumps(reply) + "\n")
        answers.flush()

    try:
        job = make_job((WORKLOADS | LONG | GROWTH)[name], peer)
        say({"ready": True, "before": memory()[1]})
        # Sigmoids of drawn weights overflow on the way to what is right.
        with np.errstate(all="ignore"):
            for line in sys.stdin:
                say(answer(job, json.loads(line)))
    except Unavailable as error:
        say({"unavailable": str(error)})
    except Exception as error:  # Whatever a peer dies of belongs in the table.
        say({"error": f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"})


if __name__ == "__main__":
    serve(*sys.argv[1:3])
