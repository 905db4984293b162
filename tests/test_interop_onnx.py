"""Networks as models of ONNX: every layer that it can express, in two runtimes."""

from __future__ import annotations

import combinator_cases
import layer_cases
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interop_onnx_cases import assert_alike, drawn, flat, in_reference, in_runtime, inputs

import fnn
from fnn import Key
from fnn.testing.strategies import inputs_for

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
bridge = pytest.importorskip("fnn.interop.onnx")
to_onnx = bridge.to_onnx

# --- the table ------------------------------------------------------------------------------

REFUSED = {
    "elementwise('swish', swish, swish_vjp)": "its function says nothing of how it is computed",
    "make_layer('scale', scale_init, scale_fwd)": "likewise",
    "make_layer('noise', noise_init, noise_fwd, traits=Traits(stochastic=True))": "likewise",
    "Lambda(total, total_vjp, out_shape=rest)": "likewise",
    "stacked(serial(Dense(3), Tanh(), Dense(2)), 2)": "an ensemble is trained, and exported one by one",
    "rnn(LeakyCell())": "the step of a cell of one's own says nothing of how it is computed",
    "rnn(PairCell(), reverse=True, last=True)": "likewise",
    "rnn(MeanCell())": "likewise",
    "rnn(PairCell(), lengths=True, carry=True)": "likewise",
    "rnn(MeanCell(), last=True, lengths=True, carry=True)": "likewise",
}
# Of the reference evaluator, which onnxruntime has not.
FAULTS = {
    "lengths=True": "it takes sequence_lens for nothing",
    "activation='relu'": "it knows no Relu in a recurrence",
    "output_padding=1, groups=2": "it takes the channels of groups for those of one",
}
# What onnxruntime computes in float32 alone.
NO_FLOAT64 = (
    *("Conv", "ConvTranspose", "AveragePool", "LeakyRelu", "Resize", "Elu", "Erf", "Softplus", "PRelu"),
    *("Softsign", "Selu", "HardSigmoid", "RNN", "LSTM", "GRU", "InstanceNormalization"),
)

