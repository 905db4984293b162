"""The optimizer with its learning rate multiplied, for what slows a training down from outside."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
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
    if not any(True for _ in _rates(optimizer)):
        message = f"expected an optimizer with a learning_rate, got {optimizer!r}"
        raise OptionError(message, path=("rescaled",))
    new: Transform = _times(optimizer, factor)
    return new


def follows_schedule(optimizer: Transform) -> bool:
    """Return whether a learning rate in it is a `Schedule`."""
    return any(isinstance(rate, Schedule) for rate in _rates(optimizer))


def _arguments(transform: Transform) -> inspect.BoundArguments | None:
    """Return what a transform was made with, defaults included; None if no constructor made it."""
    recipe = transform.recipe
    if recipe is None:
        return None
    bound = inspect.signature(recipe.call).bind(*recipe.args, **recipe.kwargs)
    bound.apply_defaults()
    return bound


def _rates(value: Any) -> Iterator[Any]:
    """Yield the learning rates of a transform and of those that it was made with."""
    if isinstance(value, Transform):
        bound = _arguments(value)
        for name, given in bound.arguments.items() if bound is not None else ():
            if name == "learning_rate":
                yield given
            else:
                yield from _rates(given)
    elif isinstance(value, tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _rates(each)


def _times(value: Any, factor: float) -> Any:
    """Return a transform, or what holds some, made anew with its learning rates multiplied."""
    if isinstance(value, tuple):
        return tuple(_times(each, factor) for each in value)
    if type(value) is dict:
        return {name: _times(each, factor) for name, each in value.items()}
    if not isinstance(value, Transform) or (bound := _arguments(value)) is None:
        return value
    for name, given in bound.arguments.items():
        if name != "learning_rate":
            bound.arguments[name] = _times(given, factor)
        else:
            bound.arguments[name] = Scaled(given, factor) if callable(given) else given * factor
    assert value.recipe is not None
    return attrs.evolve(value.recipe.call(*bound.args, **bound.kwargs), where=value.where)
