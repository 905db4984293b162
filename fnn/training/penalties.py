"""Penalties on parameters, added to the loss of every step: `fit(..., penalty=l2_penalty(1e-4))`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn import tree
from fnn.errors import OptionError
from fnn.optimizers.selecting import Where, chosen_by
from fnn.options import real
from fnn.recipe import HasRecipe, Recipe, constructor
from fnn.tree import Array, Tree

PenaltyFunction: TypeAlias = Callable[[Tree], tuple[Any, Any]]
"""From what is trained to a number and its gradient, a tree of that structure."""


@attrs.frozen(eq=False, repr=False)
class Penalty(HasRecipe):
    """A penalty that prints, compares and pickles by the call that made it."""

    of: PenaltyFunction
    recipe: Recipe | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(default="", kw_only=True)

    def direct_recipe(self) -> Recipe:
        """Return the call of the class itself."""
        return Recipe(Penalty, (self.of,))

    def __call__(self, params: Tree) -> tuple[Any, Any]:
        """Return the value and its gradient."""
        return self.of(params)


def _summed(
    who: str, rate: Any, where: Where | None, f: Callable[[Array], Any], df: Callable[[Array], Array]
) -> Penalty:
    rate = real(who, "rate", rate, least=0)
    chosen = None if where is None else chosen_by(who, "where", where)

    def of(params: Tree) -> tuple[Any, Any]:
        paths = None if chosen is None else set(chosen(params))
        total: Any = 0.0
        grads = {}
        for path, leaf in tree.items(params):
            if paths is None or path in paths:
                total = total + f(leaf)
                grads[path] = rate * df(leaf)
            else:
                grads[path] = np.zeros_like(leaf)
        return rate * total, tree.update(params, grads)

    return Penalty(of)


@constructor
def l2_penalty(rate: float, where: Where | None = None) -> Penalty:
    """Penalise large weights: rate Σ w², with the gradient 2 rate w.

    Args:
        rate: 0 or more.
        where: Which leaves: paths ("dense_0/w", or "dense_0" for all of that layer) or a predicate
            `(path, leaf) -> bool`; all by default.

    Raises:
        TreeError: From the step, if a path is not there.
    """
    return _summed("l2_penalty", rate, where, lambda w: np.sum(w * w), lambda w: 2 * w)


@constructor
def l1_penalty(rate: float, where: Where | None = None) -> Penalty:
    """Penalise weights that are not zero: rate Σ |w|, with the gradient rate sign(w).

    Arguments and errors are those of `l2_penalty`.
    """
    return _summed("l1_penalty", rate, where, lambda w: np.sum(np.abs(w)), np.sign)


def checked_penalty(who: str, penalty: Any) -> PenaltyFunction | None:
    """Return a penalty, or the sum of several; refuse what is none."""
    if penalty is None or callable(penalty):
        return penalty
    if isinstance(penalty, list | tuple) and penalty and all(map(callable, penalty)):
        parts = tuple(penalty)

        def of(params: Tree) -> tuple[Any, Any]:
            (value, grads), *others = (part(params) for part in parts)
            for more, dmore in others:
                value, grads = value + more, tree.map(np.add, grads, dmore)
            return value, grads

        return of
    expected = "a function from params to (value, grads), or several"
    raise OptionError(f"penalty: expected {expected}, got {penalty!r:.80}", path=(who,))