CASES = [case for case in layer_cases.ALL_CASES if repr(case[0]) not in REFUSED]
IDS = [f"{layer!r:.100}-{shape}" for layer, shape in CASES]
QUICK = settings(
    max_examples=3,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def is_faulty(layer):
    return any(part in repr(layer) for part in FAULTS)


@pytest.mark.parametrize(("layer", "in_shape"), CASES, ids=IDS)
def test_a_layer_predicts_the_same_in_onnxruntime_and_the_reference_evaluator(layer, in_shape):
    params, state = drawn(layer, in_shape)
    model = to_onnx(layer, params, state, in_shape)
    onnx.checker.check_model(model, full_check=True)
    ours = lambda x: layer.apply(params, state, x)[0]  # noqa: E731
    run = in_runtime(model, runtime)
    evaluate = None if is_faulty(layer) else in_reference(model)

    @QUICK
    @given(inputs_for(layer, in_shape, st.integers(1, 4), dtype="float32", away_from_kinks=False))
    def compared(x):
        assert_alike(ours(x), run(x))
        if evaluate is not None:
            assert_alike(ours(x), evaluate(x))

    compared()


@pytest.mark.parametrize(("layer", "in_shape"), CASES, ids=IDS)
def test_a_layer_predicts_the_same_in_double_precision(layer, in_shape):
    params, state = drawn(layer, in_shape, "float64")
    x = inputs(layer, in_shape, dtype="float64")
    model = to_onnx(layer, params, state, in_shape, example=x)
    y, _ = layer.apply(params, state, x)
    if not is_faulty(layer):
        # Numbers in attributes are float32, whatever those of the network are.
        assert_alike(y, in_reference(model)(x), atol=1e-6)
    try:
        got = in_runtime(model, runtime)(x)
    except Exception as error:
        assert any(f"{name}(" in str(error) or f"{name} op" in str(error) for name in NO_FLOAT64)  # noqa: PT017
    else:
        assert_alike(y, got, atol=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_expressed_is_refused_with_its_path(name):
    layer, in_shape = next(case for case in layer_cases.ALL_CASES if repr(case[0]) == name)
    net = fnn.serial(fnn.named("inner", fnn.serial(layer)))
    _, params, state = net.init(Key.of(0), in_shape)
    with pytest.raises(fnn.OptionError, match=r"^serial/inner/\w+_0 \(.*expected .* ONNX can express"):
        to_onnx(net, params, state, in_shape)


def test_what_is_listed_as_a_fault_is_one():
    for part in FAULTS:
        layer, in_shape = next(case for case in CASES if part in repr(case[0]))
        params, state = drawn(layer, in_shape)
        x = inputs(layer, in_shape, seed=1)
        y, _ = layer.apply(params, state, x)
        try:
            got = in_reference(to_onnx(layer, params, state, in_shape))(x)
        except RuntimeError:
            continue
        ours, theirs = flat(y)[0], got[0]
        assert not np.allclose(ours, theirs)


# --- combinators that have no row of their own ------------------------------------------------

CONV = fnn.serial(fnn.Conv(3, 3), fnn.Relu(), fnn.Flatten(), fnn.Dense(2))


@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [
        (fnn.frozen(fnn.serial(fnn.Dense(3), fnn.BatchNorm())), (2,)),
        (fnn.spectral_norm(CONV), (1, 4, 4)),
        (fnn.weight_norm(fnn.spectral_norm(fnn.Dense(3))), (2,)),
        (fnn.spectral_norm(fnn.LSTM(2)), (3, 2)),
        (fnn.named("outer", fnn.remat(fnn.named("inner", fnn.Dense(2)))), (3,)),
        (fnn.vmap(fnn.vmap(fnn.Dense(2))), (2, 3, 4)),
        (fnn.vmap(fnn.frozen(fnn.serial(fnn.Dense(3), fnn.BatchNorm()))), (2, 4)),
        (fnn.shared(fnn.TransformerBlock(2, width_mlp=5), 3), (3, 4)),
        (fnn.serial(fnn.lazy(combinator_cases.halved), fnn.Tanh()), (3,)),
        (fnn.SeparableConv(4, 3, padding="same", stride=2), (2, 5, 5)),
        (fnn.AdaptiveAvgPool(2), (1, 4, 6)),
        (fnn.MultiHeadAttention(2, width=4, cross=True, causal=True), ((4, 3), (2, 5))),
        (fnn.LearnedPositions(9), (4, 3)),
        (fnn.PixelShuffle(2), (8, 2, 3)),
    ],
    ids=lambda value: f"{value!r:.60}",
)
def test_more_layers_predict_the_same(layer, in_shape):
    params, state = drawn(layer, in_shape)
    model = to_onnx(layer, params, state, in_shape)
    x = inputs(layer, in_shape, 5)
    y, _ = layer.apply(params, state, x)
    assert_alike(y, in_runtime(model, runtime)(x))
    assert_alike(y, in_reference(model)(x))


def test_a_query_that_may_see_nothing_gets_nothing():
    layer, shape = fnn.MultiHeadAttention(1, mask=True, causal=True), ((3, 2), (3,))
    params, state = drawn(layer, shape)
    x = inputs(layer, shape)[0], np.array([[False, False, True]] * 3)
    y, _ = layer.apply(params, state, x)
    got = in_runtime(to_onnx(layer, params, state, shape), runtime)(x)
    assert_alike(y, got)
    np.testing.assert_allclose(got[0][:, :2], np.broadcast_to(params["b_o"], (3, 2, 2)), rtol=1e-6)


# --- what a model says ------------------------------------------------------------------------


def test_a_model_has_names_shapes_and_versions():
    net = fnn.serial(fnn.Dense(3), fnn.BatchNorm(), fnn.Relu(), fnn.named("scores", fnn.Dense(2)))
    params, state = drawn(net, (4,))
    model = to_onnx(net, params, state, (4,))
    graph = model.graph
    assert (graph.name, model.producer_name, model.ir_version) == ("serial", "fnn", 10)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 21)]
    assert {each.name for each in graph.initializer} == {
        *("dense_0/w", "dense_0/b", "scores/w", "scores/b"),
        *(f"batch_norm_0/{name}" for name in ("scale", "shift", "mean", "var")),
    }
    assert [node.name for node in graph.node] == [
        "serial/dense_0/Gemm",
        "serial/batch_norm_0/BatchNormalization",
        "serial/relu_0/Relu",
        "serial/scores/Gemm",
    ]
    [x], [y] = graph.input, graph.output
    for each, size in ((x, 4), (y, 2)):
        batch, features = each.type.tensor_type.shape.dim
        assert (batch.dim_param, features.dim_value) == ("batch", size)
    assert (x.name, y.name) == ("x", "y")


