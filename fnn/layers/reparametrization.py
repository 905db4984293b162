"""Weights that are functions of those that are trained: weight and spectral normalisation.

What is changed are all weights "w" and "w_…" of 2 or more axes of a layer, in a network those of all
its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fnn.errors import OptionError, TreeError
from fnn.kernels.checks import check_entry
from fnn.kernels.reparametrization import (
    lengths,
    power_iteration,
    rescale,
    rescale_vjp,
    spectral,
    spectral_vjp,
)
from fnn.keys import Key
from fnn.layers.calls import Pullback, Shape
from fnn.layers.chains import check_layer, dx_alone
from fnn.layers.contract import Flops, Layer
from fnn.layers.initializers import are_shapes_only, draw, normal, outline
from fnn.options import integer, real
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, Tree, TreeLike, freeze

FIRST_ITERATIONS = 15
"""Steps of the power iteration from random vectors, before any training."""


@constructor
def weight_norm(layer: Layer, *, axis: int | None = None) -> Layer:
    """Train the length and the direction of every weight apart: w = g v / ‖v‖.

    The norm is taken over all axes of w but that of its outputs, so that there is a g for each output.
    At first v is the w that the layer would draw, and g its length, so that the layer does what it
    would do without. Changed are all weights "w" and "w_…" of 2 or more axes, in a network those of all
    its layers; everything stays at its path.

    Args:
        layer: The layer or network.
        axis: Axis of the outputs; by default the last of a matrix, as in Dense and recurrent layers,
            and the first of kernels, as in Conv.

    Params:
        w: In the place of each weight, {"v": its direction, of the shape of w, "g": its lengths,
            of shape (n_outputs,)}.

    Raises:
        OptionError: From init, if there is no such weight, or one without that axis, or one that is 0
            for an output.

    References: Salimans & Kingma (2016), "Weight normalization", eq. 2 and 3.
    """
    check_layer("weight_norm", "layer", layer)
    axis_at, inner = _axis_of("weight_norm", axis), layer.core

    def split(path: str, w: Array) -> Tree:
        at = axis_at(path, w)
        if are_shapes_only():
            return Tree({"v": w, "g": outline((w.shape[at],))})
        g = lengths(w, at)
        if not g.all():
            raise OptionError(f"expected first weights of lengths above 0, got 0 at {path}")
        return Tree({"v": w, "g": g})

    def used(path: str, pair: Any) -> Array:
        v, g = pair["v"], pair["g"]
        at = axis_at(path, v)
        check_entry(f"{path}/g", g, v.shape[at : at + 1], v)
        return rescale(v, g, at)

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        shape, params, state = inner.init(key, in_shape)
        if any(_is_pair(_last(path), node) for path, node in _nodes(params)):
            raise OptionError(f"expected weights that are not split yet, got {layer!r}")
        _some_weights(params)
        return shape, _mapped(_is_weight, split, params), state

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        return inner.apply(_mapped(_is_pair, used, params), state, x, train=train, key=key)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        own = _mapped(_is_pair, used, params)
        y, moved, back = inner.vjp(own, state, x, train=train, key=key)

        def split_back(path: str, pair: Any, dw: Array) -> Tree:
            dv, dg = rescale_vjp(pair["v"], pair["g"], dw, axis_at(path, pair["v"]))
            return Tree.own({"v": dv, "g": dg})

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            if not need_dparams:
                return EMPTY, dx_alone(back, dy)
            dparams, dx = back(dy, need_dx=need_dx)
            return Tree(_mapped(_is_pair, split_back, params, freeze(dparams))), dx

        return y, moved, pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        return _call_flops(layer.flops, in_shape, out_shape, _mapped(_is_pair, _direction, params))

    return _around(layer, init, apply, vjp, flops)


@constructor
def spectral_norm(
    layer: Layer, *, axis: int | None = None, iterations: int = 1, eps: float = 1e-12
) -> Layer:
    """Divide every weight by its largest singular value: w / σ(w), σ = uᵀ w v.

    w is seen as a matrix with a row for each output. u and v come nearer to its singular vectors by
    power iteration, in training alone and before w is used: u ← w v / ‖w v‖, v ← wᵀ u / ‖wᵀ u‖. They
    are carried, and no derivative goes through them, so that in training the gradient is that of the
    layer with u and v held. Changed are all weights "w" and "w_…" of 2 or more axes, in a network
    those of all its layers; params are what they are without.

    Args:
        layer: The layer or network.
        axis: Axis of the outputs; by default the last of a matrix, as in Dense and recurrent layers,
            and the first of kernels, as in Conv.
        iterations: Steps of the power iteration at each call in training.
        eps: The least norm that a vector is divided by.

    State:
        w: At the path of each weight, {"u": shape (n_outputs,), "v": shape (the rest,)}, beside what
            the layer itself carries; at first after 15 steps from random vectors.

    Raises:
        OptionError: If an option is out of range; from init, if there is no such weight, or one without
            that axis, or one that is 0.

    References: Miyato et al. (2018), "Spectral normalization", algorithm 1.
    """
    check_layer("spectral_norm", "layer", layer)
    axis_at, inner = _axis_of("spectral_norm", axis), layer.core
    iterations = integer("spectral_norm", "iterations", iterations)
    eps = real("spectral_norm", "eps", eps, least=0)

    def first(path: str, w: Array, key: Key) -> Tree:
        at = axis_at(path, w)
        n = w.shape[at], w.size // max(w.shape[at], 1)
        u, v = (
            draw(normal, key.fold("spectral_norm", path, name), (size,), size, size)
            for name, size in zip("uv", n, strict=True)
        )
        if not are_shapes_only():
            if not w.any():
                raise OptionError(f"expected first weights that are not all 0, got such at {path}")
            u, v = power_iteration(w, u, v, at, FIRST_ITERATIONS, eps)
        return Tree({"u": u, "v": v})

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        shape, params, state = inner.init(key, in_shape)
        vectors = {path: first(path, w, key) for path, w in _some_weights(params)}
        return shape, params, _with(state, vectors)

    def used(params: Any, state: Any, train: bool) -> Any:
        """Return w / σ and σ of every weight by path, the vectors, and the state of the layer."""
        weights = dict(_weights(params))
        own_state, vectors = _without(state, weights)
        moved, scaled = {}, {}
        for path, w in weights.items():
            at = axis_at(path, w)
            u, v = _pair_of(path, vectors)
            check_entry(f"{path}/u", u, w.shape[at : at + 1], w)
            check_entry(f"{path}/v", v, (w.size // max(len(u), 1),), w)
            moved[path] = vectors[path]
            if train and not _stands_still(layer, path):
                # A complex step in w is no step of u and v, which no derivative goes through.
                u, v = power_iteration(w.real, u, v, at, iterations, eps)
                moved[path] = Tree.own({"u": u, "v": v})
            scaled[path] = spectral(w, u, v, at)
        return scaled, moved, own_state

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        scaled, vectors, own_state = used(params, state, train)
        own = _mapped(_is_weight, lambda path, w: scaled[path][0], params)
        y, moved = inner.apply(own, own_state, x, train=train, key=key)
        return y, _with(moved, vectors) if train or moved is not own_state else state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        scaled, vectors, own_state = used(params, state, train)
        own = _mapped(_is_weight, lambda path, w: scaled[path][0], params)
        y, moved, back = inner.vjp(own, own_state, x, train=train, key=key)

        def unscaled(path: str, w: Array, dw: Array) -> Array:
            (quotient, sigma), at = scaled[path], axis_at(path, w)
            return spectral_vjp(quotient, sigma, *_pair_of(path, vectors), dw, at)

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            if not need_dparams:
                return EMPTY, dx_alone(back, dy)
            dparams, dx = back(dy, need_dx=need_dx)
            return Tree(_mapped(_is_weight, unscaled, params, freeze(dparams))), dx

        new_state = _with(moved, vectors) if train or moved is not own_state else state
        return y, new_state, pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        return _call_flops(layer.flops, in_shape, out_shape, params)

    return _around(layer, init, apply, vjp, flops)


def _around(layer: Layer, init: Any, apply: Any, vjp: Any, flops: Any) -> Layer:
    """Return the layer with another triple, everything at its path."""
    return Layer(
        layer.name,
        init,
        apply,
        vjp,
        children=layer.children,
        traits=layer.traits,
        is_named=layer.is_named,
        frozen=layer.frozen,
        flops=flops if layer.flops else None,
        inputs=layer.inputs,
    )


def _call_flops(flops: Flops | None, in_shape: Shape, out_shape: Shape, params: Any) -> int:
    return flops(in_shape, out_shape, params) if flops else 0


def _stands_still(layer: Layer, path: str) -> bool:
    return layer.stands_still or any(f"{path}/".startswith(f"{each}/") for each in layer.frozen)


# --- weights in trees -------------------------------------------------------------------------


def _is_name(name: str) -> bool:
    return name == "w" or name.startswith("w_")


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _is_weight(name: str, node: Any) -> bool:
    return _is_name(name) and getattr(node, "ndim", 0) > 1


def _is_pair(name: str, node: Any) -> bool:
    return _is_name(name) and isinstance(node, Mapping) and node.keys() == {"v", "g"}


def _direction(path: str, pair: Any) -> Any:
    return pair["v"]


def _axis_of(who: str, axis: Any) -> Callable[[str, Array], int]:
    """Return the function from the path of a weight and the weight to its axis of outputs."""
    if axis is not None:
        axis = integer(who, "axis", axis, least=-32)

    def at(path: str, w: Array) -> int:
        if axis is None:
            return 1 if w.ndim == 2 else 0
        if not -w.ndim <= axis < w.ndim:
            raise OptionError(f"axis: expected one of {path}, of shape {w.shape}, got {axis}")
        return int(axis % w.ndim)

    return at


def _nodes(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and node of everything in a tree, from outside to inside."""
    for name, node in tree.items():
        yield f"{path}{name}", node
        if isinstance(node, Mapping):
            yield from _nodes(node, f"{path}{name}/")


