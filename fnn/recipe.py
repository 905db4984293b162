"""Recipes: a value remembers the call that made it, so that it prints, compares and pickles by it."""

from __future__ import annotations

import functools
import inspect
import os.path
import sys
import types
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import attrs
import numpy as np

P = ParamSpec("P")
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(a, b)
    if type(a) is type(b) is tuple:
        return len(a) == len(b) and all(map(_same, a, b))
    if type(a) is type(b) is dict:
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if type(a) is type(b) is float and (a != b or a == 0):  # nan is nan, and -0.0 another than 0.0.
        return repr(a) == repr(b)
    return bool(type(a) is type(b) and a == b)


def _kept(value: Any) -> Any:
    """Return an argument as a value that nobody can change: lists become tuples, arrays copies."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        value = value.copy()
        value.setflags(write=False)
        return value
    if type(value) in (tuple, list):
        return tuple(map(_kept, value))
    return {name: _kept(each) for name, each in value.items()} if type(value) is dict else value


def _show(value: Any) -> str:
    if type(value) is tuple:
        return f"({', '.join(map(_show, value))}{',' if len(value) == 1 else ''})"
    if type(value) is dict:
        return f"{{{', '.join(f'{name!r}: {_show(each)}' for name, each in value.items())}}}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, types.FunctionType):
        return _show_function(value)
    return getattr(value, "__name__", None) or repr(value)


def _show_function(fn: types.FunctionType) -> str:
    """Return the name of a function; with its place if no other code could say that name."""
    outer, _, name = fn.__qualname__.rpartition(".<locals>.")
    if not outer and fn.__name__ != "<lambda>":
        return fn.__qualname__
    code = inspect.unwrap(fn).__code__
    inside = f" in {outer.replace('.<locals>', '')}" if outer else ""
    where = f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
    return f"<{name.strip('<>')}{inside}, {where}>"


@attrs.frozen(eq=False, repr=False)
class Recipe:
    """A call, kept as a value: `recipe.build()` makes its result anew.

    Options that equal their defaults are left out, what has no default is given by position, lists
    are tuples and NumPy's numbers Python's, so that `Dense(10)` and `Dense(width=np.int64(10),
    bias=True)` have one recipe. Numbers of different types are different: 1 is not True.
    """

    call: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        """Return the recipe of `call(*args, **kwargs)` in its shortest form."""
        signature = inspect.signature(call)
        bound = signature.bind(*args, **kwargs).arguments
        parameters = [signature.parameters[name] for name in bound]
        # Before further arguments of a *star none may be left out: the others would move up.
        is_full = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
        short: list[Any] = []
        named: dict[str, Any] = {}
        for parameter in parameters:
            name, value = parameter.name, _kept(bound[parameter.name])
            is_optional = parameter.default is not parameter.empty
            if parameter.kind is parameter.VAR_POSITIONAL:
                short.extend(value)
            elif parameter.kind is parameter.VAR_KEYWORD:
                named.update(value)
            elif parameter.kind is parameter.KEYWORD_ONLY or (is_optional and not is_full):
                if not (is_optional and _same(value, parameter.default)):
                    named[name] = value
            else:
                short.append(value)
        return cls(call, tuple(short), named)

    def build(self) -> Any:
        """Make the call again."""
        return self.call(*self.args, **self.kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recipe):
            return NotImplemented
        return (
            self.call is other.call
            and _same(self.args, other.args)
            and _same(self.kwargs, other.kwargs)
        )

    def __hash__(self) -> int:
        return hash((self.call.__qualname__, len(self.args), tuple(sorted(self.kwargs))))

    def __reduce__(self) -> tuple[Any, ...]:
        return Recipe, (self.call, self.args, self.kwargs)

    def __repr__(self) -> str:
        args = [_show(value) for value in self.args]
        args += [f"{name}={_show(value)}" for name, value in self.kwargs.items()]
        return f"{self.call.__name__}({', '.join(args)})"


class HasRecipe:
    """A value that remembers the call that made it; it prints, compares, pickles and copies by that.

    Attributes:
        recipe: The call, None for what was made by hand.
        where: File and line of the call.
    """

    __slots__ = ()
    recipe: Recipe | None
    where: str

    def direct_recipe(self) -> Recipe:
        """Return the call of the class itself, for a value that no constructor made."""
        raise NotImplementedError

    def made_by(self) -> Recipe:
        """Return the call that makes this value."""
        return self.recipe or self.direct_recipe()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.made_by() == other.made_by()

    def __hash__(self) -> int:
        return hash(self.made_by())

    def __repr__(self) -> str:
        return repr(self.made_by())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print likewise in notebooks and in Hypothesis's examples, which would show every field."""
        printer.text(repr(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.made_by(), self.where)


def _rebuild(recipe: Recipe, where: str) -> Any:
    return attrs.evolve(recipe.build(), where=where)


M = TypeVar("M", bound=HasRecipe)


def caller() -> str:
    """Return "file:line" of the nearest frame outside this package; "" while a module is imported."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame.f_code.co_filename.startswith("<frozen importlib"):
        return ""  # A constant of the package: whoever happens to import it first did not make it.
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def constructor(make: Callable[P, M]) -> Callable[P, M]:
    """Have the layer or transform that `make` returns remember the call and where it stood.

        @fnn.constructor
        def Scale(width):
            ...
            return fnn.make_layer("scale", init, fwd)

    shows as `Scale(3)` in repr, summaries and records of runs. Equal calls are equal, and it pickles
    and copies by the call, for which `make` has to be importable and its arguments have to pickle.

    Raises:
        TypeError: If `make` is no function; when it is called, if it returns anything else than a layer
            or a transform.
    """
    if not callable(make):
        raise TypeError(f"constructor: expected a function, got {make!r}")

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> M:
        value = make(*args, **kwargs)
        if not attrs.has(type(value)) or not hasattr(value, "recipe"):
            name = getattr(make, "__name__", repr(make))
            raise TypeError(
                f"{name}: expected a layer or a transform to be returned, got {value!r:.80}"
            )
        recipe = Recipe.of(made, args, kwargs)
        return attrs.evolve(value, recipe=recipe, where=caller())  # type: ignore[misc]

    return made
