"""Layers of one's own: made of a function of single numbers, or of one that runs forward and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.errors import DTypeError, OptionError, TreeError
from fnn.kernels.checks import check_array, check_cotangent, check_like, check_precisions, check_value
from fnn.kernels.parts import arrays, is_integer, mapped
from fnn.keys import Key
from fnn.layers.contract import Init, Layer, Pullback, Shape, Traits, check_functions, check_name, takes
from fnn.recipe import constructor
from fnn.tree import EMPTY, TreeLike, freeze

_PLAIN = Traits()


def need_key(key: Key | None) -> Key:
    """Return the key, or refuse to go on without one."""
    if key is None:
        raise OptionError("expected a key when train=True, got None; pass e.g. key=Key.of(0)")
    return key


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

    Of a tuple it takes every array by itself.

    Args:
        name: Kind of layer, as it will stand in paths ("swish").
        f: Array to array of the same shape and dtype.
        f_vjp: From x, y = f(x) and dy to dx = f'(x) dy.
        has_kinks: Whether f' jumps somewhere.
        complex_safe: Whether f continues analytically to complex arrays.
    """
    check_name("elementwise", name)
    check_functions("elementwise", f=f, f_vjp=f_vjp)

    def forward(x: Any) -> Any:
        if isinstance(x, tuple):
            check_value(x)
            return mapped(forward, x)
        check_array(x)
        y = f(x)
        # Asked here first, for what fits: a call would cost as much as the rest.
        if (
            type(y) is not np.ndarray
            or y.shape != x.shape
            or (y.dtype is not x.dtype and y.dtype != x.dtype)
        ):
            check_like("f(x)", y, x)
        return y

    def back(x: Any, y: Any, dy: Any) -> Any:
        if isinstance(x, tuple):
            return tuple(map(back, x, y, dy))
        dx = f_vjp(x, y, dy)
        if (
            type(dx) is not np.ndarray
            or dx.shape != dy.shape
            or (dx.dtype is not dy.dtype and dx.dtype != dy.dtype)
        ):
            check_like("f_vjp(x, y, dy)", dx, dy)
        return dx

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        return forward(x), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        y = forward(x)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            return EMPTY, back(x, y, dy) if need_dx else None

        return y, state, pullback

    traits = Traits(has_kinks=has_kinks, complex_safe=complex_safe)
    return Layer(name, stateless_init, apply, vjp, traits=traits)


@constructor
def make_layer(
    name: str,
    init: Init,
    fwd: Callable[..., tuple[Any, Any, Callable[..., tuple[Any, Any]]]],
    *,
    traits: Traits = _PLAIN,
) -> Layer:
    """Make a layer of `init` and one function that runs forward and returns the way back.

    Args:
        name: Kind of layer, as it will stand in paths ("scale").
        init: (key, in_shape) to (out_shape, params, state).
        fwd: (params, state, x, train, key) to (y, state, pullback), where pullback(dy) returns
            (dparams, dx). A pullback that has an argument `need_dx` is told by it whether anybody
            looks at dx, and may return None if not.
        traits: What the laws should know; by default it is smooth, treats examples alone and
            refuses integers.
    """
    check_name("make_layer", name)
    check_functions("make_layer", init=init, fwd=fwd)
    if not isinstance(traits, Traits):
        raise OptionError(f"traits: expected Traits, got {traits!r}", path=("make_layer",))

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        _check_taken(x, traits)
        if traits.stochastic and train:
            need_key(key)
        y, new_state, back = fwd(params, state, x, train, key)
        if isinstance(y, np.ndarray | tuple):
            check_value(y, integers=traits.takes_integers)
            check_precisions(y, x, params)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            dparams, dx = back(dy, need_dx=need_dx) if takes(back, "need_dx") else back(dy)
            if dparams.keys() != params.keys():
                raise TreeError(f"expected dparams {sorted(params)}, got {sorted(dparams)}")
            if not need_dx:
                return dparams, None
            check_cotangent("dx", dx, x)
            return dparams, dx

        return y, freeze(new_state), pullback

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        y, new_state, _ = vjp(params, state, x, train=train, key=key)
        return y, new_state

    return Layer(name, init, apply, vjp, traits=traits)


def _check_taken(x: Any, traits: Traits) -> None:
    try:
        check_value(x, integers=traits.takes_integers)
    except DTypeError as error:
        if not traits.takes_integers and any(is_integer(part) for _, part in arrays(x)):
            error.message += "; a layer that takes integers has traits=Traits(takes_integers=True)"
        raise
