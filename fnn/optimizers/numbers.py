"""The numbers that users set: learning rates, decays and the like, each a float or a schedule."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from fnn.errors import OptionError
from fnn.kernels.noting import called
from fnn.optimizers.transform import Numbers
from fnn.options import Number, at_step, number, real

Bounded: TypeAlias = Number | tuple[Number, float]
"""A number that is 0 or more, or a pair (number, what it stays below)."""

LARGEST = 3.4e38
"""What learning rates and weight decays stay below: in float32 more is inf, and 0 · inf is NaN."""


def numbers_of(who: str, given: Mapping[str, Bounded]) -> Numbers:
    """Check numbers and return what they are at a step.

    Args:
        who: The transform, for errors.
        given: Numbers by name, for example {"learning_rate": 0.1, "b1": (0.9, 1.0)}. One without a
            bound stays below 3.4e38.

    Raises:
        OptionError: If a number is not in [0, bound): at once for floats, at the step for schedules.
    """
    checked = {}
    if not isinstance(given, Mapping):
        expected = "numbers: expected a dict such as {'learning_rate': 0.1}"
        raise OptionError(f"{expected}, got {given!r}", path=(who,))
    for name, each in given.items():
        if isinstance(each, tuple) and len(each) != 2:
            raise OptionError(f"{name}: expected a number or (number, bound), got {each}", path=(who,))
        value, below = each if isinstance(each, tuple) else (each, LARGEST)
        checked[name] = number(who, name, value, below=below)

    def numbers(step: int) -> dict[str, float]:
        try:
            return {name: at_step(value, step) for name, value in checked.items()}
        except OptionError as error:
            error.path = ()  # The transform puts its name and place before it.
            raise

    return numbers


def eps_of(who: str, eps: Any) -> float:
    """Return `eps`, which keeps a division by the root of squares from one by 0.

    Raises:
        OptionError: If it is below 1.1e-19.
    """
    # Squares of numbers below √2⁻¹²⁶ vanish in float32, and eps alone is left to divide by: it is to be
    # as large as they are, or steps of 1 become steps of 1e18, and with b2 near 1 even 0 / 0.
    return real(who, "eps", eps, least=2.0**-63)


def signed_rate(now: Mapping[str, float]) -> float:
    """Return what a direction is multiplied by: -lr, or 1 where there is no learning rate."""
    return -now["learning_rate"] if "learning_rate" in now else 1.0


def clamped(product: float) -> float:
    """Return a product of numbers, no larger than a number of its own may be."""
    bounded: float = called(_clamped, product)
    return bounded


def _clamped(product: float) -> float:
    return product if -LARGEST < product < LARGEST else math.copysign(LARGEST, product)


# --- what docstrings share

_SHARED = {
    "learning_rate": "A float or a schedule, 0 or more.",
    "b1": "How much of the mean stays, a float or a schedule in [0, 1).",
    "b2": "How much of the mean square stays, a float or a schedule in [0, 1).",
    "eps": "1.1e-19 or more; stands outside the root.",
    "weight_decay": "A float or a schedule, 0 or more.",
    "decayed": "Which leaves decay, paths or a predicate as in `masked`; all of them if None.",
}
_RAISES = "Raises:\n    OptionError: If a number is out of its range.\n"

Make = TypeVar("Make", bound=Callable[..., Any])


def documented(make: Make) -> Make:
    """Complete the docstring of a function that makes a transform; use it below `@constructor`.

    Args that it leaves out are described as they are for every optimizer: `learning_rate`, `b1`, `b2`,
    `eps`, `weight_decay`. The error for numbers out of range follows, then its references.
    """
    if make.__doc__:
        text, mark, references = inspect.cleandoc(make.__doc__).partition("\n\nReferences:")
        text, _, args = text.partition("\n\nArgs:\n")
        own = {entry.split(":")[0].strip(): entry for entry in re.split(r"\n(?=    \S)", args)}
        shared = {name: f"    {name}: {says}" for name, says in _SHARED.items()}
        names = inspect.signature(make).parameters
        if missing := [name for name in names if name not in shared and name not in own]:
            raise TypeError(f"{make.__name__}: expected its docstring to describe {', '.join(missing)}")
        entries = [{**shared, **own}[name] for name in names]
        make.__doc__ = "\n".join([f"{text}\n\nArgs:", *entries, f"\n{_RAISES}{mark[1:]}{references}"])
    return make
