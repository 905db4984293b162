"""Numbers, texts and what is made of them, as a run's files hold them.

JSON knows whole numbers, floats of 64 bits and texts, and a reader has its limits. What a program
computes comes in many more types: each becomes the number that it is, or is refused by its name.
"""

from __future__ import annotations

import decimal
import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from fnn.errors import OptionError

# Python reads whole numbers of up to 4,300 digits, and a nesting of several hundred.
_MOST_BITS = 14_000
_DEEPEST = 50
_EXPECTED = "a number, a text, None, a path or what is made of those"


def plain(value: Any, at: str = "") -> Any:
    """Return `value` as JSON holds it: NaN and infinities become "nan", "inf" and "-inf".

    Numbers of every type become ints or floats of 64 bits: NumPy's, `Fraction`, `Decimal`, enums of
    numbers, arrays without axes. Arrays with axes become lists.

    Args:
        value: What is to be recorded.
        at: Where it stands, for errors, e.g. "result.loss".

    Raises:
        OptionError: If it is neither a number, text, None, a path nor made of those, such as a complex
            number, a date or a masked entry; or a number beyond what can be read again. Names the
            entry.
    """
    return _plain(value, at, _DEEPEST)


def recordable(values: Any, at: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the entries of a mapping that can be recorded, and why the others cannot.

    Args:
        values: What a training returned: a mapping, pairs or None.
        at: What it is called, e.g. "result".
    """
    try:
        found = {} if values is None else dict(values)
    except (TypeError, ValueError):
        return {}, {at: f"{at}: expected a dict of numbers and texts, got {_kind(values)}"}
    kept: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for name, value in found.items():
        try:
            kept |= plain({name: value}, at)
        except OptionError as error:
            refused[f"{name!s:.80}"] = error.message
    return kept, refused


def _plain(value: Any, at: str, depth: int) -> Any:
    if value is None or type(value) in (bool, str):
        return value
    if not depth:
        raise _refusal(at, "lists and dicts within each other to a depth of 50", "more")
    if isinstance(value, str):  # Of a type of its own, such as an enum's, which may print otherwise.
        return str.__str__(value)
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return _mapping(value, at, depth)
    if attrs.has(type(value)):
        names = (field.name for field in attrs.fields(type(value)))
        return {name: _plain(getattr(value, name), _below(at, name), depth - 1) for name in names}
    if isinstance(value, np.ndarray) and value.ndim:
        _check_kind(value, at)
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each, f"{at}[{i}]", depth - 1) for i, each in enumerate(value)]
    return _number(value, at)


def _mapping(value: Mapping[Any, Any], at: str, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, entry in value.items():
        text = _plain(name, at, depth - 1) if isinstance(name, str) else str(name)
        if text in made:
            raise _refusal(_below(at, text), "every name once", f"{name!r:.80} beside its text")
        made[text] = _plain(entry, _below(at, text), depth - 1)
    return made


def _number(value: Any, at: str) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        _check_kind(value, at)
        item = value.item()
        if not isinstance(item, np.longdouble):
            return _plain(item, at, 1)
        value = item
    if isinstance(value, numbers.Integral):
        whole = int(value)
        if abs(whole).bit_length() > _MOST_BITS:
            got = f"one of {abs(whole).bit_length():,} bits"
            raise _refusal(at, f"whole numbers of up to {_MOST_BITS:,} bits", got)
        return bool(whole) if isinstance(value, bool) else whole
    if isinstance(value, numbers.Real | decimal.Decimal):
        return _float(value, at)
    raise _refusal(at, _EXPECTED, _kind(value))


def _float(value: Any, at: str) -> float | str:
    """Return the nearest float; one that is none, or infinite, as its text."""
    # There are decimals that are no number and raise when they are asked whether they are one.
    if value.is_nan() if isinstance(value, decimal.Decimal) else value != value:
        return "nan"
    try:
        number = float(value)
    except (OverflowError, ValueError):
        number = math.inf
    if math.isfinite(number):
        return number
    if abs(value) != math.inf:
        raise _refusal(at, "a number that a float of 64 bits can hold", f"{_kind(value)} beyond it")
    return str(number)


def _check_kind(value: Any, at: str) -> None:
    # The type decides, not what Python makes of it: a date in nanoseconds would become a number.
    if value.dtype.kind not in "biufOU":
        raise _refusal(at, _EXPECTED, f"{value.dtype}")
    if np.ma.is_masked(value):
        raise _refusal(at, _EXPECTED, "a masked entry")


def _kind(value: Any) -> str:
    kind = type(value)
    name = (
        kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    )
    return f"{name} {value!r:.40}" if isinstance(value, complex | int | float) else name


def _below(at: str, name: str) -> str:
    return f"{at}.{name:.80}" if at else f"{name:.80}"


def _refusal(at: str, expected: str, got: str) -> OptionError:
    return OptionError(
        f"{at}: expected {expected}, got {got}" if at else f"expected {expected}, got {got}"
    )
