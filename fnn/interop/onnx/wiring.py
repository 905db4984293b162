"""Layers that are wired as a graph: any layer may get what any earlier one gave."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.errors import FnnError, OptionError, ShapeError
from fnn.kernels.values import is_integer, is_tuple_of_shapes
from fnn.keys import Key
from fnn.layers.calls import Pullback, Shape, init_child, placed_error
from fnn.layers.chains import check_names, keeps_nothing, moved_state, named_children
from fnn.layers.contract import Change, Inputs, Layer, Traits
from fnn.layers.leaves import check_taken
from fnn.recipe import constructor
from fnn.tree import EMPTY, Tree, TreeLike, freeze

Wire: TypeAlias = Any
"""The number of an array, or a tuple of them, nested as a layer takes its arrays."""


def flat(value: Any) -> list[Any]:
    """Return the arrays of a value, or the numbers of a wire, from left to right."""
    return [each for part in value for each in flat(part)] if isinstance(value, tuple) else [value]


def gathered(values: list[Any], wire: Wire) -> Any:
    """Return what stands at the numbers of a wire, nested as it is."""
    return tuple(gathered(values, each) for each in wire) if isinstance(wire, tuple) else values[wire]


def _like(value: Any, parts: Any) -> Any:
    """Return the parts, an iterator, nested as a value is."""
    return tuple(_like(each, parts) for each in value) if isinstance(value, tuple) else next(parts)


def _flat_shapes(shape: Shape) -> list[Shape]:
    if is_tuple_of_shapes(shape):
        return [each for part in shape for each in _flat_shapes(part)]
    return [shape]


@constructor
def wired(*layers: Layer, wires: tuple[Wire, ...], outputs: Wire, inputs: int = 1) -> Layer:
    """Wire layers as a graph: layer i gets the arrays `wires[i]`, and y are the arrays `outputs`.

    Arrays are numbered: first the inputs, then what the layers give, in their order. A layer gets what
    has a smaller number than its own. Where a wire is a tuple the layer gets a tuple. `residual` over f
    would be `wired(f, fan_in("sum"), wires=(0, (1, 0)), outputs=2)`.

    Args:
        layers: The layers, called by kind and count as in `serial`.
        wires: For each layer what it gets: a number, or a tuple of them.
        outputs: Likewise, what comes out.
        inputs: How many arrays come in, from left to right.

    Raises:
        OptionError: If there are not as many wires as layers, or a wire is none.
        ShapeError: If x has another number of arrays.
    """
    children = named_children("wired", layers)
    if len(wires) != len(layers):
        raise OptionError(f"wires: expected {len(layers)}, got {len(wires)}", path=("wired",))
    for number in flat((*wires, outputs)):
        if type(number) is not int or number < 0:
            raise OptionError(f"wires: expected numbers of arrays, got {number!r}", path=("wired",))
    names = frozenset(name for name, _ in children)
    traits = attrs.evolve(
        Traits.joint(tuple(layer.traits for layer in layers)),
        # What goes out as it came in may be anything.
        takes_integers=min(flat(outputs), default=inputs) < inputs
        or any(layer.traits.takes_integers for layer in layers),
        takes_tuples=inputs > 1,
    )
    parts = [(name, layer, wire) for (name, layer), wire in zip(children, wires, strict=True)]

    def taken(values: list[Any], wire: Wire) -> Any:
        if max(flat(wire), default=0) >= len(values):
            raise ShapeError(f"expected an array {max(flat(wire))}, got {len(values)} so far")
        return gathered(values, wire)

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        shapes = _flat_shapes(tuple(in_shape))
        if len(shapes) != inputs:
            raise ShapeError(f"expected {inputs} arrays, got in_shape={in_shape}")
        params: dict[str, Any] = {}
        state: dict[str, Any] = {}
        for name, layer, wire in parts:
            shape, own, carried = init_child(name, layer, key, taken(shapes, wire))
            shapes += _flat_shapes(tuple(shape))
            params |= {name: own} if own else {}
            state |= {name: carried} if carried else {}
        return taken(shapes, outputs), params, state

    def run(which: str, params: Any, state: Any, x: Any, train: bool, key: Key | None) -> Any:
        """Return all arrays, the state, and of each layer what it gave and the way back."""
        check_names(names, params, state)
        check_taken(x, traits)
        values = flat(x)
        if len(values) != inputs:
            raise ShapeError(f"expected {inputs} arrays, got {len(values)}")
        moved: dict[str, Any] = {}
        came: list[tuple[Any, Any]] = []
        for name, layer, wire in parts:
            own_key = key.fold(name) if layer.traits.stochastic and key is not None else None
            own = state.get(name, EMPTY) if state else EMPTY
            try:
                call = getattr(layer.core, which)
                given = params.get(name, EMPTY), own, taken(values, wire)
                y, new, *back = call(*given, train=train, key=own_key)
            except (FnnError, KeyError) as error:
                raise placed_error(error, name, layer.where) from error.__cause__
            if new is not own:
                moved[name] = freeze(new)
            values += flat(y)
            came.append((y, back[0] if back else None))
        return values, moved_state(state, moved), came

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        values, state, _ = run("apply", params, state, x, train, key)
        return taken(values, outputs), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        values, state, came = run("vjp", params, state, x, train, key)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            into: list[Any] = [None] * len(values)
            _add(into, outputs, dy)
            dparams: dict[str, Any] = {}
            end = len(values)
            for (name, layer, wire), (y, back) in reversed(list(zip(parts, came, strict=True))):
                begin = end - len(flat(y))
                given = [_or_zeros(d, value) for d, value in zip(into[begin:end], flat(y), strict=True)]
                end = begin
                try:
                    own, dx = back(_like(y, iter(given)))
                except (FnnError, KeyError) as error:
                    raise placed_error(error, name, layer.where) from error.__cause__
                if name in params:
                    dparams[name] = freeze(own)
                _add(into, wire, dx)
            whole = Tree.own({name: dparams[name] for name in params})
            if not need_dx:
                return whole, None
            first = [_or_zeros(d, value) for d, value in zip(into, values[:inputs], strict=False)]
            return whole, _like(x, iter(first))

        return taken(values, outputs), state, pullback

    def rebuilt(change: Change) -> Layer:
        made = (change(*child) for child in children)
        return wired(*made, wires=wires, outputs=outputs, inputs=inputs)

    return Layer(
        "wired",
        init,
        apply,
        vjp,
        children=children,
        traits=traits,
        flops=lambda in_shape, out_shape, params: 0,
        keeps=keeps_nothing,
        inputs=_inputs(layers, wires, inputs),
        rebuilt=rebuilt,
    )


def _add(into: list[Any], wire: Wire, d: Any) -> None:
    """Add derivatives to those of the arrays of a wire; None, in the place of integers, is none."""
    if isinstance(wire, tuple):
        for each, part in zip(wire, d, strict=True):
            _add(into, each, part)
    elif d is not None:
        into[wire] = d if into[wire] is None else into[wire] + d


def _or_zeros(d: Any, value: Any) -> Any:
    return np.zeros_like(value) if d is None and not is_integer(value) else d


def _inputs(layers: tuple[Layer, ...], wires: tuple[Wire, ...], n: int) -> Inputs | None:
    """Return what draws examples: of each input what the first layer that takes it alone says."""
    known = {
        wire: layer.inputs
        for layer, wire in reversed(list(zip(layers, wires, strict=True)))
        if type(wire) is int and wire < n and layer.inputs
    }
    whole = {
        number: (layer.inputs, wire, i)
        for layer, wire in zip(layers, wires, strict=True)
        if isinstance(wire, tuple) and layer.inputs
        for i, number in enumerate(wire)
        if type(number) is int and number < n
    }
    if not known and not whole:
        return None

    def drawn(key: Key, count: int, in_shape: Shape) -> Any:
        shapes = _flat_shapes(in_shape)

        def one(number: int) -> Any:
            own = key.fold(number)
            if number in known:
                return known[number](own, count, shapes[number])
            if number in whole:
                inputs, wire, i = whole[number]
                if all(type(each) is int and each < n for each in wire):
                    return inputs(own, count, tuple(shapes[each] for each in wire))[i]
            return own.generator().normal(size=(count, *shapes[number]))

        values = tuple(map(one, range(n)))
        return values if n > 1 else values[0]

    return drawn
