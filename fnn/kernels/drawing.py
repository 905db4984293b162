"""Draws from a key: functions of a key and of shapes alone, which a step that is noted repeats."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from fnn.keys import Key

Draw = TypeVar("Draw", bound=Callable[..., Any])


def draws(f: Draw) -> Draw:
    """Declare that f(key, *args) returns a new array that follows from the key and from the args alone.

    Of a step that is noted nothing else may take numbers from a key.
    """

    @functools.wraps(f)
    def drawn(key: Any, *args: Any) -> Any:
        return f(key, *args) if type(key) is Key else key.tape.drawn(f, key, args)

    made: Any = drawn
    return made  # type: ignore[no-any-return]
