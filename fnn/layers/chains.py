"""Layers one after the other, by the names that they have in params and state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias

from fnn.errors import FnnError, OptionError, TreeError
from fnn.keys import Key
from fnn.layers.calls import (
    ChildInit,
    Core,
    Pullback,
    Shape,
    init_child,
    noted_inits,
    outermost,
    placed_error,
    takes,
)
from fnn.layers.contract import Layer
from fnn.layers.initializers import shapes_only
from fnn.tree import EMPTY, Tree, TreeLike, freeze

Children: TypeAlias = tuple[tuple[str, Layer], ...]


def dx_alone(back: Any, dy: Any) -> Any:
    """Return dx, and spare the cost of dparams where the pullback knows how to."""
    return (back(dy, need_dparams=False) if takes(back, "need_dparams") else back(dy))[1]


def check_layer(who: str, what: str, layer: Any) -> None:
    """Refuse what is no layer, and say how to call a constructor that was given instead.

    Nobody (""), for a layer in a network, which puts its own path before it.
    """
    if not isinstance(layer, Layer):
        name = getattr(layer, "__name__", "") if callable(layer) else ""
        got = f"{name}; call it: {name}(...)" if name else repr(layer)
        raise OptionError(f"{what}: expected a Layer, got {got}", path=(who,) if who else ())


def named_children(who: str, layers: tuple[Layer, ...]) -> Children:
    """Name layers by kind and count among their kind, or as they were `named`.

    A child draws from the key folded with its name, so that adding a layer of another kind changes
    no weight and no mask elsewhere.
    """
    for i, layer in enumerate(layers):
        check_layer(who, f"argument {i}", layer)
    counts: dict[str, int] = {}
    children: dict[str, Layer] = {}
    for layer in layers:
        name = layer.name
        if not layer.is_named:
            counts[layer.name] = counts.get(layer.name, -1) + 1
            name = f"{layer.name}_{counts[layer.name]}"
        if name in children:
            raise OptionError(f"two children are called {name!r}; name one otherwise", path=(who,))
        children[name] = layer
    return tuple(children.items())


def around(layer: Layer, core: Core, **more: Any) -> Layer:
    """Return a layer with another triple and what else is given; its entries stay at their paths."""
    kept = {"flops": layer.flops, "keeps": layer.keeps, "inputs": layer.inputs}
    return Layer(
        layer.name,
        *core,
        children=layer.children,
        traits=layer.traits,
        is_named=layer.is_named,
        frozen=layer.frozen,
        **{**kept, **more},
    )


def check_names(names: frozenset[str], params: Any, state: Any) -> None:
    """Refuse trees with entries that are no child's."""
    for what, tree in (("params", params), ("state", state)):
        # What is ours passes at once.
        if type(tree) is Tree and (not tree or tree.keys() <= names):
            continue
        if not isinstance(tree, Mapping):
            raise TreeError(f"expected {what} of {sorted(names)}, got {type(tree).__name__}")
        if not tree.keys() <= names:
            unknown = sorted(tree.keys() - names)
            raise TreeError(f"expected {what} of {sorted(names)}, got {unknown} beside them")


