"""Workers in lockstep: every round each runs one block while the others sleep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs

PAUSE = 0.05
"""Seconds between two blocks: a BLAS's threads go on spinning for a while after their last call."""

PATIENCE = 90.0
"""Seconds after which a peer that does not answer is given up: lax.scan takes minutes for lenet_128."""

AGREEMENT = 1e-4
"""How far the losses of two peers may be apart, relatively, in float32."""


@attrs.define
class Worker:
    """A process that runs one peer."""

    process: subprocess.Popen[str]
    trouble: str = ""

    def read(self) -> dict[str, Any]:
        """Return the next answer; one that is none goes into `trouble`."""
        assert self.process.stdout is not None
        patience = threading.Timer(PATIENCE, self.process.kill)
        patience.start()
        started = time.monotonic()
        line = self.process.stdout.readline()
        patience.cancel()
        late = time.monotonic() - started >= PATIENCE
        ended = f"no answer in {PATIENCE:.0f} s" if late else "the process ended"
        reply: dict[str, Any] = json.loads(line) if line else {"error": ended}
        self.trouble = reply.get("unavailable", reply.get("error", ""))
        return reply

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and return the answer."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.trouble = self.trouble or "the process ended"
            return {}
        return self.read()


def environment() -> dict[str, str]:
    """Return that of a process that finds this package."""
    folder = str(Path(__file__).resolve().parents[1])
    paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def started(workload: str, peer: str) -> Iterator[Worker]:
    """Start a worker, and end it whatever happens, a Ctrl-C too."""
    with tempfile.TemporaryFile("w+") as noise:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", workload, peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
            encoding="utf-8",
            env=environment(),
            start_new_session=True,
        )
        try:
            yield Worker(process)
        finally:
            process.kill()
            process.communicate()


def same(a: list[float], b: list[float]) -> bool:
    """Return whether two lists of losses agree."""
    return len(a) == len(b) and all(
        abs(x - y) <= AGREEMENT * max(abs(x), abs(y), 1e-3) for x, y in zip(a, b, strict=True)
    )


def measure(workload: str, peers: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Return per peer the seconds per step of every round and its memory, or what its trouble was."""
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        ready: dict[str, Worker] = {}
        plans: dict[str, dict[str, Any]] = {}
        first: list[float] = []
        for peer in peers:
            worker = stack.enter_context(started(workload, peer))
            before = worker.read().get("before", 0.0)
            losses = [] if worker.trouble else worker.ask(do="first").get("first", [])
            first = first or losses
            if not worker.trouble and not same(losses, first):
                worker.trouble = f"computes something else: {losses} instead of {first}"
            plan = {} if worker.trouble else worker.ask(do="calibrate", seconds=seconds)
            if worker.trouble:
                found[peer] = {"trouble": worker.trouble}
                continue
            ready[peer], plans[peer] = worker, plan
            found[peer] = {"seconds": [], "values": [], "before": before, "steps": plan["n"]}
            time.sleep(PAUSE)
        for i in range(rounds):
            order = deque(ready)
            order.rotate(-i)
            for peer in order:
                reply = ready[peer].ask(do="block", **plans[peer])
                if ready[peer].trouble:
                    found[peer] = {"trouble": ready.pop(peer).trouble}
                    continue
                found[peer]["seconds"].append(reply["seconds"] / plans[peer]["n"])
                found[peer]["values"].append(reply["value"])
                found[peer]["peak"] = reply["peak"]
                time.sleep(PAUSE)
    return found