def _weights(params: Any) -> list[tuple[str, Array]]:
    return [(path, node) for path, node in _nodes(params) if _is_weight(_last(path), node)]


def _some_weights(params: Any) -> list[tuple[str, Array]]:
    """Return path and weight of all, or refuse params that have none."""
    if not (found := _weights(params)):
        expected = "a layer with weights 'w' or 'w_…' of 2 or more axes"
        raise OptionError(f"expected {expected}, got {[path for path, _ in _nodes(params)]}")
    return found


def _mapped(
    is_one: Callable[[str, Any], bool], fn: Callable[..., Any], tree: Any, *rest: Any, path: str = ""
) -> dict[str, Any]:
    """Return a tree with fn(path, node, …) for each that `is_one`; other leaves are those of `rest`,
    if that is given."""
    out: dict[str, Any] = {}
    for name, node in tree.items():
        others = [each[name] for each in rest]
        if is_one(name, node):
            out[name] = fn(f"{path}{name}", node, *others)
        elif isinstance(node, Mapping):
            out[name] = _mapped(is_one, fn, node, *others, path=f"{path}{name}/")
        else:
            out[name] = others[0] if others else node
    return out


def _with(state: Any, vectors: Mapping[str, Any]) -> Tree:
    """Return the state with an entry at each path."""
    whole = Tree(state)
    for path, node in vectors.items():
        whole = _put(whole, path.split("/"), node)
    return whole


def _put(state: Tree, names: list[str], node: Any) -> Tree:
    head, *below = names
    return state | {head: _put(state.get(head, EMPTY), below, node) if below else node}


def _without(state: Any, paths: Mapping[str, Any], path: str = "") -> tuple[Any, dict[str, Any]]:
    """Return the state without the entries at those paths, nor what holds nothing else, and them."""
    rest: dict[str, Any] = {}
    taken: dict[str, Any] = {}
    for name, node in state.items():
        if f"{path}{name}" in paths:
            taken[f"{path}{name}"] = node
        elif isinstance(node, Mapping):
            inside, found = _without(node, paths, f"{path}{name}/")
            taken |= found
            rest |= {name: inside} if inside or not found else {}
        else:
            rest[name] = node
    return Tree(rest), taken


def _pair_of(path: str, vectors: Mapping[str, Any]) -> tuple[Array, Array]:
    node = vectors.get(path)
    if not isinstance(node, Mapping) or node.keys() != {"u", "v"}:
        raise TreeError(f"expected state {path}/u and {path}/v; made by another network's init?")
    return node["u"], node["v"]
