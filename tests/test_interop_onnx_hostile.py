"""Models that are wrong, on purpose or not: refused by typed errors, quickly, and nothing is opened."""

from __future__ import annotations

import numpy as np
import pytest

import fnn

onnx = pytest.importorskip("onnx")
bridge = pytest.importorskip("fnn.interop.onnx")
helper, TensorProto = onnx.helper, onnx.TensorProto
from_onnx = bridge.from_onnx


def model_of(nodes, *, weights=(), shape=("batch", 3), kind=TensorProto.FLOAT, out=("y",), opset=17):
    """Return a model of nodes, each (operator, inputs, outputs, attributes)."""
    made = [
        helper.make_node(operator, list(inputs), list(outputs), **dict(more[0] if more else {}))
        for operator, inputs, outputs, *more in nodes
    ]
    held = [
        w if isinstance(w, TensorProto) else onnx.numpy_helper.from_array(w[1], w[0]) for w in weights
    ]
    graph = helper.make_graph(
        made,
        "graph",
        [helper.make_tensor_value_info("x", kind, None if shape is None else list(shape))],
        [helper.make_tensor_value_info(name, kind, ["any"]) for name in out],
        held,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def floats(*shape):
    return np.ones(shape, "float32")


def integers(*values):
    return np.array(values, "int64")


RELU, RELU_Z = ("Relu", ["x"], ["y"]), ("Relu", ["x"], ["z"])


def declared(dims, kind=TensorProto.FLOAT, **fields):
    tensor = TensorProto(name="w", dims=dims, data_type=kind)
    for name, value in fields.items():
        if isinstance(value, bytes):
            setattr(tensor, name, value)
        else:
            getattr(tensor, name).extend(value)
    return tensor


def external():
    tensor = declared([3, 3])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


USES_W = ("MatMul", ["x", "w"], ["y"])
CONSTANT = helper.make_node("Constant", [], ["w"], value=external())


def with_constant():
    model = model_of([RELU])
    model.graph.node.insert(0, CONSTANT)
    return model


def with_functions():
    model = model_of([RELU])
    model.functions.add(name="Relu", domain="")
    return model


def with_branch():
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "inner", [], [])
    return model_of([("If", ["x"], ["y"], {"then_branch": inner, "else_branch": inner})])


