"""From a network to a model of ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn.errors import DTypeError, OptionError, ShapeError
from fnn.interop.onnx import of_compositions, of_images, of_numbers, of_sequences
from fnn.interop.onnx.graph import Graph, Part, Rule, Value, Values, onnx
from fnn.kernels.values import (
    count_numbers,
    example_shape,
    is_tuple_of_shapes,
    map_arrays,
    named_arrays,
)
from fnn.keys import Key
from fnn.layers.calls import Shape, checked_shape
from fnn.layers.chains import asked_once
from fnn.layers.contract import Layer
from fnn.tree import items

OPSET = 21
IR_VERSION = 10
"""The versions of operators and of the file that models have: those of ONNX 1.16."""

RULES_OF = of_numbers, of_images, of_sequences, of_compositions
"""Where the rules stand: to import them is to have them."""


def to_onnx(
    net: Layer,
    params: Any,
    state: Any,
    in_shape: Shape,
    *,
    rules: Mapping[str, Rule] = {},
    example: Any = None,
) -> Any:
    """Return a `ModelProto` that predicts what the network predicts, for batches of any size.

        model = to_onnx(net, params, state, (784,))
        onnx.save(model, "digits.onnx")

    It is the network in evaluation: dropout and noise are off, norms of batches use what they carry.
    Its input is "x" and its output "y", of a tuple "x_0", "x_1" and so on; the first axis of each is
    "batch". Tokens and lengths are int64, masks bool, all other numbers of the dtype of params (float32
    if there are none). Weights are called as in params and state. What checks values has no
    counterpart: a token below 0 counts from the end, and one beyond the end is the runtime's to refuse.

    Operators are those of opset 21, of ONNX 1.16. A few have no kernel for float64 in some runtimes, as
    convolutions in onnxruntime.

    Args:
        net: The network.
        params: Its parameters.
        state: What it carries.
        in_shape: Shape of one example; a tuple of shapes if it takes a tuple.
        rules: How layers of one's own are written, by name: those that `Lambda`, `elementwise` or
            `make_layer` made directly. Those of a constructor of one's own may have theirs in `LAYERS`.
        example: A batch of inputs, for a network that does not say itself what it takes: which of
            several are integers where a `fan_out` stands before the layers that know (`Layer.inputs`),
            or the dtype where there are no params.

    Raises:
        OptionError: If a layer cannot be expressed, with its path; or if the weights take 2 GiB.
        ShapeError, TreeError, DTypeError: If params, state or example are not the network's.
    """
    if not isinstance(net, Layer):
        raise OptionError(f"net: expected a Layer, got {net!r:.80}", path=("to_onnx",))
    shape = checked_shape(in_shape)
    if not all(map(count_numbers, _arrays(shape))):
        expected = "expected examples with numbers in them"
        raise ShapeError(f"{expected}, got in_shape={shape}", path=(net.name,))
    if example is not None and example_shape(example) != shape:
        message = f"example: expected in_shape={shape}, got {example_shape(example)}"
        raise ShapeError(message, path=(net.name,))
    dtype = _dtype(net, params, state, example)
    x = _example(net, shape, dtype) if example is None else example
    y, _ = net.apply(params, state, x)  # Refuses what does not fit, before anything is written.
    graph = Graph(dtype, rules)
    given = _values("x", x)
    for value in _flat(given):
        graph.new(value.name)
    with asked_once():
        made = graph.layer(net.name, Part(net, params, state), given)
    return _model(net.name, graph, (given, x), (made, y))


def _arrays(shape: Shape) -> list[Shape]:
    if is_tuple_of_shapes(shape):
        return [each for part in shape for each in _arrays(part)]
    return [shape]


def _dtype(net: Layer, params: Any, state: Any, example: Any) -> np.dtype[Any]:
    """Return the dtype of the floating numbers: that of params and state, or else of the example."""
    leaves = [leaf for tree in (params, state) for _, leaf in items(tree)]
    found = {each.dtype for each in (leaves or _leaves(example)) if each.dtype.kind in "fc"}
    if not found:
        return np.dtype("float32")
    if len(found) > 1 or not found <= {np.dtype("float32"), np.dtype("float64")}:
        got = ", ".join(sorted(map(str, found)))
        raise DTypeError(f"expected float32 or float64 throughout, got {got}", path=(net.name,))
    return found.pop()


def _example(net: Layer, shape: Shape, dtype: Any) -> Any:
    """Return one example, in whose dtypes it is seen which arrays are integers."""
    if net.inputs is None:
        return _zeros(shape, dtype)
    x = net.inputs(Key.of(0), 1, shape)
    return map_arrays(lambda part: part.astype(dtype) if part.dtype.kind == "f" else part, x)


def _zeros(shape: Shape, dtype: Any) -> Any:
    if is_tuple_of_shapes(shape):
        return tuple(_zeros(each, dtype) for each in shape)
    return np.zeros((1, *shape), dtype)


def _values(name: str, x: Any) -> Values:
    """Return values called "x", or "x_0", "x_1" … of a tuple."""
    if isinstance(x, tuple):
        return tuple(_values(f"{name}_{i}", part) for i, part in enumerate(x))
    return Value(name, x.shape[1:])


def _flat(values: Values) -> list[Value]:
    if isinstance(values, tuple):
        return [each for part in values for each in _flat(part)]
    return [values]


def _model(name: str, graph: Graph, given: tuple[Any, Any], made: tuple[Any, Any]) -> Any:
    """Return the model of a graph, from its inputs and outputs, each as values and as arrays."""
    ends = _flat(_values("y", made[1]))
    taken = {value.name for value in _flat(given[0])}
    new: dict[str, str] = {}
    for old, end in zip(_flat(made[0]), ends, strict=True):
        # A name of its own, unless it is an input, or stands for another output already.
        if old.name in taken or old.name in new:
            source = new.get(old.name, old.name)
            node = onnx.helper.make_node("Identity", [source], [end.name], name=f"{end.name}/Identity")
            graph.nodes.append(node)
        else:
            new[old.name] = end.name
    for node in graph.nodes:
        for names in (node.input, node.output):
            for i, each in enumerate(names):
                names[i] = new.get(each, each)
    inputs = [_info(*each) for each in zip(_flat(given[0]), _leaves(given[1]), strict=True)]
    outputs = [_info(*each) for each in zip(ends, _leaves(made[1]), strict=True)]
    weights = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(array), path)
        for path, array in graph.weights.items()
    ]
    whole = onnx.helper.make_graph(graph.nodes, name, inputs, outputs, weights)
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(
        whole, opset_imports=[opset], ir_version=IR_VERSION, producer_name="fnn"
    )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise OptionError(
            f"expected rules that write a valid graph, got: {error}", path=(name,)
        ) from error
    return model


def _leaves(x: Any) -> list[Any]:
    return [array for _, array in named_arrays(x)]


def _info(value: Value, array: Any) -> Any:
    kind = {"b": np.dtype("bool"), "i": np.dtype("int64"), "u": np.dtype("int64")}
    dtype = kind.get(array.dtype.kind, array.dtype)
    element = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    return onnx.helper.make_tensor_value_info(value.name, element, ["batch", *value.shape])
