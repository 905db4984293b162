"""One table of all losses: what each is, and predictions, targets and weights that suit it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs
import numpy as np

from fnn.losses import LOSSES


@attrs.frozen
class Definition:
    """A loss by its definition, for single numbers or for the scores of the classes.

    Attributes:
        value: From one prediction and one target to a number, or from the predictions of all classes
            and a label, or as many targets.
        takes: "numbers", "labels", or "rows" of one target per class.
        pred: From normal draws to predictions.
        target: How targets of numbers are drawn, given a generator and a shape.
        is_sum: Whether the values are summed, not averaged.
    """

    value: Callable
    takes: str = "numbers"
    pred: Callable = lambda x: x
    target: Callable = lambda rng, shape: rng.normal(size=shape)
    is_sum: bool = False


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def fractions(rng, shape):
    return rng.random(shape)


def log_sum(x):
    return np.log(np.sum(np.exp(x)))


DEFINITIONS = {
    "absolute_error": Definition(lambda x, t: abs(x - t)),
    "cross_entropy": Definition(lambda p, t: -np.log(p[t]), "labels", softmax),
    "half_squared_error": Definition(lambda x, t: (x - t) ** 2 / 2, is_sum=True),
    "nll": Definition(lambda x, t: -x[t], "labels", lambda x: np.log(softmax(x))),
    "sigmoid_cross_entropy": Definition(
        lambda x, t: -t * np.log(1 / (1 + np.exp(-x))) - (1 - t) * np.log(1 / (1 + np.exp(x))),
        target=fractions,
    ),
    "softmax_cross_entropy": Definition(lambda x, t: log_sum(x) - x[t], "labels"),
    "softmax_cross_entropy_dense": Definition(
        lambda x, t: sum(r * (log_sum(x) - a) for r, a in zip(t, x, strict=True)),
        "rows",
        target=fractions,
    ),
    "squared_error": Definition(lambda x, t: (x - t) ** 2),
}


def signs(rng, shape):
    return rng.choice([-1.0, 1.0], size=shape)


def bits(rng, shape):
    return rng.choice([0.0, 1.0], size=shape)


def counts(rng, shape):
    return rng.poisson(2.0, size=shape).astype(float)


def simplex(rng, shape):
    return softmax(rng.normal(size=shape))


def huber(x, t):
    d = abs(x - t)
    return d * d / 2 if d <= 1 else d - 0.5


def hinge_of_classes(x, t):
    return max(0.0, 1 + max(np.delete(x, t)) - x[t]) if len(x) > 1 else 0.0


def focal(x, t):
    p = np.exp(x[t] - log_sum(x))
    return -((1 - p) ** 2) * np.log(p)


def binary_focal(x, t):
    p = 1 / (1 + np.exp(-x if t else x))
    return -(0.25 if t else 0.75) * (1 - p) ** 2 * np.log(p)


def smoothed(x, t):
    logs = x - log_sum(x)
    return -0.9 * logs[t] - 0.1 * logs.mean()


def cosine_distance(x, t):
    return 1 - x @ t / np.sqrt((x @ x) * (t @ t))


DEFINITIONS |= {
    "binary_focal": Definition(binary_focal, target=bits),
    "cosine_distance": Definition(cosine_distance, "rows"),
    "focal": Definition(focal, "labels"),
    "hinge": Definition(lambda x, t: max(0.0, 1 - t * x), target=signs),
    "huber": Definition(huber),
    "kl_divergence": Definition(
        lambda x, t: sum(t * (np.log(t) - x)), "rows", lambda x: np.log(softmax(x)), simplex
    ),
    "log_cosh": Definition(lambda x, t: np.log(np.cosh(x - t))),
    "multiclass_hinge": Definition(hinge_of_classes, "labels"),
    "poisson": Definition(lambda x, t: np.exp(x) - t * x, target=counts),
    "quantile": Definition(lambda x, t: abs(t - x) / 2),
    "smoothed_cross_entropy": Definition(smoothed, "labels"),
    "squared_hinge": Definition(lambda x, t: max(0.0, 1 - t * x) ** 2, target=signs),
}
NAMES = tuple(LOSSES)
OF_CLASSES = tuple(name for name in NAMES if DEFINITIONS[name].takes != "numbers")
WITH_LABELS = tuple(name for name in NAMES if DEFINITIONS[name].takes == "labels")
SHAPES = ((5,), (5, 3), (1, 4), (4, 2, 3), (3, 2, 1, 4))
CASES = [
    (name, shape)
    for name, shape in itertools.product(NAMES, SHAPES)
    if name not in OF_CLASSES or len(shape) > 1
]


def example(name, shape, dtype="float64", seed=0):
    """Return predictions, targets and weights that suit the loss."""
    definition, rng = DEFINITIONS[name], np.random.default_rng([seed, len(shape)])
    pred = definition.pred(rng.normal(size=shape) * 2).astype(dtype)
    if definition.takes == "labels":
        target = rng.integers(0, shape[-1], shape[:-1])
    else:
        target = definition.target(rng, shape)
    return pred, target, rng.random(shape[0]) + 0.1


def along(loss, pred, target, weight, direction, h=1e-30):
    """Return the derivative of the value along `direction`, by a complex step."""
    return loss(pred + 1j * h * direction, target, weight=weight)[0].imag / h
