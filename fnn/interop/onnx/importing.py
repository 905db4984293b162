"""From a model of ONNX to a network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.errors import DataError, FnnError
from fnn.interop.onnx.arrangement import Arrange, Transpose
from fnn.interop.onnx.assembling import Step
from fnn.interop.onnx.folding import folded
from fnn.interop.onnx.reading import Constant, Input, Model, Node, as_array
from fnn.interop.onnx.wiring import Wire, flat
from fnn.kernels.values import is_tuple_of_shapes
from fnn.layers.calls import ChildInit, Shape
from fnn.layers.chains import asked
from fnn.layers.contract import Layer
from fnn.layers.shape import Flatten, Reshape
from fnn.layers.wrapping import vmap
from fnn.tree import EMPTY, Tree, items


@attrs.frozen
class Tensor:
    """An array of the network that is being made, and how the model has it.

    The network has it as (batch, *lead, *shape). The model has `lead` inside its batch, as `vmap` has
    an extra axis there, and its batch at the axis `batch`, as recurrent operators have it behind time.

    Attributes:
        number: Which it is.
        shape: Shape of one example.
        kind: "f" for floating numbers, "i" for integers, "b" for truth values.
        lead: Axes that the model has folded into its batch.
        is_outer: Whether they are outside there, so that the examples of one place stand together.
        batch: Which axis of the model's array is the batch.
    """

    number: int
    shape: Shape
    kind: str
    lead: tuple[int, ...] = ()
    batch: int = 0
    is_outer: bool = False

    @property
    def n_axes(self) -> int:
        """How many axes the model's array has."""
        return len(self.shape) + 1


Operand: TypeAlias = Tensor | Constant | None
"""What a node gets: an array of the network, one of the model, or nothing."""

Operator: TypeAlias = Callable[["Reader", Node, list[Any]], Any]
"""From the reader, a node and its operands to what it gives: an operand, or a tuple of them."""

