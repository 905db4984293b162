"""A graph of ONNX while it is written: its nodes, the weights and constants that they take, its names.

A rule says how a constructor's layers become nodes:

    @LAYERS.of(Swish)
    def swish(graph: Graph, part: Part, x: Value) -> str:
        return graph.op("Mul", x, graph.op("Sigmoid", x))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.errors import DTypeError, FnnError, OptionError
from fnn.interop.rules import Rules, needed, options_of
from fnn.layers.calls import Shape, placed_error
from fnn.layers.chains import asked
from fnn.layers.contract import Layer
from fnn.layers.making import elementwise, make_layer
from fnn.tree import EMPTY, Array

onnx: Any = needed("onnx", "onnx")

MOST_BYTES = (1 << 31) - (1 << 20)
"""Bytes of weights that a model may have: what holds it ends at 2 GiB, its nodes included."""


@attrs.frozen
class Value:
    """An array of the graph.

    Attributes:
        name: What nodes call it.
        shape: Shape of one example; the array has the batch before it.
    """

    name: str
    shape: Shape


Values: TypeAlias = Any
"""A `Value`, or a tuple of them, nested as the arrays of a layer are."""


@attrs.frozen
class Part:
    """A layer that is being written, with what is its own of params and state."""

    layer: Layer
    params: Mapping[str, Any]
    state: Mapping[str, Any]

    @property
    def options(self) -> SimpleNamespace:
        """All arguments of the call that made the layer, by name."""
        return options_of(self.layer)


Rule: TypeAlias = Callable[["Graph", Part, Any], Any]
"""From the graph, the part and x, a `Value` or a tuple of them, to the name of y, or to a tuple."""

LAYERS: Rules[Rule] = Rules("ONNX")
"""The rules by constructor; for layers of one's own, add some: `@LAYERS.of(Swish)`."""


class Graph:
    """What is written so far.

    Attributes:
        dtype: That of all floating numbers.
        nodes: The nodes, in an order in which they can be computed.
        weights: What is trained or carried, by its path in params or state.
    """

    def __init__(self, dtype: Any, rules: Mapping[str, Rule]) -> None:
        """Begin without nodes; `rules` are those by name."""
        self.dtype = np.dtype(dtype)
        self.rules = rules
        self.nodes: list[Any] = []
        self.weights: dict[str, Array] = {}
        self._path: tuple[str, ...] = ()
        self._constants: dict[Any, str] = {}
        self._taken: set[str] = set()
        self._bytes = 0

    def op(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node, and return the name of what it makes, or the names if `outputs` is not 1.

        Args:
            kind: Operator ("MatMul").
            inputs: Values, names, arrays and numbers, which become constants (numbers of the graph's
                dtype), or None for an input that is left out.
            outputs: How many there are.
            attributes: Attributes of the node; those that are None are left out.
        """
        names = [self._input(each) for each in inputs]
        while names and not names[-1]:
            names.pop()
        name = self.new("/".join((*self._path, kind)))
        made = [name] if outputs == 1 else [self.new(f"{name}.{i}") for i in range(outputs)]
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(onnx.helper.make_node(kind, names, made, name=name, **given))
        return name if outputs == 1 else tuple(made)

    def new(self, name: str) -> str:
        """Return the name, with a number behind it if it is taken."""
        made, count = name, 1
        while made in self._taken:
            made, count = f"{name}_{count}", count + 1
        self._taken.add(made)
        return made

    def _input(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, Value):
            return value.name
        if value is None:
            return ""
        return self.constant(value if isinstance(value, np.ndarray) else self.dtype.type(value))

    def constant(self, value: Any) -> str:
        """Return the name of an array that no training changes; equal ones are one."""
        array = np.asarray(value)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            self._hold(array)
            name = self.new("/".join((*self._path, "Constant")))
            tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape))
            node = onnx.helper.make_node("Constant", [], [name], name=name, value=tensor)
            self.nodes.append(node)
            self._constants[key] = name
        return self._constants[key]

    def weight(self, name: str, value: Array) -> str:
        """Return the name of what is trained or carried: its path in params or state.

        Raises:
            DTypeError: If it has another dtype than the graph.
        """
        if value.dtype != self.dtype:
            raise DTypeError(f"{name}: expected {self.dtype}, got {value.dtype}")
        path = "/".join((*self._path[1:], name))
        known = self.weights.get(path)
        if known is not None and known.shape == value.shape and np.array_equal(known, value):
            return path  # A layer that is applied again.
        self._hold(value)
        path = self.new(path)
        self.weights[path] = value
        return path

    def _hold(self, array: Array) -> None:
        self._bytes += array.nbytes
        if self._bytes > MOST_BYTES:
            raise OptionError(f"expected weights and constants of at most {MOST_BYTES:,} bytes")

    def layer(self, name: str, part: Part, x: Values) -> Values:
        """Write a layer that stands in params and state by that name.

        Raises:
            OptionError: If ONNX cannot express it; with its path, as all errors from inside.
        """
        outer, self._path = self._path, (*self._path, name)
        try:
            return self.same(part, x, self.rules.get(name))
        except (FnnError, KeyError) as error:
            raise placed_error(error, name, part.layer.where) from error.__cause__
        finally:
            self._path = outer

    def same(self, part: Part, x: Values, rule: Rule | None = None) -> Values:
        """Write a layer at the path that is being written, by a rule of its own if one is given."""
        rule, layer = (rule, part.layer) if rule else self._rule(part.layer)
        out_shape = asked(part.layer.name, part.layer, shape_of(x)).out_shape
        return shaped(rule(self, attrs.evolve(part, layer=layer), x), out_shape)

    def _rule(self, layer: Layer) -> tuple[Rule, Layer]:
        """Return the rule for a layer, and that layer as the constructor of the rule made it.

        What a constructor such as `mlp`, or one of the user's own, returns stands for it.
        """
        asked_for = layer
        while layer not in LAYERS:
            if layer.name in self.rules:
                return self.rules[layer.name], layer
            recipe = layer.made_by()
            inner = getattr(recipe.call, "__wrapped__", None)
            if inner is None or recipe.call in (make_layer, elementwise):
                return LAYERS.rule(asked_for), asked_for  # There is none: it says so.
            layer = inner(*recipe.args, **recipe.kwargs)
        return LAYERS.rule(layer), layer

    def chain(self, part: Part, children: Any, x: Values) -> Values:
        """Write layers one after the other, from their names and themselves."""
        for name, child in children:
            x = self.layer(name, below(part, name, child), x)
        return x


def below(part: Part, name: str, child: Layer) -> Part:
    """Return the part of a layer inside."""
    return Part(child, part.params.get(name, EMPTY), part.state.get(name, EMPTY))


def shape_of(x: Values) -> Shape:
    """Return the shape of one example, or the tuple of the shapes of its parts."""
    return tuple(map(shape_of, x)) if isinstance(x, tuple) else x.shape


def shaped(y: Any, shape: Shape) -> Values:
    """Return values for names, or for tuples of them, with these shapes."""
    if isinstance(y, tuple):
        return tuple(shaped(*each) for each in zip(y, shape, strict=True))
    return Value(y.name if isinstance(y, Value) else y, shape)


def mapped(fn: Callable[[Value], Any], x: Values) -> Any:
    """Return fn of one value, or the tuple of fn of each."""
    return tuple(mapped(fn, each) for each in x) if isinstance(x, tuple) else fn(x)
