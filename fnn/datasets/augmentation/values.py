"""Augmentations of any examples: noise, and mixtures of pairs of them with their targets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.datasets.augmentation.making import Augmentation, Draws, make_augmentation
from fnn.datasets.one_hot import OneHot
from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.options import integer, real
from fnn.recipe import constructor
from fnn.tree import Array


def _check_floats(name: str, array: Any) -> None:
    if not isinstance(array, np.ndarray):
        raise ShapeError(f"{name}: expected one array, got {type(array).__name__}")
    if array.dtype.kind != "f":
        raise DTypeError(f"{name}: expected floats, got dtype {array.dtype}")


@constructor
def gaussian_noise(std: float) -> Augmentation:
    """Add normal noise of mean 0 and standard deviation `std` to every number: x + std · z.

    Args:
        std: Standard deviation, 0 or more.

    Raises:
        OptionError: If std is out of range.
        DTypeError: When called, if x is not of real floats.
    """
    who = "gaussian_noise"
    std = real(who, "std", std, least=0)

    def change(draws: Draws, x: Array) -> Array:
        _check_floats("x", x)
        noise = std * draws.normal("noise", *x.shape[1:])
        return x + noise.astype(x.dtype)

    return make_augmentation(who, change)


@constructor
def mixup(alpha: float, *, n_classes: int | OneHot | None = None) -> Augmentation:
    """Mix each example and its target with another of its batch: x ← λ x + (1 - λ) x', y alike.

    λ of each example is drawn from Beta(alpha, alpha). The batch is ordered at random, and the other
    of an example is the one after it, so that none is mixed with itself; what becomes of an example
    follows from the key and from which examples are in its batch. Weights stay those of the example.

    Targets are rows of numbers, or labels that `n_classes` makes rows of probabilities of; a loss such
    as `softmax_cross_entropy_dense` takes those.

    Args:
        alpha: Above 0; the smaller, the more mixtures are nearly one of the two.
        n_classes: How many classes integer labels have, or the codec of labels; None for targets that
            are floats.

    Raises:
        OptionError: If an option is out of range.
        DataError: When called, if a label is not below n_classes, or not among the codec's; names it.
        DTypeError, ShapeError: When called, if x is not of floats, or y is not as above.

    References:
        Zhang, Cissé, Dauphin & Lopez-Paz (2018), "mixup: beyond empirical risk minimization". For λ:
        Devroye (1996), "Random variate generation in one line of code", section 2.
    """
    who = "mixup"
    alpha = real(who, "alpha", alpha, least=0)
    if alpha == 0:
        raise OptionError("alpha: expected a number above 0, got 0", path=(who,))
    if n_classes is not None and not isinstance(n_classes, OneHot):
        n_classes = integer(who, "n_classes", n_classes)

    def change(draws: Draws, x: Array, y: Any) -> tuple[Array, Array]:
        _check_floats("x", x)
        rows = y if n_classes is None else _rows(y, n_classes).astype(x.dtype)
        if n_classes is None and isinstance(y, np.ndarray) and y.dtype.kind in "iub":
            raise DTypeError(f"y: expected floats without n_classes, got labels of dtype {y.dtype}")
        _check_floats("y", rows)
        order = np.argsort(draws.uniform("partner"), kind="stable")
        other = np.empty_like(order)
        other[order] = np.roll(order, -1)
        share = beta(draws, alpha)
        return tuple(_mixed(each, each[other], share) for each in (x, rows))  # type: ignore[return-value]

    return make_augmentation(who, change, targets=True)


def _rows(labels: Any, classes: int | OneHot) -> Array:
    """Return a row of probabilities per label."""
    if isinstance(classes, OneHot):
        return classes.encode(labels)
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iub":
        got = f"{labels.dtype}{list(labels.shape)}" if isinstance(labels, np.ndarray) else "a tuple"
        raise DTypeError(f"y: expected integer labels on one axis for n_classes, got {got}")
    if (bad := (labels < 0) | (labels >= classes)).any():
        place = int(np.argmax(bad))
        raise DataError(f"y[{place}] = {labels[place]} is not in [0, {classes})")
    rows = np.zeros((len(labels), classes), np.float32)
    rows[np.arange(len(labels)), labels.astype(np.intp)] = 1.0
    return rows


def _mixed(one: Array, other: Array, share: Array) -> Array:
    by = share.astype(one.dtype).reshape(-1, *(1,) * (one.ndim - 1))
    return by * one + (1.0 - by) * other


def beta(draws: Draws, alpha: float) -> Array:
    """Return a number per example from Beta(alpha, alpha), float64 (n,).

    ½ + ½ s / √(1 + 1 / ((u^(-1/α) - 1) cos² 2πv)), with the sign s of cos 2πv: Student's t of 2α
    degrees of freedom by Bailey's polar method, carried over to (0, 1).
    """
    u, v = draws.uniform("share", 2).T
    cos = np.cos(2 * math.pi * v)
    with np.errstate(all="ignore"):  # A small alpha takes the power beyond all bounds, and λ to 0 or 1.
        odds = np.expm1(-np.log1p(-u) / alpha) * cos * cos
        share: Array = 0.5 + np.copysign(0.5, cos) / np.sqrt(1 + 1 / odds)
    return share
