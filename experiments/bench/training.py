"""Whole trainings on MNIST as peers, an epoch at a time, each with an evaluation after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fnn
from bench import ours
from bench.job import Job
from bench.workloads import Batch, Workload


def _data(workload: Workload) -> tuple[fnn.Dataset, fnn.Dataset]:
    # A part of MNIST is tested on the first 5,000 images, all of it on all.
    most = (workload.images, 5000 if workload.images < 60_000 else None)
    train, test, source = fnn.mnist_or_digits(None, flat=False, first=most)
    if len(train) < workload.images:
        raise fnn.DataError(f"expected {workload.images} images of MNIST, got {source}")
    return train, test


def _ours(workload: Workload, train: fnn.Dataset, test: fnn.Dataset) -> Callable[[int], float]:
    net, now = ours.network(workload), ours.begin(workload)
    step = fnn.jit(ours.train_step(workload))

    def epoch(i: int) -> float:
        nonlocal now
        batches = fnn.batches(train, workload.batch, key=now.key.fold("epoch", i))
        now, _ = fnn.scan(step, now, batches)
        return fnn.evaluate(net, now, test, fnn.accuracy)["accuracy"]

    return epoch


def _torch(workload: Workload, train: fnn.Dataset, test: fnn.Dataset) -> Callable[[int], float]:
    from bench import pytorch

    torch, net = pytorch.torch, pytorch.network(workload)
    loss, optimizer = pytorch.loss_of(workload), pytorch.optimizer(workload, net)
    (x, y), (test_x, test_y) = ((torch.tensor(d.x), torch.tensor(d.y)) for d in (train, test))

    def epoch(i: int) -> float:
        net.train()
        # Faster than a DataLoader, which collects every example by itself.
        for rows in torch.randperm(len(x)).split(workload.batch):
            optimizer.zero_grad()
            loss(net(x[rows]), y[rows]).backward()
            optimizer.step()
        net.eval()
        with torch.inference_mode():
            right = sum(
                int((net(some).argmax(1) == labels).sum())
                for some, labels in zip(test_x.split(200), test_y.split(200), strict=True)
            )
        return right / len(test_x)

    return epoch


def make(workload: Workload, batches: list[Batch], peer: str) -> Job:
    """Return the job of a peer: its step is an epoch, its value the accuracy after it."""
    if peer != "torch":
        ours.executed(peer)
    made: Any = _torch if peer == "torch" else _ours
    epoch = made(workload, *_data(workload))
    return Job(epoch, range(workload.epochs), goes_on=True, outputs=list)