def chained(children: Children) -> Core:
    """Return the triple of layers one after the other: y = f_n(… f_2(f_1(x))).

    Children without params or state have no entry in those trees.
    """
    names = frozenset(name for name, _ in children)
    stills = frozenset(name for name, layer in children if layer.stands_still)
    # Looked up once: attributes and keys would be asked for again at every step.
    parts = [
        (name, layer.where, layer.core.apply, layer.core.vjp, layer.traits.stochastic)
        for name, layer in children
    ]

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        params: dict[str, Any] = {}
        state: dict[str, Any] = {}
        shape = tuple(in_shape)
        for name, layer in children:
            shape, own_params, own_state = init_child(name, layer, key, shape)
            params |= {name: own_params} if own_params else {}
            state |= {name: own_state} if own_state else {}
        return shape, params, state

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        check_names(names, params, state)
        moved: dict[str, Any] = {}
        name = where = ""
        try:
            for name, where, child, _, stochastic in parts:  # noqa: B007 - the error's place
                own_key = key.fold(name) if stochastic and key is not None else None
                own = state.get(name, EMPTY) if state else EMPTY
                x, new = child(params.get(name, EMPTY), own, x, train=train, key=own_key)
                if new is not own:
                    moved[name] = freeze(new)
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, where) from error.__cause__
        return x, moved_state(state, moved)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        check_names(names, params, state)
        moved: dict[str, Any] = {}
        pullbacks: list[tuple[str, str, Pullback]] = []
        name = where = ""
        try:
            for name, where, _, child, stochastic in parts:
                own_key = key.fold(name) if stochastic and key is not None else None
                own = state.get(name, EMPTY) if state else EMPTY
                x, new, back = child(params.get(name, EMPTY), own, x, train=train, key=own_key)
                pullbacks.append((name, where, back))
                if new is not own:
                    moved[name] = freeze(new)
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, where) from error.__cause__

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            dparams: dict[str, Any] = {}
            # Nobody needs a derivative before the first layer that has parameters to train.
            wanted = len(params.keys() - stills) if stills else len(params)
            name = where = ""
            try:
                if not need_dparams:
                    for name, where, back in reversed(pullbacks):  # noqa: B007 - the error's place
                        dy = dx_alone(back, dy)
                    return EMPTY, dy
                for name, where, back in reversed(pullbacks):  # noqa: B007 - the error's place
                    if name in params:
                        wanted -= 1 if not stills else name not in stills
                        own, dy = back(dy, need_dx=need_dx or wanted > 0)
                        dparams[name] = freeze(own)
                    elif need_dx or wanted > 0:
                        _, dy = back(dy)
            except (FnnError, KeyError) as error:
                raise placed_error(error, name, where) from error.__cause__
            return Tree.own({name: dparams[name] for name in params}), dy if need_dx else None

        return x, moved_state(state, moved), pullback

    return Core(init, apply, vjp)


def moved_state(state: Any, moved: dict[str, Any]) -> Any:
    """Return the state with what children have moved; itself if none has."""
    moved = {name: new for name, new in moved.items() if new or name in state}
    return Tree(state) | moved if moved else state


def keeps_nothing(in_shape: Shape, out_shape: Shape) -> int:
    """Return 0: what a composition hands on is its children's, and counted there."""
    return 0


def split_off(tree: Any, name: str) -> tuple[Any, Any]:
    """Return the entries of a tree but that of `name`, and that one alone."""
    if name not in tree:
        return tree, EMPTY
    return {each: tree[each] for each in tree if each != name}, {name: tree[name]}


def joined_state(state: Any, *parts: tuple[Any, Any]) -> Any:
    """Return the state of parts, each as it was and as it is now; itself if none has moved."""
    if all(new is old for old, new in parts):
        return state
    return Tree({name: own for _, new in parts for name, own in new.items()})


def parts_of(call: ChildInit, layer: Layer) -> list[tuple[ChildInit, Layer]]:
    """Return the calls of init that are those of a layer's parts, with the parts.

    Others may stand among them, of what a layer is built of inside.
    """
    children = dict(layer.children)
    return [
        (each, children.get(each.name, each.layer))
        for each in call.below
        if each.name in children or each.is_made
    ]


_kept: ContextVar[dict[tuple[int, str], ChildInit] | None] = ContextVar("kept", default=None)


@contextlib.contextmanager
def asked_once(*calls: ChildInit) -> Iterator[None]:
    """Have `asked` find its answers again, and those that calls of init have given already.

    A layer that asks for the cost of what is inside it, which asks in turn, would have every level
    double the work.
    """
    with outermost(_kept, dict):
        _keep(calls)
        yield


def _keep(calls: Iterable[ChildInit]) -> None:
    if (kept := _kept.get()) is not None:
        for call in calls:
            kept.setdefault(_mark(call.layer, call.in_shape), call)
            _keep(call.below)


def _mark(layer: Layer, in_shape: Shape) -> tuple[int, str]:
    # The layers live as long as the calls that are kept.
    return id(layer), repr(in_shape)


def asked(name: str, layer: Layer, in_shape: Shape) -> ChildInit:
    """Return what the init of a layer called `name` would return, in shapes alone."""
    if (kept := _kept.get()) is not None and (found := kept.get(_mark(layer, in_shape))):
        return found
    with shapes_only(), noted_inits() as calls:
        init_child(name, layer, Key.of(0), in_shape)
    _keep(calls)
    return calls[0]


def total_flops(layer: Layer, in_shape: Shape) -> int:
    """Return the operations per example of a layer and all of its parts; unknown ones count as 0."""

    def total(call: ChildInit, layer: Layer) -> int:
        if call.flops is None:
            own = layer.flops(call.in_shape, call.out_shape, call.params) if layer.flops else 0
            call.flops = own + sum(total(*part) for part in parts_of(call, layer))
        return call.flops

    with asked_once():
        return total(asked(layer.name, layer, in_shape), layer)
