"""A network with its members on a leading axis, layer by layer.

Within, arrays are (members, batch, ...), the members first, so that each one's numbers lie together as
they would alone; 1 in the place of the members means that what is there is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from fnn import layers
from fnn.ensemble.looping import inward, looped, outward, shares, spread
from fnn.ensemble.members import Keys, keys_of, stack
from fnn.errors import OptionError, ShapeError
from fnn.kernels import members as kernel
from fnn.kernels.checks import check_array, check_entry, check_precision, check_value, entries
from fnn.kernels.parts import is_tuple_of_shapes, mapped
from fnn.keys import Key
from fnn.layers.combinators import frozen, named, residual, serial
from fnn.layers.contract import Layer, Pullback, Shape
from fnn.layers.making import need_key
from fnn.options import integer
from fnn.recipe import bare, constructor
from fnn.tree import EMPTY, Array, Tree, TreeLike

_FOLDED = (
    layers.elementwise,
    layers.Identity,
    layers.Relu,
    layers.LeakyRelu,
    layers.Sigmoid,
    layers.Tanh,
    layers.Softmax,
    layers.LogSoftmax,
    layers.Flatten,
    layers.Reshape,
    layers.MaxPool,
    layers.AvgPool,
    layers.GlobalAvgPool,
)
"""Constructors of layers without parameters to which an example of any member is an example."""
_KNOWN = {named, frozen, serial, residual, layers.Dense, layers.Dropout, *_FOLDED}


@constructor
def stacked(net: Layer, n: int, *, shared: bool = True) -> Layer:
    """Make the layer that is `n` members of the architecture of `net`: y[:, i] = net(params[i], x).

    Parameters have the paths of `net`, each with the members on axis 0. `init` draws member i as
    `net.init` does with member i of the key if that is `Keys`, else with `key.split(n)[i]`; training
    with Dropout takes `Keys` only.

    Dense, Dropout, the activations, pooling layers and others without parameters, and compositions of
    them, run for all members at once; any other layer, of one's own too, for one after the other.

    Args:
        net: The network; it stays what it is.
        n: How many members.
        shared: Whether x is (batch, *in_shape), the same for all members, so that its derivative is
            the sum of theirs; otherwise it is (batch, n, *in_shape), and so is `in_shape` for init.

    Raises:
        OptionError: In training, if `net` draws and the key is not `Keys` of n members.
        ShapeError: If x has another number of members than n.
    """
    if not isinstance(net, Layer):
        raise OptionError(f"net: expected a Layer, got {net!r}", path=("stacked",))
    n = integer("stacked", "n", n)
    inner = _converted(net, n)
    inner_init, inner_vjp = bare(inner.init), bare(inner.vjp)

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        own_shape = in_shape if shared else by_shape(without_members, in_shape)
        shape, params, state = inner_init(Keys(keys_of(key, n)), own_shape)
        return by_shape(lambda own: (n, *own), shape), params, state

    def without_members(in_shape: Shape) -> Shape:
        if in_shape[:1] != (n,):
            raise ShapeError(f"expected examples ({n}, ...), one for each member, got {in_shape}")
        return in_shape[1:]

    def check_members(x: Array) -> None:
        if x.ndim < 2 or x.shape[1] != n:
            raise ShapeError(f"expected one example for each of {n} members on axis 1, got {x.shape}")

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        check_value(x, integers=net.traits.takes_integers)
        if not shared:
            mapped(check_members, x)
        if train and net.traits.stochastic and key is not None and not isinstance(key, Keys):
            # A checkpoint may have lost them, and other masks would go unnoticed.
            raise OptionError(f"key: expected Keys, one for each of {n} members, got {key!r}")
        own_x = mapped(lambda part: part[None], x) if shared else inward(x)
        y, state, back = inner_vjp(params, state, own_x, train=train, key=key)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            dparams, dx = back(shares(inward(dy), y), need_dx=need_dx)
            if need_dx:
                first = lambda part: None if part is None else part[0]  # noqa: E731
                dx = mapped(first, dx) if shared else outward(dx)
            return dparams, dx

        return outward(spread(y, n)), state, pullback

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        y, state, _ = vjp(params, state, x, train=train, key=key)
        return y, state

    return Layer("stacked", init, apply, vjp, traits=net.traits, frozen=net.frozen)


def by_shape(fn: Callable[[Shape], Shape], shape: Shape) -> Shape:
    """Return fn of one shape, or of each of a tuple of shapes."""
    return tuple(by_shape(fn, part) for part in shape) if is_tuple_of_shapes(shape) else fn(shape)


def _converted(layer: Layer, n: int) -> Layer:
    """Return the layer that does for arrays (members, batch, ...) what `layer` does for each member."""
    recipe = layer.made_by()
    while recipe.call not in _KNOWN and recipe.below is not None:
        recipe = recipe.below  # What a constructor of somebody's own makes.
    call = recipe.call
    if call is named:
        return _converted(recipe.args[1], n)
    if call is frozen:
        return frozen(_converted(recipe.args[0], n))
    if call is serial:
        return serial(*_children(layer, n).values())
    if call is residual:
        children = _children(layer, n)
        shortcut = children.pop("shortcut", None)
        return _made(layer, n, _residual_vjp(residual(*children.values(), shortcut=shortcut), n))
    if call is layers.Dense:
        return _made(layer, n, _dense_vjp(n, recipe.args[0], recipe.kwargs.get("bias", True)))
    if call is layers.Dropout:
        return _made(layer, n, _dropout_vjp(layer, n))
    if call in _FOLDED:
        return _made(layer, n, _folded_vjp(layer))
    return looped(layer, n)


def _children(layer: Layer, n: int) -> dict[str, Layer]:
    converted: dict[str, Layer] = {}
    for name, child in layer.children:
        made = _converted(child, n)
        converted[name] = attrs.evolve(made, name=name, where=child.where, is_named=True)
    return converted


def _made(layer: Layer, n: int, vjp: Callable[..., Any]) -> Layer:
    """Return a layer of members with the parameters of `layer`."""
    own_init = bare(layer.init)

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        drawn = [own_init(each, in_shape) for each in keys_of(key, n)]
        return drawn[0][0], stack([params for _, params, _ in drawn]), EMPTY

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        y, state, _ = vjp(params, state, x, train=train, key=key)
        return y, state

    return Layer(layer.name, init, apply, vjp, traits=layer.traits)


def _dense_vjp(n: int, width: int, bias: bool) -> Callable[..., Any]:
    names = ("w", "b") if bias else ("w",)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        check_array(x, 3)
        w, *rest = entries("params", params, names)
        check_entry("w", w, (n, x.shape[-1], width), w)
        check_precision(x, w)
        if bias:
            check_entry("b", rest[0], (n, width), w)
        rows = x if x.ndim == 3 else x.reshape(len(x), -1, x.shape[-1])
        y = kernel.affine(rows, w, rest[0] if bias else None)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            dw, db, dx = kernel.affine_vjp(rows, w, dy.reshape(y.shape), bias=bias, need_dx=need_dx)
            dparams = Tree.own({"w": dw, "b": db} if bias else {"w": dw})
            return dparams, dx if dx is None else dx.reshape(x.shape)

        return y if x.ndim == 3 else y.reshape(n, *x.shape[1:-1], width), state, pullback

    return vjp


def _folded_vjp(layer: Layer) -> Callable[..., Any]:
    own_vjp = bare(layer.vjp)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        rows = mapped(lambda part: part.reshape(part.shape[0] * part.shape[1], *part.shape[2:]), x)
        y, state, back = own_vjp(params, state, rows, train=train)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            if not need_dx:
                return EMPTY, None
            _, dx = back(mapped(lambda part, own: own.reshape(part.shape), y, dy))
            return EMPTY, mapped(lambda part, own: own.reshape(part.shape), x, dx)

        shaped = mapped(lambda part, own: own.reshape(*part.shape[:2], *own.shape[1:]), x, y)
        return shaped, state, pullback

    return vjp


def _dropout_vjp(layer: Layer, n: int) -> Callable[..., Any]:
    own_vjp = bare(layer.vjp)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        if not train:
            return x, state, lambda dy, *, need_dx=True: (EMPTY, dy if need_dx else None)
        parts = [
            own_vjp(params, state, each, train=True, key=own)
            for each, own in zip(spread(x, n), keys_of(need_key(key), n), strict=True)
        ]

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            if not need_dx:
                return EMPTY, None
            dx = np.stack([back(own)[1] for (_, _, back), own in zip(parts, dy, strict=True)])
            return EMPTY, kernel.gathered(dx, len(x))

        return np.stack([y for y, _, _ in parts]), state, pullback

    return vjp


def _residual_vjp(inner: Layer, n: int) -> Callable[..., Any]:
    inner_vjp = bare(inner.vjp)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        # Once for each, as the two ways may differ in whether members share what they give.
        y, state, back = inner_vjp(params, state, spread(x, n), train=train, key=key)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            dparams, dx = back(dy, need_dx=need_dx)
            return dparams, shares(dx, x) if need_dx else None

        return y, state, pullback

    return vjp
