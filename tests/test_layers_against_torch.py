"""Values and gradients against PyTorch, where it is installed."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layer_cases import draw

from fnn import Key, residual, serial, tree
from fnn.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LeakyRelu,
    LogSoftmax,
    MaxPool,
    Relu,
    Reshape,
    Sigmoid,
    Softmax,
    Tanh,
)

torch = pytest.importorskip("torch")
nn = torch.nn

TOLERANCE = {"float32": 1e-6, "float64": 1e-10}
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
both_modes = pytest.mark.parametrize("train", [False, True], ids=["evaluation", "training"])


def close(got, want, dtype, scale=1.0):
    """Compare to the tolerance of the dtype, relative to `scale` or the array's largest number."""
    want = want.detach().numpy()
    assert got.dtype == want.dtype == np.dtype(dtype)
    assert got.shape == want.shape
    scale = max(scale, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * scale)


def assert_agrees(layer, theirs, x, params, names, *, train=False):
    """Compare values and derivatives; `names` are (path in ours, parameter of theirs, transposed)."""
    dtype = str(x.dtype)
    _, _, state = layer.init(Key.of(0), x.shape[1:])
    state = tree.cast(state, dtype)
    theirs = theirs.to(getattr(torch, dtype)).train(train) if isinstance(theirs, nn.Module) else theirs
    with torch.no_grad():
        for path, parameter, transposed in names:
            leaf = tree.get(params, path)
            parameter.copy_(torch.tensor(leaf.T if transposed else leaf))
    their_x = torch.tensor(x, requires_grad=True)
    want = theirs(their_x)
    y, new_state, pullback = layer.vjp(params, state, x, train=train, key=Key.of(1))
    close(y, want, dtype)
    dy = draw(y.shape, np.random.default_rng(5), dtype) / 4
    want.backward(torch.tensor(dy))
    dparams, dx = pullback(dy)
    close(dx, their_x.grad, dtype)
    # A bias before BatchNorm has no gradient but rounding, of the size of the others.
    scale = max([1.0, *(float(np.abs(leaf).max()) for leaf in tree.leaves(dparams))])
    for path, parameter, transposed in names:
        grad = parameter.grad.T if transposed else parameter.grad
        close(tree.get(dparams, path), grad, dtype, scale)
    return new_state


def numbers(shapes, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-0.5, 0.5, size=shape).astype(dtype) for name, shape in shapes.items()}


def examples(shape, dtype):
    return draw(shape, np.random.default_rng(3), dtype) / 2


@both_dtypes
@pytest.mark.parametrize("lead", [(7,), (7, 2), (5, 2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_dense_is_linear(dtype, lead, bias):
    params = numbers({"w": (4, 3)} | ({"b": (3,)} if bias else {}), dtype)
    theirs = nn.Linear(4, 3, bias=bias)
    names = [("w", theirs.weight, True)] + ([("b", theirs.bias, False)] if bias else [])
    assert_agrees(Dense(3, bias=bias), theirs, examples((*lead, 4), dtype), params, names)


@both_dtypes
@pytest.mark.parametrize(
    ("theirs", "space", "options"),
    [
        (nn.Conv1d, (9,), {}),
        (nn.Conv1d, (9,), {"stride": 2, "padding": 1, "dilation": 2}),
        (nn.Conv2d, (6, 7), {}),
        (nn.Conv2d, (6, 7), {"stride": 2, "padding": 1}),
        (nn.Conv2d, (7, 5), {"padding": "same", "dilation": 2}),
        (nn.Conv2d, (6, 7), {"stride": (1, 3), "groups": 2}),
        (nn.Conv2d, (6, 7), {"groups": 4, "padding": 2, "bias": False}),
        (nn.Conv3d, (4, 5, 3), {"stride": 2, "padding": 1}),
    ],
)
def test_conv_is_conv(dtype, theirs, space, options):
    ours, theirs = Conv(8, 3, **options), theirs(4, 8, 3, **options)
    shapes = {"w": tuple(theirs.weight.shape)} | ({"b": (8,)} if options.get("bias", True) else {})
    names = [("w", theirs.weight, False)] + ([("b", theirs.bias, False)] if "b" in shapes else [])
    assert_agrees(ours, theirs, examples((3, 4, *space), dtype), numbers(shapes, dtype), names)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data(), st.integers(1, 3))
def test_convolutions_of_any_geometry_are_theirs(data, axes):
    pick = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    window, stride, dilation, padding = pick(1, 3), pick(1, 3), pick(1, 2), pick(0, 2)
    smallest = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    space = tuple(data.draw(st.integers(n, n + 4)) for n in smallest)
    groups = data.draw(st.sampled_from([1, 2]))
    theirs = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](
        2, 4, window, stride=stride, dilation=dilation, padding=padding, groups=groups
    )
    pairs = tuple((p, p) for p in padding)
    ours = Conv(4, window, stride=stride, dilation=dilation, padding=pairs, groups=groups)
    params = numbers({"w": tuple(theirs.weight.shape), "b": (4,)}, "float64")
    names = [("w", theirs.weight, False), ("b", theirs.bias, False)]
    assert_agrees(ours, theirs, examples((2, 2, *space), "float64"), params, names)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 3), st.booleans())