def deep(n):
    nodes = [("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(n)]
    return model_of([*nodes, ("Identity", [f"v{n}"], ["y"])])


HOSTILE = {
    "a weight that is declared huge": (
        lambda: model_of([USES_W], weights=[declared([1 << 40, 1 << 20], raw_data=b"1234")]),
        "w: expected 1,152,921,504,606,846,976 numbers .* got 1$",
    ),
    "a weight whose numbers are missing": (
        lambda: model_of([USES_W], weights=[declared([3, 3], float_data=[1.0])]),
        "w: expected 9 numbers for the shape .3, 3., got 1$",
    ),
    "a weight of negative size": (
        lambda: model_of([USES_W], weights=[declared([-3, 3])]),
        "w: expected sizes of 0 or more",
    ),
    "a weight of a kind that is unknown": (
        lambda: model_of([USES_W], weights=[declared([1], 99)]),
        "w: expected float32, float64, integers or truth values, got type 99",
    ),
    "a weight in half precision": (
        lambda: model_of([USES_W], weights=[declared([1], TensorProto.FLOAT16, int32_data=[0])]),
        "got FLOAT16",
    ),
    "a weight in another file": (
        lambda: model_of([USES_W], weights=[external()]),
        "w: expected weights inside the model, got some in another file",
    ),
    "a constant in another file": (with_constant, "expected weights inside the model"),
    "a cycle": (
        lambda: model_of([("Add", ["x", "b"], ["a"]), ("Relu", ["a"], ["b"]), ("Relu", ["b"], ["y"])]),
        "from_onnx: expected a valid model",
    ),
    "an input that nothing makes": (
        lambda: model_of([("Relu", ["nothing"], ["y"])]),
        "from_onnx: expected a valid model",
    ),
    "an output that nothing makes": (
        lambda: model_of([("Relu", ["x"], ["z"])]),
        "expected an output that depends on the inputs, got 'y'|expected a valid model",
    ),
    "an output of constants": (
        lambda: model_of([RELU_Z, ("Identity", ["w"], ["y"])], weights=[("w", floats(3))]),
        "expected an output that depends on the inputs, got 'y'",
    ),
    "a name that is made twice": (
        lambda: model_of([RELU, ("Tanh", ["x"], ["y"])]),
        "from_onnx: expected a valid model",
    ),
    "no input at all": (
        lambda: model_of([("Relu", ["x"], ["y"])], weights=[("x", floats(1, 3))]),
        "expected a model that takes an input",
    ),
    "an input of unknown axes": (
        lambda: model_of([RELU], shape=None),
        "valid model|x: expected an input",
    ),
    "an input of a free size": (
        lambda: model_of([RELU], shape=("batch", "time", 3)),
        "x: expected sizes for all axes but the batch's, got .'time', 3.",
    ),
    "an input of text": (lambda: model_of([RELU], kind=TensorProto.STRING), "valid model|got STRING"),
    "an operator that is unknown": (
        lambda: model_of([RELU_Z, ("Einsum", ["z", "z"], ["y"], {"equation": "ij,ij->i"})]),
        "from_onnx/Einsum_1: Einsum: expected an operator that a layer can express",
    ),
    "an operator that does not exist": (
        lambda: model_of([("NoSuch", ["x"], ["y"])]),
        "from_onnx: expected a valid model",
    ),
    "an operator of somebody else": (
        lambda: model_of([("Relu", ["x"], ["y"], {"domain": "com.example"})]),
        "valid model|Relu: expected an operator .*, got one of com.example",
    ),
    "a function of its own": (with_functions, "expected a graph without functions of its own"),
    "a graph inside a node": (with_branch, "expected no graph inside a node"),
    "operators that are too old": (
        lambda: model_of([RELU], opset=5),
        "expected operators of version 7",
    ),
    "operators that are not yet": (lambda: model_of([RELU], opset=9999), "valid model|version 7 to"),
    "two precisions": (
        lambda: model_of([USES_W], weights=[("w", np.ones((3, 2)))]),
        "expected float32 or float64 throughout",
    ),
    "a constant that is made huge": (
        lambda: model_of(
            [("ConstantOfShape", ["w"], ["c"]), ("Add", ["x", "c"], ["y"])],
            weights=[("w", integers(1 << 40, 1 << 20))],
        ),
        "ConstantOfShape: expected at most 16,777,216 numbers",
    ),
    "a constant that is widened": (
        lambda: model_of(
            [("Expand", ["w", "s"], ["c"]), ("Add", ["x", "c"], ["y"])],
            weights=[("w", floats(1)), ("s", integers(1 << 31, 1 << 31))],
        ),
        "Expand: expected at most 16,777,216 numbers",
    ),
    "constants that broadcast to much": (
        lambda: model_of(
            [("Add", ["a", "b"], ["c"]), ("Add", ["x", "c"], ["y"])],
            weights=[("a", floats(5000, 1)), ("b", floats(1, 5000))],
        ),
        "Add: expected at most 16,777,216 numbers",
    ),
    "a range without end": (
        lambda: model_of(
            [("Range", ["a", "b", "c"], ["r"]), ("Add", ["x", "r"], ["y"])],
            weights=[("a", np.float32(0)), ("b", np.float32(1e30)), ("c", np.float32(1))],
        ),
        "Range: expected at most 16,777,216 numbers",
    ),
    "matrices that do not multiply": (
        lambda: model_of([USES_W], weights=[("w", floats(4, 2))]),
        r"from_onnx/MatMul_0: MatMul: expected w of shape .3, 2., got .4, 2.",
    ),
    "a shape that does not fit": (
        lambda: model_of([("Reshape", ["x", "w"], ["y"])], weights=[("w", integers(0, 7))]),
        "Reshape: expected a shape that keeps the batch",
    ),
    "the batch summed up": (
        lambda: model_of([("ReduceMean", ["x"], ["y"], {"axes": [0]})]),
        "ReduceMean: expected an axis of the examples",
    ),
    "a permutation that is none": (
        lambda: model_of([("Transpose", ["x"], ["y"], {"perm": [0, 0]})]),
        "Transpose: expected an order of 2 axes",
    ),
    "a window of nothing": (
        lambda: model_of([("MaxPool", ["x"], ["y"], {"kernel_shape": [0, 0]})], shape=(1, 1, 4, 4)),
        "MaxPool: ",
    ),
    "padding by a billion rows": (
        lambda: model_of(
            [("Pad", ["x", "w"], ["y"], {"mode": "reflect"})],
            weights=[("w", integers(0, 0, 1 << 40, 0, 0, 0))],
            shape=(1, 1, 4),
        ),
        "Pad: ",
    ),
    "an attribute of another kind": (
        lambda: model_of([("Softmax", ["x"], ["y"], {"axis": "last"})]),
        "valid model|Softmax: ",
    ),
    "a recurrence with too few gates": (
        lambda: model_of(
            [("LSTM", ["x", "w", "r"], ["y"], {"hidden_size": 2, "layout": 1})],
            weights=[("w", floats(1, 6, 3)), ("r", floats(1, 8, 2))],
            shape=("batch", 5, 3),
        ),
        "LSTM: expected weights of 1 directions",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_model_is_refused(what, monkeypatch):
    make, message = HOSTILE[what]
    model = make()
    monkeypatch.setattr("builtins.open", lambda *given, **more: pytest.fail(f"opens {given}"))
    with pytest.raises(fnn.DataError, match=message):
        from_onnx(model)


@pytest.mark.parametrize(
    "model", [b"", None, "model.onnx", TensorProto()], ids=lambda v: type(v).__name__
)
def test_what_is_no_model_is_refused(model):
    with pytest.raises(fnn.OptionError, match="from_onnx: expected a ModelProto, got"):
        from_onnx(model)


def test_a_file_of_rubbish_is_refused_like_any_other():
    model = onnx.ModelProto()
    model.graph.node.add(op_type="Relu")
    with pytest.raises(fnn.DataError):
        from_onnx(model)


def test_too_many_nodes_are_refused_before_they_are_read(monkeypatch):
    from fnn.interop.onnx import reading

    monkeypatch.setattr(reading, "MOST_NODES", 10)
    with pytest.raises(fnn.DataError, match="expected at most 10 nodes, got 12"):
        from_onnx(deep(11))


def test_a_deep_graph_is_read_without_recursion():
    net, params, state = from_onnx(deep(3000))
    assert len(net.children) == 3000
    assert (params, state) == ({}, {})


def test_changed_bytes_are_read_or_refused_and_nothing_else():
    net = fnn.serial(fnn.Conv(2, 3), fnn.BatchNorm(), fnn.Relu(), fnn.Flatten(), fnn.Dense(2))
    _, params, state = net.init(fnn.Key.of(0), (1, 5, 5))
    content = bytearray(bridge.to_onnx(net, params, state, (1, 5, 5)).SerializeToString())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        for at in rng.integers(0, len(content), 3):
            changed[at] = rng.integers(0, 256)
        try:
            model = onnx.load_from_string(bytes(changed))
        except Exception:
            continue
        try:
            from_onnx(model)
        except fnn.FnnError:
            refused += 1
    assert refused > 20
