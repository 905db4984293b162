"""The children of a composition, found by spies: what they are initialised and called with."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import attrs

from fnn.errors import FnnError
from fnn.keys import Key
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer, Traits
from fnn.testing.drawing import Inputs, in_dtype
from fnn.testing.probe import Probe, Setting


def children_of(
    layer: Layer, in_shape: Any, setting: Setting, train: bool
) -> Iterator[tuple[str, Layer, Any, Setting]]:
    """Yield (name, child, in_shape, setting) for the children of a composed layer.

    The composition is built anew of children that note the shapes they are initialised with, and
    what they are called with if inputs are given; one without a recipe is taken to be a chain.
    """
    if not layer.children:
        return
    seen: dict[Any, Any] = {}
    try:
        spied = _spied(layer, seen)
        spied.init(setting.key, in_shape)
        shapes = [seen.get(i) for i in range(len(layer.children))]
    except Exception:
        shapes = [None] * len(layer.children)
    shape = in_shape
    for i, ((name, child), own) in enumerate(zip(layer.children, shapes, strict=True)):
        own = shape if own is None else own
        try:
            shape = child.init(setting.key, own)[0]
            inputs = _inputs_of(i, layer, in_shape, setting, train)
        except Exception:
            continue
        yield name, child, own, attrs.evolve(setting, inputs=inputs)


def _inputs_of(place: int, layer: Layer, in_shape: Any, setting: Setting, train: bool) -> Inputs:
    """Return what draws the inputs of a child: those that the whole hands it, if it has its own."""
    if setting.inputs is None:
        return None
    p = Probe(layer, in_shape, setting, train)
    outer = setting.inputs

    def inputs(key: Key, n: int) -> Any:
        seen: dict[Any, Any] = {}
        x = in_dtype(outer(key, n), p.dtype)
        try:
            _spied(layer, seen).apply(p.params, p.state, x, train=train, key=p.key)
        except Exception:
            if f"x {place}" not in seen:
                raise
        return seen[f"x {place}"]

    inputs(setting.key, setting.batch)  # Whoever cannot be called so is left out.
    return inputs


def probes_of(p: Probe) -> Iterator[tuple[str, Probe]]:
    """Yield the children of a probed composition by name, each standing alone."""
    for name, child, in_shape, setting in children_of(p.layer, p.in_shape, p.setting, p.train):
        yield name, Probe(child, in_shape, setting, p.train)


def keys_given(p: Probe, layer: Layer | None = None) -> list[tuple[str, Key]]:
    """Return the keys that a composition hands its stochastic children, if it can be built anew.

    Or those that another layer of the same params hands its own.
    """
    layer = p.layer if layer is None else layer
    seen: dict[Any, Any] = {}
    try:
        _spied(layer, seen).apply(p.params, p.state, p.x, train=p.train, key=p.key)
    except Exception:
        return []
    return [
        (name, key)
        for i, (name, child) in enumerate(layer.children)
        for key in seen.get(f"keys {i}", ())
        if child.traits.stochastic and isinstance(key, Key)
    ]


def with_one_more(layer: Layer) -> Iterator[tuple[int, Layer]]:
    """Yield the layer with an identity of a kind of its own put in at each place among its children."""
    recipe = layer.recipe
    if recipe is None or not layer.children or not recipe.args:
        return
    around = [i for i, each in enumerate(recipe.args) if isinstance(each, Layer)]
    if len(around) == 1 and all(recipe.args[around[0]] is not each for _, each in layer.children):
        # A wrapper that shows the children of what is inside as its own.
        [at] = around
        for place, longer in with_one_more(recipe.args[at]):
            args = (*recipe.args[:at], longer, *recipe.args[at + 1 :])
            with contextlib.suppress(Exception):
                yield place, recipe.call(*args, **recipe.kwargs)
        return
    try:
        parameters = list(inspect.signature(recipe.call).parameters.values())
    except (TypeError, ValueError):
        return
    stars = [i for i, each in enumerate(parameters) if each.kind is each.VAR_POSITIONAL]
    if not stars or not all(isinstance(each, Layer) for each in recipe.args[stars[0] :]):
        return
    # It is given a key although it draws nothing, as only what is stochastic is.
    traits = Traits(stochastic=True, takes_integers=True)
    extra = Layer("inserted_by_a_law", _nothing, _same, _same_vjp, traits=traits)
    for place in range(stars[0], len(recipe.args) + 1):
        args = (*recipe.args[:place], extra, *recipe.args[place:])
        with contextlib.suppress(Exception):
            yield place, recipe.call(*args, **recipe.kwargs)


def can_be_longer(layer: Layer, in_shape: Any) -> bool:
    """Say whether a layer more would fit in somewhere among the children."""
    for _, longer in with_one_more(layer):
        with contextlib.suppress(Exception):
            longer.init(Key.of(0), in_shape)
            return True
    return False


def _nothing(key: Key, in_shape: Any) -> Any:
    return in_shape, {}, {}


def _same(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
    return x, state


def _same_vjp(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
    return x, state, lambda dy, *, need_dx=True: ({}, dy if need_dx else None)


def _spied(layer: Layer, seen: dict[Any, Any]) -> Layer:
    """Build a layer anew, its children noting their in_shapes, inputs and keys under their places."""
    recipe = layer.recipe
    if recipe is None:
        raise FnnError("no recipe")
    given = list(_layers_in((*recipe.args, *recipe.kwargs.values())))
    places: dict[int, list[int]] = {}
    for i, (_, child) in enumerate(layer.children):
        places.setdefault(id(child), []).append(i)

    def spy(value: Any) -> Any:
        if not isinstance(value, Layer):
            return tuple(map(spy, value)) if isinstance(value, tuple) else value
        own = places.get(id(value))
        if own is None:  # `named` or another wrapper around a composition.
            return _spied(value, seen) if value.children else value
        # Given once, it may stand in several places (`repeat`).
        return _spy(value, [own.pop(0)] if sum(each is value for each in given) > 1 else own, seen)

    args = tuple(map(spy, recipe.args))
    kwargs = {name: spy(value) for name, value in recipe.kwargs.items()}
    return recipe.call(*args, **kwargs)


def _layers_in(values: tuple[Any, ...]) -> Iterator[Layer]:
    for value in values:
        if isinstance(value, tuple):
            yield from _layers_in(value)
        elif isinstance(value, Layer):
            yield value


def _spy(layer: Layer, places: list[int], seen: dict[Any, Any]) -> Layer:
    """Return a layer that notes what it is called with, call by call at these places.

    Called again at the last of them (`shared`), it notes the keys alone.
    """
    calls = {"init": 0, "apply": 0}

    def place(kind: str) -> int:
        calls[kind] += 1
        return places[min(calls[kind], len(places)) - 1]

    def init(key: Key, in_shape: Shape, *, inner: Any = layer.init) -> Any:
        seen.setdefault(place("init"), in_shape)
        return inner(key, in_shape)

    def apply(params: Any, state: Any, x: Any, *, train: bool = False, key: Any = None) -> Any:
        at = place("apply")
        seen.setdefault(f"x {at}", x)
        seen.setdefault(f"keys {at}", []).append(key)
        return layer.apply(params, state, x, train=train, key=key)

    return attrs.evolve(layer, init=init, apply=apply)
