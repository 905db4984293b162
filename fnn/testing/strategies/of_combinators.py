"""Strategies for compositions: ways of layers in a row, side by side, repeated and wrapped."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import strategies as st

from fnn.keys import Key
from fnn.layers.branching import branch, parallel
from fnn.layers.calls import Shape
from fnn.layers.combinators import named, residual, serial
from fnn.layers.contract import Layer
from fnn.layers.convolution import Conv
from fnn.layers.dense import Dense
from fnn.layers.fans import fan_in, fan_out
from fnn.layers.reparametrization import weight_norm
from fnn.layers.repetition import repeat, shared
from fnn.layers.shape import Flatten, Reshape
from fnn.layers.wrapping import lazy, remat, vmap
from fnn.testing.strategies.of_options import Layers, Rows, plain

Alphabet: TypeAlias = Callable[[Shape], Layers]
Way: TypeAlias = tuple[list[Layer], Shape, int]
"""Layers one after the other, the shape that they end in, and how long the way through them is."""

FITTED = "fitted"
"""Name of what only projects to a shape; like a shortcut it does not count as part of a way."""

# --- single layers --------------------------------------------------------------------------


def halved(in_shape: Shape) -> Layer:
    """Return a dense layer of half as many features as come; what `lazy` makes here."""
    return Dense(max(1, in_shape[-1] // 2))


def _weight_norm(in_shape: Shape) -> Layers:
    inner: Layers = st.builds(Dense, st.integers(1, 3))
    if len(in_shape) in (2, 3):
        inner |= st.builds(Conv, st.integers(1, 3), st.just(1))
    return st.builds(weight_norm, inner)


def _vmap(in_shape: Shape) -> Layers:
    return st.builds(vmap, st.builds(Dense, st.integers(1, 3)))


ROWS: Rows = {
    "lazy": (1, 1, plain(lazy, halved)),
    "weight_norm": (1, 1, _weight_norm),
    "vmap": (2, 1, _vmap),
}

# --- compositions ---------------------------------------------------------------------------


@st.composite
def ways(draw: st.DrawFn, shape: Shape, depth: int, alphabet: Alphabet, least: int = 0) -> Way:
    """Draw layers one after the other, on a way of at most `depth` layers."""
    chain: list[Layer] = []
    length = 0
    # Drawn first: the shrinker lowers it by one and deletes the choices of any one layer after it.
    wanted = draw(st.sampled_from((*range(least, depth), *(depth,) * 4)))
    while length < wanted:
        layer, shape, cost = draw(_links(shape, wanted - length, alphabet, f"part_{len(chain)}"))
        chain.append(layer)
        length += cost
    return chain, shape, length


def out_shape_of(layer: Layer, in_shape: Shape) -> Shape:
    """Return the shape of what an example becomes."""
    return layer.init(Key.of(0), in_shape)[0]


@st.composite
def _links(
    draw: st.DrawFn, shape: Shape, depth: int, alphabet: Alphabet, name: str
) -> tuple[Layer, Shape, int]:
    kind = draw(_KINDS) if depth > 1 else "layer"
    if kind == "layer":
        layer = draw(alphabet(shape))
        return layer, out_shape_of(layer, shape), 1
    make, rooms = COMPOSITIONS[kind]
    room = rooms(depth)
    made, length = make(draw, shape, draw(ways(shape, room, alphabet)), alphabet)
    layer = named(name, made) if kind == "named" else made
    # Nothing may be free, or a network of empty networks could go on for ever.
    return layer, out_shape_of(layer, shape), max(1, length)


def _in_a_row(draw: st.DrawFn, shape: Shape, way: Way, alphabet: Alphabet) -> tuple[Layer, int]:
    chain, _, length = way
    return serial(*chain), length


def _again(draw: st.DrawFn, shape: Shape, way: Way, alphabet: Alphabet) -> tuple[Layer, int]:
    chain, _, length = way
    return remat(serial(*chain)), length


def _residual(draw: st.DrawFn, shape: Shape, way: Way, alphabet: Alphabet) -> tuple[Layer, int]:
    chain, out, length = way
    is_projected = out != shape or draw(st.just(False) | st.just(True))
    return residual(*chain, shortcut=draw(projections(shape, out)) if is_projected else None), length


def _second(draw: st.DrawFn, shape: Shape, way: Way, alphabet: Alphabet, merge: str) -> list[Layer]:
    """Draw a second way, from `shape` to a shape that merges with what the first way ends in."""
    _, out, length = way
    chain, end, _ = draw(ways(shape, min(2, length), alphabet))
    if merge == "concat" and len(end) == len(out) and end[1:] == out[1:]:
        return chain
    return chain if end == out else [*chain, named(FITTED, draw(projections(end, out)))]


_MERGES = ("sum", "mean", "concat", "product", "max")


def _branch(draw: st.DrawFn, shape: Shape, way: Way, alphabet: Alphabet) -> tuple[Layer, int]:
    chain, _, length = way
    merge = draw(st.sampled_from(_MERGES))
    other = _second(draw, shape, way, alphabet, merge)
    return branch(serial(*chain), serial(*other), merge=merge), length


def _parallel(draw: st.DrawFn, shape: Shape, way: Way, alphabet: Alphabet) -> tuple[Layer, int]:
    chain, _, length = way
    other = _second(draw, shape, way, alphabet, "sum")
    return serial(fan_out(2), parallel(serial(*chain), serial(*other)), fan_in("sum")), length


def _twice(make: Callable[..., Layer]) -> Callable[..., tuple[Layer, int]]:
    def made(draw: st.DrawFn, shape: Shape, way: Way, alphabet: Alphabet) -> tuple[Layer, int]:
        chain, out, length = way
        fitted = [] if out == shape else [named(FITTED, draw(projections(out, shape)))]
        return make(serial(*chain, *fitted), 2), 2 * length

    return made


def _one_less(depth: int) -> int:
    return depth - 1


def _half(depth: int) -> int:
    return depth // 2


COMPOSITIONS: dict[str, Any] = {
    "serial": (_in_a_row, _one_less),
    "residual": (_residual, _one_less),
    "named": (_in_a_row, _one_less),
    "branch": (_branch, _one_less),
    "parallel": (_parallel, _one_less),
    "repeat": (_twice(repeat), _half),
    "shared": (_twice(shared), _half),
    "remat": (_again, _one_less),
}
"""By kind: from `draw`, a shape, a way for it and the alphabet to a layer and the length of the way
through that; and how long the way inside may be."""
_KINDS = st.sampled_from(("layer",) * 8 + ("residual", *COMPOSITIONS))


@st.composite
def projections(draw: st.DrawFn, shape: Shape, out: Shape) -> Layer:
    """Draw a layer that maps examples of `shape` to those of `out`."""
    fitting = [serial(Flatten(), Dense(math.prod(out)), Reshape(out))]
    if shape[:-1] == out[:-1]:
        fitting.insert(0, Dense(out[-1]))
    if len(shape) == len(out) > 1:
        strides = tuple(
            next((s for s in range(1, n + 1) if -(-n // s) == m), 0)
            for n, m in zip(shape[1:], out[1:], strict=True)
        )
        if all(strides):
            fitting.insert(0, Conv(out[0], 1, stride=strides))
    return draw(st.sampled_from(fitting))
