"""From steps, each a layer and what it gets, to one network: chains, branches, and graphs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from fnn.interop.onnx.wiring import Wire, flat, wired
from fnn.layers.activation import Identity, Sigmoid
from fnn.layers.branching import branch
from fnn.layers.combinators import residual, serial
from fnn.layers.contract import Layer
from fnn.layers.fans import fan_in
from fnn.layers.smooth_activation import Silu
from fnn.tree import EMPTY


@attrs.define(eq=False)
class Step:
    """A layer with its weights, the numbers of the arrays that it gets, and of those that it gives."""

    layer: Layer
    wire: Wire
    gives: Wire
    params: Any = EMPTY
    state: Any = EMPTY


@attrs.frozen
class Piece:
    """A network with its weights."""

    layer: Layer
    params: Any = EMPTY
    state: Any = EMPTY

    @classmethod
    def of(cls, layer: Layer, pieces: Iterable[Piece]) -> Piece:
        """Return a composition with the weights of its children, given in their order."""
        pairs = list(zip((name for name, _ in layer.children), pieces, strict=True))
        params = {name: each.params for name, each in pairs if each.params}
        state = {name: each.state for name, each in pairs if each.state}
        return cls(layer, params, state)


def assembled(steps: list[Step], inputs: Wire, outputs: Wire) -> Piece:
    """Return the network of these steps, from the arrays that come in to those that go out.

    It is cut wherever one array is all that later steps need; what lies between two cuts is a layer, a
    branch, or a graph, and the whole a chain of those.
    """
    steps = _needed(steps, outputs)
    last_use: dict[int, int] = dict.fromkeys(flat(outputs), len(steps))
    for at, step in reversed(list(enumerate(steps))):
        for number in flat(step.wire):
            last_use.setdefault(number, at)
    live = {number for number in flat(inputs) if number in last_use}
    pieces: list[Piece] = []
    entry, begin = inputs, 0
    for at, step in enumerate(steps):
        live = {number for number in live | set(flat(step.gives)) if last_use.get(number, -1) > at}
        if at + 1 < len(steps) and len(live) == 1:
            [exit_] = live
            pieces.append(_piece(steps[begin : at + 1], entry, exit_))
            entry, begin = exit_, at + 1
    if begin < len(steps) or entry != outputs:
        pieces.append(_piece(steps[begin:], entry, outputs))
    if len(pieces) == 1:
        return pieces[0]
    return Piece.of(serial(*(each.layer for each in pieces)), pieces)


def _needed(steps: list[Step], outputs: Wire) -> list[Step]:
    """Return the steps on which what goes out depends."""
    wanted = set(flat(outputs))
    found = []
    for step in reversed(steps):
        if wanted.intersection(flat(step.gives)):
            wanted.update(flat(step.wire))
            found.append(step)
    return found[::-1]


def _piece(steps: list[Step], entry: Wire, exit_: Wire) -> Piece:
    """Return the network of steps between which nothing can be cut."""
    if len(steps) == 1 and steps[0].wire == entry and steps[0].gives == exit_:
        return Piece(steps[0].layer, steps[0].params, steps[0].state)
    if steps and type(entry) is type(exit_) is int and (found := _branched(steps, entry, exit_)):
        return found
    # Anew from 0, so that equal networks are equal.
    numbers = {number: i for i, number in enumerate(flat(entry))}
    for step in steps:
        for number in flat(step.gives):
            numbers[number] = len(numbers)
    layer = wired(
        *(step.layer for step in steps),
        wires=tuple(_renumbered(step.wire, numbers) for step in steps),
        outputs=_renumbered(exit_, numbers),
        inputs=len(flat(entry)),
    )
    return Piece.of(layer, (Piece(step.layer, step.params, step.state) for step in steps))


def _renumbered(wire: Wire, numbers: dict[int, int]) -> Wire:
    if isinstance(wire, tuple):
        return tuple(_renumbered(each, numbers) for each in wire)
    return numbers[wire]


def _branched(steps: list[Step], entry: int, exit_: int) -> Piece | None:
    """Return ways that all begin with one array and meet at the end, None if they meet before."""
    *before, end = steps
    recipe = end.layer.made_by()
    if recipe.call is not fan_in or end.gives != exit_:
        return None
    ways = [_needed(before, number) for number in end.wire]
    seen = [id(step) for way in ways for step in way]
    if len(set(seen)) < len(seen) or len(seen) < len(before):
        return None
    pieces = [
        Piece(Identity()) if number == entry else assembled(way, entry, number)
        for way, number in zip(ways, end.wire, strict=True)
    ]
    merge, straight = recipe.args[0], [piece.layer == Identity() for piece in pieces]
    if merge == "product" and sorted(map(repr, (each.layer for each in pieces))) == _SILU:
        return Piece(Silu())
    if merge == "sum" and len(pieces) == 2 and sum(straight) == 1:
        way = pieces[straight.index(False)]
        if way.layer.made_by().call is serial:
            layers = [child for _, child in way.layer.children]
            return Piece(residual(*layers), way.params, way.state)
        return Piece.of(residual(way.layer), [way])
    options = {"axis": recipe.kwargs["axis"]} if "axis" in recipe.kwargs else {}
    return Piece.of(branch(*(each.layer for each in pieces), merge=merge, **options), pieces)


_SILU = sorted(map(repr, (Identity(), Sigmoid())))
