"""Wrong versions of layers and networks, deep ones too: a child in a network may be the wrong one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

from fnn.errors import FnnError
from fnn.keys import Key
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.testing.children import can_be_longer
from fnn.testing.drawing import Inputs, in_dtype
from fnn.testing.mutation.gradients import gradient_faults
from fnn.testing.mutation.modes import (
    init_key_faults,
    key_faults,
    keys_by_position,
    mode_faults,
)
from fnn.testing.mutation.outputs import init_faults, output_faults, state_faults, trait_faults
from fnn.testing.mutation.parts import Fault, Mutant, each, wrong
from fnn.testing.spies import SpyKey

# --- one layer ------------------------------------------------------------------------------


def drawn_x(in_shape: Any, batch: int, rng: np.random.Generator, dtype: str = "float64") -> Any:
    """Return an input, a tuple of them for a tuple of shapes."""
    if in_shape and isinstance(in_shape[0], tuple):
        return tuple(drawn_x(shape, batch, rng, dtype) for shape in in_shape)
    return rng.normal(size=(batch, *in_shape)).astype(dtype)


def _count_of_draws(layer: Layer, in_shape: Shape, inputs: Inputs) -> tuple[int, int, Any, Any]:
    """Return how often init and a call in training draw, and params and state."""
    key = SpyKey(Key.of(0).bits)
    _, params, state = layer.init(key, in_shape)
    in_init, key = len(key.drawn), SpyKey(Key.of(1).bits)
    if inputs is not None:
        layer.apply(params, state, in_dtype(inputs(Key.of(0), 3), "float32"), train=True, key=key)
        return in_init, len(key.drawn), params, state
    x = drawn_x(in_shape, 3, np.random.Generator(np.random.Philox(0)), "float32")
    try:
        layer.apply(params, state, x, train=True, key=key)
    except (FnnError, IndexError):  # It takes integers: indices of rows, or labels.
        layer.apply(params, state, each(lambda v: (v > 0).astype("int64"), x), train=True, key=key)
    return in_init, len(key.drawn), params, state


def _faults(
    layer: Layer, in_shape: Shape, inputs: Inputs, *, by_leaf: bool
) -> Iterator[tuple[str, Fault]]:
    in_init, in_call, params, state = _count_of_draws(layer, in_shape, inputs)
    yield from gradient_faults(layer, params, by_leaf=by_leaf)
    yield from output_faults()
    yield from state_faults(state, by_leaf=by_leaf)
    yield from mode_faults()
    yield from key_faults(in_call)
    # By position or by name is the same where no layer could be put in between.
    by_place = bool(layer.children) and can_be_longer(layer, in_shape)
    if in_call and by_place:
        yield from keys_by_position()
    yield from init_key_faults(in_init, has_children=by_place)
    yield from init_faults(layer, params)
    yield from trait_faults(layer)


# --- a child of a network -------------------------------------------------------------------


def _inner(layer: Layer) -> list[tuple[str | int, Layer]]:
    """Return (place among the recipe's arguments, layer) of what the layer was made of."""
    if layer.recipe is None:
        return []
    places: list[tuple[Any, Any]] = [*enumerate(layer.recipe.args), *layer.recipe.kwargs.items()]
    return [(place, value) for place, value in places if isinstance(value, Layer)]


def _rebuilt(layer: Layer, changes: dict[str | int, Layer]) -> Layer:
    recipe = layer.recipe
    assert recipe is not None
    args = [changes.get(i, value) for i, value in enumerate(recipe.args)]
    kwargs = {name: changes.get(name, value) for name, value in recipe.kwargs.items()}
    return attrs.evolve(recipe.call(*args, **kwargs), where=layer.where)


def _inner_calls(
    layer: Layer, in_shape: Shape, inputs: Inputs
) -> tuple[dict[str | int, Shape], dict[str | int, Inputs]]:
    """Return the in_shape that each layer it is made of is initialised with, and what draws its x."""
    seen: dict[str | int, Shape] = {}
    called: dict[str | int, Any] = {}

    def noting(place: str | int, child: Layer) -> Layer:
        def init(key: Key, in_shape: Shape) -> Any:
            seen[place] = in_shape
            return child.core.init(key, in_shape)

        def apply(params: Any, state: Any, x: Any, *, train: bool = False, key: Any = None) -> Any:
            called[place] = x
            return child.apply(params, state, x, train=train, key=key)

        return attrs.evolve(child, init=init, apply=apply)

    whole = _rebuilt(layer, {place: noting(place, child) for place, child in _inner(layer)})
    _, params, state = whole.init(Key.of(0), in_shape)
    if inputs is None:
        return seen, dict.fromkeys(seen)

    def drawing(place: str | int) -> Inputs:
        def draw(key: Key, n: int) -> Any:
            whole.apply(params, state, in_dtype(inputs(key, n), "float32"))
            return called[place]

        return draw

    return seen, {place: drawing(place) for place in seen}


def layer_mutants(
    layer: Layer, in_shape: Shape, *, deep: bool = True, inputs: Inputs = None
) -> Iterator[Mutant]:
    """Yield wrong versions of the layer, and of the layers it is made of, one fault each."""
    children = _inner(layer)
    for name, fault in _faults(layer, in_shape, inputs, by_leaf=not (children and deep)):
        yield Mutant(name, wrong(layer, name, fault))
    if not (children and deep):
        return
    shapes, draws = _inner_calls(layer, in_shape, inputs)
    for place, child in children:
        if place not in shapes:
            continue
        at = f"{child.name} at {place}"
        for mutant in layer_mutants(child, shapes[place], inputs=draws[place]):
            if "declared" in mutant.name:  # A network declares for itself.
                continue
            yield Mutant(f"{at}: {mutant.name}", _rebuilt(layer, {place: mutant.value}))
