"""Wrappers: a layer that is made late, one that runs again on the way back, one over an extra axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import attrs

from fnn.errors import OptionError, ShapeError
from fnn.kernels.values import (
    count_numbers,
    example_shape,
    is_tuple_of_shapes,
    map_arrays,
    named_arrays,
)
from fnn.keys import Key
from fnn.layers.calls import Core, Pullback, Shape, check_functions, init_child
from fnn.layers.chains import (
    around,
    chained,
    check_layer,
    dx_alone,
    keeps_nothing,
    named_children,
    total_flops,
)
from fnn.layers.contract import Change, Layer, Traits
from fnn.layers.leaves import MOST_SPECS, check_taken
from fnn.recipe import constructor
from fnn.tree import EMPTY, TreeLike

_KINKED = Traits(has_kinks=True)


@constructor
def lazy(make: Callable[[Shape], Layer], *, traits: Traits = _KINKED) -> Layer:
    """Make the layer when the shape of what comes is known: y = f(x) with f = make(in_shape).

        def halved(in_shape):
            return Dense(in_shape[-1] // 2)

        serial(Conv(8, 3), GlobalAvgPool(), lazy(halved))

    In params and state the layer stands as the only one of a `serial`. It is printed, pickled and saved
    by the name of `make`, which a lambda has none of.

    Args:
        make: From the shape of one example to a layer; of equal shapes it makes equal layers.
        traits: What the layers that it makes may do; each trait of theirs has to be among them. By
            default they treat examples alone, draw nothing, and may have kinks.

    Raises:
        OptionError: If `make` is no function, returns no layer, or one with traits that were not
            declared, or one that is `frozen`: that goes around, frozen(lazy(make)).
    """
    check_functions("lazy", make=make)
    if not isinstance(traits, Traits):
        raise OptionError(f"traits: expected Traits, got {traits!r}", path=("lazy",))
    made: dict[Shape, Any] = {}

    def of(in_shape: Shape) -> Any:
        """Return the name, the layer, and the triple of a chain of it alone."""
        if (found := made.get(in_shape)) is None:
            layer = make(in_shape)
            check_layer("", "make", layer)
            _check_declared(layer, traits)
            children = named_children("", (layer,))
            found = (*children[0], chained(children))
            if len(made) >= MOST_SPECS:
                made.clear()
            made[in_shape] = found
        return found

    def at(x: Any) -> Core:
        check_taken(x, traits)
        return cast(Core, of(example_shape(x))[2])

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        name, layer, _ = of(in_shape)
        shape, params, state = init_child(name, layer, key, in_shape, is_made=True)
        return shape, {name: params} if params else {}, {name: state} if state else {}

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        core = at(x)
        return core.apply(params, state, x, train=train, key=key)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        core = at(x)
        return core.vjp(params, state, x, train=train, key=key)

    return Layer("lazy", init, apply, vjp, traits=traits, flops=_no_flops, keeps=keeps_nothing)


def _no_flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
    return 0


def _check_declared(layer: Layer, traits: Traits) -> None:
    """Refuse a layer that does what nobody around it expects."""
    own = {name: getattr(layer.traits, name) for name in attrs.fields_dict(Traits)}
    # Whatever takes tuples says so itself when one comes.
    allowed = {name: value or name == "takes_tuples" for name, value in attrs.asdict(traits).items()}
    missing = {name: value for name, value in own.items() if value and not allowed[name]}
    missing.pop("complex_safe", None)
    if allowed["complex_safe"] and not own["complex_safe"]:
        missing["complex_safe"] = False
    if missing:
        wanted = ", ".join(f"{name}={value}" for name, value in missing.items())
        raise OptionError(f"make: expected only declared traits, got {layer!r}; declare {wanted}")
    if layer.frozen:
        raise OptionError(f"make: expected nothing frozen inside, got {layer!r}; freeze the whole")


@constructor
def remat(layer: Layer) -> Layer:
    """Store nothing for the way back but what came in, and run the layer again there.

    y, the carried state and every derivative have the same bits; memory between the way there and the
    way back is that of x and y alone, for one more run of the layer. Its entries in params and state
    stay at their paths.

    References: Chen et al. (2016), "Training deep nets with sublinear memory cost".
    """
    check_layer("remat", "layer", layer)
    inner = layer.core

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        y, moved = inner.apply(params, state, x, train=train, key=key)

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            *_, back = inner.vjp(params, state, x, train=train, key=key)
            if not need_dparams:
                return EMPTY, dx_alone(back, dy) if need_dx else None
            return back(dy, need_dx=need_dx)

        return y, moved, pullback

    def rebuilt(change: Change) -> Layer:
        return remat(change("", layer))

    return around(layer, Core(inner.init, inner.apply, vjp), members="chain", rebuilt=rebuilt)


@constructor
def vmap(layer: Layer) -> Layer:
    """Map a layer over an extra axis: y[:, i] = f(x[:, i]), for x (batch, n, ...).

    It sees batch · n examples; what it draws is drawn for all of them at once. Of a tuple every array
    has the axis. Its entries in params and state stay at their paths.

    Raises:
        OptionError: If the layer mixes the batch in training, as BatchNorm does: there is no telling
            whether the extra axis should belong to it. `frozen` it does not.
        ShapeError: If x has no such axis, or the arrays of a tuple have it of different sizes.
    """
    check_layer("vmap", "layer", layer)
    for path, mixing in _mixing(layer, layer.name):
        expected = "expected layers that take every example alone in training"
        raise OptionError(f"{expected}, got {mixing!r} at {path}", path=("vmap",))
    inner = layer.core

    def own_shape(in_shape: Shape) -> tuple[int, Shape]:
        """Return the size of the axis, and the shape of what the layer sees."""
        sizes: set[int] = set()

        def without(shape: Shape) -> Shape:
            if is_tuple_of_shapes(shape):
                return tuple(map(without, shape))
            if not shape:
                raise ShapeError(f"expected examples (n, ...), got in_shape={in_shape}")
            sizes.add(shape[0])
            return shape[1:]

        own = without(in_shape)
        if len(sizes) > 1:
            raise ShapeError(f"expected one size of axis 1, got in_shape={in_shape}")
        return sizes.pop(), own

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        n, own = own_shape(in_shape)
        shape, params, state = inner.init(key, own)
        return _with_axis(n, shape), params, state

    def rows_of(x: Any) -> tuple[Any, tuple[int, int]]:
        check_taken(x, layer.traits)
        n, _ = own_shape(example_shape(x))
        lead = len(named_arrays(x)[0][1]), n
        return _lead(x, lead[0] * n), lead

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        rows, lead = rows_of(x)
        y, moved = inner.apply(params, state, rows, train=train, key=key)
        return _lead(y, *lead, over=1), moved

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        rows, lead = rows_of(x)
        y, moved, back = inner.vjp(params, state, rows, train=train, key=key)

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            drows = _lead(dy, lead[0] * lead[1])
            if need_dparams:
                dparams, dx = back(drows, need_dx=need_dx)
            else:
                dparams, dx = EMPTY, dx_alone(back, drows)
            return dparams, _lead(dx, *lead, over=1) if need_dx else None

        return _lead(y, *lead, over=1), moved, pullback

    def inputs(key: Key, n: int, in_shape: Shape) -> Any:
        over, own = own_shape(in_shape)
        return _lead(layer.inputs(key, n * over, own), n, over, over=1) if layer.inputs else None

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        (n, own), (_, own_out) = own_shape(in_shape), own_shape(out_shape)
        once = layer.flops(own, own_out, params) if layer.flops else 0
        # The rows of its parts have those of one of the n.
        return (n - 1) * total_flops(layer, own) + once

    def keeps(in_shape: Shape, out_shape: Shape) -> int:
        (n, own), (_, own_out) = own_shape(in_shape), own_shape(out_shape)
        return n * layer.keeps(own, own_out) if layer.keeps else count_numbers(out_shape)

    own: Any = {"flops": layer.flops and flops, "keeps": keeps, "inputs": layer.inputs and inputs}
    return around(layer, Core(init, apply, vjp), **own)


def _mixing(layer: Layer, path: str) -> Iterator[tuple[str, Layer]]:
    """Yield the innermost layers that mix the batch, with their paths."""
    if not layer.traits.mixes_batch:
        return
    inside = [found for name, each in layer.children for found in _mixing(each, f"{path}/{name}")]
    yield from inside or [(path, layer)]


def _with_axis(n: int, shape: Shape) -> Shape:
    if is_tuple_of_shapes(shape):
        return tuple(_with_axis(n, part) for part in shape)
    return (n, *shape)


def _lead(value: Any, *lead: int, over: int = 2) -> Any:
    """Return a value with its first axes laid out otherwise; None stays None."""

    def laid(part: Any) -> Any:
        return None if part is None else part.reshape(*lead, *part.shape[over:])

    return map_arrays(laid, value)
