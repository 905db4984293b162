"""Input pipelines as peers: an epoch of shuffled batches; in a growth curve our steps on them too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

import attrs
import numpy as np

import fnn
from bench import ours
from bench.job import Job
from bench.workloads import Batch, Workload, make_batches


def _plain(x: Any, y: Any, size: int, epoch: int) -> Iterator[Batch]:
    order = np.random.default_rng(epoch).permutation(len(x))
    for start in range(0, len(x), size):
        rows = order[start : start + size]
        yield x[rows], y[rows]


def make(workload: Workload, batches: list[Batch], peer: str) -> Job:
    """Return the job of a peer: its step is an epoch over the workload's images."""
    ((x, y),) = make_batches(attrs.evolve(workload, batch=workload.images), 1)
    size = workload.batch
    if peer == "torch":
        torch: Any = import_module("torch")
        held = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
        loader = torch.utils.data.DataLoader(held, batch_size=size, shuffle=True)
    dataset = fnn.Dataset(x, y)

    def epoch(i: int) -> Iterable[Any]:
        if peer == "torch":
            return loader
        if peer == "numpy":
            return _plain(x, y, size, i)
        return fnn.batches(dataset, size, key=fnn.Key.of(0).fold("epoch", i))

    if workload.kind == "epoch":
        step, now = fnn.jit(ours.train_step(workload)), ours.begin(workload)
        return Job(lambda i: fnn.scan(step, now, epoch(i))[1]["loss"][-1], range(64))

    def count(i: int) -> int:
        return sum(len(targets) for _, targets in epoch(i))

    def outputs() -> list[float]:
        # Every image once, in whatever order.
        seen = [(float(b[0].sum()), float(b[1].sum()), len(b[1])) for b in epoch(0)]
        return [sum(each) for each in zip(*seen, strict=True)]

    return Job(count, range(64), outputs=outputs)
