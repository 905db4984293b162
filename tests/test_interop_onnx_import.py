"""Models of ONNX as networks: what we wrote ourselves, ONNX's own cases, and models of others."""

from __future__ import annotations

import io
import warnings

import layer_cases
import numpy as np
import pytest
from interop_onnx_cases import assert_alike, drawn, flat, inputs

import fnn
from fnn import Key

onnx = pytest.importorskip("onnx")
bridge = pytest.importorskip("fnn.interop.onnx")
importing = pytest.importorskip("fnn.interop.onnx.importing")
to_onnx, from_onnx = bridge.to_onnx, bridge.from_onnx


def predicted(model, x, **options):
    """Return what the network of a model gives for inputs, from left to right."""
    net, params, state = from_onnx(model, **options)
    x = flat(x)
    return flat(net.apply(params, state, x[0] if len(x) == 1 else tuple(x))[0])


def can(case):
    layer, in_shape = case
    try:
        to_onnx(layer, *layer.init(Key.of(0), in_shape)[1:], in_shape)
    except fnn.OptionError:
        return False
    return True


CASES = [case for case in layer_cases.ALL_CASES if can(case)]
IDS = [f"{layer!r:.100}-{shape}" for layer, shape in CASES]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("layer", "in_shape"), CASES, ids=IDS)
def test_a_layer_comes_back_and_predicts_the_same(layer, in_shape, dtype):
    params, state = drawn(layer, in_shape, dtype)
    x = inputs(layer, in_shape, 4, dtype)
    model = to_onnx(layer, params, state, in_shape, example=x)
    assert_alike(layer.apply(params, state, x)[0], predicted(model, x), atol=1e-6)


@pytest.mark.parametrize(
    ("net", "in_shape"),
    [
        (fnn.serial(fnn.Dense(4), fnn.BatchNorm(), fnn.Silu(), fnn.Dense(2), fnn.Softmax()), (3,)),
        (fnn.serial(fnn.Conv(2, 3), fnn.MaxPool(2), fnn.Relu(), fnn.GlobalAvgPool()), (1, 8, 8)),
        (fnn.serial(fnn.residual(fnn.Dense(3), fnn.Relu()), fnn.residual(fnn.Dense(3))), (3,)),
        (fnn.branch(fnn.Dense(3), fnn.serial(fnn.Dense(2), fnn.Dense(3)), merge="max"), (3,)),
        (fnn.serial(fnn.Embedding(7, 4), fnn.LSTM(3), fnn.GRU(2, last=True), fnn.Dense(7)), (5,)),
        (fnn.serial(fnn.vmap(fnn.Conv(2, 2)), fnn.LayerNorm(axis=(-2, -1))), (3, 1, 4)),
        (fnn.serial(fnn.LayerNorm(), fnn.Gelu(), fnn.PRelu(), fnn.Upsample(2)), (2, 3, 4)),
    ],
    ids=lambda value: f"{value!r:.60}",
)  # fmt: skip
def test_networks_of_ordinary_layers_come_back_as_they_were(net, in_shape):
    params, state = drawn(net, in_shape)
    back, *weights = from_onnx(to_onnx(net, params, state, in_shape))
    assert back == net
    assert fnn.tree.digest(weights[0]) == fnn.tree.digest(params)
    assert fnn.tree.digest(weights[1]) == fnn.tree.digest(state)


def test_a_network_that_came_back_leaves_again():
    net = fnn.serial(fnn.TransformerBlock(2, causal=True), fnn.residual(fnn.Dense(4), fnn.Silu()))
    params, state = drawn(net, (3, 4))
    x = inputs(net, (3, 4))
    once = from_onnx(to_onnx(net, params, state, (3, 4)))
    assert_alike(net.apply(params, state, x)[0], flat(once[0].apply(*once[1:], x)[0]))


def test_a_network_that_came_back_trains_on():
    digits = fnn.digits("all").take(300)
    block = fnn.residual(fnn.Dense(16), fnn.Relu())
    net = fnn.serial(fnn.Dense(16), fnn.BatchNorm(), fnn.Relu(), block, fnn.Dense(10))
    shape = digits.x.shape[1:]
    _, params, state = net.init(Key.of(0), shape)
    back, params, state = from_onnx(to_onnx(net, params, state, shape))
    done = fnn.fit(
        back,
        fnn.softmax_cross_entropy,
        fnn.adam(0.01),
        digits,
        epochs=5,
        batch_size=50,
        key=Key.of(0),
        params=params,
    )
    losses = done.history["loss"]
    assert losses[-1] < losses[0] / 2


