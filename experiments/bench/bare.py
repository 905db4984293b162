"""The bare NumPy calls of a step as a peer: what is left when no framework is around them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import bare_images
from bench.job import Job
from bench.ours import weights
from bench.recorder import Call, Recorder
from bench.workloads import Batch, Workload


def _lower(rows: Any, picked: Any) -> None:
    rows[picked] -= 1


def softmax(to: Recorder, y: Any, target: Any, mean: bool, loss: Any) -> Any:
    """Write down the cross-entropy from logits y, and return its gradient, in place of them."""
    n, flat = len(y), y.reshape(-1)
    top, log, inner = to.room(n, 1), to.room(n, 1), to.room(n)
    to.do(np.maximum.reduce, y, 1, keepdims=True, out=top)
    to.do(np.subtract, y, top, y)
    if target.ndim == 1:
        picked = np.arange(n) * y.shape[1] + target
        to.do(np.take, flat, picked, out=inner, mode="clip")
    else:
        products = to.room(*y.shape)
        to.do(np.multiply, y, target, products)
        to.do(np.add.reduce, products, 1, out=inner)
    to.do(np.exp, y, y)
    to.do(np.add.reduce, y, 1, keepdims=True, out=top)
    to.do(np.divide, y, top, y)
    to.do(np.log, top, log)
    to.do(np.subtract, log[:, 0], inner, inner)
    to.do(np.add.reduce, inner, out=loss)
    if target.ndim == 1:
        to.do(_lower, flat, picked)
    else:
        to.do(np.subtract, y, target, y)
    if mean:
        to.do(np.multiply, loss, np.float32(1 / n), loss)
        to.do(np.multiply, y, np.float32(1 / n), y)
    return y


def half_squared(to: Recorder, y: Any, target: Any, loss: Any) -> Any:
    """Write down half the summed squared error, and return its gradient."""
    dy, squares = to.room(*y.shape), to.room(*y.shape)
    to.do(np.subtract, y, target, dy)
    to.do(np.multiply, dy, dy, squares)
    to.do(np.add.reduce, squares, None, out=loss)
    to.do(np.multiply, loss, np.float32(0.5), loss)
    return dy


def update(to: Recorder, optimizer: tuple[str, float], p: Any, g: Any, m: Any) -> None:
    """Write down the move of the weights p against the gradient g, with the memory m."""
    name, rate = optimizer[0], np.float32(optimizer[1])
    if name == "momentum":
        to.do(np.multiply, m, np.float32(0.9), m)
        to.do(np.add, m, g, m)
        to.do(np.multiply, m, rate, g)
    else:
        if name == "rmsprop":
            root = to.room(*g.shape)
            to.do(np.multiply, g, g, root)
            to.do(np.multiply, root, np.float32(0.1), root)
            to.do(np.multiply, m, np.float32(0.9), m)
            to.do(np.add, m, root, m)
            to.do(np.sqrt, m, root)
            to.do(np.add, root, np.float32(1e-6), root)
            to.do(np.divide, g, root, g)
        to.do(np.multiply, g, rate, g)
    to.do(np.subtract, p, g, p)


def views(flat: Any, like: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return arrays shaped like those given that all lie in one vector."""
    at, found = 0, []
    for layer in like:
        there = {}
        for name, leaf in layer.items():
            there[name] = flat[at : at + leaf.size].reshape(leaf.shape)
            at += leaf.size
        found.append(there)
    return found


def make(workload: Workload, batches: list[Batch], peer: str) -> Job:
    """Return the job of `bare`."""
    if len(workload.in_shape) == 3:
        return bare_images.make(workload, batches)
    like = weights(workload)
    first = np.concatenate([leaf.reshape(-1) for layer in like for leaf in layer.values()])
    p, g, m = first.copy(), np.zeros_like(first), np.zeros_like(first)
    params, grads, loss = views(p, like), views(g, like), np.zeros((), np.float32)
    to, tapes = Recorder(workload.batch), []
    for h, target in batches:
        to.begin()
        backs = []
        for i, ((name, *_), *leaves) in enumerate(zip(workload.layers, params, grads, strict=True)):
            h, back = getattr(to, name)(h, *leaves, i > 0)
            backs.append(back)
        if workload.loss == "half_squared":
            dy = half_squared(to, h, target, loss)
        else:
            dy = softmax(to, h, target, workload.loss != "sum", loss)
        for back in reversed(backs):
            dy = back(dy)
        update(to, workload.optimizer, p, g, m)
        tapes.append(to.calls)

    def reset() -> None:
        p[:], m[:] = first, 0

    def step(tape: list[Call]) -> Any:
        for call in tape:
            call()
        return loss

    return Job(step, tapes, reset)
