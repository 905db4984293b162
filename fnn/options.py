"""Checks of the options given to constructors; each returns the checked value."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import index
from typing import Any, TypeAlias

from fnn.errors import OptionError

Number: TypeAlias = float | Callable[[int], float]
"""A float, or a schedule `step -> float`."""


def _path(who: str) -> tuple[str, ...]:
    return (who,) if who else ()  # Nobody: a layer in a network, which puts its own path before it.


def integer(who: str, name: str, value: Any, *, least: int = 1) -> int:
    """Return `value` as an int of at least `least`; a float or a bool is refused."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise OptionError(f"{name}: expected an integer, got {value!r}", path=_path(who)) from None
    if number < least:
        raise OptionError(f"{name}: expected {least} or more, got {number}", path=_path(who))
    return number


def flag(who: str, name: str, value: Any) -> bool:
    """Return `value` if it is True or False.

    Raises:
        OptionError: If it is anything else, 1 and "yes" included.
    """
    if not isinstance(value, bool):
        raise OptionError(f"{name}: expected True or False, got {value!r}", path=_path(who))
    return value


def real(
    who: str,
    name: str,
    value: Any,
    *,
    least: float = -math.inf,
    below: float = math.inf,
    most: float | None = None,
) -> float:
    """Return `value` as a finite Python float in [least, below), or in [least, most] if that is given.

    NumPy scalars become Python floats, because `float32 * np.float64` is float64 in NumPy 2.
    """
    try:
        if isinstance(value, bool | str | bytes | bytearray):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise OptionError(f"{name}: expected a number, got {value!r}", path=_path(who)) from None
    is_inside = number < below if most is None else number <= most
    if not (math.isfinite(number) and least <= number and is_inside):
        bounds = f"[{least}, {below})" if most is None else f"[{least}, {most}]"
        bounds = bounds.replace("[-inf", "(-inf")
        raise OptionError(f"{name}: expected a number in {bounds}, got {value!r}", path=_path(who))
    return number


def number(who: str, name: str, value: Any, *, least: float = 0.0, below: float = math.inf) -> Number:
    """Return a float in [least, below) or a schedule whose values are checked at every step."""
    if not callable(value):
        return real(who, name, value, least=least, below=below)

    def at(step: int) -> float:
        return real(who, f"{name} at step {step}", value(step), least=least, below=below)

    return at


def returned(what: str, value: Any, parts: tuple[str, ...], who: str = "") -> tuple[Any, ...]:
    """Return what somebody's function returned, if it is a tuple of as many parts as are named.

    Raises:
        OptionError: Saying what came instead; whoever calls puts the place before it.
    """
    if isinstance(value, tuple | list) and len(value) == len(parts):
        return tuple(value)
    is_tuple = isinstance(value, tuple | list)
    got = f"{len(value)} values" if is_tuple else type(value).__name__
    raise OptionError(f"expected {what} to return ({', '.join(parts)}), got {got}", path=_path(who))


def at_step(number: Number, step: int) -> float:
    """Return the number's value at `step`."""
    if not callable(number):
        return number
    # A step that is noted asks the schedule anew at every step, and does not look into it.
    return number(step) if type(step) is int else _asked_later(number, step)


def _asked_later(number: Callable[[int], float], step: Any) -> float:
    at: float = step.called(number) if getattr(type(step), "is_traced", False) else number(step)
    return at


def sizes(who: str, name: str, value: Any, n_axes: int, *, least: int = 1) -> tuple[int, ...]:
    """Return one integer per axis; a single one stands for all of them."""
    if isinstance(value, tuple | list):
        if len(value) != n_axes:
            raise OptionError(f"{name}: expected {n_axes} integers, got {value!r}", path=_path(who))
        return tuple(integer(who, name, size, least=least) for size in value)
    return (integer(who, name, value, least=least),) * n_axes


def axis_of(who: str, value: Any, what: str) -> int:
    """Return the axis of `what`; that of the batch, 0, is refused."""
    axis = integer(who, "axis", value, least=-32)
    if axis == 0:
        raise OptionError(f"axis: expected {what}, got 0, the batch's", path=_path(who))
    return axis


def each_size(who: str, *, least: int = 1, **given: Any) -> tuple[Any, ...]:
    """Return each option as an integer of at least `least`, or a tuple of them, one per axis.

    How many axes there are shows when an image comes.
    """

    def checked(name: str, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return sizes(who, name, value, len(value), least=least)
        return integer(who, name, value, least=least)

    return tuple(checked(name, value) for name, value in given.items())


def padding_of(who: str, padding: Any, *, also: tuple[str, ...] = ()) -> Any:
    """Return `padding` as "valid", "same", an integer or a tuple of (before, after) pairs.

    Names of `also` pass too.

    Raises:
        OptionError: If it is none of these.
    """
    if isinstance(padding, str) and padding in ("valid", "same", *also):
        return padding
    if isinstance(padding, tuple | list) and padding:
        if all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in padding):
            return tuple(tuple(integer(who, "padding", n, least=0) for n in pair) for pair in padding)
    elif not isinstance(padding, str | tuple | list):
        return integer(who, "padding", padding, least=0)
    names = ", ".join(map(repr, ("valid", "same", *also)))
    expected = f"{names}, an integer or one (before, after) pair per axis"
    raise OptionError(f"padding: expected {expected}, got {padding!r}", path=_path(who))
