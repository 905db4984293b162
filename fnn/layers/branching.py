"""Several layers side by side: each with an array of its own, or all with the same."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn.errors import FnnError, OptionError, ShapeError
from fnn.kernels.merging import added
from fnn.kernels.values import is_tuple_of_shapes
from fnn.keys import Key
from fnn.layers.calls import Core, Pullback, Shape, init_child, placed_error
from fnn.layers.chains import (
    Children,
    chained,
    check_names,
    dx_alone,
    joined_state,
    keeps_nothing,
    moved_state,
    named_children,
    split_off,
)
from fnn.layers.contract import Change, Inputs, Layer, Traits
from fnn.layers.fans import merging_layer
from fnn.recipe import constructor
from fnn.tree import EMPTY, Tree, TreeLike, freeze


def beside(children: Children) -> Core:
    """Return the triple of layers side by side, each with an array of its own: y_i = f_i(x_i)."""
    names = frozenset(name for name, _ in children)
    n = len(children)
    parts = [
        (name, layer.where, (layer.core.apply, layer.core.vjp), layer.traits.stochastic)
        for name, layer in children
    ]

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        if not is_tuple_of_shapes(in_shape) or len(in_shape) != n:
            raise ShapeError(f"expected {n} arrays, one for each layer, got in_shape={in_shape}")
        shapes: list[Shape] = []
        params: dict[str, Any] = {}
        state: dict[str, Any] = {}
        for (name, layer), own_shape in zip(children, in_shape, strict=True):
            shape, own_params, own_state = init_child(name, layer, key, own_shape)
            shapes.append(tuple(shape))
            params |= {name: own_params} if own_params else {}
            state |= {name: own_state} if own_state else {}
        return tuple(shapes), params, state

    def each(which: int, params: Any, state: Any, x: Any, train: bool, key: Key | None) -> Any:
        """Call every child; return what came (y, state, …), and the whole state."""
        check_names(names, params, state)
        if not isinstance(x, tuple) or len(x) != n:
            got = f"{len(x)}" if isinstance(x, tuple) else f"one of {np.shape(x)}"
            raise ShapeError(f"expected {n} arrays, one for each layer, got {got}")
        came: list[Any] = []
        moved: dict[str, Any] = {}
        name = where = ""
        try:
            for child, part in zip(parts, x, strict=True):
                name, where, calls, stochastic = child
                own_key = key.fold(name) if stochastic and key is not None else None
                own = state.get(name, EMPTY)
                came.append(calls[which](params.get(name, EMPTY), own, part, train=train, key=own_key))
                if came[-1][1] is not own:
                    moved[name] = freeze(came[-1][1])
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, where) from error.__cause__
        return came, moved_state(state, moved)

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        came, state = each(0, params, state, x, train, key)
        return tuple(y for y, _ in came), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        came, state = each(1, params, state, x, train, key)

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            dparams: dict[str, Any] = {}
            dx: list[Any] = []
            name = where = ""
            try:
                for child, (_, _, back), part in zip(parts, came, dy, strict=True):
                    name, where, *_ = child
                    own_dx = None
                    if need_dparams and name in params:
                        dparams[name], own_dx = back(part, need_dx=need_dx)
                    elif need_dx:
                        own_dx = dx_alone(back, part)
                    dx.append(own_dx)
            except (FnnError, KeyError) as error:
                raise placed_error(error, name, where) from error.__cause__
            whole = Tree.own({name: freeze(dparams[name]) for name in params if need_dparams})
            return whole, tuple(dx) if need_dx else None

        return tuple(y for y, *_ in came), state, pullback

    return Core(init, apply, vjp)


def _named(who: str, layers: tuple[Layer, ...]) -> Children:
    children = named_children(who, layers)
    if not children:
        raise OptionError("expected one layer or more, got none", path=(who,))
    return children


@constructor
def parallel(*layers: Layer) -> Layer:
    """Map every array of a tuple by a layer of its own: y = (f_1(x_1), …, f_n(x_n)).

    Children are called as in `serial`.

    Raises:
        OptionError: If an argument is no layer, there is none, or two children have one name.
        ShapeError: If x has another number of arrays than there are layers.
    """
    children = _named("parallel", layers)
    traits = attrs.evolve(
        Traits.joint(tuple(layer.traits for layer in layers)),
        takes_integers=any(layer.traits.takes_integers for layer in layers),
        takes_tuples=True,
    )

    def inputs(key: Key, n: int, in_shape: Shape) -> Any:
        return tuple(
            layer.inputs(key.fold(name), n, shape)
            if layer.inputs
            else _normal(shape, n, key.fold(name).generator())
            for (name, layer), shape in zip(children, in_shape, strict=True)
        )

    return Layer(
        "parallel",
        *beside(children),
        children=children,
        traits=traits,
        flops=lambda in_shape, out_shape, params: 0,
        keeps=keeps_nothing,
        members="branch",
        inputs=inputs if any(layer.inputs for layer in layers) else None,
        rebuilt=lambda change: parallel(*(change(*child) for child in children)),
    )


def _normal(shape: Shape, n: int, rng: np.random.Generator) -> Any:
    if is_tuple_of_shapes(shape):
        return tuple(_normal(each, n, rng) for each in shape)
    return rng.normal(size=(n, *shape))


@constructor
def branch(*layers: Layer, merge: str | Layer = "sum", axis: int = 1) -> Layer:
    """Give x to several layers and make one of what they give: y = merge(f_1(x), …, f_n(x)).

    Children are called as in `serial`; a merge that is a layer is called "merge".

    Args:
        layers: The layers, which all get x.
        merge: "sum", "mean", "product", "max" or "concat" as in `fan_in`, or a layer that takes the
            tuple.
        axis: Axis of "concat", the batch being axis 0.

    Raises:
        OptionError: If an argument is no layer, there is none, two children have one name, there is no
            such merge, or an axis without need of one.
        ShapeError: If the branches end in shapes that do not fit the merge.
    """
    children = _named("branch", layers)
    if isinstance(merge, Layer):
        merging = merge
        if axis != 1:
            raise OptionError(f"axis: expected none beside a layer, got {axis!r}", path=("branch",))
    else:
        merging = merging_layer("branch", merge, axis)
    shown = (("merge", merging),) if merging is merge else ()
    if any(name == "merge" for name, _ in children):
        raise OptionError("two children are called 'merge'", path=("branch",))
    through: Any = beside(children)
    end: Any = chained((("merge", merging),))

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        shapes, params, state = through.init(key, (in_shape,) * len(children))
        out_shape, end_params, end_state = end.init(key, shapes)
        return out_shape, {**params, **end_params}, {**state, **end_state}

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        own, last = split_off(params, "merge")
        state_f, state_l = split_off(state, "merge")
        ys, new_f = through.apply(own, state_f, (x,) * len(children), train=train, key=key)
        y, new_l = end.apply(last, state_l, ys, train=train, key=key)
        return y, joined_state(state, (state_f, new_f), (state_l, new_l))

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        own, last = split_off(params, "merge")
        state_f, state_l = split_off(state, "merge")
        ys, new_f, back_f = through.vjp(own, state_f, (x,) * len(children), train=train, key=key)
        y, new_l, back_l = end.vjp(last, state_l, ys, train=train, key=key)

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            wanted = need_dx or (need_dparams and bool(own))
            given: Any = {"need_dparams": need_dparams}
            dlast, dys = back_l(dy, need_dx=wanted, **given)
            dparams, dxs = back_f(dys, need_dx=need_dx, **given) if wanted else (EMPTY, ())
            if not need_dparams:
                return EMPTY, added(dxs)
            both = {**dparams, **dlast}
            whole = Tree.own({name: both[name] for name in params})
            return whole, added(dxs) if need_dx else None

        return y, joined_state(state, (state_f, new_f), (state_l, new_l)), pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        if shown or merging.flops is None:
            return 0  # It has a row of its own.
        return merging.flops((out_shape,) * len(children), out_shape, EMPTY)

    def rebuilt(change: Change) -> Layer:
        # Also what a name stands for: with members, axes are counted from another one.
        return branch(*(change(*child) for child in children), merge=change("merge", merging))

    return Layer(
        "branch",
        init,
        apply,
        vjp,
        children=(*children, *shown),
        traits=attrs.evolve(
            Traits.joint(tuple(layer.traits for layer in (*layers, merging))),
            takes_integers=all(layer.traits.takes_integers for layer in layers),
            takes_tuples=all(layer.traits.takes_tuples for layer in layers),
        ),
        flops=flops,
        keeps=keeps_nothing if shown else None,
        members="branch",
        inputs=_first_inputs(layers),
        rebuilt=rebuilt,
    )


def _first_inputs(layers: tuple[Layer, ...]) -> Inputs | None:
    return next((layer.inputs for layer in layers if layer.inputs), None)
