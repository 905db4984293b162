"""One table of all optimizers, and what their tests share."""

from __future__ import annotations

import numpy as np

import fnn
from fnn import tree
from fnn.optimizers import (
    adagrad,
    adam,
    adamw,
    add_decayed_weights,
    apply_updates,
    chain,
    clip_by_global_norm,
    freeze,
    momentum,
    rmsprop,
    scale_by_adam,
    scale_by_learning_rate,
    scale_by_rms,
    sgd,
    trace,
)


def decaying(step):
    return np.float64(0.1) / (1 + step)


ELEMENTWISE = [
    sgd(0.1),
    sgd(decaying),
    momentum(0.1),
    momentum(decaying, lambda step: np.float64(0.5), nesterov=True),
    trace(0.8),
    trace(0.8, nesterov=True),
    rmsprop(decaying),
    scale_by_rms(),
    adagrad(decaying),
    adam(decaying, b1=lambda step: np.float64(0.8), b2=lambda step: np.float64(0.99)),
    adamw(decaying, weight_decay=lambda step: np.float64(0.1)),
    scale_by_adam(),
    scale_by_learning_rate(0.1),
    add_decayed_weights(decaying),
    chain(),
    chain(add_decayed_weights(0.01), momentum(0.1)),
    chain(scale_by_adam(), add_decayed_weights(0.1), scale_by_learning_rate(decaying)),
]
ELEMENTWISE += [
    fnn.nesterov(decaying),
    fnn.nadam(decaying),
    fnn.radam(decaying),
    fnn.scale_by_amsgrad(),
    fnn.adamax(decaying),
    fnn.adabelief(decaying),
    fnn.yogi(decaying),
    fnn.adadelta(decaying),
    fnn.sign_sgd(decaying),
    fnn.lion(decaying, weight_decay=decaying),
    fnn.rprop(),
    fnn.clip_by_value(decaying),
    fnn.ema(0.9),
    fnn.accumulate(fnn.adam(decaying), 2),
    fnn.lookahead(fnn.momentum(decaying), 2),
]
OTHERS = [
    clip_by_global_norm(0.5),
    clip_by_global_norm(decaying),
    freeze("dense_0"),
    chain(clip_by_global_norm(1.0), adamw(decaying), freeze(["dense_0/w", "scale"])),
    fnn.lamb(decaying),
    fnn.lars(decaying, weight_decay=0.1),
    fnn.novograd(decaying),
    fnn.adafactor(decaying),
    fnn.sm3(decaying),
    fnn.muon(decaying),
    fnn.adaptive_clip(decaying),
    fnn.clip_by_block_rms(decaying),
    fnn.centralize(),
    fnn.adamw(decaying, decayed="dense_0"),
    fnn.masked(fnn.adam(), ["dense_0/w", "scale"]),
    fnn.partition({"a": fnn.adam(decaying), "b": fnn.sgd(0.1)}, {"": "a", "dense_0": "b"}),
    fnn.skip_nonfinite(fnn.adam()),
    fnn.add_noise(decaying, key=fnn.Key.of(0)),
]
ALL = ELEMENTWISE + OTHERS


def draw(seed, dtype="float64"):
    rng = np.random.default_rng(seed)
    shapes = {"w": (3, 5), "b": (5,)}
    dense = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    return {"dense_0": dense, "dense_1": {"w": rng.normal(size=(5, 7)).astype(dtype)}} | {
        "scale": np.array(rng.normal(), dtype)
    }


def run(transform, params, grads):
    """Return params and opt_state after one step per gradient."""
    opt_state = transform.init(params)
    for step, grad in enumerate(grads):
        updates, opt_state = transform.update(grad, opt_state, params, step)
        params = apply_updates(params, updates)
    return params, opt_state


def same_bits(a, b):
    return tree.digest(a) == tree.digest(b)
