"""The contract: a layer is a pure triple over immutable parameter trees.

    init(key, in_shape)                               -> out_shape, params, state
    apply(params, state, x, *, train=False, key=None) -> y, state
    vjp(params, state, x, *, train=False, key=None)   -> y, state, pullback
    pullback(dy, *, need_dx=True)                     -> dparams, dx

Shapes are those of one example; arrays carry a leading batch axis, axis 0. `params` are trained,
`state` is carried (running statistics) and never differentiated; each is `{}` if there is none.
`dparams` has the structure of `params`; `need_dx=False` returns None for dx and spares its cost.
x has the precision of params (float32 or float64) or its complex counterpart.

x and y are arrays, or tuples of them where the layer says so; then `in_shape` and `out_shape` are
tuples of shapes, and dx and dy tuples. Where a layer takes integers (tokens, lengths, masks:
`Traits.takes_integers`), they have no derivative: dx, and dy where y hands them on, is None in their
place.

No argument is written to, and a pullback is linear and may be called again. Equal arguments of equal
layout in memory give equal bits. In another layout (a Fortran-ordered, strided or reversed copy) sums
may run in another order, and the same values come to rounding; no layout is refused. Numbers that are
not finite pass through a layer; they are refused where data come in: `Dataset`, `predict`, the train
step.

A pullback may have an argument `need_dparams` too; told False, it may return anything for dparams.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from operator import index
from typing import Any, Protocol, TypeAlias

import attrs
import numpy as np

from fnn.errors import FnnError, OptionError, ShapeError, TreeError
from fnn.kernels.checks import check_cotangent
from fnn.kernels.parts import is_tuple_of_shapes
from fnn.keys import Key
from fnn.recipe import Made, Recipe, bare
from fnn.tree import Tree, TreeLike, freeze, items

Shape: TypeAlias = tuple[Any, ...]
"""Of one example: sizes such as (784,), or for a tuple of arrays the tuple of their shapes."""


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


@attrs.frozen(repr=False)
class Traits:
    """What a layer declares about itself, for the laws and the loops to read.

    Attributes:
        mixes_batch: In training an example's output depends on the other examples.
        stochastic: Training needs a key; a layer that does not say so gets none inside a network.
        has_kinks: Somewhere the derivative jumps.
        complex_safe: Complex perturbations pass through, so that complex-step derivatives are right.
        takes_integers: x, or some arrays of it, are integers: tokens, lengths, masks; dx is None in
            their place. A layer that does not say so refuses them.
    """

    mixes_batch: bool = False
    stochastic: bool = False
    has_kinks: bool = False
    complex_safe: bool = True
    takes_integers: bool = False

    def __repr__(self) -> str:
        fields = attrs.fields(Traits)
        given = (f"{f.name}={v}" for f in fields if (v := getattr(self, f.name)) != f.default)
        return f"Traits({', '.join(given)})"

    @classmethod
    def joint(cls, children: tuple[Traits, ...]) -> Traits:
        """Return the traits of layers one after the other; the first says what comes in."""
        return cls(
            mixes_batch=any(child.mixes_batch for child in children),
            stochastic=any(child.stochastic for child in children),
            has_kinks=any(child.has_kinks for child in children),
            complex_safe=all(child.complex_safe for child in children),
            takes_integers=bool(children) and children[0].takes_integers,
        )


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


def _placed_init(fn: Any, name: str, where: str) -> Any:
    """Check what goes in, freeze the trees that come out, add the layer's place to errors."""
    inner = bare(fn)

    @functools.wraps(inner, updated=())
    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        try:
            if not isinstance(key, Key):
                raise OptionError(f"expected a Key, got {key!r}; write Key.of(seed)")
            out_shape, params, state = inner(key, _checked_shape(in_shape))
            return tuple(out_shape), Tree(params), Tree(state)
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, where) from error.__cause__

    init.bare = inner  # type: ignore[attr-defined]
    return init


def _checked_shape(in_shape: Any) -> Any:
    """Return a shape, or a tuple of them, as tuples of integers."""
    try:
        if is_tuple_of_shapes(in_shape):
            return tuple(map(_checked_shape, in_shape))
        shape = tuple(map(index, in_shape))
    except TypeError:
        message = f"expected in_shape to be a tuple of integers such as (784,), got {in_shape!r}"
        raise ShapeError(message) from None
    if any(n < 0 for n in shape):
        raise ShapeError(f"expected sizes of 0 or more, got in_shape={in_shape}")
    return shape


def _placed_apply(fn: Any, name: str, where: str) -> Any:
    inner = bare(fn)

    @functools.wraps(inner, updated=())
    def apply(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        try:
            _check_call(params, state, key)
            with np.errstate(all="ignore"):  # Bad numbers show in y; a warning would only say it twice.
                return inner(params, state, x, train=train, key=key)
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, where) from error.__cause__

    apply.bare = inner  # type: ignore[attr-defined]
    return apply


