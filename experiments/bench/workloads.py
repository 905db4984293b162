"""The workloads: what is trained, on which shapes, and what our time may be at most.

A network is a tuple of layers, each a name and its numbers, that every peer builds in its own way.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs
import numpy as np

Layers: TypeAlias = tuple[tuple[Any, ...], ...]
Batch: TypeAlias = tuple[Any, Any]

R2: Layers = (
    ("conv", 4, 5), ("pool", 2), ("relu",), ("conv", 16, 3), ("pool", 2), ("relu",),
    ("flatten",), ("dense", 10),
)  # fmt: skip
LENET: Layers = (
    ("conv", 32, 3), ("relu",), ("conv", 64, 3), ("relu",), ("pool", 2), ("flatten",),
    ("dense", 128), ("relu",), ("dense", 10),
)  # fmt: skip
BEST: Layers = (
    ("conv", 16, 3), ("relu",), ("pool", 2), ("conv", 32, 3), ("relu",), ("pool", 2), ("flatten",),
    ("dense", 128), ("relu",), ("dropout", 0.3), ("dense", 10),
)  # fmt: skip
SIGMOIDS: Layers = (("dense", 512), ("sigmoid",), ("dense", 128), ("sigmoid",), ("dense", 10))
IMAGE = (1, 28, 28)


@attrs.frozen
class Workload:
    """One row of the report.

    Attributes:
        layers: The network.
        in_shape: Shape of one example.
        batch: Examples per step.
        loss: Cross-entropy from logits (mean over the batch, sum over it, with one-hot rows, or of all
            characters of texts), or half the summed squared error.
        optimizer: Its name and learning rate; the other numbers are the same on all sides.
        init: How weights and biases are drawn: "glorot", "normal" or "uniform" in [-4, 4).
        kind: A step of training, a prediction, an epoch of batches alone, one with
            steps on them, or one of a training on MNIST with an evaluation after it.
        bars: What our time may be at most: a fraction of that of a peer, or of the "best" of torch,
            jax_jit and jax_scan.
        fast: The same for steps in machine code.
        images: Size of the data set, for pipelines and trainings.
        epochs: How long a training is.
    """

    layers: Layers = ()
    in_shape: tuple[int, ...] = (784,)
    batch: int = 100
    loss: Literal["mean", "sum", "rows", "text", "half_squared"] = "mean"
    optimizer: tuple[str, float] = ("sgd", 0.1)
    init: str = "glorot"
    kind: Literal["step", "predict", "pipeline", "epoch", "training"] = "step"
    bars: dict[str, float] = attrs.field(factory=dict)
    fast: dict[str, float] = attrs.field(factory=dict)
    images: int = 10_000
    epochs: int = 1


MLP_BN: Layers = (("dense", 512), ("bn",), ("relu",), ("dense", 10), ("bn",))
KERAS: Layers = (("dense", 398), ("bn",), ("relu",), ("dense", 10))
PARITY: Layers = tuple(layer for n in (20, 10, 5, 1) for layer in (("dense", n), ("sigmoid",)))
SWISH: Layers = (("dense", 512), ("swish",), ("dense", 128), ("swish",), ("dense", 10))
RESNET: Layers = (("stage", 16), ("stage", 32), ("global_max_pool",), ("dense", 10))
CHARACTERS, LENGTH = 61, 64
"""Of how many characters texts are, and how many a network sees at once."""
LSTM: Layers = (("embedding", CHARACTERS, 64), ("lstm", 128), ("dense", CHARACTERS))
TRANSFORMER: Layers = (
    ("embedding", CHARACTERS, 128), ("positions", LENGTH), *(("block", 4),) * 4, ("layer_norm",),
    ("dense", CHARACTERS),
)  # fmt: skip
ADAM = ("adam", 1e-3)

WORKLOADS = {
    "mlp_bn_1000": Workload(
        MLP_BN, batch=1000, loss="sum", optimizer=("momentum", 1e-3), bars={"best": 1.1},
        fast={"best": 0.95},
    ),
    "cnn_100": Workload(R2, IMAGE, bars={"best": 0.5}, fast={"best": 0.43}),
    "sigmoid_100": Workload(
        SIGMOIDS, optimizer=("sgd", 1.0), init="normal", bars={"best": 1.2}, fast={"best": 1.15}
    ),
    "parity_32": Workload(
        PARITY, (5,), 32, "half_squared", ("sgd", 0.01), "uniform", bars={"jax_jit": 1.0},
        fast={"jax_scan": 0.8, "jax_jit": 0.25},
    ),
    "keras_100": Workload(
        KERAS, loss="rows", optimizer=("rmsprop", 0.002), bars={"best": 1.4}, fast={"best": 1.0}
    ),
    "lenet_128": Workload(LENET, IMAGE, 128, optimizer=ADAM, bars={"best": 0.85}, fast={"best": 0.83}),
    "swish_100": Workload(SWISH),
    "resnet_128": Workload(RESNET, IMAGE, 128, optimizer=("momentum", 0.05)),
    "char_lstm": Workload(LSTM, (LENGTH,), 32, "text", ADAM, fast={"torch": 1.25}),
    "char_transformer": Workload(TRANSFORMER, (LENGTH,), 32, "text", ADAM, fast={"torch": 1.0}),
    "predict_1": Workload(
        R2, IMAGE, 1, kind="predict", bars={"jax_jit": 0.5}, fast={"jax_jit": 0.35}
    ),
    "predict_128": Workload(R2, IMAGE, 128, kind="predict"),
    "input_pipeline": Workload(in_shape=IMAGE, kind="pipeline"),
}  # fmt: skip
LONG = {
    "r2_30_epochs": Workload(
        R2, IMAGE, kind="training", bars={"torch": 0.52}, fast={"torch": 0.45}, epochs=30
    ),
    "mnist_best": Workload(
        BEST, IMAGE, 128, optimizer=ADAM, kind="training", bars={"torch": 1.05}, fast={"torch": 0.95},
        images=60_000, epochs=4,
    ),
}  # fmt: skip


BATCHES = 8
"""How many different batches a worker cycles through."""


def make_batches(workload: Workload, count: int = BATCHES) -> list[Batch]:
    """Return random batches in float32, read-only and the same in every process."""
    rng = np.random.default_rng(0)
    made: list[Batch] = []
    for _ in range(count):
        x: Any = rng.random((workload.batch, *workload.in_shape), dtype=np.float32)
        y: Any = rng.integers(0, 10, workload.batch)
        if workload.loss == "rows":
            y = np.eye(10, dtype=np.float32)[y]
        if workload.loss == "text":
            text = rng.integers(0, CHARACTERS, (workload.batch, LENGTH + 1))
            x, y = text[:, :-1].copy(), text[:, 1:].copy()
        if workload.loss == "half_squared":
            bits = np.arange(workload.batch)[:, None] >> np.arange(workload.in_shape[0])
            x = rng.permutation((bits & 1).astype(np.float32))
            y = (x.sum(axis=1, keepdims=True) % 2).astype(np.float32)
        for array in (x, y):
            array.setflags(write=False)
        made.append((x, y))
    return made