def test_equal_networks_give_equal_bytes():
    net = fnn.serial(fnn.TransformerBlock(2), fnn.Dense(2))
    params, state = drawn(net, (3, 4))
    first, second = (to_onnx(net, params, state, (3, 4)).SerializeToString() for _ in range(2))
    assert first == second


def test_weights_that_are_used_again_stand_once():
    net = fnn.shared(fnn.Dense(3), 4)
    params, state = drawn(net, (3,))
    model = to_onnx(net, params, state, (3,))
    assert [each.name for each in model.graph.initializer] == ["dense_0/w", "dense_0/b"]
    assert len(model.graph.node) == 4


def test_tuples_are_inputs_and_outputs_by_number():
    net = fnn.LSTM(2, lengths=True, carry=True)
    shape = ((3, 2), (), ((2,), (2,)))
    params, state = drawn(net, shape)
    model = to_onnx(net, params, state, shape)
    kinds = [(each.name, each.type.tensor_type.elem_type) for each in model.graph.input]
    floats, integers = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    assert kinds == [("x_0", floats), ("x_1", integers), ("x_2_0", floats), ("x_2_1", floats)]
    assert [each.name for each in model.graph.output] == ["y_0", "y_1_0", "y_1_1"]


@pytest.mark.parametrize(
    "net",
    [
        fnn.serial(),
        fnn.fan_out(3),
        fnn.serial(fnn.Relu(), fnn.fan_out(2)),
        fnn.serial(fnn.fan_out(2), fnn.parallel(fnn.Relu(), fnn.Identity())),
        fnn.serial(fnn.Relu(), fnn.fan_out(2), fnn.parallel(fnn.Identity(), fnn.Tanh())),
    ],
    ids=repr,
)
def test_what_goes_out_twice_or_unchanged_has_names_of_its_own(net):
    model = to_onnx(net, {}, {}, (3,))
    x = inputs(net, (3,))
    assert_alike(net.apply({}, {}, x)[0], in_runtime(model, runtime)(x))


def test_a_network_of_no_params_has_the_dtype_of_its_example():
    model = to_onnx(fnn.Relu(), {}, {}, (2,), example=np.zeros((1, 2)))
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE


def test_an_example_says_which_arrays_are_integers():
    net = fnn.serial(
        fnn.fan_out(2), fnn.parallel(fnn.Embedding(4, 2), fnn.Embedding(4, 2)), fnn.fan_in("sum")
    )
    params, state = drawn(net, (3,))
    with pytest.raises(fnn.DTypeError, match="expected tokens as integers"):
        to_onnx(net, params, state, (3,))
    x = np.array([[0, 1, 3]])
    model = to_onnx(net, params, state, (3,), example=x)
    assert_alike(net.apply(params, state, x)[0], in_runtime(model, runtime)(x))


# --- rules of one's own -----------------------------------------------------------------------