# --- ONNX's own cases -------------------------------------------------------------------------

ALL_INPUTS = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"),
    *("And", "Or", "Xor", "Sum", "Mean", "Max", "Min", "Where", "Concat", "MatMul"),
}
RECURRENT = ("RNN", "LSTM", "GRU")
# Cases whose expected numbers are written with four digits.
ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-4}
LEAST = {
    **{"AveragePool": 20, "BatchNormalization": 2, "Concat": 6, "Conv": 6, "ConvTranspose": 8},
    **{"CumSum": 0, "DepthToSpace": 2, "Dropout": 3, "Flatten": 3, "Gather": 2, "Gelu": 4, "Gemm": 8},
    **{"GlobalAveragePool": 2, "GroupNormalization": 2, "HardSigmoid": 3, "InstanceNormalization": 2},
    **{
        "LSTM": 3,
        "RNN": 4,
        "LogSoftmax": 6,
        "Softmax": 6,
        "MaxPool": 16,
        "ReduceMean": 6,
        "ReduceSum": 6,
    },
    **{"ReduceMax": 6, "ReduceMin": 6, "Reshape": 6, "Resize": 4, "Selu": 3, "Slice": 2, "Split": 5},
    **{"Transpose": 2, "Unsqueeze": 6, "Where": 2, "Mean": 3, "Max": 5, "Equal": 3, "Swish": 1},
}


def cases_by_operator():
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Some cases of other operators overflow on purpose.
        found = collect_testcases(None)
    by_operator = {}
    for case in found:
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in importing.OPERATORS and not nodes[0].domain:
            by_operator.setdefault(nodes[0].op_type, []).append(case)
    return by_operator


