"""Packages whose rooms are loaded when one of their names is first used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def open_on_use(
    package: str, rooms: dict[str, str], *, extra: tuple[str, ...] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package (PEP 562).

    Args:
        package: Its `__name__`.
        rooms: The public names of every module that has some, in one string.
        extra: Public names that the package or its modules have anyway.
    """
    home = {name: room for room, names in rooms.items() for name in names.split()}
    public = sorted([*home, *extra])

    def load(name: str) -> Any:
        """Load the room of a public name, or the room of that name."""
        if name in home:
            room = import_module(f"{package}.{home[name]}")
            value = getattr(room, name, None) or import_module(f"{room.__name__}.{name}")
            setattr(sys.modules[package], name, value)  # Asked for once.
            return value
        missing = AttributeError(f"module {package!r} has no attribute {name!r}")
        if name.startswith("_"):
            raise missing
        try:
            return import_module(f"{package}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{package}.{name}":
                raise
            raise missing from None

    def names() -> list[str]:
        """Return the public names, the rooms, and what the package holds by now."""
        return sorted({*public, *rooms, *vars(sys.modules[package])})

    return load, names, public
