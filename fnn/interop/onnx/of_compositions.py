"""How compositions of layers, and wrappers around them, are written in ONNX."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn.interop.onnx.graph import LAYERS, Graph, Part, Value, Values, below, mapped, shape_of
from fnn.kernels.reparametrization import rescale, spectral
from fnn.kernels.values import is_tuple_of_shapes
from fnn.layers.attention.blocks import TransformerBlock
from fnn.layers.branching import branch, parallel
from fnn.layers.chains import asked, named_children, parts_of
from fnn.layers.combinators import frozen, named, residual, serial
from fnn.layers.contract import Layer
from fnn.layers.fans import fan_in, fan_out
from fnn.layers.reparametrization import spectral_norm, weight_norm
from fnn.layers.repetition import repeat, shared
from fnn.layers.weights import (
    is_pair,
    is_weight,
    output_axis,
    vectors_at,
    weights_in,
    without_entries,
)
from fnn.layers.weights import (
    mapped as with_weights,
)
from fnn.layers.wrapping import lazy, remat, vmap
from fnn.tree import Array

# --- what is around one layer -----------------------------------------------------------------


@LAYERS.of(named, frozen, remat)
def inside(graph: Graph, part: Part, x: Values) -> Values:
    """Write the layer: in evaluation the wrapper does nothing."""
    return graph.same(attrs.evolve(part, layer=part.options.layer), x)


@LAYERS.of(lazy)
def made(graph: Graph, part: Part, x: Values) -> Values:
    """Write the layer that is made for this shape."""
    return graph.chain(part, named_children("", (part.options.make(shape_of(x)),)), x)


@LAYERS.of(vmap)
def over_axis(graph: Graph, part: Part, x: Values) -> Any:
    """Write the layer with the extra axis among the batch, and take it out again."""

    def rows(value: Value) -> Value:
        shape = value.shape[1:]
        return Value(graph.op("Reshape", value, np.array([-1, *shape])), shape)

    first = shape_of(x)
    while is_tuple_of_shapes(first):
        first = first[0]
    y = graph.same(attrs.evolve(part, layer=part.options.layer), mapped(rows, x))
    return mapped(lambda value: graph.op("Reshape", value, np.array([-1, first[0], *value.shape])), y)


@LAYERS.of(weight_norm)
def rescaled(graph: Graph, part: Part, x: Values) -> Values:
    """Write the layer with the weights that are used."""
    axis_at = output_axis("weight_norm", part.options.axis)

    def used(path: str, pair: Any) -> Array:
        return rescale(pair["v"], pair["g"], axis_at(path, pair["v"]))

    params = with_weights(is_pair, used, part.params)
    return graph.same(attrs.evolve(part, layer=part.options.layer, params=params), x)


@LAYERS.of(spectral_norm)
def divided(graph: Graph, part: Part, x: Values) -> Values:
    """Write the layer with the weights that are used."""
    axis_at = output_axis("spectral_norm", part.options.axis)
    own, vectors = without_entries(part.state, dict(weights_in(part.params)))

    def used(path: str, w: Array) -> Array:
        return spectral(w, *vectors_at(path, vectors), axis_at(path, w))[0]

    params = with_weights(is_weight, used, part.params)
    return graph.same(attrs.evolve(part, layer=part.options.layer, params=params, state=own), x)


# --- compositions -----------------------------------------------------------------------------


@LAYERS.of(serial, repeat)
def chain(graph: Graph, part: Part, x: Values) -> Values:
    """Write the layers one after the other."""
    return graph.chain(part, part.layer.children, x)


@LAYERS.of(shared)
def again(graph: Graph, part: Part, x: Values) -> Values:
    """Write the layer again and again, with the same weights."""
    for _ in range(part.options.n):
        x = graph.chain(part, part.layer.children, x)
    return x


@LAYERS.of(residual)
def both_ways(graph: Graph, part: Part, x: Values) -> Any:
    """Write the chain, the shortcut, and their sum."""
    shortcut = [child for child in part.layer.children if child[0] == "shortcut"]
    y = graph.chain(part, [child for child in part.layer.children if child not in shortcut], x)
    return added(graph, y, graph.chain(part, shortcut, x))


def added(graph: Graph, a: Values, b: Values) -> Any:
    """Write the sum of two values, part by part."""
    if isinstance(a, tuple):
        return tuple(added(graph, *each) for each in zip(a, b, strict=True))
    return graph.op("Add", a, b)


@LAYERS.of(parallel)
def side_by_side(graph: Graph, part: Part, x: Values) -> Values:
    """Write every layer with an array of its own."""
    return tuple(
        graph.layer(name, below(part, name, child), value)
        for (name, child), value in zip(part.layer.children, x, strict=True)
    )


@LAYERS.of(branch)
def branches(graph: Graph, part: Part, x: Values) -> Any:
    """Write every layer with the same x, and what makes one of them."""
    merge = part.options.merge
    ways = [child for child in part.layer.children if child[0] != "merge"]
    ys = tuple(graph.layer(name, below(part, name, child), x) for name, child in ways)
    if isinstance(merge, Layer):
        return graph.layer("merge", below(part, "merge", merge), ys)
    return merged(graph, merge, ys, part.options.axis)


@LAYERS.of(fan_out)
def handed_on(graph: Graph, part: Part, x: Values) -> Values:
    """Write nothing: x is used again."""
    return (x,) * part.options.n


@LAYERS.of(fan_in)
def fan(graph: Graph, part: Part, x: Values) -> str:
    """Write what makes one of several."""
    return merged(graph, part.options.merge, x, part.options.axis)


def merged(graph: Graph, merge: str, x: Values, axis: int) -> str:
    """Write a merge by its name."""
    if merge == "concat":
        return str(graph.op("Concat", *x, axis=axis))
    if merge in ("sum", "mean"):
        total = graph.op("Sum", *x)
        return str(total if merge == "sum" else graph.op("Div", total, len(x)))
    if merge == "max":
        return str(graph.op("Max", *x))
    y = x[0].name
    for value in x[1:]:
        y = graph.op("Mul", y, value)
    return str(y)


@LAYERS.of(TransformerBlock)
def transformer_block(graph: Graph, part: Part, x: Values) -> Any:
    """Write attention and the affine maps of every step, each added to what came."""
    options = part.options
    own, *mask = x if options.mask else (x,)
    call = asked(part.layer.name, part.layer, shape_of(x))
    layers = {each.name: layer for each, layer in parts_of(call, part.layer)}

    def run(name: str, value: Values) -> Value:
        return graph.layer(name, below(part, name, layers[name]), value)

    def attended(value: Value) -> Value:
        return run("attention", (value, *mask) if mask else value)

    def plus(a: Value, b: Value) -> Value:
        return Value(graph.op("Add", a, b), a.shape)

    if options.norm == "pre":
        y = plus(own, attended(run("norm_1", own)))
        z = plus(y, run("mlp", run("norm_2", y)))
    else:
        y = run("norm_1", plus(own, attended(own)))
        z = run("norm_2", plus(y, run("mlp", y)))
    return (z, *mask) if mask else z
