"""Constraints on what an optimizer does: decayed weights, clipped gradients, frozen layers."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from fnn import tree
from fnn.errors import OptionError
from fnn.kernels.noting import as_float, holds, sqrt
from fnn.optimizers.making import Now, make_transform, recall, stateless_init
from fnn.optimizers.numbers import numbers_of
from fnn.optimizers.transform import Transform
from fnn.options import Number
from fnn.recipe import Recipe, caller, constructor
from fnn.tree import EMPTY, Array, TreeLike


@constructor
def add_decayed_weights(rate: Number) -> Transform:
    """Add a share of the parameters: u ← u + rate p.

    Before an optimizer this is the gradient of ½ rate |p|²; between `scale_by_adam` and
    `scale_by_learning_rate` it is the decoupled decay of `adamw`. Biases and scales decay too.

    Args:
        rate: A float or a schedule, 0 or more; "weight_decay" among the numbers.

    Raises:
        OptionError: If the rate is negative or not finite.

    References: Loshchilov & Hutter (2019), "Decoupled weight decay regularization", algorithm 1.
    """

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        np.multiply(p, now["weight_decay"], u)
        u += g

    numbers = {"weight_decay": rate}
    return make_transform("add_decayed_weights", formula, numbers=numbers, reads_params=True)


@constructor
def clip_by_global_norm(max_norm: Number) -> Transform:
    """Shorten the gradient to at most `max_norm`: u ← u · min(1, max_norm / |u|).

    The norm is one over all leaves together; put it first in a chain. Gradients that are short
    enough keep every bit. Gradients that are not finite pass unchanged, for the loop to report.

    Args:
        max_norm: A float or a schedule, 0 or more.

    Raises:
        OptionError: If max_norm is negative or not finite.

    References: Pascanu, Mikolov & Bengio (2013), "On the difficulty of training recurrent neural
        networks", algorithm 1.
    """
    numbers = numbers_of("clip_by_global_norm", {"max_norm": (max_norm, math.inf)})

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        recall(opt_state)
        most = numbers(step)["max_norm"]
        peak, root = _norm(updates)
        if not holds(math.isfinite, peak) or peak * root <= most:
            return updates, EMPTY
        shorter = most / root
        if peak == 1.0:
            return tree.map_new(lambda g: g * shorter, updates), EMPTY
        return tree.map_new(lambda g: g / peak * shorter, updates), EMPTY

    return Transform("clip_by_global_norm", stateless_init, update, numbers=numbers)


def global_norm(updates: TreeLike) -> float:
    """Return √(Σ u²) over all entries of all leaves, summed in float64.

    Squares neither overflow nor vanish. It is nan if an entry is, inf if an entry is, 0 for an
    empty tree.
    """
    peak, root = _norm(updates)
    return peak * root


def _norm(updates: TreeLike) -> tuple[float, float]:
    """Return (peak, root) with norm = peak · root; peak is 1 where that is safe, else max |u|."""
    leaves = [leaf for leaf in tree.leaves(updates) if leaf.size]
    with np.errstate(over="ignore", invalid="ignore"):
        total = _added(as_float(np.sum(np.square(leaf, dtype=np.float64))) for leaf in leaves)
    # Far inside what squares can hold: a scale near a float32's limits would lose its own digits.
    if 1e-20 <= total <= 1e20 or not leaves:
        return 1.0, sqrt(total)
    # Unlike Python's `max`, a NaN passes through.
    peak = as_float(functools.reduce(np.maximum, [np.max(np.abs(leaf)) for leaf in leaves]))
    if peak == 0.0 or not holds(math.isfinite, peak):
        return peak, 1.0
    total = _added(as_float(np.sum(np.square(leaf.astype(np.float64) / peak))) for leaf in leaves)
    return peak, sqrt(total)


def _added(numbers: Iterable[float]) -> float:
    # Not by `sum`: since Python 3.12 it keeps digits that additions lose, and so gives other bits.
    total = 0.0
    for number in numbers:
        total += number
    return total


def freeze(paths: str | Iterable[str]) -> Transform:
    """Leave the layers or leaves at `paths` as they are: u ← -0 there; put it last in a chain.

    Before an optimizer it would only hide the gradient, and momentum or weight decay would still
    move the weights. `chain` sees to it that the gradient there is 0 from the beginning, so that
    clipping before it counts only what is trained. What a layer carries is not its business: the
    running moments of a batch normalisation move in training all the same, and with them what the
    layer gives. A layer that is to stay what it is belongs into `frozen(layer)`. It looks at paths, so
    that it is not elementwise.

    Args:
        paths: One path or several, of whole names: "dense_0" is every leaf of that layer and none
            of "dense_01"; "dense_0/w" is one leaf.

    Raises:
        OptionError: If a path is not a non-empty string.
        TreeError: From `init` and `update`, if the tree has no such path; says what there is.
    """
    one = isinstance(paths, str) or not isinstance(paths, Iterable)
    kept: list[Any] = [paths] if one else list(paths)
    for path in kept:
        if not isinstance(path, str) or not path:
            message = f"paths: expected names such as 'dense_0/w', got {path!r}"
            raise OptionError(message, path=("freeze",))
    kept = sorted(set(kept))

    def init(params: Any) -> TreeLike:
        for path in kept:
            tree.get(params, path)
        return EMPTY

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        recall(opt_state)
        held = {path: tree.map_new(_negative_zeros, tree.get(updates, path)) for path in kept}
        return tree.update(updates, held) if held else updates, EMPTY

    # Recorded by hand: the given iterable may be one that can be walked only once.
    recipe = Recipe.of(freeze, (kept[0] if len(kept) == 1 else tuple(kept),), {})
    return Transform("freeze", init, update, frozen=tuple(kept), recipe=recipe, where=caller())


def _negative_zeros(u: Array) -> Array:
    # p + (-0.0) is p to the bit; p + 0.0 would turn a parameter of -0.0 into 0.0.
    return np.full_like(u, -0.0)
