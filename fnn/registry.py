"""Registries: values by name, for configurations and command lines, to which users add their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from fnn.errors import OptionError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names for values of one kind: `LOSSES["nll"]`; iteration gives the names, sorted."""

    def __init__(self, kind: str, values: Mapping[str, T]) -> None:
        """Keep a copy of `values`; `kind` is what errors call them ("loss")."""
        self.kind = kind
        self._values: dict[str, T] = {}
        for name, value in values.items():
            self.register(name, value)

    def register(self, name: str, value: T) -> T:
        """Add `value` under a new name and return it.

        Raises:
            OptionError: If the name is taken, empty or not a string.
        """
        if not isinstance(name, str) or not name:
            raise OptionError(f"expected a name, got {name!r}", path=(self.kind,))
        if name in self._values:
            raise OptionError(f"expected a new name, {name!r} is taken", path=(self.kind,))
        self._values[name] = value
        return value

    def __getitem__(self, name: str) -> T:
        """Return the value of that name.

        Raises:
            OptionError: If there is none; lists those there are, the near ones first.
        """
        if name in self:
            return self._values[name]
        # Imported here because only this error needs it, and `import fnn` is to stay fast.
        from difflib import get_close_matches

        near = get_close_matches(str(name), list(self), n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        known = ", ".join(self) or "nothing yet"
        raise OptionError(f"expected one of {known}, got {name!r}{hint}", path=(self.kind,))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self)})"
