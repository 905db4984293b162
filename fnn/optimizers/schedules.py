"""Schedules: numbers that follow the step, printed, compared and pickled by the call that made them.

Any function `step -> float` serves as a schedule; these are the usual ones. Steps count from 0, and
after its last step a schedule keeps its last value.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from fnn.errors import OptionError
from fnn.options import flag, integer, real
from fnn.recipe import HasRecipe, Recipe, constructor


@attrs.frozen(eq=False, repr=False)
class Schedule(HasRecipe):
    """A number that follows the step: `schedule(step) -> float`, for steps from 0.

    It prints as the call that made it, and pickles and compares by that.

    Attributes:
        name: Kind of schedule, for errors.
        recipe: The call that made it, None for one made directly.
        where: File and line of that call.

    Raises:
        OptionError: When called, if the step is no integer of 0 or more.
    """

    name: str
    _at: Callable[[int], float]
    recipe: Recipe | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(default="", kw_only=True)

    def __call__(self, step: int) -> float:
        """Return the number at `step`."""
        # As a Python integer: from one of NumPy's, float64 would come and not a float.
        return self._at(integer(self.name, "step", step, least=0))

    def direct_recipe(self) -> Recipe:
        """Return the call of `Schedule` itself."""
        return Recipe(Schedule, (self.name, self._at), {})


def value_of(who: str, name: str, value: Any) -> float:
    """Return a value of a schedule, a float of 0 or more, as all numbers of optimizers are."""
    return real(who, name, value, least=0.0)


def between(start: float, end: float, share: float) -> float:
    """Return start + (end - start) · share, and exactly the ends where share is 0 or 1."""
    return start * (1.0 - share) + end * share


def fraction(step: int, begin: int, steps: int) -> float:
    """Return how much of `steps` after `begin` has gone by, from 0 to 1."""
    return min(max(step - begin, 0), steps) / steps


@constructor
def constant_schedule(value: float) -> Schedule:
    """Keep one value: c(t) = value.

    Args:
        value: 0 or more.

    Raises:
        OptionError: If the value is out of its range.
    """
    value = value_of("constant_schedule", "value", value)
    return Schedule("constant_schedule", lambda step: value)


@constructor
def linear_schedule(
    init_value: float, end_value: float, transition_steps: int, *, transition_begin: int = 0
) -> Schedule:
    """Go straight from one value to another: c(t) = init + (end - init) (t - begin) / steps.

    Args:
        init_value: Value until `transition_begin`, 0 or more.
        end_value: Value from `transition_begin + transition_steps` on, 0 or more.
        transition_steps: How many steps the way takes, 1 or more.
        transition_begin: The step at which it begins.

    Raises:
        OptionError: If an argument is out of its range.
    """
    return _polynomial(
        "linear_schedule", init_value, end_value, 1.0, transition_steps, transition_begin
    )


@constructor
def polynomial_schedule(
    init_value: float,
    end_value: float,
    power: float,
    transition_steps: int,
    *,
    transition_begin: int = 0,
) -> Schedule:
    """Go from one value to another along a power: c(t) = end + (init - end) (1 - (t - begin) / steps)ᵖ.

    Args:
        init_value: Value until `transition_begin`, 0 or more.
        end_value: Value from `transition_begin + transition_steps` on, 0 or more.
        power: p, 0 or more; 1 is a straight line, more falls steeply at first.
        transition_steps: How many steps the way takes, 1 or more.
        transition_begin: The step at which it begins.

    Raises:
        OptionError: If an argument is out of its range.
    """
    who = "polynomial_schedule"
    return _polynomial(who, init_value, end_value, power, transition_steps, transition_begin)


def _polynomial(
    who: str, init_value: float, end_value: float, power: float, steps: int, begin: int
) -> Schedule:
    start, end = value_of(who, "init_value", init_value), value_of(who, "end_value", end_value)
    power = real(who, "power", power, least=0.0)
    steps = integer(who, "transition_steps", steps)
    begin = integer(who, "transition_begin", begin, least=0)

    def at(step: int) -> float:
        # The end is reached whatever the power: 0⁰ is 1.
        left = 1.0 - fraction(step, begin, steps)
        return between(end, start, left**power) if left else end

    return Schedule(who, at)


@constructor
def exponential_schedule(
    init_value: float,
    decay_steps: int,
    decay_rate: float,
    *,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """Multiply by a rate every so many steps: c(t) = init · rate^(t / steps).

    Args:
        init_value: First value, 0 or more.
        decay_steps: In how many steps it is multiplied by `decay_rate` once, 1 or more.
        decay_rate: More than 0; below 1 the value falls, above 1 it grows.
        staircase: Whether it jumps every `decay_steps` steps, and stays the same between.
        end_value: Where it stops, the least value if it falls and the largest if it grows; it has to
            be given if it grows, or the numbers would leave all bounds.

    Raises:
        OptionError: If an argument is out of its range.
    """
    who = "exponential_schedule"
    start = value_of(who, "init_value", init_value)
    steps = integer(who, "decay_steps", decay_steps)
    rate = real(who, "decay_rate", decay_rate, least=0.0)
    jumps = flag(who, "staircase", staircase)
    if rate == 0.0:
        raise OptionError("decay_rate: expected a number above 0, got 0", path=(who,))
    if rate > 1.0 and end_value is None:
        raise OptionError("end_value: expected a number beside a rate above 1, got None", path=(who,))
    end = 0.0 if end_value is None else value_of(who, "end_value", end_value)

    def at(step: int) -> float:
        power = step // steps if jumps else step / steps
        try:
            value = start * rate**power
        except OverflowError:
            value = math.inf if start else 0.0
        return max(value, end) if rate <= 1.0 else min(value, end)

    return Schedule(who, at)


@constructor
def inverse_time_schedule(
    init_value: float, decay_steps: int, decay_rate: float, *, staircase: bool = False
) -> Schedule:
    """Divide by what grows with the time: c(t) = init / (1 + rate · t / steps).

    Args:
        init_value: First value, 0 or more.
        decay_steps: In how many steps the divisor grows by `decay_rate`, 1 or more.
        decay_rate: 0 or more.
        staircase: Whether it jumps every `decay_steps` steps, and stays the same between.

    Raises:
        OptionError: If an argument is out of its range.
    """
    who = "inverse_time_schedule"
    start = value_of(who, "init_value", init_value)
    steps = integer(who, "decay_steps", decay_steps)
    rate = real(who, "decay_rate", decay_rate, least=0.0)
    jumps = flag(who, "staircase", staircase)

    def at(step: int) -> float:
        return start / (1.0 + rate * (step // steps if jumps else step / steps))

    return Schedule(who, at)


def boundaries_of(who: str, given: Any, n_parts: int) -> list[int]:
    """Return the steps at which parts end and the next begin, which have to grow.

    Raises:
        OptionError: If they do not, or are not one less than the parts.
    """
    if not isinstance(given, tuple | list):
        raise OptionError(f"boundaries: expected a list of steps, got {given!r}", path=(who,))
    steps = [integer(who, "boundaries", step) for step in given]
    if len(steps) != n_parts - 1 or steps != sorted(set(steps)):
        expected = f"{n_parts - 1} growing steps between {n_parts} parts"
        raise OptionError(f"boundaries: expected {expected}, got {steps}", path=(who,))
    return steps


@constructor
def piecewise_schedule(values: Sequence[float], boundaries: Sequence[int]) -> Schedule:
    """Keep a value until each boundary: c(t) = values[number of boundaries that are t or less].

    Args:
        values: One value or more, each 0 or more.
        boundaries: The steps from which on the second, third, … value holds; one less than values.

    Raises:
        OptionError: If an argument is out of its range, or the boundaries do not grow.
    """
    who = "piecewise_schedule"
    if not isinstance(values, tuple | list) or not values:
        raise OptionError(f"values: expected a list of numbers, got {values!r}", path=(who,))
    levels = [value_of(who, "values", value) for value in values]
    steps = boundaries_of(who, boundaries, len(levels))
    return Schedule(who, lambda step: levels[bisect.bisect_right(steps, step)])
