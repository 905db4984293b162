"""The contract: a layer is a pure triple over immutable parameter trees.

    init(key, in_shape)                               -> out_shape, params, state
    apply(params, state, x, *, train=False, key=None) -> y, state
    vjp(params, state, x, *, train=False, key=None)   -> y, state, pullback
    pullback(dy, *, need_dx=True)                     -> dparams, dx

Shapes are those of one example; arrays carry a leading batch axis, axis 0. `params` are trained,
`state` is carried (running statistics) and never differentiated; each is `{}` if there is none.
`dparams` has the structure of `params`; `need_dx=False` returns None for dx and spares its cost.
x has the precision of params (float32 or float64) or its complex counterpart. No argument is
written to, equal arguments give equal bits, and a pullback is linear and may be called again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

import attrs
import numpy as np

from fnn.errors import DTypeError, FnnError, OptionError, ShapeError, TreeError
from fnn.keys import Key
from fnn.recipe import Recipe, constructor
from fnn.tree import EMPTY, Array, Tree, TreeLike

Shape: TypeAlias = tuple[int, ...]


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


@attrs.frozen
class Traits:
    """What a layer declares about itself, for the laws and the loops to read.

    Attributes:
        mixes_batch: In training an example's output depends on the other examples.
        stochastic: Training needs a key; a layer that does not say so gets none inside a network.
        has_kinks: Somewhere the derivative jumps.
        complex_safe: Complex perturbations pass through, so that complex-step derivatives are right.
    """

    mixes_batch: bool = False
    stochastic: bool = False
    has_kinks: bool = False
    complex_safe: bool = True

    @classmethod
    def joint(cls, children: tuple[Traits, ...]) -> Traits:
        """Return the traits of a composition."""
        return cls(
            mixes_batch=any(child.mixes_batch for child in children),
            stochastic=any(child.stochastic for child in children),
            has_kinks=any(child.has_kinks for child in children),
            complex_safe=all(child.complex_safe for child in children),
        )


def bare(fn: Any) -> Any:
    """Return a layer's function as it was written, without the place added to its errors."""
    return getattr(fn, "bare", fn)


def placed_error(error: FnnError | KeyError, name: str, where: str) -> FnnError:
    """Return the error of a layer called `name` with its place; a missing entry becomes a TreeError."""
    if isinstance(error, FnnError):
        return error.inside(name, where)
    message = f"params or state lack the entry {error}; were they made by another network's init?"
    placed = TreeError(message, path=(name,), where=where)
    placed.__cause__ = error
    return placed


def _placed(part: str, fn: Any, name: str, where: str) -> Any:
    """Add the layer's name and place to errors of its function, and check what goes in and out.

    An init's trees are frozen; a pullback refuses cotangents of another shape, which would broadcast.
    """
    inner = bare(fn)

    @functools.wraps(inner, updated=())
    def placed(*args: Any, **kwargs: Any) -> Any:
        try:
            out = inner(*args, **kwargs)
            if part == "init":
                out_shape, params, state = out
                return tuple(out_shape), Tree(params), Tree(state)
            if part == "vjp":
                y, state, pullback = out
                return y, state, _placed_pullback(pullback, y, name, where)
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, where) from error.__cause__
        return out

    placed.bare = inner  # type: ignore[attr-defined]
    return placed


