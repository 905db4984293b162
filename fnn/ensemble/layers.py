"""A network with its members on a leading axis, layer by layer.

Within, arrays are (members, batch, ...), the members first, so that each one's numbers lie together as
they would alone; 1 in the place of the members means that what is there is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import attrs

from fnn.ensemble.looping import inward, looped, outward, shares, spread
from fnn.ensemble.members import Keys, keys_of, stack
from fnn.errors import OptionError, ShapeError
from fnn.kernels.checks import check_array, check_entry, check_precision, check_value, entries
from fnn.kernels.values import is_tuple_of_shapes, map_arrays, named_arrays
from fnn.keys import Key
from fnn.layers.calls import Pullback, Shape
from fnn.layers.chains import total_flops
from fnn.layers.contract import Layer
from fnn.layers.wiring import total_kept
from fnn.options import integer
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, TreeLike


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
    inner = _converted(net, n, net.name)

    def own_shape(in_shape: Shape) -> Shape:
        return in_shape if shared else by_shape(without_members, in_shape)

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        shape, params, state = inner.core.init(Keys(keys_of(key, n)), own_shape(in_shape))
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
            map_arrays(check_members, x)
        if train and net.traits.stochastic and key is not None and not isinstance(key, Keys):
            # A checkpoint may have lost them, and other masks would go unnoticed.
            raise OptionError(f"key: expected Keys, one for each of {n} members, got {key!r}")
        own_x = map_arrays(lambda part: part[None], x) if shared else inward(x)
        y, state, back = inner.core.vjp(params, state, own_x, train=train, key=key)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            dparams, dx = back(shares(inward(dy), y), need_dx=need_dx)
            if need_dx:
                first = lambda part: None if part is None else part[0]  # noqa: E731
                dx = map_arrays(first, dx) if shared else outward(dx)
            return dparams, dx

        return outward(spread(y, n)), state, pullback

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        y, state, _ = vjp(params, state, x, train=train, key=key)
        return y, state

    return Layer(
        "stacked",
        init,
        apply,
        vjp,
        traits=net.traits,
        flops=lambda in_shape, out_shape, params: n * total_flops(net, own_shape(in_shape)),
        keeps=lambda in_shape, out_shape: n * total_kept(net, own_shape(in_shape)),
        frozen=net.frozen,
        inputs=net.inputs if shared else None,
    )


def by_shape(fn: Callable[[Shape], Shape], shape: Shape) -> Shape:
    """Return fn of one shape, or of each of a tuple of shapes."""
    return tuple(by_shape(fn, part) for part in shape) if is_tuple_of_shapes(shape) else fn(shape)


def _converted(layer: Layer, n: int, path: str) -> Layer:
    """Return the layer that does for arrays (members, batch, ...) what `layer` does for each member."""
    if layer.rebuilt is not None and layer.members in ("chain", "branch"):

        def change(name: str, child: Layer) -> Layer:
            made = _converted(child, n, f"{path}/{name}" if name else path)
            return attrs.evolve(made, name=name or child.name, where=child.where, is_named=True)

        whole = layer.rebuilt(change)
        return whole if layer.members == "chain" else _made(layer, n, _spread_vjp(whole, n))
    if layer.members == "none":
        message = f"expected layers that can be stacked, got {layer!r} at {path}"
        raise OptionError(message, path=("stacked",))
    if callable(layer.members):
        return _made(layer, n, _members_vjp(layer, n))
    if layer.members == "fold":
        looping = looped(layer, n) if layer.traits.stochastic else None
        return _made(layer, n, _folded_vjp(layer, looping))
    return looped(layer, n)


def _made(layer: Layer, n: int, vjp: Callable[..., Any]) -> Layer:
    """Return a layer of members with the parameters of `layer`."""

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        drawn: list[Any] = [layer.core.init(each, in_shape) for each in keys_of(key, n)]
        params, state = (stack([parts[k] for parts in drawn]) for k in (1, 2))
        return drawn[0][0], params, state

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        y, state, _ = vjp(params, state, x, train=train, key=key)
        return y, state

    return Layer(layer.name, init, apply, vjp, traits=layer.traits)


def _members_vjp(layer: Layer, n: int) -> Callable[..., Any]:
    """Return the vjp of a layer that computes its members itself."""
    fwd, shapes = cast(Any, layer.members), cast(Any, layer.shapes)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        check_array(x, 3)
        _, leaves, _ = shapes(x.shape[2:])
        for leaf, array in zip(leaves.items(), entries("params", params, tuple(leaves)), strict=True):
            check_precision(x, array)
            check_entry(leaf[0], array, (n, *leaf[1].shape), x)
        return cast(Any, fwd(params, state, x, train, key))

    return vjp


def _folded_vjp(layer: Layer, looping: Layer | None) -> Callable[..., Any]:
    """Return the vjp that takes the examples of all members as one batch; `looping` draws."""

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        if looping is not None and train:
            return looping.core.vjp(params, state, x, train=True, key=key)
        lead = named_arrays(x)[0][1].shape[:2]
        rows = map_arrays(lambda part: part.reshape(lead[0] * lead[1], *part.shape[2:]), x)
        y, state, back = layer.core.vjp(params, state, rows, train=train)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            if not need_dx:
                return EMPTY, None
            _, dx = back(_reshaped(y, dy))
            return EMPTY, _reshaped(x, dx)

        # y may have other parts than x.
        return map_arrays(lambda part: part.reshape(*lead, *part.shape[1:]), y), state, pullback

    return vjp


def _reshaped(like: Any, value: Any) -> Any:
    """Return derivatives in the shapes of the value that they are in; None stays None."""
    return map_arrays(lambda part, own: None if own is None else own.reshape(part.shape), like, value)


def _spread_vjp(whole: Layer, n: int) -> Callable[..., Any]:
    """Return the vjp of a composition in which several layers get x."""

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        # Once for each member, as the branches may differ in whether members share what they give.
        y, state, back = whole.core.vjp(params, state, spread(x, n), train=train, key=key)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            dparams, dx = back(dy, need_dx=need_dx)
            return dparams, shares(dx, x) if need_dx else None

        return y, state, pullback

    return vjp
