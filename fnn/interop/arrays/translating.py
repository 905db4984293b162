"""From layers to functions of another system: rules, the checks around them, parts of compositions.

A layer becomes `run(params, state, x, train, key) -> (y, state)`, of which `train` is True or False,
and `key` whatever the system draws with, or None.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

from fnn.errors import DTypeError, FnnError, OptionError, ShapeError, TreeError
from fnn.interop.arrays import functions as a
from fnn.interop.rules import Rules
from fnn.kernels.values import is_tuple_of_shapes
from fnn.layers.calls import Shape
from fnn.layers.chains import check_names
from fnn.layers.contract import Layer

Run: TypeAlias = Callable[[Any, Any, Any, bool, Any], tuple[Any, Any]]
"""run(params, state, x, train, key) -> (y, state)."""

rules: Rules[Callable[[Any], Any]] = Rules("other systems")
"""Of the layers that come along, for all systems: from a layer to its `run`."""


class System:
    """One system: its name, its room, and the rules that users add for its arrays."""

    def __init__(self, name: str, room: str) -> None:
        """Begin without any rules but those for all."""
        self.room = room
        self.rules: Rules[Callable[[Any], Any]] = Rules(name)


_current: ContextVar[System] = ContextVar("system")


def current() -> System:
    """Return the system that a layer is being translated to."""
    return _current.get()


@contextlib.contextmanager
def within(system: System) -> Iterator[None]:
    """Translate to a system."""
    token = _current.set(system)
    try:
        yield
    finally:
        _current.reset(token)


def is_known(layer: Any) -> bool:
    """Return whether there is a rule for a layer, or a cell."""
    return layer in current().rules or layer in rules


def rule_of(layer: Any) -> Callable[[Any], Any]:
    """Return the rule for a layer, or a cell: a user's own, or that for all systems.

    Raises:
        OptionError: If there is none.
    """
    return (
        rules.rule(layer)
        if layer in rules and layer not in current().rules
        else (current().rules.rule(layer))
    )


def function_of(layer: Layer) -> Run:
    """Return what a layer is in the system: `run(params, state, x, train, key) -> (y, state)`.

    Raises:
        OptionError: If there is no rule for it or for a layer inside it.
    """
    run = _ruled(layer)
    return run if layer.shapes is None else _checked(layer, run)


def _ruled(layer: Layer) -> Run:
    if is_known(layer):
        return rule_of(layer)(layer)
    if layer.rebuilt is not None and layer.children:
        # A constructor of a composition: what it was composed by.
        inner = layer.rebuilt(lambda name, child: child)
        if is_known(inner):
            return function_of(inner)
        if layer.members == "chain":
            return chain(parts_in(layer.children))
    try:
        return rule_of(layer)(layer)
    except OptionError as error:
        maker = getattr(layer.made_by().call, "__name__", "its constructor")
        how = f"{current().room}.rules.of({maker}) gives it a rule"
        if maker in ("make_layer", "elementwise", "Lambda", "Layer"):
            how = f"{maker} is given functions of NumPy: put it into a @constructor of its own, {how}"
            how = how.replace(f"rules.of({maker})", "rules.of(that)")
        raise OptionError(f"{error.message}; {how}") from None


# --- parts of compositions ------------------------------------------------------------------


class Part(NamedTuple):
    """A layer of a composition: its name, its function, and whether it draws."""

    name: str
    run: Run
    draws: bool


def part(name: str, layer: Layer) -> Part:
    """Return a layer called `name` in a composition; errors of it have its place."""
    try:
        run = function_of(layer)
    except FnnError as error:
        raise error.inside(name, layer.where) from error.__cause__

    def placed(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        try:
            return run(params, state, x, train, key)
        except FnnError as error:
            raise error.inside(name, layer.where) from error.__cause__

    return Part(name, placed, layer.traits.stochastic)


def parts_in(children: tuple[tuple[str, Layer], ...]) -> list[Part]:
    """Return the parts of a composition."""
    return [part(name, child) for name, child in children]


def folded(key: Any, *names: str | int) -> Any:
    """Return the key at a path, as `Key.fold` does; None stays None."""
    for name in names:
        if key is not None:
            key = a.fold(key, crc32(name.encode()) if isinstance(name, str) else name)
    return key


def called(each: Part, params: Any, state: Any, x: Any, train: bool, key: Any) -> tuple[Any, Any]:
    """Call a part with its own entries; return y and the whole state."""
    own = state.get(each.name, {})
    own_key = folded(key, each.name) if each.draws else None
    y, moved = each.run(params.get(each.name, {}), own, x, train, own_key)
    return y, state if moved is own else {**state, each.name: moved}


def chain(parts: list[Part]) -> Run:
    """Return the function of layers one after the other."""
    names = frozenset(each.name for each in parts)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        check_names(names, params, state)
        for each in parts:
            x, state = called(each, params, state, x, train, key)
        return x, state

    return run


# --- checks, which cost nothing once a system has traced them ---------------------------------------


def shape_of(x: Any) -> Shape:
    """Return the shape of one example, or the tuple of those of its parts."""
    if isinstance(x, tuple):
        return tuple(map(shape_of, x))
    if not x.ndim:
        raise ShapeError("expected 1 or more axes, the batch first, got ()")
    return tuple(x.shape[1:])


def check_floats(what: str, *arrays: Any) -> None:
    """Refuse integers and complex numbers where floating ones are wanted."""
    for array in arrays:
        if not a.is_float(array):
            raise DTypeError(f"expected {what} as floating numbers, got {array.dtype}")


def _check_value(layer: Layer, x: Any) -> list[Any]:
    """Return the floating parts of x, or refuse what the layer does not take."""
    traits, arrays = layer.traits, a.arrays_in(x)
    if isinstance(x, tuple) and not (x and traits.takes_tuples):
        raise ShapeError(f"expected one array, got a tuple of {len(x)}")
    if len({each.shape[:1] for each in arrays}) > 1:
        sizes = [each.shape[0] if each.ndim else None for each in arrays]
        raise ShapeError(f"expected parts with one batch axis, got {sizes}")
    if not traits.takes_integers:
        check_floats("x", *arrays)
    floats = [each for each in arrays if a.is_float(each)]
    if any(each.dtype != floats[0].dtype for each in floats):
        raise DTypeError(f"expected parts in one precision, got {[str(a.dtype) for a in floats]}")
    return floats


def _check_tree(what: str, tree: Any, leaves: Mapping[str, Any], floats: list[Any]) -> None:
    if not isinstance(tree, Mapping) or tree.keys() != leaves.keys():
        got = sorted(tree) if isinstance(tree, Mapping) else type(tree).__name__
        raise TreeError(f"expected {what} {sorted(leaves)}, got {got}; made by another network's init?")
    for name, leaf in leaves.items():
        shape = tuple(getattr(tree[name], "shape", ()))
        if shape != tuple(leaf.shape):
            raise ShapeError(f"expected {name} of shape {tuple(leaf.shape)}, got {shape}")
        if floats and a.is_float(tree[name]) and tree[name].dtype != floats[0].dtype:
            got = f"{tree[name].dtype}; cast one of them"
            raise DTypeError(f"expected {name} in {floats[0].dtype} as x is, got {got}")


def _check_shape(what: str, y: Any, shape: Any) -> None:
    """Refuse what a rule returns in another shape than the layer announced."""
    if is_tuple_of_shapes(shape):
        if not isinstance(y, tuple) or len(y) != len(shape):
            raise ShapeError(f"expected the rule to return {len(shape)} arrays as {what}")
        for i, (each, own) in enumerate(zip(y, shape, strict=True)):
            _check_shape(f"{what}[{i}]", each, own)
    elif isinstance(y, tuple) or tuple(y.shape[1:]) != tuple(shape):
        got = shape_of(y)
        raise ShapeError(f"expected the rule to return {what} with examples of {shape}, got {got}")


def _checked(layer: Layer, run: Run) -> Run:
    """Return the function that refuses what the layer itself would refuse, by shapes and dtypes."""
    shapes: Any = layer.shapes

    def checked(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        floats = _check_value(layer, x)
        y_shape, leaves, carried = shapes(shape_of(x))
        _check_tree("params", params, leaves, floats)
        _check_tree("state", state, carried, floats)
        y, moved = run(params, state, x, train, key)
        _check_shape("y", y, y_shape)
        return y, moved

    return checked


def need_key(key: Any) -> Any:
    """Return the key, or refuse to go on without one."""
    if key is None:
        raise OptionError("expected a key when train=True, got None; pass e.g. key=0")
    return key
