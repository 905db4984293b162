"""The same layer several times in a row: with weights of their own, or with one set for all."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import numpy as np

from fnn.errors import FnnError, ShapeError
from fnn.keys import Key
from fnn.layers.calls import ChildInit, Pullback, Shape, init_child, outermost, placed_error
from fnn.layers.chains import (
    Children,
    asked,
    asked_once,
    chained,
    check_layer,
    check_names,
    dx_alone,
    keeps_nothing,
    moved_state,
    named_children,
    total_flops,
)
from fnn.layers.contract import Layer, Traits
from fnn.options import integer
from fnn.recipe import constructor
from fnn.tree import EMPTY, Tree, TreeLike, freeze, items, map_new

MOST_SHAPES = 256
"""How often the shape of what a shared layer makes may differ from that of what it got; in all of the
layers that are shared inside a shared one together."""

_changes: ContextVar[list[Shape] | None] = ContextVar("changes", default=None)


@constructor
def repeat(layer: Layer, n: int) -> Layer:
    """Compose n copies of a layer, each with weights of its own: y = f_n(… f_2(f_1(x))).

    The same as `serial` of n times the layer: the copies are called by its name and their count
    ("dense_0", "dense_1"), and draw their first weights each for itself.

    Raises:
        OptionError: If `layer` is no layer, or n not an integer of 1 or more.
        ShapeError: If a copy cannot take what the one before makes.
    """
    check_layer("repeat", "layer", layer)
    n = integer("repeat", "n", n)
    return _repeated(tuple((f"{layer.name}_{i}", layer) for i in range(n)))


def _repeated(children: Children) -> Layer:
    return Layer(
        "repeat",
        *chained(children),
        children=children,
        traits=Traits.joint(tuple(layer.traits for _, layer in children)),
        flops=lambda in_shape, out_shape, params: 0,
        keeps=keeps_nothing,
        members="chain",
        inputs=children[0][1].inputs,
        rebuilt=lambda change: _repeated(tuple((name, change(name, each)) for name, each in children)),
    )


@constructor
def shared(layer: Layer, n: int) -> Layer:
    """Apply a layer n times with one set of weights: y = f(… f(f(x))).

    Its gradient is the sum of those of the n times. What it carries goes from one time to the next;
    what it draws is drawn anew each time. In params and state it stands once, called as in `serial`.

    Raises:
        OptionError: If `layer` is no layer, or n not an integer of 1 or more.
        ShapeError: If the layer cannot take what it makes, or would need other weights for it.
    """
    [(name, _)] = children = named_children("shared", (layer,))
    n = integer("shared", "n", n)
    core, draws = layer.core, layer.traits.stochastic

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        first = ChildInit(name, layer, tuple(in_shape))
        with outermost(_changes, list) as changes:
            first.out_shape, params, state = init_child(name, layer, key, in_shape)
            times = _times(first, n, changes)
        want = _leaves(params, state)
        for time in times[1:]:
            leaves = _leaves(time.params, time.state)
            if leaves != want and (off := set(leaves) ^ set(want)):
                expected = f"expected a layer with the same weights for what it makes, {time.in_shape}"
                got = f"got others at {min(off)[0]}"
                raise placed_error(ShapeError(f"{expected}, {got}"), name, layer.where)
        return (
            tuple(times[-1].out_shape),
            {name: params} if params else {},
            {name: state} if state else {},
        )

    def key_at(i: int, key: Key | None) -> Key | None:
        return key.fold(name, i) if draws and key is not None else None

    def run(call: Any, params: Any, state: Any, x: Any, train: bool, key: Key | None) -> Any:
        """Return y, the state after all times, and the ways back."""
        check_names(frozenset([name]), params, state)
        own, first = params.get(name, EMPTY), state.get(name, EMPTY)
        now, ways = first, []
        try:
            for i in range(n):
                x, now, *way = call(own, now, x, train=train, key=key_at(i, key))
                ways += way
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, layer.where) from error.__cause__
        return x, state if now is first else moved_state(state, {name: freeze(now)}), ways

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        y, state, _ = run(core.apply, params, state, x, train, key)
        return y, state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        y, state, ways = run(core.vjp, params, state, x, train, key)

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            total: Any = None
            needs = need_dparams and name in params
            try:
                for i, back in reversed(list(enumerate(ways))):
                    if not needs:
                        dy = dx_alone(back, dy) if need_dx else None
                        continue
                    dparams, dy = back(dy, need_dx=need_dx or i > 0)
                    total = dparams if total is None else map_new(np.add, total, dparams)
            except (FnnError, KeyError) as error:
                raise placed_error(error, name, layer.where) from error.__cause__
            return Tree.own({name: freeze(total)}) if needs else EMPTY, dy

        return y, state, pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        with asked_once():
            with outermost(_changes, list) as changes:
                times = _times(asked(name, layer, in_shape), n, changes)
            # The child's own row has those of the first time.
            costs = [total_flops(layer, time.in_shape) for time in times]
        return sum(costs[1:]) + (n - len(costs)) * costs[-1]

    return Layer(
        "shared",
        init,
        apply,
        vjp,
        children=children,
        traits=layer.traits,
        flops=flops,
        keeps=keeps_nothing,
        members="chain",
        inputs=layer.inputs,
        rebuilt=lambda change: shared(change(name, layer), n),
    )


def _times(first: ChildInit, n: int, changes: list[Shape]) -> list[ChildInit]:
    """Return what happens at each of n times, until what comes out is like what came in."""
    times = [first]
    while len(times) < n and times[-1].in_shape != (shape := tuple(times[-1].out_shape)):
        if len(changes) == MOST_SHAPES - 1:
            expected = f"expected a layer that in {MOST_SHAPES} times comes to a shape that stays"
            error = ShapeError(f"{expected}, got {shape}")
            raise placed_error(error, first.name, first.layer.where)
        changes.append(shape)
        # No part of a summary: it is the same layer again.
        times.append(asked(first.name, first.layer, shape))
    return times


def _leaves(params: TreeLike, state: TreeLike) -> list[tuple[str, tuple[int, ...]]]:
    return [(path, leaf.shape) for tree in (params, state) for path, leaf in items(tree)]
