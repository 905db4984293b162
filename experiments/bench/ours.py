"""This library as a peer: the network of a workload, its step, and the weights that all others take."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import fnn
from bench.job import Job
from bench.workloads import Batch, Workload

LOSSES: dict[str, Any] = {
    "mean": fnn.softmax_cross_entropy,
    "sum": fnn.summed(fnn.softmax_cross_entropy),
    "rows": fnn.softmax_cross_entropy_dense,
    "half_squared": fnn.half_squared_error,
}
LAYERS: dict[str, Any] = {
    "conv": fnn.Conv,
    "pool": fnn.MaxPool,
    "relu": fnn.Relu,
    "sigmoid": fnn.Sigmoid,
    "bn": fnn.BatchNorm,
    "flatten": fnn.Flatten,
    "dropout": fnn.Dropout,
}


def network(workload: Workload) -> fnn.Layer:
    """Return the network of a workload."""
    draws: dict[str, Any] = {"glorot": {}}
    for draw, initializer in (("normal", fnn.normal(1.0)), ("uniform", fnn.uniform(-4, 4))):
        draws[draw] = {"init_w": initializer, "init_b": initializer}
    return fnn.serial(
        *(
            fnn.Dense(*numbers, **draws[workload.init]) if name == "dense" else LAYERS[name](*numbers)
            for name, *numbers in workload.layers
        )
    )


def begin(workload: Workload) -> fnn.TrainState:
    """Return the state before the first step."""
    optimizer = fnn.OPTIMIZERS[workload.optimizer[0]](workload.optimizer[1])
    return fnn.init_train_state(network(workload), optimizer, workload.in_shape, fnn.Key.of(0))


def train_step(workload: Workload) -> Any:
    """Return the pure step."""
    optimizer = fnn.OPTIMIZERS[workload.optimizer[0]](workload.optimizer[1])
    return fnn.train_step(network(workload), LOSSES[workload.loss], optimizer)


def weights(workload: Workload) -> list[dict[str, Any]]:
    """Return the first weights, writable copies, one dict per layer, empty where there are none."""
    there = list(begin(workload).params.values())
    return [
        {name: np.array(leaf) for name, leaf in there.pop(0).items()}
        if layer[0] in ("conv", "dense", "bn")
        else {}
        for layer in workload.layers
    ]


def make(workload: Workload, batches: list[Batch], peer: str) -> Job:
    """Return the job of `fnn` or `fnn_step`."""
    net, now = network(workload), begin(workload)
    if workload.kind == "predict":
        images = [x for x, _ in batches]
        return Job(
            lambda x: fnn.predict(net, now, x),
            images,
            outputs=lambda: fnn.predict(net, now, images[0])[0].tolist(),
        )
    first, plain = now, train_step(workload)

    def reset() -> None:
        nonlocal now
        now = first

    def step(batch: Batch) -> Any:
        nonlocal now
        now, logs = plain(now, batch)
        return logs["loss"]

    jitted = fnn.jit(plain)

    def scan(start: int, n: int) -> Any:
        nonlocal now
        now, logs = fnn.scan(jitted, now, itertools.islice(itertools.cycle(batches), start, start + n))
        return logs["loss"][-1]

    return Job(step, batches, reset, many=scan if peer == "fnn" else None)
