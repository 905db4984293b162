"""Predictions, targets and weights that suit each loss, for the tests of losses."""

import itertools

import numpy as np

from fnn.losses import LOSSES

NAMES = tuple(LOSSES)
OF_CLASSES = ("cross_entropy", "nll", "softmax_cross_entropy", "softmax_cross_entropy_dense")
WITH_LABELS = ("cross_entropy", "nll", "softmax_cross_entropy")
SHAPES = ((5,), (5, 3), (1, 4), (4, 2, 3), (3, 2, 1, 4))
CASES = [
    (name, shape)
    for name, shape in itertools.product(NAMES, SHAPES)
    if name not in OF_CLASSES or len(shape) > 1
]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def example(name, shape, dtype="float64", seed=0):
    """Return predictions, targets and weights that suit the loss."""
    rng = np.random.default_rng([seed, len(shape)])
    x = rng.normal(size=shape) * 2
    pred = {"cross_entropy": softmax(x), "nll": np.log(softmax(x))}.get(name, x).astype(dtype)
    if name in WITH_LABELS:
        target = rng.integers(0, shape[-1], shape[:-1])
    elif name in ("softmax_cross_entropy_dense", "sigmoid_cross_entropy"):
        target = rng.random(shape)
    else:
        target = rng.normal(size=shape)
    return pred, target, rng.random(shape[0]) + 0.1


def along(loss, pred, target, weight, direction, h=1e-30):
    """Return the derivative of the value along `direction`, by a complex step."""
    return loss(pred + 1j * h * direction, target, weight=weight)[0].imag / h
