"""How the parts of a composition are wired, and how many numbers a training step keeps of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from fnn.kernels.values import count_numbers, is_tuple_of_shapes
from fnn.layers.attention.blocks import TransformerBlock
from fnn.layers.branching import branch, parallel
from fnn.layers.calls import ChildInit, Shape
from fnn.layers.chains import asked, asked_once, parts_of
from fnn.layers.combinators import frozen, named, residual, serial
from fnn.layers.contract import Layer
from fnn.layers.embedding import tied_embedding
from fnn.layers.reparametrization import spectral_norm, weight_norm
from fnn.layers.repetition import repeat, shared
from fnn.layers.wrapping import remat, vmap
from fnn.recipe import Recipe

AROUND: tuple[Callable[..., Layer], ...] = (frozen, remat, vmap, weight_norm, spectral_norm)
"""Combinators that stand around one layer, everything of which stays at its path."""

_WIRED: dict[Callable[..., Layer], str] = {
    serial: "chain",
    repeat: "chain",
    shared: "shared",
    residual: "residual",
    branch: "branch",
    parallel: "parallel",
    tied_embedding: "tied",
}
COMPOSED: tuple[Callable[..., Layer], ...] = tuple(_WIRED)

WIRINGS = {
    "": "no parts",
    "chain": "each part gets what the one before gives",
    "shared": "the part gets again what it gave, with the same weights",
    "residual": "a chain of the parts but the shortcut, which, like it, gets x; their sum",
    "branch": "all parts get x; the last, if it is called merge, gets what they give",
    "parallel": "every part gets an array of its own",
    "tied": "a chain, that gets the rows of a matrix, and what it gives is multiplied with it",
    "pre_norm": "x + dropout_1(attention(norm_1(x))), then the same of norm_2, mlp and dropout_2",
    "post_norm": "norm_1(x + dropout_1(attention(x))), then the same of mlp, dropout_2 and norm_2",
    "parts": "in a way that is not known",
}
"""How the parts of a composition are fed."""


class Bare(NamedTuple):
    """A layer without the names and the wrappers around it.

    Attributes:
        layer: What is inside.
        recipe: The call that made it.
        around: The wrappers, from outside.
    """

    layer: Layer
    recipe: Recipe
    around: tuple[Callable[..., Layer], ...]


def bare(layer: Layer) -> Bare:
    """Return what names and wrappers are around."""
    around: list[Callable[..., Layer]] = []
    recipe = layer.made_by()
    while recipe.call in (named, *AROUND):
        around += [recipe.call] if recipe.call is not named else []
        layer = recipe.args[recipe.call is named]
        recipe = layer.made_by()
    return Bare(layer, recipe, tuple(around))


def wiring(call: ChildInit, layer: Layer) -> str:
    """Return how the parts of a layer are wired, one of `WIRINGS`."""
    parts = parts_of(call, layer)
    inner, recipe, _ = bare(layer)
    if not parts:
        return ""
    if recipe.call is TransformerBlock:
        return f"{recipe.kwargs.get('norm', 'pre')}_norm"
    if recipe.call not in _WIRED and inner.rebuilt is not None and inner.children:
        # A constructor of a composition: what it was composed by.
        recipe = bare(inner.rebuilt(lambda name, child: child)).recipe
    if recipe.call in _WIRED:
        return _WIRED[recipe.call]
    return "chain" if inner.members == "chain" or len(parts) == 1 else "parts"


def kept_numbers(call: ChildInit, layer: Layer) -> int:
    """Return how many numbers a layer and its parts keep of one example for the way back.

    What `keeps` of each says, by default what comes out; of what `remat` is around, that alone.
    """
    if call.kept is None:
        call.kept = _counted(call, layer)
    return call.kept


def total_kept(layer: Layer, in_shape: Shape) -> int:
    """Return how many numbers a layer and its parts keep of one example of that shape."""
    with asked_once():
        return kept_numbers(asked(layer.name, layer, in_shape), layer)


def _counted(call: ChildInit, layer: Layer) -> int:
    _, recipe, around = bare(layer)
    if remat in around:
        return count_numbers(call.out_shape)
    keeps, parts = layer.keeps, parts_of(call, layer)
    own = count_numbers(call.out_shape) if keeps is None else keeps(call.in_shape, call.out_shape)
    if not parts and keeps is None:
        # What it is built of inside.
        parts = [(each, each.layer) for each in call.below]
    inside = sum(kept_numbers(*part) for part in parts)
    if recipe.call is shared and parts:
        inside += _again(parts[0], recipe.args[1], inside)
    return own + _mapped(call.in_shape, around.count(vmap)) * inside


def _mapped(shape: Shape, times: int) -> int:
    """Return how many examples a layer sees of one, through so many `vmap`s."""
    while is_tuple_of_shapes(shape):
        shape = shape[0]
    return math.prod(shape[:times])


def _again(part: tuple[ChildInit, Layer], n: int, last: int) -> int:
    """Return what a shared layer keeps of all times but the first, when it kept `last`."""
    call, layer = part
    total, shape = 0, call.in_shape
    for left in range(n - 1, 0, -1):
        if call.out_shape == shape:
            return total + left * last
        shape = call.out_shape
        call = asked(call.name, layer, shape)
        last = kept_numbers(call, layer)
        total += last
    return total
