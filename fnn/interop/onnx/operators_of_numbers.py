"""Operators that compute number by number, along rows of scores, or with matrices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.errors import DataError
from fnn.interop.onnx.arithmetic import (
    PAIRS,
    AsNumbers,
    Between,
    Chosen,
    Clip,
    Each,
    Held,
    Negated,
    Told,
    WithArray,
    WithNumber,
)
from fnn.interop.onnx.importing import OPERATORS, Nothing, Operand, Reader, Tensor, operator
from fnn.interop.onnx.reading import Constant, Node, onnx
from fnn.layers.activation import LeakyRelu, Relu, Sigmoid, Tanh
from fnn.layers.combinators import frozen
from fnn.layers.contract import Layer
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.fans import fan_in
from fnn.layers.gates import PRelu
from fnn.layers.smooth_activation import (
    Abs,
    Celu,
    Elu,
    Exp,
    Gelu,
    HardSigmoid,
    HardSwish,
    HardTanh,
    Mish,
    Relu6,
    Selu,
    Silu,
    Softplus,
    Softsign,
    Square,
)
from fnn.tree import Array


def plain(number: Any) -> float:
    """Return a number in the fewest digits that its precision tells apart: 0.1, not 0.10000000149."""
    return float(str(np.asarray(number).reshape(-1)[0]))


def attribute(node: Node, name: str, default: float) -> float:
    """Return an attribute that is a number; models keep those in float32."""
    return plain(np.float32(node.attributes[name])) if name in node.attributes else default


def tensor(operand: Operand, what: str = "its input") -> Tensor:
    """Return an operand that is to depend on the inputs."""
    if not isinstance(operand, Tensor):
        raise DataError(f"expected {what} to depend on the model's inputs, got a constant or none")
    return operand


def array(operand: Operand, what: str) -> Array:
    """Return an operand that is to be known."""
    if not isinstance(operand, Constant):
        raise DataError(f"expected {what} as a constant, got what depends on the inputs")
    return operand.array


def optional(operands: list[Any], at: int) -> Any:
    """Return an operand that may be left out."""
    return operands[at] if at < len(operands) else None


def own_axis(x: Tensor, axis: int) -> int:
    """Return which axis of the network's array one of the model's is; that of the batch is refused."""
    at = axis % x.n_axes
    if not -x.n_axes <= axis < x.n_axes or at == x.batch:
        raise DataError(f"expected an axis of the examples, got {axis} of {x.n_axes}, the batch's")
    return at + 1 if at < x.batch else at


def from_the_end(x: Tensor, axis: int) -> int:
    """Return the same as layers have it by default: -1 for the last, others from the front."""
    at = own_axis(x, axis)
    return -1 if at == x.n_axes - 1 else at


# --- single numbers ---------------------------------------------------------------------------


def _each(make: Callable[[Node], Layer]) -> Any:
    return lambda reader, node, operands: reader.each(make(node), tensor(operands[0]))


for _name, _make in {
    "Relu": Relu,
    "Sigmoid": Sigmoid,
    "Tanh": Tanh,
    "Softplus": Softplus,
    "Softsign": Softsign,
    "Mish": Mish,
    "HardSwish": HardSwish,
    "Exp": Exp,
    "Abs": Abs,
}.items():
    OPERATORS[_name] = _each(lambda node, make=_make: make())  # type: ignore[misc]
for _name in ("Neg", "Sqrt", "Reciprocal", "Log", "Sin", "Cos", "Erf"):
    OPERATORS[_name] = _each(lambda node: Each(node.operator.lower()))
OPERATORS["Elu"] = _each(lambda node: Elu(attribute(node, "alpha", 1.0)))
OPERATORS["Celu"] = _each(lambda node: Celu(attribute(node, "alpha", 1.0)))
OPERATORS["LeakyRelu"] = _each(lambda node: LeakyRelu(attribute(node, "alpha", 0.01)))
OPERATORS["Gelu"] = _each(lambda node: Gelu(approximate=node.attributes.get("approximate") == "tanh"))


@operator("Selu")
def selu(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read the usual one; its numbers may be others."""
    gamma, alpha = attribute(node, "gamma", _GAMMA), attribute(node, "alpha", _ALPHA)
    x = tensor(operands[0])
    if abs(gamma - _GAMMA) < 1e-6 and abs(alpha - _ALPHA) < 1e-6:
        return reader.each(Selu(), x)
    return reader.each(WithNumber("mul", gamma), reader.each(Elu(alpha), x))


