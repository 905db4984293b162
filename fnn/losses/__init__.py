"""Losses: `loss(pred, target, *, weight=None) -> (value, dpred)`; `Loss` states the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fnn.registry import Registry, lazy_names

if TYPE_CHECKING:
    from fnn.losses.reduction import Loss as Loss


def _builtins() -> Mapping[str, Loss]:
    from fnn.losses.probabilities import cross_entropy, nll
    from fnn.losses.regression import absolute_error, squared_error
    from fnn.losses.scores import (
        sigmoid_cross_entropy,
        softmax_cross_entropy,
        softmax_cross_entropy_dense,
    )
    from fnn.losses.sums import half_squared_error

    return {
        "absolute_error": absolute_error,
        "cross_entropy": cross_entropy,
        "half_squared_error": half_squared_error,
        "nll": nll,
        "sigmoid_cross_entropy": sigmoid_cross_entropy,
        "softmax_cross_entropy": softmax_cross_entropy,
        "softmax_cross_entropy_dense": softmax_cross_entropy_dense,
        "squared_error": squared_error,
    }


LOSSES: Registry[Loss] = Registry("loss", _builtins, room=__name__)

__getattr__, __dir__, __all__ = lazy_names(__name__)
