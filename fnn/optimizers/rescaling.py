"""The optimizer with its learning rate multiplied, for what slows a training down from outside."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import attrs

from fnn.errors import OptionError
from fnn.optimizers.schedules import Schedule
from fnn.optimizers.transform import Transform


@attrs.frozen
class Scaled:
    """A schedule times a factor."""

    rate: Callable[[int], float]
    factor: float

    def __call__(self, step: int) -> float:
        """Return the number at `step`."""
        return float(self.rate(step)) * self.factor


def rescaled(optimizer: Transform, factor: float) -> Transform:
    """Return the optimizer with every `learning_rate` in it multiplied; its memory is the same.

    Raises:
        OptionError: If it has none, or it was not made by a constructor and cannot be made anew.
    """
    found: list[Any] = []
    new: Transform = _changed(optimizer, lambda rate: _times(rate, factor), found)
    if not found:
        message = f"expected an optimizer with a learning_rate, got {optimizer!r}"
        raise OptionError(message, path=("rescaled",))
    return new


def _times(rate: Any, factor: float) -> Any:
    return Scaled(rate, factor) if callable(rate) else rate * factor


def follows_schedule(optimizer: Transform) -> bool:
    """Return whether a learning rate in it is a `Schedule`."""
    found: list[Any] = []
    _changed(optimizer, lambda rate: rate, found)
    return any(isinstance(rate, Schedule) for rate in found)


def _changed(value: Any, change: Callable[[Any], Any], found: list[Any]) -> Any:
    """Return a transform, or what holds some, made anew with changed learning rates."""
    if isinstance(value, tuple):
        return tuple(_changed(each, change, found) for each in value)
    if type(value) is dict:
        return {name: _changed(each, change, found) for name, each in value.items()}
    if not isinstance(value, Transform) or value.recipe is None:
        return value
    recipe = value.recipe
    bound = inspect.signature(recipe.call).bind(*recipe.args, **recipe.kwargs)
    bound.apply_defaults()
    for name, given in bound.arguments.items():
        if name == "learning_rate":
            found.append(given)
            bound.arguments[name] = change(given)
        else:
            bound.arguments[name] = _changed(given, change, found)
    return attrs.evolve(recipe.call(*bound.args, **bound.kwargs), where=value.where)
