"""One table of all layers, losses and transforms, with options and closed forms, for the laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from closed_forms import TransformCase, at, falling, negative, plain, steps_of, weighted_sum
from layer_cases import CASES as LAYER_CASES
from loss_cases import example
from transform_cases import CASES as MORE_TRANSFORM_CASES

import fnn
from fnn import tree

CASES = LAYER_CASES


# --- losses -----------------------------------------------------------------------------------


@attrs.frozen
class LossCase:
    """A loss, the public name it shows, and how its arguments are drawn."""

    name: str
    loss: Any
    draw: Callable[[np.random.Generator, str], tuple[Any, Any]]

    def __str__(self):
        pred, _ = self.draw(np.random.default_rng(0), "float64")
        return f"{self.name}-{'x'.join(map(str, pred.shape))}"


def drawing(name, shape):
    def draw(generator, dtype):
        pred, target, _ = example(name, shape, dtype, int(generator.integers(1 << 30)))
        return pred, target

    return draw


def log_cosh(pred, target):
    d = pred - target
    return np.log(np.cosh(d)), np.tanh(d)


def normal_pair(generator, dtype):
    return generator.normal(size=(5, 3, 2)).astype(dtype), generator.normal(size=(5, 3))


def regions(generator, dtype):
    return generator.random((4, 2, 3)).astype(dtype), np.round(generator.random((4, 2, 3)))


def triples(generator, dtype):
    return generator.normal(size=(5, 3, 4)).astype(dtype), np.zeros(5)


LOSS_CASES = [
    LossCase("triplet", fnn.triplet(), triples),
    LossCase("gaussian_nll", fnn.gaussian_nll, normal_pair),
    LossCase("dice", fnn.dice(), regions),
    LossCase("dice", fnn.dice(0.1), regions),
    LossCase("huber", fnn.huber(0.3), drawing("huber", (6, 4))),
    LossCase("quantile", fnn.quantile(0.9), drawing("quantile", (6, 4))),
    LossCase("focal", fnn.focal(0.0), drawing("focal", (6, 4))),
    LossCase("focal", fnn.focal(0.5), drawing("focal", (3, 2, 4))),
    LossCase("binary_focal", fnn.binary_focal(0.0, 0.7), drawing("binary_focal", (6, 4))),
    LossCase("smoothed_cross_entropy", fnn.smoothed_cross_entropy(0.3), drawing("focal", (6, 4))),
    *(
        LossCase(name, fnn.LOSSES[name], drawing(name, shape))
        for name in fnn.LOSSES
        for shape in [(6, 4), (1, 3), (3, 2, 4)]
    ),
    LossCase("squared_error", fnn.squared_error, drawing("squared_error", (7,))),
    LossCase("squared_error", fnn.squared_error, drawing("squared_error", (5, 1))),
    LossCase("make_loss", fnn.make_loss("log_cosh", log_cosh), drawing("squared_error", (4, 2))),
    LossCase("summed", fnn.summed(fnn.softmax_cross_entropy), drawing("softmax_cross_entropy", (5, 3))),
    LossCase("summed", fnn.summed(fnn.make_loss("log_cosh", log_cosh)), drawing("squared_error", (4,))),
]


# --- transforms -------------------------------------------------------------------------------


def descent(rate):
    return steps_of(lambda p, g, memory, step: -at(rate, step) * g)


def velocity(rate, decay, nesterov=False):
    def direction(p, g, memory, step):
        d = at(decay, step)
        v = weighted_sum(memory, "v", g, d)
        return rate(step) * (g + d * v if nesterov else v)

    return steps_of(direction)


def root_mean_square(sign, decay, eps):
    def direction(p, g, memory, step):
        square = (1 - decay) * weighted_sum(memory, "s", g**2, decay)
        return sign(step) * g / (np.sqrt(square) + eps)

    return steps_of(direction)


def sum_of_squares(rate, eps):
    def direction(p, g, memory, step):
        return -at(rate, step) * g / (np.sqrt(weighted_sum(memory, "s", g**2, 1.0)) + eps)

    return steps_of(direction)


def moments(sign, b1, b2, eps, weight_decay=0.0):
    """Return Kingma & Ba's algorithm 1 as printed, with Loshchilov & Hutter's decay."""

    def direction(p, g, memory, step):
        m = (1 - b1) * weighted_sum(memory, "m", g, b1) / (1 - b1 ** (step + 1))
        v = (1 - b2) * weighted_sum(memory, "v", g**2, b2) / (1 - b2 ** (step + 1))
        return sign(step) * (m / (np.sqrt(v) + eps) + weight_decay * p)

    return steps_of(direction)


def clipped(most, then=lambda g: g):
    def first_steps(params, grads):
        points = []
        for step, grad in enumerate(grads):
            norm = np.sqrt(sum(np.sum(leaf**2) for leaf in tree.leaves(grad)))
            factor = min(1.0, at(most, step) / norm)
            params = tree.map(lambda p, g, factor=factor: p + then(factor * g), params, grad)
            points.append(params)
        return points

    return first_steps


def frozen(paths, direction):
    def first_steps(params, grads):
        points = []
        for grad in grads:
            moved = tree.map(lambda p, g: p + direction(g), params, grad)
            params = tree.update(moved, {path: tree.get(params, path) for path in paths})
            points.append(params)
        return points

    return first_steps


@fnn.constructor
def averaged(learning_rate, weight_decay):
    """Step along the running mean of gradients, with decayed weights, as a user may write it."""

    def formula(now, g, p, old, new, u):
        np.multiply(old[0], 0.8, out=new[0])
        new[0] += g * 0.2
        np.multiply(new[0] + p * now["weight_decay"], -now["learning_rate"], out=u)

    numbers = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    return fnn.make_transform("averaged", formula, memory=("mean",), numbers=numbers, reads_params=True)


def averages(rate, weight_decay):
    def direction(p, g, memory, step):
        return -at(rate, step) * (0.2 * weighted_sum(memory, "mean", g, 0.8) + weight_decay * p)

    return steps_of(direction)


TRANSFORM_CASES = [
    TransformCase("sgd", fnn.sgd(0.1), descent(0.1)),
    TransformCase("sgd", fnn.sgd(falling), descent(falling)),
    TransformCase("scale_by_learning_rate", fnn.scale_by_learning_rate(falling), descent(falling)),
    TransformCase("momentum", fnn.momentum(falling, 0.8), velocity(negative(falling), 0.8)),
    TransformCase(
        "momentum", fnn.momentum(0.1, nesterov=True), velocity(negative(0.1), 0.9, nesterov=True)
    ),
    TransformCase("trace", fnn.trace(0.8), velocity(plain(1.0), 0.8)),
    TransformCase("trace", fnn.trace(0.8, nesterov=True), velocity(plain(1.0), 0.8, nesterov=True)),
    TransformCase("rmsprop", fnn.rmsprop(falling), root_mean_square(negative(falling), 0.9, 1e-6)),
    TransformCase("rmsprop", fnn.rmsprop(0.1, 0.5, eps=0.1), root_mean_square(negative(0.1), 0.5, 0.1)),
    TransformCase("scale_by_rms", fnn.scale_by_rms(), root_mean_square(plain(1.0), 0.9, 1e-6)),
    TransformCase("adagrad", fnn.adagrad(falling), sum_of_squares(falling, 1e-10)),
    TransformCase("adagrad", fnn.adagrad(eps=0.1), sum_of_squares(0.01, 0.1)),
    TransformCase("adam", fnn.adam(), moments(negative(0.001), 0.9, 0.999, 1e-8)),
    TransformCase(
        "adam", fnn.adam(falling, b1=0.5, b2=0.8, eps=0.1), moments(negative(falling), 0.5, 0.8, 0.1)
    ),
    TransformCase(
        "adamw",
        fnn.adamw(falling, weight_decay=0.3, eps=0.1),
        moments(negative(falling), 0.9, 0.999, 0.1, 0.3),
    ),
    TransformCase("scale_by_adam", fnn.scale_by_adam(), moments(plain(1.0), 0.9, 0.999, 1e-8)),
    TransformCase(
        "add_decayed_weights",
        fnn.add_decayed_weights(falling),
        steps_of(lambda p, g, memory, step: g + falling(step) * p),
    ),
    TransformCase("clip_by_global_norm", fnn.clip_by_global_norm(falling), clipped(falling)),
    TransformCase("clip_by_global_norm", fnn.clip_by_global_norm(1e3), clipped(1e3)),
    TransformCase("freeze", fnn.freeze("dense_0"), frozen(["dense_0"], lambda g: g)),
    TransformCase(
        "freeze",
        fnn.chain(fnn.sgd(0.1), fnn.freeze(["dense_0/w", "scale"])),
        frozen(["dense_0/w", "scale"], lambda g: -0.1 * g),
    ),
    TransformCase("make_transform", averaged(falling, 0.3), averages(falling, 0.3)),
    TransformCase("chain", fnn.chain(), descent(-1.0)),
    TransformCase(
        "chain",
        fnn.chain(fnn.clip_by_global_norm(1.0), fnn.sgd(0.1)),
        clipped(1.0, lambda g: -0.1 * g),
    ),
    TransformCase(
        "chain",
        fnn.chain(fnn.scale_by_adam(), fnn.add_decayed_weights(0.3), fnn.scale_by_learning_rate(0.1)),
        moments(negative(0.1), 0.9, 0.999, 1e-8, 0.3),
    ),
    *MORE_TRANSFORM_CASES,
]


# --- what there is to be in it ------------------------------------------------------------------


def public_losses():
    """Return the public names of losses and of functions that make them."""
    return {
        name
        for name in fnn.__all__
        if getattr(getattr(fnn, name), "__module__", "").startswith("fnn.losses")
        and callable(getattr(fnn, name))
    }


def public_transforms():
    """Return the public names of functions that return a transform."""
    return {
        name
        for name in fnn.__all__
        if str(getattr(getattr(fnn, name), "__annotations__", {}).get("return")) == "Transform"
    }
