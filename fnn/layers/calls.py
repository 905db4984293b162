"""How a layer is called: from outside, and from a composition or a loop that checks for all of it."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from operator import index
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, cast

import numpy as np

from fnn.errors import FnnError, OptionError, ShapeError, TreeError
from fnn.kernels.checks import check_cotangent
from fnn.kernels.values import is_tuple_of_shapes
from fnn.keys import Key
from fnn.tree import Tree, TreeLike, freeze

Shape: TypeAlias = tuple[Any, ...]
"""Of one example: sizes such as (784,), or for a tuple of arrays the tuple of their shapes."""


T = TypeVar("T")


class Pullback(Protocol):
    """Map a cotangent of y to those of params and x, linearly."""

    def __call__(self, dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
        """Return (dparams, dx); dx is None if not needed."""


class Init(Protocol):
    """Draw parameters and say what comes out."""

    def __call__(self, key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        """Return (out_shape, params, state)."""


class Apply(Protocol):
    """Compute the layer's output."""

    def __call__(
        self, params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        """Return (y, state)."""


class Vjp(Protocol):
    """Compute the same output, and the function that carries derivatives back."""

    def __call__(
        self, params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        """Return (y, state, pullback)."""


class Core(NamedTuple):
    """The triple of a layer as it was written.

    Nothing checks what comes from outside, errors get no place, and NumPy's warnings are not silenced:
    for combinators and training loops, which do that once for the whole network.
    """

    init: Init
    apply: Apply
    vjp: Vjp


def checked_core(core: Core, name: str, where: str) -> Core:
    """Return a triple for callers outside: it checks keys and trees, and adds its place to errors."""

    @functools.wraps(core.init, updated=())
    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        try:
            check_key(key)
            out_shape, params, state = core.init(key, checked_shape(in_shape))
            return tuple(out_shape), Tree(cast(Any, params)), Tree(cast(Any, state))
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, where) from error.__cause__

    @functools.wraps(core.apply, updated=())
    def apply(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        try:
            _check_call(params, state, key)
            with np.errstate(all="ignore"):  # Bad numbers show in y; a warning would only say it twice.
                return core.apply(params, state, x, train=train, key=key)
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, where) from error.__cause__

    @functools.wraps(core.vjp, updated=())
    def vjp(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        try:
            _check_call(params, state, key)
            with np.errstate(all="ignore"):
                y, new_state, back = core.vjp(params, state, x, train=train, key=key)
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, where) from error.__cause__

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            try:
                check_cotangent("dy", dy, y)
                with np.errstate(all="ignore"):
                    dparams, dx = back(dy, need_dx=need_dx)
                return freeze(dparams), dx if need_dx else None
            except (FnnError, KeyError) as error:
                raise placed_error(error, name, where) from error.__cause__

        return y, new_state, pullback

    return Core(init, apply, vjp)


class ChildInit:
    """What a composition asked of one of its layers: the call of its init, and what came.

    Attributes:
        name, layer, in_shape: The child, and the shape of one example that it gets.
        is_made: Whether the child was made in that call, and is none of the composition's `children`.
        out_shape, params, state: What came.
        below: The calls that it made in turn.
        flops, kept: Operations per example of the child and all of its parts, and numbers that a
            training step keeps of them; None before they are counted.
    """

    def __init__(self, name: str, layer: Any, in_shape: Shape, is_made: bool = False) -> None:
        """Note a call before it is made."""
        self.name, self.layer, self.in_shape, self.is_made = name, layer, in_shape, is_made
        self.out_shape: Shape = ()
        self.params: TreeLike = {}
        self.state: TreeLike = {}
        self.below: list[ChildInit] = []
        self.flops: int | None = None
        self.kept: int | None = None


_noted: ContextVar[list[ChildInit] | None] = ContextVar("noted", default=None)


@contextlib.contextmanager
def outermost(context: ContextVar[T | None], make: Callable[[], T]) -> Iterator[T]:
    """Give all that is nested inside the outermost block one value, which `make` makes."""
    if (value := context.get()) is not None:
        yield value
        return
    token = context.set(value := make())
    try:
        yield value
    finally:
        context.reset(token)


@contextlib.contextmanager
def noted_inits() -> Iterator[list[ChildInit]]:
    """Note every call of `init_child`, so that shapes inside a composition can be read."""
    calls: list[ChildInit] = []
    token = _noted.set(calls)
    try:
        yield calls
    finally:
        _noted.reset(token)


def init_child(
    name: str, layer: Any, key: Key, in_shape: Shape, *, is_made: bool = False
) -> tuple[Shape, TreeLike, TreeLike]:
    """Return what the init of a composition's layer returns; its key is folded with its name."""
    calls = _noted.get()
    try:
        if calls is None:
            return layer.core.init(key.fold(name), in_shape)
        call = ChildInit(name, layer, in_shape, is_made)
        calls.append(call)
        with noted_inits() as call.below:
            came = layer.core.init(key.fold(name), in_shape)
        call.out_shape, call.params, call.state = came
        return came
    except (FnnError, KeyError) as error:
        raise placed_error(error, name, layer.where) from error.__cause__


def check_name(who: str, name: Any) -> None:
    """Refuse a name that could not stand in a path."""
    if not isinstance(name, str) or not name or "/" in name:
        raise OptionError(f"name: expected a string without '/', got {name!r}", path=(who,))


def check_functions(who: str, **functions: Any) -> None:
    """Refuse what cannot be called where a function is expected."""
    for name, fn in functions.items():
        if not callable(fn):
            raise OptionError(f"{name}: expected a function, got {fn!r}", path=(who,))


def placed_error(error: FnnError | KeyError, name: str, where: str) -> FnnError:
    """Return the error of a layer called `name` with its place; a missing entry becomes a TreeError."""
    if isinstance(error, FnnError):
        return error.inside(name, where)
    message = f"params or state lack the entry {error}; were they made by another network's init?"
    placed = TreeError(message, path=(name,), where=where)
    placed.__cause__ = error
    return placed


def check_key(key: Any) -> None:
    """Refuse what is no key."""
    if not isinstance(key, Key):
        raise OptionError(f"expected a Key, got {key!r}; write Key.of(seed)")


def checked_shape(in_shape: Any) -> Any:
    """Return a shape, or a tuple of them, as tuples of integers."""
    try:
        if is_tuple_of_shapes(in_shape):
            return tuple(map(checked_shape, in_shape))
        shape = tuple(map(index, in_shape))
    except TypeError:
        message = f"expected in_shape to be a tuple of integers such as (784,), got {in_shape!r}"
        raise ShapeError(message) from None
    if any(n < 0 for n in shape):
        raise ShapeError(f"expected sizes of 0 or more, got in_shape={in_shape}")
    return shape


def _check_call(params: Any, state: Any, key: Any) -> None:
    for tree in (params, state):
        # The first is the faster test.
        if not isinstance(tree, dict) and not isinstance(tree, Mapping):
            got = type(tree).__name__
            raise TreeError(f"expected params and state as init returns them, got {got}")
    if key is not None:
        check_key(key)


def takes(pullback: Any, name: str) -> bool:
    """Return whether a pullback has an argument of that name; called at every step."""
    code = getattr(pullback, "__code__", None)
    if code is None:
        return name in inspect.signature(pullback).parameters
    return name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
