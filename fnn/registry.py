"""What is public, by name: the stub that lists it, packages that import lazily, and registries.

`fnn/__init__.pyi` is the one list of public names. Type checkers read it, and so does `lazy_names`,
which gives a package its names without importing what defines them (PEP 562).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Generic, TypeVar

from fnn.errors import OptionError

T = TypeVar("T")
F = TypeVar("F")


# --- the list of names


@cache
def listed(package: str = "fnn") -> tuple[tuple[str, str, bool], ...]:
    """Return what the stub of a package lists: (name, module, whether the package itself shows it)."""
    spec: Any = sys.modules[package].__spec__
    stub = os.path.join(os.path.dirname(spec.origin), "__init__.pyi")
    # Asked of the loader, because the package may lie in a zip file. Split by hand: `ast` would take
    # longer than all the rest of `import fnn`.
    found = []
    for line in spec.loader.get_data(stub).decode().splitlines():
        if line.startswith("from "):
            module, _, names = line.removeprefix("from ").partition(" import ")
            for each in names.split(","):
                name, _, alias = each.strip().partition(" as ")
                found.append((name, module, bool(alias)))
        elif line.startswith("__version__:"):
            found.append(("__version__", package, True))
    return tuple(found)


def lazy_names(
    package: str, *, stub: str = "fnn"
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package whose names are imported on first use.

    Args:
        package: Its `__name__`.
        stub: The package whose stub lists them. Of another package's stub, they are the names
            defined in `package`.
    """
    home = {
        name: module
        for name, module, shown in listed(stub)
        if (shown if package == stub else f"{module}.".startswith(f"{package}."))
    }
    public = sorted(home)

    def load(name: str) -> Any:
        """Import a public name from where it is defined, or the submodule of that name."""
        if home.get(name, package) != package:
            module = import_module(home[name])
            if hasattr(module, name):
                value = getattr(module, name)
            else:  # A module that is public itself.
                value = import_module(f"{module.__name__}.{name}")
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
        """Return the public names, the submodules that define them, and what is there by now."""
        inside = f"{package}."
        modules = {
            module.removeprefix(inside).partition(".")[0]
            for module in home.values()
            if module.startswith(inside)
        }
        return sorted({*public, *modules, *vars(sys.modules[package])})

    return load, names, public


# --- registries


def _definition(value: Any) -> Any:
    """Return where a function is defined; another value stands for itself."""
    name = getattr(value, "__qualname__", None)
    return value if name is None else (getattr(value, "__module__", None), name)


class Registry(Generic[T]):
    """Names for values of one kind: `LOSSES["nll"]`; iteration gives the names, sorted.

    The built-in values of a package stand where they are defined:

        @LOSSES.builtin("nll")
        def nll(pred, target): ...

    The registry finds them when it is first asked: it imports every module that the list of public
    names has in that package. So a new one is in no second list.
    """

    def __init__(
        self, kind: str, values: Mapping[str, T] | None = None, *, package: str | None = None
    ) -> None:
        """Keep a copy of `values`.

        Args:
            kind: What errors call a value ("loss").
            values: Values by name.
            package: The one in which built-in values are defined ("fnn.losses").
        """
        self.kind = kind
        self._package = package
        self._values: dict[str, T] = {}
        for name, value in (values or {}).items():
            self._add(name, value)

    def register(self, name: str, value: T) -> T:
        """Add `value` under a new name and return it.

        Raises:
            OptionError: If the name is taken, empty or not a string.
        """
        self._find_builtins()
        return self._add(name, value)

    def builtin(self, name: str) -> Callable[[F], F]:
        """Return a decorator that adds what it decorates, in a module of the registry's own package.

        It looks for no others, which may be about to import that module. What is defined again, because
        its module is imported once more after it failed or is reloaded, takes the place of what it was.
        """

        def add(value: F) -> F:
            if name in self._values and _definition(self._values[name]) == _definition(value):
                del self._values[name]
            self._add(name, value)  # type: ignore[arg-type]
            return value

        return add

    def _add(self, name: str, value: T) -> T:
        if not isinstance(name, str) or not name:
            raise OptionError(f"expected a name, got {name!r}", path=(self.kind,))
        if name in self._values:
            raise OptionError(f"expected a new name, {name!r} is taken", path=(self.kind,))
        self._values[name] = value
        return value

    def _find_builtins(self) -> None:
        """Import the modules of the package, once, so that they register what they define."""
        if self._package is None:
            return
        for module in dict.fromkeys(module for _, module, _ in listed()):
            if module.startswith(f"{self._package}."):
                import_module(module)
        self._package = None  # After the imports, so that another thread waits for them too.

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
        self._find_builtins()
        return isinstance(name, str) and name in self._values

    def __iter__(self) -> Iterator[str]:
        self._find_builtins()
        return iter(sorted(self._values))

    def __len__(self) -> int:
        self._find_builtins()
        return len(self._values)

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self)})"
