"""Weights that are functions of those that are trained: weight and spectral normalisation.

What is changed are all weights "w" and "w_…" of 2 or more axes of a layer, in a network those of all
its layers.
"""

from __future__ import annotations

from typing import Any

from fnn.errors import OptionError
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
from fnn.layers.calls import Core, Pullback, Shape
from fnn.layers.chains import around, check_layer, dx_alone
from fnn.layers.contract import Flops, Layer
from fnn.layers.initializers import are_shapes_only, draw, normal, outline
from fnn.layers.weights import (
    is_pair,
    is_weight,
    mapped,
    nodes,
    output_axis,
    some_weights,
    vectors_at,
    weights_in,
    with_entries,
    without_entries,
)
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
    axis_at, inner = output_axis("weight_norm", axis), layer.core

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
        if any(is_pair(path, node) for path, node in nodes(params)):
            raise OptionError(f"expected weights that are not split yet, got {layer!r}")
        some_weights(params)
        return shape, mapped(is_weight, split, params), state

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        return inner.apply(mapped(is_pair, used, params), state, x, train=train, key=key)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        own = mapped(is_pair, used, params)
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
            return Tree(mapped(is_pair, split_back, params, freeze(dparams))), dx

        return y, moved, pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        return _call_flops(
            layer.flops, in_shape, out_shape, mapped(is_pair, lambda path, pair: pair["v"], params)
        )

    return around(layer, Core(init, apply, vjp), flops=layer.flops and flops)


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
    axis_at, inner = output_axis("spectral_norm", axis), layer.core
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
        vectors = {path: first(path, w, key) for path, w in some_weights(params)}
        return shape, params, with_entries(state, vectors)

    def used(params: Any, state: Any, train: bool) -> Any:
        """Return w / σ and σ of every weight by path, the vectors, and the state of the layer."""
        weights = dict(weights_in(params))
        own_state, vectors = without_entries(state, weights)
        moved, scaled = {}, {}
        for path, w in weights.items():
            at = axis_at(path, w)
            u, v = vectors_at(path, vectors)
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
        own = mapped(is_weight, lambda path, w: scaled[path][0], params)
        y, moved = inner.apply(own, own_state, x, train=train, key=key)
        return y, with_entries(moved, vectors) if train or moved is not own_state else state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        scaled, vectors, own_state = used(params, state, train)
        own = mapped(is_weight, lambda path, w: scaled[path][0], params)
        y, moved, back = inner.vjp(own, own_state, x, train=train, key=key)

        def unscaled(path: str, w: Array, dw: Array) -> Array:
            (quotient, sigma), at = scaled[path], axis_at(path, w)
            return spectral_vjp(quotient, sigma, *vectors_at(path, vectors), dw, at)

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            if not need_dparams:
                return EMPTY, dx_alone(back, dy)
            dparams, dx = back(dy, need_dx=need_dx)
            return Tree(mapped(is_weight, unscaled, params, freeze(dparams))), dx

        new_state = with_entries(moved, vectors) if train or moved is not own_state else state
        return y, new_state, pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        return _call_flops(layer.flops, in_shape, out_shape, params)

    return around(layer, Core(init, apply, vjp), flops=layer.flops and flops)


def _call_flops(flops: Flops | None, in_shape: Shape, out_shape: Shape, params: Any) -> int:
    return flops(in_shape, out_shape, params) if flops else 0


def _stands_still(layer: Layer, path: str) -> bool:
    return layer.stands_still or any(f"{path}/".startswith(f"{each}/") for each in layer.frozen)
