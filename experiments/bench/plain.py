"""The straightforward NumPy version as a peer: what one writes who has read how it works."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.job import Job
from bench.ours import weights
from bench.plain_layers import BatchNorm, Conv, Dense, Flatten, Pool, Relu, Sigmoid
from bench.workloads import Batch, Workload

PARAMETRIC = {"dense": Dense, "conv": Conv, "bn": BatchNorm}
OTHERS: dict[str, Any] = {"pool": Pool, "relu": Relu, "sigmoid": Sigmoid, "flatten": Flatten}


def network(workload: Workload) -> list[Any]:
    """Return the layers with our first weights."""
    return [
        PARAMETRIC[name](params) if name in PARAMETRIC else OTHERS[name](*numbers)
        for (name, *numbers), params in zip(workload.layers, weights(workload), strict=True)
    ]


def forward(layers: list[Any], x: Any) -> Any:
    """Return the outputs."""
    for layer in layers:
        x = layer.forward(x)
    return x


def loss_of(kind: str, y: Any, t: Any) -> Any:
    """Return the loss of outputs and targets, and its gradient."""
    if kind == "half_squared":
        return 0.5 * ((y - t) ** 2).sum(), y - t
    if kind != "rows":
        t = np.eye(y.shape[1], dtype=y.dtype)[t]
    shifted = y - y.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss, dy = -(t * logs).sum(), np.exp(logs) - t
    return (loss, dy) if kind == "sum" else (loss / len(y), dy / len(y))


class Optimizer:
    """Updates every array of every layer, with a dict of what it remembers."""

    def __init__(self, name: str, rate: float) -> None:
        self.name, self.rate, self.t = name, rate, 0
        self.memory: dict[tuple[int, str], tuple[Any, Any]] = {}

    def update(self, layers: list[Any]) -> None:
        """Move the weights."""
        self.t += 1
        for i, layer in enumerate(layers):
            for name, g in getattr(layer, "grads", {}).items():
                m, v = self.memory.get((i, name), (np.zeros_like(g), np.zeros_like(g)))
                u = g
                if self.name == "momentum":
                    u = m = 0.9 * m + g
                elif self.name == "rmsprop":
                    v = 0.9 * v + 0.1 * g**2
                    u = g / (np.sqrt(v) + 1e-6)
                elif self.name == "adam":
                    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
                    u = m / (1 - 0.9**self.t) / (np.sqrt(v / (1 - 0.999**self.t)) + 1e-8)
                self.memory[i, name] = m, v
                layer.params[name] = layer.params[name] - self.rate * u


def make(workload: Workload, batches: list[Batch], peer: str) -> Job:
    """Return the job of `numpy`."""
    layers, optimizer = network(workload), Optimizer(*workload.optimizer)
    if workload.kind == "predict":
        images = [x for x, _ in batches]
        outputs = lambda: forward(layers, images[0])[0].tolist()  # noqa: E731
        return Job(lambda x: forward(layers, x), images, outputs=outputs)

    def reset() -> None:
        nonlocal layers, optimizer
        layers, optimizer = network(workload), Optimizer(*workload.optimizer)

    def step(batch: Batch) -> Any:
        x, target = batch
        loss, dy = loss_of(workload.loss, forward(layers, x), target)
        for layer in reversed(layers):
            dy = layer.backward(dy)
        optimizer.update(layers)
        return loss

    return Job(step, batches, reset)
