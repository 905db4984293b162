"""Losses: `loss(pred, target, *, weight=None) -> (value, dpred)`; `Loss` states the contract."""

from fnn.losses.made import make_loss
from fnn.losses.probabilities import cross_entropy, nll
from fnn.losses.reduction import Loss
from fnn.losses.regression import absolute_error, squared_error
from fnn.losses.scores import (
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_dense,
)
from fnn.losses.sums import half_squared_error, summed
from fnn.registry import Registry

LOSSES: Registry[Loss] = Registry(
    "loss",
    {
        "absolute_error": absolute_error,
        "cross_entropy": cross_entropy,
        "half_squared_error": half_squared_error,
        "nll": nll,
        "sigmoid_cross_entropy": sigmoid_cross_entropy,
        "softmax_cross_entropy": softmax_cross_entropy,
        "softmax_cross_entropy_dense": softmax_cross_entropy_dense,
        "squared_error": squared_error,
    },
)

__all__ = [
    "LOSSES",
    "Loss",
    "absolute_error",
    "cross_entropy",
    "half_squared_error",
    "make_loss",
    "nll",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "softmax_cross_entropy_dense",
    "squared_error",
    "summed",
]