def double(x):
    return x * 2


def double_vjp(x, y, dy):
    return dy * 2


@fnn.constructor
def Doubled():
    return fnn.Lambda(double, double_vjp)


@fnn.constructor
def Head(width):
    return fnn.serial(fnn.Dense(width), fnn.Tanh())


def by_two(graph, part, x):
    return graph.op("Mul", x, 2)


def test_a_rule_is_given_by_name():
    for layer, name in (
        (fnn.Lambda(double, double_vjp), "lambda"),
        (fnn.elementwise("doubled", double, double_vjp), "doubled"),
        (fnn.named("twice", fnn.Lambda(double, double_vjp)), "twice"),
    ):
        net = fnn.serial(layer, fnn.Relu())
        model = to_onnx(net, {}, {}, (2,), rules={name: by_two})
        x = inputs(net, (2,))
        assert_alike(net.apply({}, {}, x)[0], in_runtime(model, runtime)(x))


def test_a_rule_is_given_for_a_constructor_of_ones_own(monkeypatch):
    monkeypatch.setattr(bridge.LAYERS, "_known", dict(bridge.LAYERS._known))
    with pytest.raises(fnn.OptionError, match="expected a layer that ONNX can express, got Doubled"):
        to_onnx(Doubled(), {}, {}, (2,))
    bridge.LAYERS.of(Doubled)(by_two)
    x = inputs(Doubled(), (2,))
    assert_alike(2 * x, in_runtime(to_onnx(Doubled(), {}, {}, (2,)), runtime)(x))


def test_a_constructor_made_of_others_needs_no_rule():
    net = fnn.serial(Head(3))
    params, state = drawn(net, (2,))
    x = inputs(net, (2,))
    model = to_onnx(net, params, state, (2,))
    assert_alike(net.apply(params, state, x)[0], in_runtime(model, runtime)(x))


def test_a_rule_that_writes_nonsense_is_told_so():
    with pytest.raises(fnn.OptionError, match="serial: expected rules that write a valid graph"):
        to_onnx(
            fnn.serial(fnn.Lambda(double, double_vjp)),
            *({}, {}, (2,)),
            rules={"lambda": lambda graph, part, x: graph.op("NoSuchOperator", x)},
        )


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"net": "net"}, fnn.OptionError, "to_onnx: net: expected a Layer, got 'net'"),
        ({"params": {}}, fnn.TreeError, "dense_0"),
        ({"in_shape": (5,)}, fnn.ShapeError, "dense_0"),
        ({"in_shape": (0,)}, fnn.ShapeError, "expected examples with numbers in them"),
        ({"in_shape": 4}, fnn.ShapeError, "expected in_shape to be a tuple"),
        ({"example": np.zeros((1, 5), "float32")}, fnn.ShapeError, "example: expected in_shape=.4,."),
        ({"state": {"other": {"w": np.ones(2)}}}, fnn.DTypeError, "got float32, float64"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(change, error, message):
    net = fnn.serial(fnn.Dense(3))
    params, state = drawn(net, (4,))
    given = {"net": net, "params": params, "state": state, "in_shape": (4,)} | change
    with pytest.raises(error, match=message):
        to_onnx(**given)


def test_complex_weights_are_refused():
    net = fnn.Dense(2)
    params, state = drawn(net, (3,), "complex64")
    with pytest.raises(fnn.DTypeError, match="expected float32 or float64 throughout, got complex64"):
        to_onnx(net, params, state, (3,))


def test_weights_that_no_file_could_hold_are_refused(monkeypatch):
    from fnn.interop.onnx import graph

    monkeypatch.setattr(graph, "MOST_BYTES", 100)
    net = fnn.serial(fnn.Dense(2), fnn.Dense(9))
    params, state = drawn(net, (3,))
    with pytest.raises(fnn.OptionError, match=r"^serial/dense_1 .*at most 100 bytes"):
        to_onnx(net, params, state, (3,))