_GAMMA, _ALPHA = 1.0507009873554805, 1.6732632423543772


@operator("Swish")
def swish(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read x σ(x)."""
    if attribute(node, "alpha", 1.0) != 1:
        raise DataError(f"expected alpha=1, got {node.attributes['alpha']}")
    return reader.each(Silu(), tensor(operands[0]))


@operator("HardSigmoid")
def hard_sigmoid(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read min(max(alpha x + beta, 0), 1)."""
    alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    x = tensor(operands[0])
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return reader.each(HardSigmoid(), x)
    line = reader.each(WithNumber("add", beta), reader.each(WithNumber("mul", alpha), x))
    return reader.each(Clip(0.0, 1.0), line)


@operator("Clip")
def clip(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read bounds, as inputs or as attributes."""

    def bound(at: int, name: str, free: float) -> float:
        given = optional(operands, at)
        return attribute(node, name, free) if given is None else plain(array(given, name))

    bounds = bound(1, "min", -math.inf), bound(2, "max", math.inf)
    known = {(0.0, 6.0): Relu6(), (-1.0, 1.0): HardTanh(), (0.0, math.inf): Relu()}
    return reader.each(known.get(bounds) or Clip(*bounds), tensor(operands[0]))


@operator("Dropout")
def dropout(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read the layer, for a training that goes on."""
    rate, train = optional(operands, 1), optional(operands, 2)
    if train is not None and array(train, "training_mode").any():
        raise DataError("expected dropout in evaluation, got training_mode")
    own = attribute(node, "ratio", 0.5) if rate is None else plain(array(rate, "the ratio"))
    return reader.each(Dropout(own), tensor(operands[0])), Nothing


@operator("Identity")
def identity(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read nothing."""
    return operands[0]


@operator("Cast")
def cast(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read what makes numbers of integers or truth values; integers are all alike."""
    x = tensor(operands[0])
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attributes["to"]))
    kind = {"u": "i"}.get(dtype.kind, dtype.kind)
    if kind == x.kind and (kind != "f" or dtype == reader.model.dtype):
        return x
    if x.kind == "f" or (kind == "f" and dtype != reader.model.dtype) or kind == "b":
        raise DataError(f"expected a cast to {reader.model.dtype}, got one to {dtype}")
    return reader.each(AsNumbers("int64" if kind == "i" else str(dtype)), x, kind=kind)


# --- two arrays and more ----------------------------------------------------------------------


def example_of(constant: Constant, x: Tensor) -> Array:
    """Return the part of a constant that is one example's, beside examples of a tensor."""
    own = constant.array
    more = x.n_axes - own.ndim
    if more < 0 or (more <= x.batch and own.shape[x.batch - more] != 1):
        raise DataError(f"expected a constant that all examples share, got the shape {own.shape}")
    return own.squeeze(x.batch - more) if more <= x.batch else own


def held(reader: Reader, constant: Constant, x: Tensor) -> Tensor:
    """Return a constant as a tensor, with as many axes as another."""
    own = example_of(constant, x)
    own = own.reshape(*(1,) * (x.n_axes - 1 - own.ndim), *own.shape)
    if own.dtype.kind != "f":
        return reader.each(Told(own.tolist()), x, kind=own.dtype.kind)
    return with_weights(reader, Held(own.shape), x, own, trained=constant.trained)


def with_weights(reader: Reader, layer: Layer, x: Tensor, w: Array, *, trained: bool) -> Tensor:
    """Add a layer of one array, which stands still unless it is trained."""
    layer = layer if trained else frozen(layer)
    return reader.each(layer, x, params={"w": w.astype(reader.model.dtype)})


_KINDS = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Pow": "pow",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Equal": "equal",
    "And": "and",
    "Or": "or",
    "Xor": "xor",
}
_FANS = {"add": "sum", "mul": "product", "max": "max"}


