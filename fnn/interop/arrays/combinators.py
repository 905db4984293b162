"""Rules of combinators: they call the functions of their parts, each with its own entries and key."""

from __future__ import annotations

import functools
import operator
from typing import Any

from fnn.ensemble.layers import stacked
from fnn.errors import DTypeError, ShapeError
from fnn.interop.arrays import functions as a
from fnn.interop.arrays.plain import plain, rows_of
from fnn.interop.arrays.translating import (
    Part,
    Run,
    called,
    chain,
    current,
    folded,
    function_of,
    need_key,
    part,
    parts_in,
    rules,
    shape_of,
    within,
)
from fnn.interop.rules import options_of
from fnn.layers.activation import ACTIVATIONS
from fnn.layers.attention.blocks import TransformerBlock
from fnn.layers.attention.heads import MultiHeadAttention
from fnn.layers.branching import branch, parallel
from fnn.layers.chains import check_names, named_children
from fnn.layers.combinators import frozen, named, residual, serial
from fnn.layers.contract import Layer
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.embedding import tied_embedding
from fnn.layers.fans import fan_in, fan_out
from fnn.layers.repetition import repeat, shared
from fnn.layers.standardizing import LayerNorm
from fnn.layers.wrapping import lazy, remat, vmap


@rules.of(serial, repeat)
def chained(layer: Layer) -> Run:
    """Compose layers one after the other."""
    return chain(parts_in(layer.children))


@rules.of(named)
def renamed(layer: Layer) -> Run:
    """Run what was given a name; whoever is around it knows the name."""
    return function_of(options_of(layer).layer)


@rules.of(frozen)
def still(layer: Layer) -> Run:
    """Run in evaluation always; params have no derivative, and the state stays."""
    inner = function_of(options_of(layer).layer)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        return inner(a.map_tree(a.stop_gradient, params), state, x, False, None)[0], state

    return run


@rules.of(remat)
def run_again(layer: Layer) -> Run:
    """Store nothing for the way back but what came in."""
    inner = function_of(options_of(layer).layer)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        def again(params: Any, state: Any, x: Any, key: Any) -> Any:
            return inner(params, state, x, train, key)

        return a.checkpoint(again, params, state, x, key)

    return run


@rules.of(shared)
def used_again(layer: Layer) -> Run:
    """Apply a layer several times with one set of weights."""
    [own], n = parts_in(layer.children), options_of(layer).n

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        check_names(frozenset([own.name]), params, state)
        for i in range(n):
            x, state = called(own, params, state, x, train, folded(key, i))
        return x, state

    return run


@rules.of(lazy)
def made_late(layer: Layer) -> Run:
    """Make the layer when the shape of what comes is known."""
    make, system = options_of(layer).make, current()

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        with within(system):
            inner = chain(parts_in(named_children("", (make(shape_of(x)),))))
        return inner(params, state, x, train, key)

    return run


@rules.of(vmap)
def over_axis(layer: Layer) -> Run:
    """Map a layer over an extra axis: as many more examples."""
    inner = function_of(options_of(layer).layer)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        leads = {each.shape[:2] for each in a.arrays_in(x)}
        if len(leads) > 1 or len(min(leads)) < 2:
            raise ShapeError(f"expected one size of axis 1, got in_shape={shape_of(x)}")
        [lead] = leads
        rows = a.map_value(lambda each: each.reshape(-1, *each.shape[2:]), x)
        y, state = inner(params, state, rows, train, key)
        return a.map_value(lambda each: each.reshape(*lead, *each.shape[1:]), y), state

    return run


@rules.of(stacked)
def members(layer: Layer) -> Run:
    """Run all members at once, each with params, state and a key of its own."""
    o = options_of(layer)
    inner = function_of(o.net)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        draws = train and o.net.traits.stochastic
        sizes = {each.shape[1:2] for each in a.arrays_in(x)} if not o.shared else {(o.n,)}
        sizes |= {each.shape[:1] for each in a.arrays_in((params, state))}
        if sizes != {(o.n,)}:
            sizes = {tuple(each) for each in sizes}
            raise ShapeError(f"expected {o.n} members, got sizes {sorted(sizes)} on their axis")

        def member(params: Any, state: Any, x: Any, key: Any) -> Any:
            return inner(params, state, x, train, key)

        key = need_key(key) if draws else None
        return a.members(member, params, state, x, key, n=o.n, shared=o.shared)

    return run


# --- several ways -----------------------------------------------------------------------------


def _added(y: Any, short: Any) -> Any:
    if isinstance(y, tuple) and isinstance(short, tuple) and len(y) == len(short):
        return tuple(map(_added, y, short))
    if isinstance(y, tuple) or isinstance(short, tuple) or y.shape != short.shape:
        shapes = [shape_of(each) for each in (y, short)]
        raise ShapeError(f"expected both ways to end in one shape, got {shapes[0]} + {shapes[1]}")
    if not a.is_float(y) or not a.is_float(short):
        raise DTypeError(f"expected floating numbers to add, got {y.dtype} + {short.dtype}")
    return y + short


@rules.of(residual)
def with_shortcut(layer: Layer) -> Run:
    """Add what layers make of x to x, or to what the shortcut makes of it."""
    parts = parts_in(layer.children)
    body = [each for each in parts if each.name != "shortcut"]
    side = [each for each in parts if each.name == "shortcut"]
    names = frozenset(each.name for each in parts)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        check_names(names, params, state)
        y = short = x
        for each in body:
            y, state = called(each, params, state, y, train, key)
        for each in side:
            short, state = called(each, params, state, short, train, key)
        return _added(y, short), state

    return run


