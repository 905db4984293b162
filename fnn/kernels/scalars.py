"""Functions of single numbers, which may be those of a step that is noted.

`math.sqrt(n)` reads a number; here it is noted where it has to be, and computed anew at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


def _tape(args: tuple[Any, ...]) -> Any:
    for each in args:
        if getattr(type(each), "is_traced", False):
            return each.tape
    return None


def called(f: Callable[..., Any], *args: Any) -> Any:
    """Return f(*args), a number."""
    tape = _tape(args)
    return f(*args) if tape is None else tape.number(f, args)


def holds(f: Callable[..., Any], *args: Any) -> bool:
    """Return f(*args), on which goes what is done next."""
    tape = _tape(args)
    return bool(f(*args) if tape is None else tape.asked(f, args))


def sqrt(x: Any) -> float:
    """Return √x."""
    root: float = math.sqrt(x) if type(x) is float else called(math.sqrt, x)
    return root


def as_float(x: Any) -> float:
    """Return an array of one number, or a number, as a float of Python's."""
    number: float = called(float, x)
    return number