@operator(*_KINDS)
def pair(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read what two arrays make."""
    return paired(reader, _KINDS[node.operator], operands[0], operands[1])


def paired(reader: Reader, kind: str, a: Any, b: Any) -> Tensor:
    """Return what two operands make, one of which depends on the inputs."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _between(reader, kind, a, b)
    x, constant, first = (b, a, True) if isinstance(a, Constant) else (a, b, False)
    number = constant.array.size == 1 and constant.array.ndim <= x.n_axes
    if number and constant.array.dtype.kind != "b":
        value = plain(constant.array)
        if kind == "pow" and not first and value in (2.0, 0.5):
            return reader.each(Square() if value == 2 else Each("sqrt"), x)
        own = x.kind if kind in PAIRS else "b"
        return reader.each(WithNumber(kind, value, first=first), x, kind=own)
    if kind not in PAIRS or x.kind != "f":
        both = held(reader, constant, x), x
        return _between(reader, kind, *(both if first else both[::-1]))
    if kind == "add" and (biased := with_bias(reader, x, constant)):
        return biased
    own_part = example_of(constant, x)
    layer = WithArray(kind, own_part.shape, first=first)
    return with_weights(reader, layer, x, own_part, trained=constant.trained)


def _between(reader: Reader, kind: str, a: Tensor, b: Tensor) -> Tensor:
    if kind == "mul" and a.number == b.number and a.kind == "f":
        return reader.each(Square(), a)
    if kind in _FANS and a.shape == b.shape and a.kind == b.kind == "f":
        return reader.together(fan_in(_FANS[kind]), [a, b])
    if kind in ("and", "or", "xor"):
        _check_truth([a, b])
    if kind in PAIRS and (a.kind != "f" or b.kind != "f"):
        raise DataError("expected floating numbers, got integers that depend on the inputs")
    return reader.together(Between(kind), [a, b], kind="f" if kind in PAIRS else "b")


def with_bias(reader: Reader, x: Tensor, constant: Constant) -> Tensor | None:
    """Return an affine map with its bias, where a product is there for that sum alone."""
    step = reader.maker(x)
    if step is None or step.layer.made_by().call is not Dense or not constant.trained:
        return None
    options, w = step.layer.made_by().kwargs, step.params["w"]
    b = constant.array.reshape(-1)
    is_row = constant.array.shape[-1:] == b.shape == w.shape[1:]
    if options.get("bias", True) or not is_row or not reader.is_used_once(x) or x.batch == x.n_axes - 1:
        return None
    step.layer = Dense(w.shape[1])
    step.params = step.params | {"b": b.astype(w.dtype)}
    return x


@operator("Sum", "Mean", "Max", "Min")
def several(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read what several arrays make."""
    kind = node.operator.lower()
    if len(operands) == 1:
        return tensor(operands[0])
    tensors = [each for each in operands if isinstance(each, Tensor)]
    is_alike = len(tensors) == len(operands) and len({each.shape for each in tensors}) == 1
    if is_alike and kind != "min":
        return reader.together(fan_in(kind), tensors)
    pairwise = {"sum": "add", "mean": "add"}.get(kind, kind)
    # A tensor first, so that constants meet one.
    y, *rest = sorted(operands, key=lambda each: not isinstance(each, Tensor))
    for each in rest:
        y = paired(reader, pairwise, y, each)
    return paired(reader, "div", y, Constant(np.array(len(operands)))) if kind == "mean" else y


@operator("Where")
def where(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read a choice."""
    tensors = [each for each in operands if isinstance(each, Tensor)]
    like = max(tensors, key=lambda each: each.n_axes)
    parts = [held(reader, each, like) if isinstance(each, Constant) else each for each in operands]
    _check_truth(parts[:1])
    return reader.together(Chosen(), parts, kind=parts[1].kind)


def _check_truth(parts: list[Tensor]) -> None:
    if any(each.kind != "b" for each in parts):
        raise DataError("expected truth values, got numbers")


@operator("Not")
def negated(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read a truth value turned round."""
    x = tensor(operands[0])
    _check_truth([x])
    return reader.each(Negated(), x, kind="b")


@operator("PRelu")
def prelu(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read one slope, or one for each channel."""
    x, slope = tensor(operands[0]), example_of(operands[1], tensor(operands[0]))
    if slope.size == 1:
        return reader.each(PRelu(), x, params={"slope": slope.reshape(1)})
    if slope.shape != (x.shape[0], *(1,) * (len(x.shape) - 1)):
        raise DataError(f"expected one slope for each channel, got the shape {slope.shape}")
    y: Tensor = reader.add(PRelu(per_channel=True), x, params={"slope": slope.reshape(-1)})
    return y
