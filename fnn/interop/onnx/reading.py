"""What a model says, checked: whoever made it, nothing in it is executed and nothing else is opened."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.errors import DataError, OptionError
from fnn.interop.rules import needed
from fnn.layers.calls import Shape
from fnn.tree import Array

onnx: Any = needed("onnx", "onnx")

MOST_NODES = 100_000
"""How many nodes a graph may have."""

LEAST_OPSET = 7
"""The oldest operators that are understood: those of ONNX 1.2."""


@attrs.frozen(eq=False)
class Constant:
    """An array that the model holds, or that follows from such.

    Attributes:
        array: The array.
        trained: Whether it comes from an initializer, as weights do, and not from a node.
    """

    array: Array
    trained: bool = False


@attrs.frozen
class Input:
    """What comes in.

    Attributes:
        name, dtype: As the model says.
        shape: Shape of one example.
        batch: How many examples, None for any number.
        batch_axis: Which axis they are on.
    """

    name: str
    shape: Shape
    batch: int | None
    batch_axis: int
    dtype: np.dtype[Any]


@attrs.frozen
class Node:
    """One operation: its operator, the names that it takes ("" for none) and gives, its attributes."""

    name: str
    domain: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


Nodes: TypeAlias = tuple[Node, ...]


@attrs.frozen
class Model:
    """A model that was read.

    Attributes:
        opset: Version of its operators.
        inputs, outputs: What comes in, and the names of what comes out.
        constants: Arrays by name.
        nodes: All operations, each after those that it depends on.
        dtype: That of its floating numbers, float32 or float64.
    """

    opset: int
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    constants: dict[str, Constant]
    nodes: Nodes
    dtype: np.dtype[Any]


def read_model(proto: Any, batch_axis: int = 0) -> Model:
    """Return what a `ModelProto` says, whose inputs have the batch on that axis.

    Raises:
        OptionError: If it is none.
        DataError: If it is not valid, asks for files or for more memory than it brings, or is of a kind
            that no network of this library can be: several numbers of axes unknown, half precision.
    """
    if not isinstance(proto, onnx.ModelProto):
        raise OptionError(f"expected a ModelProto, got {type(proto).__name__}", path=("from_onnx",))
    try:
        return _model(proto, batch_axis)
    except DataError as error:
        raise error.inside("from_onnx", "") from None


def _model(proto: Any, batch_axis: int) -> Model:
    graph = proto.graph
    if len(graph.node) > MOST_NODES:
        raise DataError(f"expected at most {MOST_NODES:,} nodes, got {len(graph.node):,}")
    if len(proto.functions) or len(graph.sparse_initializer):
        raise DataError("expected a graph without functions of its own and sparse weights")
    # Before anything else looks at them: the checker would look for the files.
    for tensor in (*graph.initializer, *_tensors(graph.node)):
        check_tensor(tensor)
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError, TypeError) as error:
        raise DataError(f"expected a valid model, got: {_first_line(error)}") from None
    constants = {each.name: Constant(as_array(each), trained=True) for each in graph.initializer}
    inputs = tuple(_input(each, batch_axis) for each in graph.input if each.name not in constants)
    if not inputs:
        raise DataError("expected a model that takes an input, got none")
    nodes = tuple(_node(each, i) for i, each in enumerate(graph.node))
    _check_order(nodes, {each.name for each in inputs} | constants.keys())
    outputs = tuple(each.name for each in graph.output)
    return Model(_opset(proto), inputs, outputs, constants, nodes, _dtype(inputs, constants))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _tensors(nodes: Any) -> list[Any]:
    """Return the arrays in the attributes of nodes; graphs in them are refused later, unread."""
    kinds = onnx.AttributeProto.TENSOR, onnx.AttributeProto.TENSORS
    found: list[Any] = []
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type in kinds:
                found += [attribute.t, *attribute.tensors]
            if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
                message = f"{node.op_type}: expected no graph inside a node"
                raise DataError(message, path=(node.name,) if node.name else ())
    return found


def check_tensor(tensor: Any) -> None:
    """Refuse an array that lies in another file, or whose numbers are not all there.

    Raises:
        DataError: Saying which.
    """
    path = (tensor.name,) if tensor.name else ()
    if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data):
        raise DataError("expected weights inside the model, got some in another file", path=path)
    if tensor.data_type not in _DTYPES:
        expected = "expected float32, float64, integers or truth values"
        raise DataError(f"{expected}, got {_name_of(tensor.data_type)}", path=path)
    if any(n < 0 for n in tensor.dims) or len(tensor.dims) > 32:
        raise DataError(f"expected sizes of 0 or more, got {list(tensor.dims)[:33]}", path=path)
    count = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        there = len(tensor.raw_data) // _DTYPES[tensor.data_type].itemsize
    else:
        fields = "float_data", "double_data", "int32_data", "int64_data"
        there = sum(len(getattr(tensor, field)) for field in fields)
    if there != count:
        expected = f"expected {count:,} numbers for the shape {list(tensor.dims)}"
        raise DataError(f"{expected}, got {there:,}", path=path)


_DTYPES = {
    getattr(onnx.TensorProto, kind): np.dtype(dtype)
    for kind, dtype in {
        "FLOAT": "float32",
        "DOUBLE": "float64",
        "INT32": "int32",
        "INT64": "int64",
        "INT8": "int8",
        "UINT8": "uint8",
        "BOOL": "bool",
    }.items()
}


def _name_of(kind: int) -> str:
    try:
        return str(onnx.TensorProto.DataType.Name(kind))
    except ValueError:
        return f"type {kind}"


def as_array(tensor: Any) -> Array:
    """Return the numbers of an array; integers as int64."""
    check_tensor(tensor)
    array: Array = onnx.numpy_helper.to_array(tensor)
    return array.astype(np.int64) if array.dtype.kind in "iu" else array.copy()


def _input(info: Any, batch_axis: int) -> Input:
    path = (info.name,)
    if not info.type.HasField("tensor_type"):
        raise DataError("expected an array as input, got a sequence or a map", path=path)
    kind = info.type.tensor_type
    if kind.elem_type not in _DTYPES:
        got = _name_of(kind.elem_type)
        raise DataError(f"expected float32, float64, integers or truth values, got {got}", path=path)
    if not kind.HasField("shape") or not len(kind.shape.dim):
        raise DataError("expected an input with a batch, whose axes are known, got none", path=path)
    rest = list(kind.shape.dim)
    # Lengths and the like have no other axis than the batch's.
    at = batch_axis if len(rest) > 1 else 0
    if at >= len(rest):
        raise DataError(f"expected the batch on axis {at}, got {len(rest)} axes", path=path)
    first = rest.pop(at)
    sizes = [each.dim_value if each.HasField("dim_value") else None for each in rest]
    if any(not n or n < 0 for n in sizes):
        free = [each.dim_param or each.dim_value or "?" for each in rest]
        raise DataError(f"expected sizes for all axes but the batch's, got {free}", path=path)
    batch = first.dim_value if first.HasField("dim_value") and first.dim_value > 0 else None
    shape = tuple(n for n in sizes if n)
    return Input(info.name, shape, batch, at, _DTYPES[kind.elem_type])


def _node(proto: Any, at: int) -> Node:
    name = proto.name or f"{proto.op_type}_{at}"
    attributes = {}
    for each in proto.attribute:
        if each.ref_attr_name:
            raise DataError(f"expected a value of {each.name}, got a reference", path=(name,))
        value = onnx.helper.get_attribute_value(each)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        attributes[each.name] = value
    return Node(name, proto.domain, proto.op_type, tuple(proto.input), tuple(proto.output), attributes)


def _check_order(nodes: Nodes, known: set[str]) -> None:
    """Refuse a node that takes what nothing before it makes, and names that stand twice."""
    made = {name for node in nodes for name in node.outputs if name}
    there = set(known)
    for node in nodes:
        for name in node.inputs:
            if name and name not in there:
                what = "only a later node makes" if name in made else "nothing makes"
                message = f"expected inputs that are there, got {name!r}, which {what}"
                raise DataError(message, path=(node.name,))
        for name in node.outputs:
            if name and name in there:
                raise DataError(f"expected a new name, got {name!r} again", path=(node.name,))
            there.add(name)


def _opset(proto: Any) -> int:
    versions = [each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")]
    newest = onnx.defs.onnx_opset_version()
    if len(versions) != 1 or not LEAST_OPSET <= versions[0] <= newest:
        raise DataError(f"expected operators of version {LEAST_OPSET} to {newest}, got {versions}")
    return int(versions[0])


def _dtype(inputs: tuple[Input, ...], constants: dict[str, Constant]) -> np.dtype[Any]:
    found = [each.dtype for each in inputs if each.dtype.kind == "f"]
    found += [each.array.dtype for each in constants.values() if each.array.dtype.kind == "f"]
    if len(set(found)) > 1:
        raise DataError(f"expected float32 or float64 throughout, got {sorted(map(str, set(found)))}")
    return found[0] if found else np.dtype("float32")