OPERATORS: dict[str, Operator] = {}
"""What is known of operators, by name."""


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Return a decorator that makes a function what these operators are read by."""

    def noted(rule: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, rule))
        return rule

    return noted


class Reader:
    """A network while it is made of a model's nodes.

    Attributes:
        model: The model.
        steps: The layers so far.
        uses: How often each name is taken.
    """

    def __init__(self, model: Model) -> None:
        """Begin with the inputs alone."""
        self.model = model
        self.steps: list[Step] = []
        self.values: dict[str, Any] = dict(model.constants)
        self.uses: dict[str, int] = {}
        self._made: dict[int, Step] = {}
        self._from: dict[int, Tensor] = {}
        self._count = len(model.inputs)
        self._taken: dict[int, int] = {}
        for number, each in enumerate(model.inputs):
            self.values[each.name] = Tensor(number, each.shape, _kind(each), batch=each.batch_axis)
        for name in (*(name for node in _needed(model) for name in node.inputs), *model.outputs):
            self.uses[name] = self.uses.get(name, 0) + 1

    @property
    def batch(self) -> int | None:
        """How many examples the model takes, None for any number."""
        return self.model.inputs[0].batch

    def add(
        self, layer: Layer, x: Any, *, params: Any = EMPTY, state: Any = EMPTY, kind: str = "f"
    ) -> Any:
        """Add a layer that gets a tensor, or a tuple of them; return what it gives.

        Raises:
            DataError: If they do not have the batch first, or fold different axes into it.
            FnnError: If the layer does not take arrays of these shapes.
        """
        given = flat(x)
        if any(each.batch for each in given):
            raise DataError("expected the batch on the first axis, got it on another")
        if not layer.traits.takes_integers and any(each.kind != "f" for each in given):
            raise DataError("expected floating numbers, got integers or truth values")
        leads = {(each.lead, each.is_outer) for each in given}
        if len(leads) > 1:
            raise DataError(f"expected arrays of one batch, got some with {leads} folded into it")
        call = asked(layer.name, layer, _shapes(x))
        _check_weights(call, params, state)
        shape = call.out_shape
        [(lead, is_outer)] = leads
        for _ in lead:
            layer = vmap(layer)
        y = self._tensors(tuple(shape), Tensor(0, (), kind, lead, is_outer=is_outer))
        step = Step(layer, _numbers(x), _numbers(y), Tree(params), Tree(state))
        self.steps.append(step)
        self._made.update((each.number, step) for each in flat(y))
        return y

    def each(self, layer: Layer, x: Tensor, **more: Any) -> Tensor:
        """Add a layer that leaves all axes but the last as they are, with the batch on any of those."""
        y: Tensor = self.add(layer, attrs.evolve(x, batch=0), **more)
        return attrs.evolve(y, batch=x.batch)

    def together(self, layer: Layer, parts: Sequence[Tensor], **more: Any) -> Tensor:
        """Add a layer that gets a tuple of tensors, which all have the batch at one place."""
        places = {(each.batch, each.n_axes) for each in parts}
        if len(places) > 1:
            raise DataError("expected arrays of as many axes, with the batch on the same of them")
        y: Tensor = self.add(layer, tuple(attrs.evolve(each, batch=0) for each in parts), **more)
        return attrs.evolve(y, batch=parts[0].batch)

    def _tensors(self, shape: Shape, like: Tensor) -> Any:
        if is_tuple_of_shapes(shape):
            return tuple(self._tensors(each, like) for each in shape)
        self._count += 1
        return attrs.evolve(like, number=self._count - 1, shape=shape)

    def is_used_once(self, x: Tensor) -> bool:
        """Return whether a tensor is taken by one node alone, and is no output."""
        return self._taken.get(x.number) == 1

    def maker(self, x: Tensor) -> Step | None:
        """Return the step that gives a tensor."""
        return self._made.get(x.number)

    def arranged(self, x: Tensor, shape: Shape) -> Tensor:
        """Return a tensor whose examples have another shape; two in a row are one."""
        first = self._from.get(x.number)
        if first is not None and self._is_made_by(x, Flatten, Reshape, Arrange) and _alike(first, x):
            x = attrs.evolve(first, batch=x.batch)
        if x.shape == shape:
            return x
        layer = Reshape(shape) if shape and x.kind == "f" else Arrange(shape)
        layer = Flatten() if len(shape) == 1 and x.kind == "f" else layer
        y: Tensor = self.add(layer, x, kind=x.kind)
        self._from[y.number] = x
        return y

    def transposed(self, x: Tensor, order: tuple[int, ...]) -> Tensor:
        """Return a tensor whose examples have other axes; two in a row are one."""
        first = self._from.get(x.number)
        if first is not None and self._is_made_by(x, Transpose) and _alike(first, x):
            moved = self._made[x.number].layer.made_by().args[0]
            x, order = first, tuple(moved[each] for each in order)
        if order == tuple(range(len(order))):
            return x
        y: Tensor = self.add(Transpose(order), x, kind=x.kind)
        self._from[y.number] = x
        return y

    def _is_made_by(self, x: Tensor, *calls: Any) -> bool:
        step = self.maker(x)
        return step is not None and step.layer.made_by().call in calls

    def run(self) -> None:
        """Read the nodes on which the outputs depend."""
        for node in _needed(self.model):
            try:
                y = self._read(node)
            except FnnError as error:
                raise DataError(f"{node.operator}: {error.message}", path=(node.name,)) from None
            except _FROM_NONSENSE as error:
                message = f"{node.operator}: {error or type(error).__name__}"
                raise DataError(message[:300], path=(node.name,)) from None
            given = y if isinstance(y, tuple) else (y,)
            for name, each in itertools.zip_longest(node.outputs, given, fillvalue=Nothing):
                if isinstance(name, str) and name:
                    self.values[name] = each
                    if isinstance(each, Tensor):
                        taken = self._taken.get(each.number, 0)
                        self._taken[each.number] = taken + self.uses.get(name, 0)

    def _read(self, node: Node) -> Any:
        operands = [self.values[name] if name else None for name in node.inputs]
        if any(each is Nothing for each in operands):
            raise DataError("expected inputs that a layer gives, got an output of no layer")
        is_known = node.domain in ("", "ai.onnx")
        if is_known and operands and not any(isinstance(each, Tensor) for each in operands):
            return folded(node, operands, self.model)
        if not is_known or node.operator not in OPERATORS:
            got = "" if is_known else f", got one of {node.domain}"
            raise DataError(f"expected an operator that a layer can express{got}")
        return OPERATORS[node.operator](self, node, operands)

    def outputs(self) -> Wire:
        """Return the numbers of what goes out."""
        found = [self._output(name) for name in self.model.outputs]
        return found[0] if len(found) == 1 else tuple(found)

    def _output(self, name: str) -> int:
        value = self.values.get(name)
        if not isinstance(value, Tensor):
            raise DataError(f"expected an output that depends on the inputs, got {name!r}")
        if value.batch not in (0, self.model.inputs[0].batch_axis) or value.lead:
            raise DataError(f"expected outputs with the batch where inputs have it, got {name!r}")
        return value.number


def _needed(model: Model) -> list[Node]:
    """Return the nodes on which the outputs depend."""
    wanted = set(model.outputs)
    found = []
    for node in reversed(model.nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            found.append(node)
    return found[::-1]


_FROM_NONSENSE = ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError
"""What arithmetic with attributes and sizes comes to that no sane model has."""

Nothing = Constant(np.zeros(0))
"""Stands for an output that no layer gives: it may not be used."""


def _check_weights(call: ChildInit, params: Any, state: Any) -> None:
    """Refuse weights of other shapes than the layer would have for what comes in."""
    for wanted, got in ((call.params, params), (call.state, state)):
        there = {path: leaf.shape for path, leaf in items(got)}
        for path, leaf in items(wanted):
            if there.get(path) != leaf.shape:
                raise DataError(f"expected {path} of shape {leaf.shape}, got {there.get(path)}")


def _alike(a: Tensor, b: Tensor) -> bool:
    """Return whether the same axes are folded into the batch."""
    return (a.lead, a.is_outer) == (b.lead, b.is_outer) and math.prod(a.shape) == math.prod(b.shape)


def _kind(each: Input) -> str:
    return {"u": "i"}.get(each.dtype.kind, each.dtype.kind)


def _shapes(x: Any) -> Any:
    return tuple(map(_shapes, x)) if isinstance(x, tuple) else x.shape


def _numbers(x: Any) -> Wire:
    return tuple(map(_numbers, x)) if isinstance(x, tuple) else x.number


@operator("Constant")
def constant(reader: Reader, node: Node, operands: list[Operand]) -> Constant:
    """Read a constant."""
    if "value" in node.attributes:
        return Constant(as_array(node.attributes["value"]))
    for name, dtype in (("value_float", np.float32), ("value_int", np.int64)):
        for each in (name, f"{name}s"):
            if each in node.attributes:
                return Constant(np.array(node.attributes[each], dtype))
    raise DataError(f"expected a constant of numbers, got {sorted(node.attributes)}")