def test_pools_of_any_geometry_are_theirs(data, axes, count_padding):
    pick = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    window, stride, dilation = pick(1, 4), pick(1, 5), pick(1, 3)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in window)
    ceil = data.draw(st.booleans())
    extents = tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))
    space = tuple(data.draw(st.integers(e, e + 4)) for e in extents)
    pairs = tuple((p, p) for p in padding)
    laid = {"stride": stride, "padding": pairs, "ceil": ceil}
    x = examples((2, 3, *space), "float64")
    theirs = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1](
        window, stride, padding, dilation, ceil_mode=ceil
    )
    # Of a window in padding alone theirs is -inf; images are as large as windows here, so none is.
    assert_agrees(MaxPool(window, dilation=dilation, **laid), theirs, x, {}, [])
    theirs = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[axes - 1](
        window, stride, padding, ceil_mode=ceil, count_include_pad=count_padding
    )
    assert_agrees(AvgPool(window, count_padding=count_padding, **laid), theirs, x, {}, [])


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_ties_in_max_pooling_go_where_theirs_go(stride):
    x = np.random.default_rng(0).integers(-2, 1, size=(4, 3, 7, 8)).astype("float64")
    assert_agrees(MaxPool(3, stride=stride), nn.MaxPool2d(3, stride), x, {}, [])


@both_dtypes
@pytest.mark.parametrize(
    ("layer", "theirs", "shape"),
    [
        (MaxPool(2), nn.MaxPool2d(2), (3, 2, 6, 5)),
        (MaxPool(3, stride=2, padding=1), nn.MaxPool2d(3, 2, 1), (3, 2, 7, 6)),
        (MaxPool(2), nn.MaxPool1d(2), (3, 2, 7)),
        (AvgPool(2), nn.AvgPool2d(2), (3, 2, 6, 5)),
        (AvgPool(3, stride=2, padding=1), nn.AvgPool2d(3, 2, 1, count_include_pad=False), (3, 2, 7, 6)),
        (AvgPool(3, stride=2, padding=1, count_padding=True), nn.AvgPool2d(3, 2, 1), (3, 2, 7, 6)),
        (GlobalAvgPool(), lambda x: x.mean(dim=(2, 3)), (3, 2, 5, 4)),
        (Flatten(), nn.Flatten(), (3, 2, 5, 4)),
        (Flatten(start=2), nn.Flatten(start_dim=2), (3, 2, 5, 4)),
        (MaxPool(2, dilation=3), nn.MaxPool2d(2, dilation=3), (3, 2, 7, 6)),
        (MaxPool(3, stride=2, ceil=True), nn.MaxPool2d(3, 2, ceil_mode=True), (3, 2, 6, 8)),
        (Reshape((4, -1)), nn.Unflatten(1, (4, 3)), (3, 12)),
        (Relu(), nn.ReLU(), (3, 8)),
        (LeakyRelu(), nn.LeakyReLU(), (3, 8)),
        (LeakyRelu(slope=0.3), nn.LeakyReLU(0.3), (3, 8)),
        (Sigmoid(), nn.Sigmoid(), (3, 8)),
        (Tanh(), nn.Tanh(), (3, 8)),
        (Softmax(), nn.Softmax(dim=-1), (3, 8)),
        (Softmax(), nn.Softmax(dim=-1), (3, 2, 4)),
        (Softmax(axis=1), nn.Softmax(dim=1), (3, 2, 4)),
        (LogSoftmax(), nn.LogSoftmax(dim=-1), (3, 8)),
        (LogSoftmax(axis=1), nn.LogSoftmax(dim=1), (3, 2, 4, 2)),
        (Dropout(0.5), nn.Dropout(0.5).eval(), (3, 8)),
    ],
    ids=lambda value: "" if inspect.isfunction(value) else repr(value),
)
def test_layers_without_parameters_are_theirs(dtype, layer, theirs, shape):
    assert_agrees(layer, theirs, examples(shape, dtype), {}, [])


@both_dtypes
def test_the_derivative_of_relu_at_zero_is_theirs(dtype):
    x = np.array([[0.0, -0.0, 1.0, -1.0]], dtype)
    assert_agrees(Relu(), nn.ReLU(), x, {}, [])
    assert_agrees(LeakyRelu(), nn.LeakyReLU(), x, {}, [])


