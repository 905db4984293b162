"""The bare step of the convolutional networks: the kernels one after the other, updates in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.bare_update import Update
from bench.job import Job
from bench.ours import weights
from bench.workloads import Batch, Workload
from fnn.kernels.activation import relu, relu_vjp
from fnn.kernels.affine import affine, affine_vjp
from fnn.kernels.convolution import convolution, convolution_vjp
from fnn.kernels.memory import Arena, recycled
from fnn.kernels.pooling import max_pool, max_pool_vjp
from fnn.kernels.windows import windows


def _windows(workload: Workload) -> list[Any]:
    """Return where the windows of every layer lie, None where it has none."""
    space, found = workload.in_shape[1:], []
    for name, *numbers in workload.layers:
        at = None
        if name in ("conv", "pool"):
            k = numbers[-1]
            at = windows(space, (k, k), (k, k) if name == "pool" else (1, 1), "valid", (1, 1))
            space = at.out
        found.append(at)
    return found


def _forward(layers: list[Any], x: Any) -> tuple[Any, list[Any]]:
    kept = []
    for name, p, at in layers:
        if name == "conv":
            y = convolution(x, p["w"], p["b"], at, 1)
        elif name == "pool":
            y = max_pool(x, at)
        elif name == "relu":
            y = relu(x)
        elif name == "flatten":
            y = x.reshape(len(x), -1)
        else:
            y = affine(x, p["w"], p["b"])
        kept.append((x, y))
        x = y
    return x, kept


def _backward(layers: list[Any], kept: list[Any], dy: Any) -> list[Any]:
    """Return (parameter, gradient) pairs."""
    grads = []
    for i in reversed(range(len(layers))):
        (name, p, at), (x, y) = layers[i], kept[i]
        if name in ("conv", "dense"):
            need = {"bias": True, "need_dx": i > 0}
            if name == "conv":
                dw, db, dy = convolution_vjp(x, p["w"], dy, at, 1, **need)
            else:
                dw, db, dy = affine_vjp(x, p["w"], dy, **need)
            grads += [(p["w"], dw), (p["b"], db)]
        elif name == "pool":
            dy = max_pool_vjp(x, y, dy, at)
        elif name == "relu":
            dy = relu_vjp(x, y, dy)
        else:
            dy = dy.reshape(x.shape)
    return grads


def _softmax(y: Any, rows: Any, target: Any) -> Any:
    y -= np.maximum.reduce(y, 1, keepdims=True)
    inner = np.add.reduce(y[rows, target])
    np.exp(y, y)
    total = np.add.reduce(y, 1, keepdims=True)
    y /= total
    y[rows, target] -= 1
    y *= np.float32(1 / len(y))
    return (np.add.reduce(np.log(total), None) - inner) / len(y)


def make(workload: Workload, batches: list[Batch]) -> Job:
    """Return the job of `bare` on images."""
    arena, rows = Arena(), np.arange(workload.batch)
    layers, update = [], Update(*workload.optimizer)

    def reset() -> None:
        nonlocal layers, update
        parts = zip(workload.layers, weights(workload), _windows(workload), strict=True)
        layers = [(name, p, at) for (name, *_), p, at in parts]
        update = Update(*workload.optimizer)

    def predict(x: Any) -> Any:
        return _forward(layers, x)[0]

    def step(batch: Batch) -> Any:
        with recycled(arena):
            y, kept = _forward(layers, batch[0])
            loss = _softmax(y, rows, batch[1])
            update(_backward(layers, kept, y))
        return loss

    reset()
    if workload.kind == "predict":
        images = [x for x, _ in batches]
        outputs = lambda: predict(images[0])[0].tolist()  # noqa: E731
        return Job(predict, images, outputs=outputs)
    return Job(step, batches, reset)