def _beside(parts: list[Part], params: Any, state: Any, xs: Any, train: bool, key: Any) -> Any:
    """Call every part with a value of its own; return what they give, and the whole state."""
    ys = []
    for each, x in zip(parts, xs, strict=True):
        y, state = called(each, params, state, x, train, key)
        ys.append(y)
    return tuple(ys), state


@rules.of(parallel)
def beside(layer: Layer) -> Run:
    """Map every array of a tuple by a layer of its own."""
    parts = parts_in(layer.children)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        check_names(frozenset(each.name for each in parts), params, state)
        if not isinstance(x, tuple) or len(x) != len(parts):
            got = f"{len(x)}" if isinstance(x, tuple) else f"one of {x.shape}"
            raise ShapeError(f"expected {len(parts)} arrays, one for each layer, got {got}")
        return _beside(parts, params, state, x, train, key)

    return run


@rules.of(branch)
def branched(layer: Layer) -> Run:
    """Give x to several layers and merge what they give."""
    o = options_of(layer)
    parts = [each for each in parts_in(layer.children) if each.name != "merge"]
    merge = part("merge", o.merge if isinstance(o.merge, Layer) else fan_in(o.merge, axis=o.axis))
    names = frozenset([*(name for name, _ in layer.children), "merge"])

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        check_names(names, params, state)
        ys, state = _beside(parts, params, state, (x,) * len(parts), train, key)
        return called(merge, params, state, ys, train, key)

    return run


@rules.of(fan_out)
def fanned_out(layer: Layer) -> Run:
    """Hand on x several times."""
    n = options_of(layer).n
    return plain(lambda x: (x,) * n)


def _larger(best: Any, each: Any) -> Any:
    # Of equal ones the first; NaN passes through.
    return a.where((each > best) | (a.isnan(each) & ~a.isnan(best)), each, best)


@rules.of(fan_in)
def fanned_in(layer: Layer) -> Run:
    """Make one array of a tuple of them."""
    o = options_of(layer)
    merges = {
        "sum": lambda x: functools.reduce(operator.add, x),
        "mean": lambda x: functools.reduce(operator.add, x) / len(x),
        "product": lambda x: functools.reduce(operator.mul, x),
        "max": lambda x: functools.reduce(_larger, x),
        "concat": lambda x: a.concatenate(x, axis=o.axis),
    }
    return plain(merges[o.merge])


# --- assemblies -------------------------------------------------------------------------------


@rules.of(tied_embedding)
def tied(layer: Layer) -> Run:
    """Embed tokens, pass them through layers, and score all tokens by the same weights."""
    inner, o = chain(parts_in(layer.children)), options_of(layer)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        w = params.get("w")
        if w is None or w.shape != (o.n, o.width):
            got = getattr(w, "shape", w)
            raise ShapeError(f"expected w of shape {(o.n, o.width)}, got {got}")
        own = {name: params[name] for name in params if name != "w"}
        h, state = inner(own, state, rows_of(w, x), train, key)
        return h @ w.T, state

    return run


@rules.of(TransformerBlock)
def transformer_block(layer: Layer) -> Run:
    """Attend, then transform every step by itself, each added to what came."""
    o = options_of(layer)
    bend = ACTIVATIONS[o.activation]() if isinstance(o.activation, str) else o.activation
    same: Any = {"causal": o.causal, "dropout": o.dropout, "positions": o.positions, "mask": o.mask}
    attention, system = MultiHeadAttention(o.heads, **same), current()

    @functools.lru_cache(maxsize=8)
    def parts_of(width: int) -> dict[str, Part]:
        inner = 4 * width if o.width_mlp is None else o.width_mlp
        mlp = serial(Dense(inner), bend, Dense(width))
        layers = {"norm_1": LayerNorm(), "attention": attention, "norm_2": LayerNorm(), "mlp": mlp}
        if o.dropout:
            layers |= {"dropout_1": Dropout(o.dropout), "dropout_2": Dropout(o.dropout)}
        with within(system):
            return {name: part(name, each) for name, each in layers.items()}

    parts_of(1)  # What cannot be expressed is refused now, whatever the width.

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        value, *mask = x if o.mask and isinstance(x, tuple) else (x,)
        if isinstance(x, tuple) != bool(o.mask) or value.ndim != 3:
            expected = "((time, features), (time,))" if o.mask else "(time, features)"
            raise ShapeError(f"expected {expected}, got in_shape={shape_of(x)}")
        parts = parts_of(value.shape[-1])
        check_names(frozenset(parts), params, state)

        def call(state: Any, given: Any, *names: str) -> Any:
            for name in names:
                if name in parts:
                    given, state = called(parts[name], params, state, given, train, key)
            return given, state

        def attended(state: Any, given: Any) -> Any:
            return call(state, (given, *mask) if mask else given, "attention", "dropout_1")

        def transformed(state: Any, given: Any) -> Any:
            return call(state, given, "mlp", "dropout_2")

        if o.norm == "pre":
            for norm, way in (("norm_1", attended), ("norm_2", transformed)):
                given, state = call(state, value, norm)
                more, state = way(state, given)
                value = value + more
        else:
            for way, norm in ((attended, "norm_1"), (transformed, "norm_2")):
                more, state = way(state, value)
                value, state = call(state, value + more, norm)
        return (value, *mask) if mask else value, state

    return run
