"""Combinators: functions from layers to a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from fnn.errors import DTypeError, FnnError, OptionError, ShapeError, TreeError
from fnn.kernels.parts import arrays, count_numbers, is_integer
from fnn.keys import Key
from fnn.layers.activation import Identity
from fnn.layers.calls import Pullback, Shape, check_name, init_child, placed_error, takes
from fnn.layers.contract import Change, Layer, Traits
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, Tree, TreeLike, freeze, map_new


@constructor
def named(name: str, layer: Layer) -> Layer:
    """Give a layer a path of its own: `named("hidden", Dense(10))` is "hidden", not "dense_0".

    The name also takes part in the layer's random draws.

    Raises:
        OptionError: If the name is empty or contains "/".
    """
    check_name("named", name)
    _check_layer("named", "layer", layer)
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
    _check_layer("frozen", "layer", layer)
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
            dx = _dx_alone(back, dy) if need_dx else None
            bent = any(part.dtype.kind == "c" for _, part in arrays(dy))
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
        members="chain",
        rebuilt=lambda change: frozen(change("", layer)),
    )


def _complex_zeros(leaf: Array) -> Array:
    return np.zeros(leaf.shape, np.result_type(leaf.dtype, "complex64"))


def _frozen_at(layer: Layer) -> Layer:
    # What stands still already is taken as it is, so that nested ones take no more than they hold.
    return layer if _is_still(layer) else attrs.evolve(frozen(layer), where=layer.where)


def _is_still(layer: Layer) -> bool:
    return layer.stands_still and all(_is_still(child) for _, child in layer.children)


def _dx_alone(back: Any, dy: Any) -> Any:
    """Return dx, and spare the cost of dparams where the pullback knows how to."""
    return (back(dy, need_dparams=False) if takes(back, "need_dparams") else back(dy))[1]


def _check_layer(who: str, what: str, layer: Any) -> None:
    if not isinstance(layer, Layer):
        name = getattr(layer, "__name__", "") if callable(layer) else ""
        got = f"{name}; call it: {name}(...)" if name else repr(layer)
        raise OptionError(f"{what}: expected a Layer, got {got}", path=(who,))


def _children(who: str, layers: tuple[Layer, ...]) -> tuple[tuple[str, Layer], ...]:
    """Name layers by kind and count among their kind, or as they were `named`.

    A child draws from the key folded with its name, so that adding a layer of another kind changes
    no weight and no mask elsewhere.
    """
    for i, layer in enumerate(layers):
        _check_layer(who, f"argument {i}", layer)
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


def _check_names(names: frozenset[str], params: Any, state: Any) -> None:
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


def _composed(children: tuple[tuple[str, Layer], ...]) -> tuple[Any, Any, Any]:
    """Return init, apply and vjp of the layers one after the other.

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
        _check_names(names, params, state)
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
        return x, _moved(state, moved)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        _check_names(names, params, state)
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
                        dy = _dx_alone(back, dy)
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

        return x, _moved(state, moved), pullback

    return init, apply, vjp


def _moved(state: Any, moved: dict[str, Any]) -> Any:
    moved = {name: new for name, new in moved.items() if new or name in state}
    return Tree(state) | moved if moved else state


@constructor
def serial(*layers: Layer) -> Layer:
    """Compose layers left to right: y = f_n(… f_2(f_1(x))); `serial()` is the identity.

    Children are called by kind and count ("dense_0", "dense_1"), or as they were `named`; so are
    their entries in params and state, which they lack if they have neither.

    Raises:
        OptionError: If an argument is no layer or two children have one name.
    """
    children = _children("serial", layers)
    return Layer(
        "serial",
        *_composed(children),
        children=children,
        traits=Traits.joint(tuple(layer.traits for layer in layers)),
        flops=_no_flops,
        members="chain",
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
        _check_layer("residual", "shortcut", shortcut)
    body = _children("residual", layers)
    side = (("shortcut", Identity() if shortcut is None else shortcut),)
    if any(name == "shortcut" for name, _ in body):
        raise OptionError("two children are called 'shortcut'", path=("residual",))
    body_init, body_apply, body_vjp = _composed(body)
    side_init, side_apply, side_vjp = _composed(side)

    def halves(tree: Any) -> tuple[Any, Any]:
        if "shortcut" not in tree:
            return tree, EMPTY
        return {name: tree[name] for name in tree if name != "shortcut"}, {"shortcut": tree["shortcut"]}

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        shape, params, state = body_init(key, in_shape)
        side_shape, side_params, side_state = side_init(key, in_shape)
        if shape != side_shape:
            raise ShapeError(f"expected both ways to end in one shape, got {shape} + {side_shape}")
        return shape, params | side_params, state | side_state

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        (params_f, params_s), (state_f, state_s) = halves(params), halves(state)
        y, new_f = body_apply(params_f, state_f, x, train=train, key=key)
        short, new_s = side_apply(params_s, state_s, x, train=train, key=key)
        return _sum(y, short), _joined(state, state_f, state_s, new_f, new_s)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        (params_f, params_s), (state_f, state_s) = halves(params), halves(state)
        y, new_f, back_f = body_vjp(params_f, state_f, x, train=train, key=key)
        short, new_s, back_s = side_vjp(params_s, state_s, x, train=train, key=key)

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            dparams_f, dx_f = back_f(dy, need_dx=need_dx, need_dparams=need_dparams)
            dparams_s, dx_s = back_s(dy, need_dx=need_dx, need_dparams=need_dparams)
            if not need_dparams:
                return EMPTY, _added(dx_f, dx_s)
            both = {**dparams_f, **dparams_s}
            dparams = Tree.own({name: both[name] for name in params})
            return dparams, _added(dx_f, dx_s) if need_dx else None

        return _sum(y, short), _joined(state, state_f, state_s, new_f, new_s), pullback

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


def _added(dx_f: Any, dx_s: Any) -> Any:
    """Return the sum of two derivatives in one x; None, in the place of integers, stays None."""
    if isinstance(dx_f, tuple):
        return tuple(map(_added, dx_f, dx_s))
    return None if dx_f is None else dx_f + dx_s


def _joined(state: Any, state_f: Any, state_s: Any, new_f: Any, new_s: Any) -> Any:
    if new_f is state_f and new_s is state_s:
        return state
    return Tree({**new_f, **new_s})