@both_dtypes
@both_modes
@pytest.mark.parametrize("momentum", [0.9, 0.5, 0.0, 1.0])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [(nn.BatchNorm1d, (6, 3)), (nn.BatchNorm1d, (4, 3, 5)), (nn.BatchNorm2d, (2, 3, 4, 2))],
)
def test_batch_norm_is_theirs_and_its_momentum_is_what_they_call_the_rest(
    dtype, train, momentum, kind, shape
):
    theirs = kind(3, momentum=1 - momentum)
    params = numbers({"scale": (3,), "shift": (3,)}, dtype)
    names = [("scale", theirs.weight, False), ("shift", theirs.bias, False)]
    layer = BatchNorm(momentum=momentum)
    state = assert_agrees(layer, theirs, examples(shape, dtype), params, names, train=train)
    close(state["mean"], theirs.running_mean, dtype)
    close(state["var"], theirs.running_var, dtype)


@both_dtypes
def test_batch_norm_over_the_last_axis_is_theirs_transposed(dtype):
    x = examples((4, 5, 3), dtype)
    theirs = nn.BatchNorm1d(3)
    params = numbers({"scale": (3,), "shift": (3,)}, dtype)
    names = [("scale", theirs.weight, False), ("shift", theirs.bias, False)]
    theirs = nn.Sequential(Swap(), theirs, Swap())
    state = assert_agrees(BatchNorm(axis=-1), theirs, x, params, names, train=True)
    close(state["var"], theirs[1].running_var, dtype)


class Swap(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def test_running_moments_follow_theirs_over_many_batches_far_from_zero():
    rng = np.random.default_rng(0)
    theirs, layer = nn.BatchNorm1d(4, dtype=torch.float64).train(), BatchNorm()
    _, params, state = (
        tree.cast(each, "float32") if i else each for i, each in enumerate(layer.init(Key.of(0), (4,)))
    )
    for _ in range(50):
        x = rng.normal(1e4, 2.0, size=(64, 4)).astype("float32")
        y, state = layer.apply(params, state, x, train=True)
        want = theirs(torch.tensor(x.astype("float64")))
        np.testing.assert_allclose(y, want.detach(), rtol=0, atol=1e-3)
    np.testing.assert_allclose(state["mean"], theirs.running_mean, rtol=1e-6)
    np.testing.assert_allclose(state["var"], theirs.running_var, rtol=1e-4)


@both_dtypes
@both_modes
def test_a_convolutional_network_is_theirs_from_end_to_end(dtype, train):
    ours = serial(
        Conv(4, 3, padding="same"), BatchNorm(), Relu(), MaxPool(2), Conv(6, 3), Tanh(),
        residual(Conv(6, 3, padding=1), BatchNorm()), AvgPool(2), Flatten(), Dense(5), LogSoftmax(),
    )  # fmt: skip
    theirs = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding="same"), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3), nn.Tanh(), Residual(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 5),
        nn.LogSoftmax(dim=-1),
    )  # fmt: skip
    inner = theirs[6]
    x = examples((4, 2, 12, 12), dtype)
    _, params, _ = ours.init(Key.of(2), x.shape[1:])
    names = [
        ("conv_0/w", theirs[0].weight, False),
        ("conv_0/b", theirs[0].bias, False),
        ("batch_norm_0/scale", theirs[1].weight, False),
        ("conv_1/w", theirs[4].weight, False),
        ("residual_0/conv_0/w", inner.conv.weight, False),
        ("residual_0/conv_0/b", inner.conv.bias, False),
        ("residual_0/batch_norm_0/scale", inner.norm.weight, False),
        ("dense_0/w", theirs[9].weight, True),
        ("dense_0/b", theirs[9].bias, False),
    ]
    for path, module in (("conv_1/b", theirs[4]), ("batch_norm_0/shift", theirs[1])):
        names.append((path, module.bias, False))
    names.append(("residual_0/batch_norm_0/shift", inner.norm.bias, False))
    assert {path for path, *_ in names} == {path for path, _ in tree.items(params)}
    state = assert_agrees(ours, theirs, x, tree.cast(params, dtype), names, train=train)
    close(tree.get(state, "residual_0/batch_norm_0/var"), inner.norm.running_var, dtype)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)

    def forward(self, x):
        return x + self.norm(self.conv(x))


@pytest.mark.parametrize("groups", [1, 2])
def test_glorot_counts_the_fans_of_one_group_as_they_do(groups):
    w = Conv(32, 3, groups=groups).init(Key.of(0), (16, 8, 8))[1]["w"]
    theirs = torch.empty(32 // groups, 16 // groups, 3, 3)
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(theirs)
    limit = (6 / (fan_in + fan_out)) ** 0.5
    assert 0.99 * limit < np.abs(w).max() <= limit
