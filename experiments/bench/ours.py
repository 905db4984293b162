"""This library as a peer: the network of a workload, its step, and the weights that all others take."""

from __future__ import annotations

import itertools
import os
from importlib.util import find_spec
from typing import Any

import numpy as np

import fnn
from bench.job import Job, Unavailable
from bench.workloads import Batch, Workload

LOSSES: dict[str, Any] = {
    "mean": fnn.softmax_cross_entropy,
    "sum": fnn.summed(fnn.softmax_cross_entropy),
    "rows": fnn.softmax_cross_entropy_dense,
    "text": fnn.softmax_cross_entropy,
    "half_squared": fnn.half_squared_error,
}
EXECUTORS = {"fnn": "list", "fnn_fast": "machine", "fnn_step": "plain"}
"""What carries out the steps of our peers."""


def _swish_fwd(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
    gate = 1 / (1 + np.exp(-x))
    y = x * gate

    def pullback(dy: Any, *, need_dx: bool = True) -> Any:
        return {}, dy * (gate + y * (1 - gate)) if need_dx else None

    return y, state, pullback


def swish() -> fnn.Layer:
    """Return x / (1 + exp(-x)), written as somebody does who knows NumPy and no kernels."""
    return fnn.make_layer("swish", lambda in_shape: (in_shape, {}, {}), _swish_fwd)


def stage(width: int) -> fnn.Layer:
    """Return a stage of `resnet.py`."""

    def convolution() -> fnn.Layer:
        conv = fnn.Conv(width, 3, padding="same", bias=False, init_w=fnn.he_normal)
        return fnn.serial(conv, fnn.BatchNorm())

    block = fnn.residual(convolution(), fnn.Relu(), convolution())
    return fnn.serial(convolution(), fnn.MaxPool(2), fnn.Relu(), block, fnn.Relu())


LAYERS: dict[str, Any] = {
    "conv": fnn.Conv,
    "pool": fnn.MaxPool,
    "relu": fnn.Relu,
    "sigmoid": fnn.Sigmoid,
    "bn": fnn.BatchNorm,
    "flatten": fnn.Flatten,
    "dropout": fnn.Dropout,
    "swish": swish,
    "stage": stage,
    "global_max_pool": fnn.GlobalMaxPool,
    "embedding": fnn.Embedding,
    "positions": fnn.LearnedPositions,
    "lstm": fnn.LSTM,
    "block": lambda heads: fnn.TransformerBlock(heads, causal=True),
    "layer_norm": fnn.LayerNorm,
}
PARAMETRIC = frozenset(
    ("conv", "dense", "bn", "stage", "embedding", "positions", "lstm", "block", "layer_norm")
)


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
    return [_copied(there.pop(0)) if name in PARAMETRIC else {} for name, *_ in workload.layers]


def _copied(tree: Any) -> Any:
    if isinstance(tree, np.ndarray):
        return np.array(tree)
    return {name: _copied(each) for name, each in tree.items()}


def executed(peer: str) -> None:
    """Have steps carried out as the peer does it; raises Unavailable if that cannot be."""
    if peer == "fnn_fast" and find_spec("llvmlite") is None:
        raise Unavailable("not installed (llvmlite)")
    os.environ["FNN_EXECUTOR"] = EXECUTORS[peer]


def make(workload: Workload, batches: list[Batch], peer: str) -> Job:
    """Return the job of `fnn`, `fnn_fast` or `fnn_step`."""
    executed(peer)
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

    return Job(step, batches, reset, many=None if peer == "fnn_step" else scan)
