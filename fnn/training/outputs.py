"""The outputs of a network in evaluation mode, as it is written or by a program once it is trusted."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from fnn import tree
from fnn.compile import replays
from fnn.compile.recording import Program, Recording, recorded
from fnn.compile.trust import Kind, Kinds, Variant, same_bits, signature
from fnn.errors import FnnError
from fnn.kernels.values import map_arrays, named_arrays
from fnn.layers.calls import placed_error
from fnn.layers.contract import Layer
from fnn.training.plans import filled, structure
from fnn.tree import Tree

MOST_NETWORKS = 64
"""For how many networks, with weights of one structure each, a thread keeps programs."""


class _Kept(threading.local):
    """Programs of a thread, by the network and the structure of its weights."""

    def __init__(self) -> None:
        self.programs: dict[Any, tuple[weakref.ref[Layer], Outputs]] = {}


_kept = _Kept()


def outputs(net: Layer, weights: tuple[Any, Any], x: Any) -> Any:
    """Return y = net(x) for params and state; call where overflow does not warn.

    Raises:
        FnnError: What the network raises, with its place.
    """
    programs = _programs(net, weights)
    mark = None if programs is None or programs.busy else signature(named_arrays(x, "x"))
    if programs is None or mark is None:
        return _applied(net, weights, x)
    programs.busy = True
    try:
        return programs.outputs(weights, x, mark)
    finally:
        programs.busy = False


def _applied(net: Layer, weights: tuple[Any, Any], x: Any) -> Any:
    try:
        # Without what a call from outside has checked and silenced; here that is done already.
        return net.core.apply(*weights, x)[0]
    except (FnnError, KeyError) as error:
        raise placed_error(error, net.name, net.where) from error.__cause__


def _programs(net: Layer, weights: tuple[Any, Any]) -> Outputs | None:
    if not all(type(each) is Tree for each in weights):
        return None
    found = _kept.programs.get(id(net))
    if found is None or found[0]() is not net or not found[1].is_of(weights):
        if not replays():
            return None
        kept = _kept.programs
        for key in [key for key, (ref, _) in kept.items() if ref() is None]:
            del kept[key]
        if len(kept) >= MOST_NETWORKS:
            kept.clear()
        found = kept[id(net)] = weakref.ref(net), Outputs(weights)
        found[1].net = weakref.ref(net)
    return found[1]


class Outputs(Kinds):
    """Programs of one network and of weights of one structure."""

    net: weakref.ref[Layer]

    def __init__(self, weights: tuple[Any, Any]) -> None:
        """Begin without any program."""
        super().__init__()
        self._structure = tuple(map(structure, weights))
        self._before: Any = weights

    def is_of(self, weights: tuple[Any, Any]) -> bool:
        """Return whether weights have the structure of these."""
        return weights[0] is self._before[0] or tuple(map(structure, weights)) == self._structure

    def outputs(self, weights: tuple[Any, Any], x: Any, mark: Any) -> Any:
        """Return y; a program runs where the weights lie in its memory, or are asked for again."""
        kind, net = self.kind(mark), self.net()
        assert net is not None
        is_again = _are_same(weights, self._before)
        self._before = weights
        if kind is not None and kind.is_ready and is_again:
            self._load(weights)
            for variant in kind.trusted:
                found = self._run(variant, x)
                if found is not None:
                    kind.used(variant)
                    return found
        y = _applied(net, weights, x)
        trial = None if kind is None else kind.trial()
        if kind is not None and trial is None:
            self.learn(kind, lambda: _record(net, weights, x))
        elif kind is not None and trial is not None:
            self._compare(kind, trial, weights, x, y)
        return y

    def _load(self, weights: tuple[Any, Any]) -> None:
        carry = self.carry
        if carry is not None and not _are_same(carry.loaded, weights):
            carry.loaded = None
            carry.load([leaf for part in weights for leaf in tree.leaves(part)], 0)
            carry.loaded = weights

    def _run(self, variant: Variant, x: Any) -> Any:
        """Return the outputs of a program in memory of their own, None if a guard fails."""
        try:
            found = variant.listed.run([array for _, array in named_arrays(x, "x")], 0, None)
        except Exception:
            return None
        parts = iter([array.copy("K") for array in found.values()])
        return map_arrays(lambda _: next(parts), variant.outputs)

    def _compare(self, kind: Kind, trial: Variant, weights: Any, x: Any, y: Any) -> None:
        self._load(weights)
        found = self._run(trial, x)
        if found is None:
            kind.missed(trial)
            return
        pairs = zip(named_arrays(found), named_arrays(y), strict=True)
        if all(same_bits(a, b) and a.strides == b.strides for (_, a), (_, b) in pairs):
            kind.passed(trial)
        else:
            kind.refuse(trial)


def _are_same(a: Any, b: Any) -> bool:
    return a is not None and a[0] is b[0] and a[1] is b[1]


def _record(net: Layer, weights: tuple[Any, Any], x: Any) -> tuple[Program, Any]:
    structure_of_y: Any = None

    def run(recording: Recording) -> dict[str, Any]:
        nonlocal structure_of_y
        named = iter(named_arrays(x, "x"))
        value = map_arrays(lambda _: recording.input(*next(named)), x)
        given = [filled(part, iter(map(recording.take, tree.leaves(part)))) for part in weights]
        y = _applied(net, (given[0], given[1]), value)
        structure_of_y = map_arrays(lambda _: None, y)
        return dict(named_arrays(y, "y"))

    return recorded(run), structure_of_y
