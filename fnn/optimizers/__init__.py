"""Optimizers: pure state transitions that chain."""

from collections.abc import Callable

from fnn.optimizers.adaptive import adagrad, adam, adamw, rmsprop, scale_by_adam, scale_by_rms
from fnn.optimizers.compose import apply_updates, chain
from fnn.optimizers.gradient import momentum, scale_by_learning_rate, sgd, trace
from fnn.optimizers.restraint import add_decayed_weights, clip_by_global_norm, freeze, global_norm
from fnn.optimizers.transform import Transform
from fnn.registry import Registry

OPTIMIZERS: Registry[Callable[..., Transform]] = Registry(
    "optimizer",
    {
        "adagrad": adagrad,
        "adam": adam,
        "adamw": adamw,
        "momentum": momentum,
        "rmsprop": rmsprop,
        "sgd": sgd,
    },
)

__all__ = [
    "OPTIMIZERS",
    "Transform",
    "adagrad",
    "adam",
    "adamw",
    "add_decayed_weights",
    "apply_updates",
    "chain",
    "clip_by_global_norm",
    "freeze",
    "global_norm",
    "momentum",
    "rmsprop",
    "scale_by_adam",
    "scale_by_learning_rate",
    "scale_by_rms",
    "sgd",
    "trace",
]
