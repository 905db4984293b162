"""Optimizers: pure state transitions that chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fnn.registry import Registry, lazy_names

if TYPE_CHECKING:
    from fnn.optimizers.transform import Transform as Transform


def _builtins() -> Mapping[str, Callable[..., Transform]]:
    from fnn.optimizers.adaptive import adagrad, adam, adamw, rmsprop
    from fnn.optimizers.gradient import momentum, sgd

    return {
        "adagrad": adagrad,
        "adam": adam,
        "adamw": adamw,
        "momentum": momentum,
        "rmsprop": rmsprop,
        "sgd": sgd,
    }


OPTIMIZERS: Registry[Callable[..., Transform]] = Registry("optimizer", _builtins, room=__name__)

__getattr__, __dir__, __all__ = lazy_names(__name__)
