"""Fields of a config with a default, a meaning and a range."""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Iterator
from typing import Any

import attrs

from fnn.errors import OptionError


def option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    below: float | None = None,
    among: Collection[str] | None = None,
) -> Any:
    """Declare a field of a config: its default, what it means, and what it may be.

    Numbers lie in [least, below), names are among those given, for one a registry. Either holds for
    every entry of a tuple, a list or a dict; None passes. `attrs.NOTHING` as the default makes the flag
    required. Every config gets a copy of its own of a default that is a list or a dict.

    Raises:
        OptionError: When a config is made with a value out of range; names the field.
    """

    def check(_: Any, field: Any, value: Any) -> None:
        for entry in _entries(value):
            if entry is None:
                continue
            if among is not None and entry not in among:
                raise OptionError(f"{field.name}: expected one of {', '.join(among)}, got {entry!r}")
            # Asked this way round, NaN is outside too.
            inside = (least is None or entry >= least) and (below is None or entry < below)
            if not inside:
                low, high = "(-inf" if least is None else f"[{least}", "inf" if below is None else below
                raise OptionError(f"{field.name}: expected a value in {low}, {high}), got {value!r}")

    if isinstance(default, list | dict):
        default = attrs.Factory(functools.partial(copy.deepcopy, default))
    return attrs.field(default=default, validator=check, metadata={"help": help})


def _entries(value: Any) -> Iterator[Any]:
    """Yield the numbers or texts that a value holds, those of tuples within tuples too."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        yield value
        return
    for entry in value:
        yield from _entries(entry)
