"""JAX as a peer: one jitted step whose state is donated, and lax.scan over a block of steps."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from bench.job import Job
from bench.ours import weights
from bench.workloads import Batch, Workload
from bench.xla_step import forward, train_step

jax: Any = import_module("jax")
jnp: Any = import_module("jax.numpy")
lax: Any = import_module("jax.lax")

BLOCK_BYTES = 1 << 24
"""How large the stacked batches of one scan may be; they are at least the different ones."""


def channels_last(workload: Workload) -> list[dict[str, Any]]:
    """Return our first weights for images with the channels last."""
    there, shape = weights(workload), workload.in_shape
    for (name, *numbers), p in zip(workload.layers, there, strict=True):
        if name == "conv":
            p["w"] = p["w"].transpose(2, 3, 1, 0)
            shape = (numbers[0], *(n - numbers[1] + 1 for n in shape[1:]))
        elif name == "pool":
            shape = (shape[0], *(n // numbers[0] for n in shape[1:]))
        elif name == "dense" and len(shape) == 3:
            p["w"] = p["w"].reshape(*shape, -1).transpose(1, 2, 0, 3).reshape(len(p["w"]), -1)
            shape = tuple(numbers)
    return there


def begin(workload: Workload) -> Any:
    """Return the first state, on the device, in arrays that may be donated."""
    params = channels_last(workload)
    state = [
        {"mean": np.zeros_like(p["scale"]), "var": np.ones_like(p["scale"])} if "scale" in p else {}
        for p in params
    ]
    slots = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2}[workload.optimizer[0]]
    memory = [tuple(np.zeros_like(p) for _ in range(slots)) for p in jax.tree.leaves(params)]
    return jax.tree.map(lambda a: jnp.array(a, copy=True), (params, state, memory, np.float32(0)))


def make(workload: Workload, batches: list[Batch], peer: str) -> Job:
    """Return the job of `jax_jit` or `jax_scan`."""
    images = len(workload.in_shape) == 3
    items = jax.device_put([(x.transpose(0, 2, 3, 1) if images else x, y) for x, y in batches])
    if workload.kind == "predict":
        params = begin(workload)[0]
        run = jax.jit(lambda params, x: forward(workload, params, [{}] * len(params), x)[0])
        seen = [x for x, _ in items]
        return Job(
            lambda x: run(params, x).block_until_ready(),
            seen,
            outputs=lambda: np.asarray(run(params, seen[0]))[0].tolist(),
        )
    step, now = train_step(workload), begin(workload)

    def reset() -> None:
        nonlocal now
        now = begin(workload)

    jitted = jax.jit(step, donate_argnums=0)

    def one(batch: Any) -> Any:
        nonlocal now
        now, loss = jitted(now, batch)
        return loss

    if peer == "jax_jit":
        return Job(one, items, reset)
    times = max(1, min(32, BLOCK_BYTES // sum(a.nbytes for batch in items for a in batch)))
    xs = tuple(jnp.stack(list(part) * times) for part in zip(*items, strict=True))
    scanned = jax.jit(lambda now, xs: lax.scan(step, now, xs), donate_argnums=0)

    def many(start: int, n: int) -> Any:
        nonlocal now
        loss: Any = 0.0
        for at in range(start, start + n, len(xs[0])):
            part = tuple(x[at % len(x) :][:n] for x in xs) if n < len(xs[0]) else xs
            now, losses = scanned(now, part)
            loss = losses[-1]
        return loss

    return Job(one, items, reset, many=many, multiple=len(xs[0]))
