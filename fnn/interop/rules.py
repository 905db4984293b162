"""What bridges share: rules by the constructor of a layer, and the options that it was given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, Generic, TypeVar

from fnn.errors import OptionError
from fnn.layers.contract import Layer

R = TypeVar("R", bound=Callable[..., Any])


def options_of(layer: Layer) -> SimpleNamespace:
    """Return all arguments of the call that made a layer, those that were left out too, by name.

    `options_of(Conv(8, 3)).padding` is "valid"; further arguments of a *star are one tuple.
    """
    recipe = layer.made_by()
    bound = inspect.signature(recipe.call).bind(*recipe.args, **recipe.kwargs)
    bound.apply_defaults()
    return SimpleNamespace(**bound.arguments)


class Rules(Generic[R]):
    """How one system expresses layers: a function for each constructor.

        rules = Rules("ONNX")

        @rules.of(Dense)
        def dense(…): …

    Users add rules for layers of their own in the same way.
    """

    def __init__(self, system: str) -> None:
        """Begin without any; `system` is named in errors."""
        self.system = system
        self._known: dict[Any, R] = {}

    def of(self, *constructors: Callable[..., Layer]) -> Callable[[R], R]:
        """Return a decorator that makes a function the rule of these constructors."""

        def noted(rule: R) -> R:
            self._known.update(dict.fromkeys(constructors, rule))
            return rule

        return noted

    def __contains__(self, layer: Layer) -> bool:
        return layer.made_by().call in self._known

    def rule(self, layer: Layer) -> R:
        """Return the rule for a layer.

        Raises:
            OptionError: If there is none; a bridge adds the path, as the layers themselves do
                (`error.inside`).
        """
        found = self._known.get(layer.made_by().call)
        if found is None:
            raise OptionError(f"expected a layer that {self.system} can express, got {layer!r:.200}")
        return found


def needed(package: str, extra: str) -> ModuleType:
    """Return a package that an extra brings.

    Raises:
        ImportError: If it is not installed, with the command that installs it.
    """
    from importlib import import_module

    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        message = f'{package} is not installed: pip install "fnn[{extra}]"'
        raise ModuleNotFoundError(message, name=package) from error
