"""Combinators: functions from layers to a layer."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn.errors import DTypeError, OptionError, ShapeError
from fnn.kernels.merging import added
from fnn.kernels.values import count_numbers, is_integer, named_arrays
from fnn.keys import Key
from fnn.layers.activation import Identity
from fnn.layers.calls import Pullback, Shape, check_name
from fnn.layers.chains import (
    chained,
    check_layer,
    dx_alone,
    joined_state,
    keeps_nothing,
    named_children,
    split_off,
)
from fnn.layers.contract import Change, Layer, Traits
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, Tree, TreeLike, map_new


@constructor
def named(name: str, layer: Layer) -> Layer:
    """Give a layer a path of its own: `named("hidden", Dense(10))` is "hidden", not "dense_0".

    The name also takes part in the layer's random draws.

    Raises:
        OptionError: If the name is empty or contains "/".
    """
    check_name("named", name)
    check_layer("named", "layer", layer)
    return attrs.evolve(layer, name=name, is_named=True)


@constructor
def frozen(layer: Layer) -> Layer:
    """Keep a layer as it is: params and state stand still, also while what is around it trains.

    It runs with `train=False` always, so that batch normalisation uses its running moments and dropout
    is off. Its entries stay in params and state, at the paths and by the names that they have without
    it: weights of the layer as it was load into it. Train steps show them to no optimizer, so that
    weight decay, clipping and norms pass them by, and an optimizer's memory has nothing of them. Their
    gradient is zero; that of x goes through.

    To freeze by path within one optimizer, and leave alone what is carried, there is the transform
    `freeze`.
    """
    check_layer("frozen", "layer", layer)
    inner = layer.core

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        return inner.apply(params, state, x, train=False, key=None)[0], state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        y, _, back = inner.vjp(params, state, x, train=False, key=None)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            dx = dx_alone(back, dy) if need_dx else None
            bent = any(part.dtype.kind == "c" for _, part in named_arrays(dy))
            return map_new(_complex_zeros if bent else np.zeros_like, params), dx

        return y, state, pullback

    return Layer(
        layer.name,
        inner.init,
        apply,
        vjp,
        # Whoever looks at them by themselves is to see that they stand still, too.
        children=tuple((name, _frozen_at(child)) for name, child in layer.children),
        traits=attrs.evolve(layer.traits, mixes_batch=False, stochastic=False),
        is_named=layer.is_named,
        frozen=("",),
        flops=layer.flops,
        keeps=layer.keeps,
        members="chain",
        inputs=layer.inputs,
        rebuilt=lambda change: frozen(change("", layer)),
    )


def _complex_zeros(leaf: Array) -> Array:
    return np.zeros(leaf.shape, np.result_type(leaf.dtype, "complex64"))


def _frozen_at(layer: Layer) -> Layer:
    # What stands still already is taken as it is, so that nested ones take no more than they hold.
    return layer if _is_still(layer) else attrs.evolve(frozen(layer), where=layer.where)


def _is_still(layer: Layer) -> bool:
    return layer.stands_still and all(_is_still(child) for _, child in layer.children)


@constructor
def serial(*layers: Layer) -> Layer:
    """Compose layers left to right: y = f_n(… f_2(f_1(x))); `serial()` is the identity.

    Children are called by kind and count ("dense_0", "dense_1"), or as they were `named`; so are
    their entries in params and state, which they lack if they have neither.

    Raises:
        OptionError: If an argument is no layer or two children have one name.
    """
    children = named_children("serial", layers)
    return Layer(
        "serial",
        *chained(children),
        children=children,
        traits=Traits.joint(tuple(layer.traits for layer in layers)),
        flops=_no_flops,
        keeps=keeps_nothing,
        members="chain",
        inputs=layers[0].inputs if layers else None,
        rebuilt=lambda change: serial(*(change(*child) for child in children)),
    )


def _no_flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
    return 0


@constructor
def residual(*layers: Layer, shortcut: Layer | None = None) -> Layer:
    """Add what layers make of x to x itself: y = f_n(… f_1(x)) + shortcut(x).

    The shortcut is the identity unless given; given, its parameters are at "shortcut". Of tuples the
    parts are added; integers (tokens, lengths) are never added, so that over those a shortcut is needed
    that turns them into floating numbers.

    Raises:
        OptionError: If an argument is no layer or two children have one name.
        ShapeError: If the two ways end in different shapes.

    References: He et al. (2016), "Deep residual learning", eq. 1 and 2.
    """
    if shortcut is not None:
        check_layer("residual", "shortcut", shortcut)
    body = named_children("residual", layers)
    side = (("shortcut", Identity() if shortcut is None else shortcut),)
    if any(name == "shortcut" for name, _ in body):
        raise OptionError("two children are called 'shortcut'", path=("residual",))
    through: Any = chained(body)
    around: Any = chained(side)

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        shape, params, state = through.init(key, in_shape)
        side_shape, side_params, side_state = around.init(key, in_shape)
        if shape != side_shape:
            raise ShapeError(f"expected both ways to end in one shape, got {shape} + {side_shape}")
        return shape, params | side_params, state | side_state

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        params_f, params_s = split_off(params, "shortcut")
        state_f, state_s = split_off(state, "shortcut")
        y, new_f = through.apply(params_f, state_f, x, train=train, key=key)
        short, new_s = around.apply(params_s, state_s, x, train=train, key=key)
        return _sum(y, short), joined_state(state, (state_f, new_f), (state_s, new_s))

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        params_f, params_s = split_off(params, "shortcut")
        state_f, state_s = split_off(state, "shortcut")
        y, new_f, back_f = through.vjp(params_f, state_f, x, train=train, key=key)
        short, new_s, back_s = around.vjp(params_s, state_s, x, train=train, key=key)

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            dparams_f, dx_f = back_f(dy, need_dx=need_dx, need_dparams=need_dparams)
            dparams_s, dx_s = back_s(dy, need_dx=need_dx, need_dparams=need_dparams)
            if not need_dparams:
                return EMPTY, added((dx_f, dx_s))
            both = {**dparams_f, **dparams_s}
            dparams = Tree.own({name: both[name] for name in params})
            return dparams, added((dx_f, dx_s)) if need_dx else None

        return _sum(y, short), joined_state(state, (state_f, new_f), (state_s, new_s)), pullback

    children = (*body, *(side if shortcut is not None else ()))
    traits = attrs.evolve(
        Traits.joint(tuple(layer.traits for _, layer in children)),
        # Both ways take the same x.
        takes_integers=Traits.joint(tuple(layer.traits for layer in layers)).takes_integers
        and side[0][1].traits.takes_integers,
    )

    def rebuilt(change: Change) -> Layer:
        made = {name: change(name, child) for name, child in children}
        return residual(*(made[name] for name, _ in body), shortcut=made.get("shortcut"))

    return Layer(
        "residual",
        init,
        apply,
        vjp,
        children=children,
        traits=traits,
        flops=lambda in_shape, out_shape, params: count_numbers(out_shape),
        members="branch",
        inputs=layers[0].inputs if layers else None,
        rebuilt=rebuilt,
    )


def _sum(y: Any, short: Any) -> Any:
    if isinstance(y, tuple) or isinstance(short, tuple):
        if not isinstance(y, tuple) or not isinstance(short, tuple) or len(y) != len(short):
            kinds = [f"{len(v)} arrays" if isinstance(v, tuple) else "one array" for v in (y, short)]
            raise ShapeError(f"expected both ways to end alike, got {kinds[0]} + {kinds[1]}")
        return tuple(map(_sum, y, short))
    if y.shape != short.shape:  # It would broadcast, silently.
        raise ShapeError(f"expected both ways to end in one shape, got {y.shape} + {short.shape}")
    if is_integer(y) or is_integer(short):
        raise DTypeError(f"expected floating numbers to add, got {y.dtype} + {short.dtype}")
    return y + short
