"""Losses with numbers of their own: `huber(0.5)` is a loss, made by a constructor."""

from __future__ import annotations

from typing import Any

import attrs

from fnn.losses.reduction import LossFunction, unsilenced
from fnn.recipe import HasRecipe, Recipe
from fnn.tree import Array


@attrs.frozen(eq=False, repr=False)
class LossWithOptions(HasRecipe):
    """A loss that prints, compares, pickles and copies by the call that made it.

    Attributes:
        loss: The loss itself.
        complex_safe: Whether complex numbers pass through it.
    """

    loss: LossFunction
    complex_safe: bool = attrs.field(default=True, kw_only=True)
    recipe: Recipe | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(default="", kw_only=True)

    def direct_recipe(self) -> Recipe:
        """Return the call of the class itself."""
        return Recipe(LossWithOptions, (self.loss,), {"complex_safe": self.complex_safe})

    @property
    def __name__(self) -> str:
        return self.loss.__name__

    @property
    def unsilenced(self) -> Any:
        """The loss where NumPy's warnings are silenced already."""
        return unsilenced(self.loss)

    def __call__(
        self, pred: Array, target: Any, *, weight: Array | None = None, **more: Any
    ) -> tuple[Any, Array]:
        """Return (value, dpred)."""
        return self.loss(pred, target, weight=weight, **more)