def _placed_vjp(fn: Any, name: str, where: str) -> Any:
    inner = bare(fn)

    @functools.wraps(inner, updated=())
    def vjp(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        try:
            _check_call(params, state, key)
            with np.errstate(all="ignore"):
                y, new_state, back = inner(params, state, x, train=train, key=key)
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, where) from error.__cause__

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            try:
                check_cotangent("dy", dy, y)
                with np.errstate(all="ignore"):
                    dparams, dx = back(dy, need_dx=need_dx)
                return freeze(dparams), dx
            except (FnnError, KeyError) as error:
                raise placed_error(error, name, where) from error.__cause__

        return y, new_state, pullback

    vjp.bare = inner  # type: ignore[attr-defined]
    return vjp


def _check_call(params: Any, state: Any, key: Any) -> None:
    for tree in (params, state):
        # The first is the faster test.
        if not isinstance(tree, dict) and not isinstance(tree, Mapping):
            got = type(tree).__name__
            raise TreeError(f"expected params and state as init returns them, got {got}")
    if key is not None and not isinstance(key, Key):
        raise OptionError(f"expected a Key, got {key!r}; write Key.of(seed)")


@attrs.frozen(eq=False, repr=False)
class Layer(Made):
    """A differentiable map as a value; it holds no weights. `init, apply, vjp = layer`.

    Layers print as the code that makes them, equal recipes are equal, and they pickle and copy by
    their recipe.

    Attributes:
        name: Kind of layer, as it stands in paths.
        init, apply, vjp: The triple; see the top of this file.
        children: Name and layer of each of a composition's layers; what of params and state is theirs
            stands there by that name.
        traits: What it declares about itself.
        recipe: The call that made it, None for one made by hand.
        where: File and line of that call.
        is_named: Whether the name is the user's own and not that of the kind.
    """

    name: str
    init: Init
    apply: Apply
    vjp: Vjp
    children: tuple[tuple[str, Layer], ...] = attrs.field(default=(), kw_only=True)
    traits: Traits = attrs.field(default=Traits(), kw_only=True)
    recipe: Recipe | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(default="", kw_only=True)
    is_named: bool = attrs.field(default=False, kw_only=True)
    _frozen: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    # The paths once they were asked for: at every level of a deep network they would take much memory.
    _paths: tuple[str, ...] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        check_name("Layer", self.name)
        check_functions("Layer", init=self.init, apply=self.apply, vjp=self.vjp)
        for part, placed in (("init", _placed_init), ("apply", _placed_apply), ("vjp", _placed_vjp)):
            object.__setattr__(self, part, placed(getattr(self, part), self.name, self.where))

    @property
    def frozen(self) -> tuple[str, ...]:
        """Paths in params of what stands still, those of the children too; ("",) if all of it does."""
        if self._paths is None:
            object.__setattr__(self, "_paths", _joined_paths(self._frozen, self.children))
        return self._paths or ()

    @property
    def stands_still(self) -> bool:
        """Whether all of its params stand still."""
        return "" in self._frozen

    def by_hand(self) -> Recipe:
        """Return the call of `Layer` itself."""
        triple = (bare(self.init), bare(self.apply), bare(self.vjp))
        options: dict[str, Any] = {"children": self.children, "traits": self.traits}
        options |= {"frozen": self.frozen} if self.frozen else {}
        return Recipe(Layer, (self.name, *triple), options)

    def frozen_paths(self, params: TreeLike) -> list[str]:
        """Return the paths of those leaves of params that stand still: `frozen` made them so.

        Their gradient is exactly zero whatever the derivative of y in them is, so that the adjoint
        law does not hold there; no optimizer sees them.
        """
        heads = tuple(f"{path}/" for path in self.frozen)
        there = [path for path, _ in items(params)]
        return [path for path in there if self.stands_still or f"{path}/".startswith(heads)]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.apply, self.vjp))


def _joined_paths(own: tuple[str, ...], children: tuple[tuple[str, Layer], ...]) -> tuple[str, ...]:
    """Return what is frozen of a composition: its own paths and those of its children below it."""
    if "" in own:
        return ("",)
    below = [f"{name}/{path}" if path else name for name, each in children for path in each.frozen]
    return tuple(dict.fromkeys((*own, *below)))


def takes(pullback: Any, name: str) -> bool:
    """Return whether a pullback has an argument of that name; called at every step."""
    code = getattr(pullback, "__code__", None)
    if code is None:
        return name in inspect.signature(pullback).parameters
    return name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
