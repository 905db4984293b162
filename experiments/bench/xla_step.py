"""JAX as a peer, its step: forward, loss, gradient and update in plain jax.numpy and lax.

Images are (batch, height, width, channels) and pooling is the maximum of a reshaped array: of four
ways to write it, the fastest on a CPU.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bench.workloads import Workload

jax: Any = import_module("jax")
jnp: Any = import_module("jax.numpy")
lax: Any = import_module("jax.lax")


def _conv(x: Any, p: Any) -> Any:
    y = lax.conv_general_dilated(x, p["w"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + p["b"]


def _pool(x: Any, k: int) -> Any:
    n, h, w, c = x.shape
    return x.reshape(n, h // k, k, w // k, k, c).max(axis=(2, 4))


def _batch_norm(x: Any, p: Any, s: Any) -> Any:
    mean, var, n = x.mean(axis=0), x.var(axis=0), len(x)
    y = (x - mean) * lax.rsqrt(var + 1e-5) * p["scale"] + p["shift"]
    moved = {
        "mean": 0.9 * s["mean"] + 0.1 * mean,
        "var": 0.9 * s["var"] + 0.1 * n / (n - 1) * var,
    }
    return y, lax.stop_gradient(moved)


def forward(workload: Workload, params: Any, state: Any, x: Any) -> Any:
    """Return the outputs and the carried state, in training mode."""
    moved = list(state)
    for i, ((name, *numbers), p) in enumerate(zip(workload.layers, params, strict=True)):
        if name == "conv":
            x = _conv(x, p)
        elif name == "dense":
            x = x @ p["w"] + p["b"]
        elif name == "pool":
            x = _pool(x, numbers[0])
        elif name == "bn":
            x, moved[i] = _batch_norm(x, p, state[i])
        elif name == "flatten":
            x = x.reshape(len(x), -1)
        else:
            f = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "swish": jax.nn.silu}[name]
            x = f(x)
    return x, moved


def loss_of(kind: str, y: Any, t: Any) -> Any:
    """Return the loss of outputs and targets."""
    if kind == "half_squared":
        return 0.5 * jnp.square(y - t).sum()
    logs = jax.nn.log_softmax(y)
    if kind == "rows":
        return -(t * logs).sum(axis=1).mean()
    picked = jnp.take_along_axis(logs, t[:, None], axis=1)
    return -picked.sum() if kind == "sum" else -picked.mean()


def update(optimizer: tuple[str, float], p: Any, g: Any, memory: Any, t: Any) -> Any:
    """Return one leaf after the step, and its memory."""
    name, rate = optimizer
    if name == "sgd":
        return p - rate * g, memory
    if name == "momentum":
        v = 0.9 * memory[0] + g
        return p - rate * v, (v,)
    if name == "rmsprop":
        s = 0.9 * memory[0] + 0.1 * g * g
        return p - rate * g / (jnp.sqrt(s) + 1e-6), (s,)
    m, v = 0.9 * memory[0] + 0.1 * g, 0.999 * memory[1] + 0.001 * g * g
    root = jnp.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8
    return p - rate * (m / (1 - 0.9 ** (t + 1))) / root, (m, v)


def train_step(workload: Workload) -> Any:
    """Return the pure step ((params, state, memory, t), (x, y)) -> (next, loss)."""

    def step(now: Any, batch: Any) -> Any:
        params, state, memory, t = now

        def objective(params: Any) -> Any:
            y, moved = forward(workload, params, state, batch[0])
            return loss_of(workload.loss, y, batch[1]), moved

        (loss, state), grads = jax.value_and_grad(objective, has_aux=True)(params)
        flat, tree = jax.tree.flatten(params)
        after = [
            update(workload.optimizer, *leaf, t)
            for leaf in zip(flat, jax.tree.leaves(grads), memory, strict=True)
        ]
        moved = jax.tree.unflatten(tree, [p for p, _ in after]), state, [m for _, m in after], t + 1
        return moved, loss

    return step