def _placed_pullback(pullback: Pullback, y: Any, name: str, where: str) -> Pullback:
    def placed(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
        try:
            if isinstance(y, np.ndarray):
                check_array(dy)
                if dy.shape != y.shape:
                    raise ShapeError(f"expected a cotangent {y.shape} as y, got {dy.shape}")
            return pullback(dy, need_dx=need_dx)
        except FnnError as error:
            raise placed_error(error, name, where) from error.__cause__

    return placed


@attrs.frozen(eq=False, repr=False)
class Layer:
    """A differentiable map as a value; it holds no weights. `init, apply, vjp = layer`.

    Layers print as the code that makes them, equal recipes are equal, and they pickle and copy by
    their recipe.
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

    def __attrs_post_init__(self) -> None:
        for part in ("init", "apply", "vjp"):
            placed = _placed(part, getattr(self, part), self.name, self.where)
            object.__setattr__(self, part, placed)

    def _made_by(self) -> Recipe:
        triple = (bare(self.init), bare(self.apply), bare(self.vjp))
        return self.recipe or Recipe(
            Layer, (self.name, *triple), {"children": self.children, "traits": self.traits}
        )

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.apply, self.vjp))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layer) and self._made_by() == other._made_by()

    def __hash__(self) -> int:
        return hash(self._made_by())

    def __repr__(self) -> str:
        return repr(self._made_by())

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._made_by(), self.where)


def _rebuild(recipe: Recipe, where: str) -> Layer:
    return attrs.evolve(recipe.build(), where=where)


# --- what layers check --------------------------------------------------------------------

_REAL = {np.dtype(c): np.dtype(r) for c, r in (("F", "f"), ("D", "d"), ("f", "f"), ("d", "d"))}


def check_array(x: Any, n_axes: int = 1) -> None:
    """Refuse what is not a float or complex array with at least `n_axes` axes, the batch's included.

    Raises:
        DTypeError, ShapeError: Saying what came.
    """
    if not isinstance(x, np.ndarray):
        raise DTypeError(f"expected an array, got {type(x).__name__}")
    if x.dtype not in _REAL:
        raise DTypeError(f"expected float32, float64 or their complex counterparts, got {x.dtype}")
    if x.ndim < n_axes:
        raise ShapeError(f"expected {n_axes} or more axes, the batch first, got {x.shape}")


def check_precision(x: Array, weights: Array) -> None:
    """Refuse an input whose precision is not that of the layer's weights."""
    expected = _REAL.get(weights.dtype)
    if _REAL[x.dtype] != expected:
        raise DTypeError(f"expected {expected} as the parameters, got {x.dtype}; cast one of them")


def need_key(key: Key | None) -> Key:
    """Return the key, or refuse to go on without one."""
    if key is None:
        raise OptionError("expected a key when train=True, got None; pass e.g. key=Key.of(0)")
    return key


# --- layers of one's own --------------------------------------------------------------------


def stateless_init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
    """Initialise a layer that has neither parameters nor state and keeps the shape."""
    return in_shape, EMPTY, EMPTY


@constructor
def elementwise(
    name: str,
    f: Callable[[Any], Any],
    f_vjp: Callable[[Any, Any, Any], Any],
    *,
    has_kinks: bool = False,
    complex_safe: bool = True,
) -> Layer:
    """Make a layer of a function of single numbers: y = f(x), dx = f_vjp(x, y, dy).

    Args:
        name: Kind of layer, as it will stand in paths ("swish").
        f: Array to array of the same shape and dtype.
        f_vjp: From x, y = f(x) and dy to dx = f'(x) dy.
        has_kinks: Whether f' jumps somewhere.
        complex_safe: Whether f continues analytically to complex arrays.
    """

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        check_array(x)
        return f(x), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        check_array(x)
        y = f(x)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            return EMPTY, f_vjp(x, y, dy) if need_dx else None

        return y, state, pullback

    traits = Traits(has_kinks=has_kinks, complex_safe=complex_safe)
    return Layer(name, stateless_init, apply, vjp, traits=traits)


@constructor
def make_layer(
    name: str,
    init: Init,
    fwd: Callable[..., tuple[Any, Any, Callable[[Any], tuple[Any, Any]]]],
    *,
    traits: Traits = Traits(),
) -> Layer:
    """Make a layer of `init` and one function that runs forward and returns the way back.

    Args:
        name: Kind of layer, as it will stand in paths ("scale").
        init: (key, in_shape) to (out_shape, params, state).
        fwd: (params, state, x, train, key) to (y, state, pullback), where pullback(dy) returns
            (dparams, dx).
        traits: What the laws should know; by default it is smooth and treats examples alone.
    """

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        check_array(x)
        if traits.stochastic and train:
            need_key(key)
        y, new_state, back = fwd(params, state, x, train, key)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            dparams, dx = back(dy)
            return Tree(dparams), dx if need_dx else None

        return y, Tree(new_state), pullback

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        y, new_state, _ = vjp(params, state, x, train=train, key=key)
        return y, new_state

    return Layer(name, init, apply, vjp, traits=traits)