def with_constants(case, arrays):
    """Return the model with all inputs but the first as weights, and those that are left."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    operator = model.graph.node[0].op_type
    infos = list(model.graph.input)
    del model.graph.input[:]
    left = []
    for i, (info, array) in enumerate(zip(infos, arrays, strict=True)):
        if i == 0 or operator in ALL_INPUTS:
            model.graph.input.append(info)
            left.append(array)
        else:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
    return model, left


def test_the_cases_of_onnx_are_predicted_or_refused():
    passed = {}
    for operator, cases in cases_by_operator().items():
        axis = 1 if operator in RECURRENT else 0
        for case in cases:
            for arrays, wanted in case.data_sets:
                if not all(isinstance(each, np.ndarray) for each in (*arrays, *wanted)):
                    continue
                model, left = with_constants(case, arrays)
                x = tuple(each.swapaxes(0, axis) if each.ndim > 1 else each for each in left)
                try:
                    with np.errstate(all="ignore"):
                        got = predicted(model, x, batch_axis=axis)
                except fnn.FnnError:
                    continue
                for ours, theirs in zip(got, wanted, strict=True):
                    theirs = theirs.swapaxes(0, axis) if theirs.ndim == 3 else theirs
                    theirs = np.moveaxis(theirs, 2, 0) if axis and theirs.ndim == 4 else theirs
                    assert ours.shape == theirs.shape, case.name
                    atol = ROUNDED.get(case.name, 1e-5)
                    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=atol, err_msg=case.name)
                passed[operator] = passed.get(operator, 0) + 1
    too_few = {name: passed.get(name) for name, n in LEAST.items() if passed.get(name, 0) < n}
    assert not too_few
    assert len(passed) > 55


# --- models of others -------------------------------------------------------------------------


def exported(torch, module, x, **options):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporter warns of itself.
        torch.onnx.export(module.eval(), (x,), buffer, dynamo=False, opset_version=17, **options)
    return onnx.load_from_string(buffer.getvalue())


def torch_networks(torch):
    """Yield (name, module, shape of an example); an integer as shape stands for so many tokens."""
    nn = torch.nn

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.second, self.short = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(1, 4, 1)
            self.scores = nn.Linear(4, 3)

        def forward(self, x):
            y = self.second(torch.relu(self.norm(self.first(x)))) + self.short(x)
            y = nn.functional.adaptive_avg_pool2d(torch.relu(y) + y, 1)
            return self.scores(y.view(y.size(0), -1))

    class Recurrent(nn.Module):
        def __init__(self, kind, *, last=False, **options):
            super().__init__()
            self.cell, self.last = getattr(nn, kind)(3, 4, batch_first=True, **options), last
            self.scores = nn.Linear(8 if options else 4, 2)

        def forward(self, x):
            y, after = self.cell(x)
            after = after[0] if isinstance(after, tuple) else after
            return self.scores(after[-1] if self.last else y)

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.places = nn.Embedding(7, 8), nn.Parameter(torch.randn(1, 5, 8))
            self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
            self.scores = nn.Linear(8, 3)

        def forward(self, x):
            return self.scores(self.block(self.rows(x) + self.places).mean(1))

    smooth = [nn.GELU(), nn.SiLU(), nn.ELU(), nn.Mish(), nn.SELU(), nn.Softplus(), nn.CELU(), nn.Tanh()]
    bent = [nn.LeakyReLU(0.2), nn.ReLU6(), nn.Hardtanh(), nn.Hardsigmoid(), nn.Hardswish(), nn.PReLU()]
    yield "mlp", nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)), (4,)
    yield "smooth", nn.Sequential(nn.Linear(4, 8), *smooth, nn.LogSigmoid(), nn.Softmax(-1)), (4,)
    yield "bent", nn.Sequential(nn.Linear(4, 8), *bent, nn.Softsign(), nn.LogSoftmax(-1)), (4,)
    pools = [nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(6)]
    end = [nn.AvgPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(24, 3)]
    yield "convolutions", nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), *pools, *end), (1, 12, 12)
    yield "residual", Residual(), (1, 6, 6)
    norms = [nn.GroupNorm(2, 4), nn.InstanceNorm1d(4, affine=True), nn.LayerNorm(5)]
    yield "norms", nn.Sequential(nn.Conv1d(4, 4, 1), *norms), (4, 5)
    larger = [nn.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1), nn.PixelShuffle(2)]
    padded = [nn.ReflectionPad2d(1), nn.ZeroPad2d(1), nn.Upsample(scale_factor=2, mode="bilinear")]
    yield "larger", nn.Sequential(nn.Upsample(scale_factor=2), *larger, *padded), (2, 3, 3)
    for kind in ("RNN", "LSTM", "GRU"):
        yield kind, Recurrent(kind), (5, 3)
        yield f"{kind}, last", Recurrent(kind, last=True), (5, 3)
        yield f"{kind}, both ways", Recurrent(kind, bidirectional=True), (5, 3)
    yield "transformer", Transformer(), 5


@pytest.mark.parametrize("free", [True, False], ids=["any batch", "one batch"])
def test_models_that_pytorch_exports_predict_what_its_modules_do(free):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for name, module, shape in torch_networks(torch):

        def examples(n, shape=shape):
            return torch.randint(0, 7, (n, shape)) if type(shape) is int else torch.randn(n, *shape)

        more = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}} if free else {}
        model = exported(torch, module, examples(2), **more)
        x = examples(3)
        [got] = predicted(model, x.numpy())
        wanted = module(x).detach().numpy()
        assert got.shape == wanted.shape, name
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_perceptron_of_scikit_learn_comes_as_matrices_and_sums():
    neural = pytest.importorskip("sklearn.neural_network")
    x = np.random.default_rng(0).normal(size=(60, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It has not converged.
        theirs = neural.MLPClassifier((8, 5), max_iter=5, random_state=0).fit(x, np.arange(60) % 3)
    make, nodes, weights, name = onnx.helper, [], [], "x"
    for i, (w, b) in enumerate(zip(theirs.coefs_, theirs.intercepts_, strict=True)):
        weights += [(f"w{i}", w), (f"b{i}", b[None])]
        nodes += [make.make_node("MatMul", [name, f"w{i}"], [f"m{i}"])]
        nodes += [make.make_node("Add", [f"m{i}", f"b{i}"], [f"a{i}"])]
        name = f"a{i}"
        if i < 2:
            nodes += [make.make_node("Relu", [name], [f"r{i}"])]
            name = f"r{i}"
    nodes += [
        make.make_node("Softmax", [name], ["p"]),
        make.make_node("ArgMax", ["p"], ["label"], axis=1),
    ]
    info = onnx.helper.make_tensor_value_info
    graph = make.make_graph(
        nodes,
        "perceptron",
        [info("x", onnx.TensorProto.DOUBLE, [None, 4])],
        [
            info("label", onnx.TensorProto.INT64, [None, 1]),
            info("p", onnx.TensorProto.DOUBLE, [None, 3]),
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)])
    with pytest.raises(fnn.DataError, match="ArgMax_9: ArgMax: expected an operator"):
        from_onnx(model)
    net, params, state = from_onnx(model, outputs=["p"])
    assert repr(net) == "serial(Dense(8), Relu(), Dense(5), Relu(), Dense(3), Softmax())"
    np.testing.assert_allclose(net.apply(params, state, x)[0], theirs.predict_proba(x), rtol=1e-10)
