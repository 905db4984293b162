"""The cases that come with ONNX for its operators, for those that there is a layer or a loss for.

Every case either passes or is listed here with the reason why no layer can express it.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import fnn

onnx = pytest.importorskip("onnx")

KEY = fnn.Key.of(0)
CANNOT = {
    "test_maxpool_2d_uint8": "pools take floats",
    "test_gemm_default_matrix_bias": "a bias is a vector",
    "test_training_dropout": "its draws are another generator's",
    "test_training_dropout_default": "its draws are another generator's",
    "test_training_dropout_default_mask": "its draws are another generator's",
    "test_training_dropout_mask": "its draws are another generator's",
    "test_reshape_allowzero_reordered": "an example of no numbers has no other shape",
    "test_clip_default_int8_inbounds_expanded": "layers that do not say so take no integers",
    "test_identity_opt": "a sequence, not an array",
    "test_identity_sequence": "a sequence, not an array",
}
# Cases whose expected numbers are written with four digits.
ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-4}


@pytest.fixture(scope="module")
def cases():
    """Return all cases of a single node, by operator."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Some cases of other operators overflow on purpose.
        found = collect_testcases(None)
    single = [case for case in found if len(case.model.graph.node) == 1]
    return {op: list(group) for op, group in itertools.groupby(sorted(single, key=_op), _op)}


def _op(case):
    return case.model.graph.node[0].op_type


def attributes(case):
    return {a.name: onnx.helper.get_attribute_value(a) for a in case.model.graph.node[0].attribute}


def pads_of(given, space, window, stride, dilation):
    """Return ONNX's padding, automatic or not, as one pair per axis."""
    auto = given.get("auto_pad", b"NOTSET").decode()
    n = len(space)
    if auto == "NOTSET":
        flat = given.get("pads", [0] * 2 * n)
        return tuple(zip(flat[:n], flat[n:], strict=True))
    if auto == "VALID":
        return ((0, 0),) * n
    totals = [
        max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        for size, k, s, d in zip(space, window, stride, dilation, strict=True)
    ]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return tuple(
        zip(small, large, strict=True) if auto == "SAME_UPPER" else zip(large, small, strict=True)
    )


def geometry(given, x, window):
    n = x.ndim - 2
    stride, dilation = tuple(given.get("strides", [1] * n)), tuple(given.get("dilations", [1] * n))
    pads = pads_of(given, x.shape[2:], window, stride, dilation)
    return {"stride": stride, "dilation": dilation, "padding": pads}


def pool(make):
    def run(given, x):
        window = tuple(given["kernel_shape"])
        options = geometry(given, x, window) | {"ceil": bool(given.get("ceil_mode", 0))}
        if make is fnn.AvgPool:
            options["count_padding"] = bool(given.get("count_include_pad", 0))
        return make(window, **options).apply({}, {}, x)[0]

    return run


def conv(given, x, w, *b):
    laid = geometry(given, x, w.shape[2:])
    layer = fnn.Conv(w.shape[0], w.shape[2:], groups=given.get("group", 1), bias=bool(b), **laid)
    return layer.apply(dict(zip("wb", (w, *b), strict=False)), {}, x)[0]


def batch_norm(given, x, scale, shift, mean, var):
    momentum = given.get("momentum", 0.9)
    layer = fnn.BatchNorm(eps=given.get("epsilon", 1e-5), momentum=momentum)
    params, state = {"scale": scale, "shift": shift}, {"mean": mean, "var": var}
    train = bool(given.get("training_mode", 0))
    y, moved = layer.apply(params, state, x, train=train)
    if not train:
        return y
    # Its running variance takes the biased variance of the batch, ours the unbiased one.
    n = x.size // x.shape[1]
    biased = momentum * var + (moved["var"] - momentum * var) * np.float32((n - 1) / n)
    return y, moved["mean"], biased


def over_axis(make):
    def run(given, x):
        axis = given.get("axis", -1)
        # As one example of a batch, so that its first axis is an axis like others.
        return make(axis=axis + 1 if axis >= 0 else axis).apply({}, {}, x[None])[0][0]

    return run


def flatten(given, x):
    axis = given.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    if axis == 0:
        return fnn.Flatten().apply({}, {}, x[None])[0]
    front = x.reshape(-1, *x.shape[axis:])  # What comes before the axis are examples.
    return fnn.Flatten().apply({}, {}, front)[0]


def reshape(given, x, shape):
    wanted = [x.shape[i] if n == 0 else int(n) for i, n in enumerate(shape)]
    return fnn.Reshape(tuple(wanted)).apply({}, {}, x[None])[0][0]


def gemm(given, a, b, c=None):
    x = a.T if given.get("transA") else a
    w = (b.T if given.get("transB") else b) * np.float32(given.get("alpha", 1.0))
    layer = fnn.Dense(w.shape[1], bias=c is not None)
    if c is None:
        return layer.apply({"w": w}, {}, x)[0]
    bias = np.broadcast_to(c * np.float32(given.get("beta", 1.0)), (1, w.shape[1]))[0]
    return layer.apply({"w": w, "b": bias}, {}, x)[0]


def dropout(given, x, rate=None, training=None):
    rate = 0.5 if rate is None else float(rate)
    train = training is not None and bool(training)
    return fnn.Dropout(rate).apply({}, {}, x, train=train, key=KEY)[0]


def plain(make):
    return lambda given, x: make().apply({}, {}, x)[0]


def class_loss(loss, given, scores, labels, weight=None):
    """Compute a loss of classes on axis 1 with its weights per class and the label that is ignored."""
    ignored = given.get("ignore_index")
    absent = np.zeros(labels.shape, bool) if ignored is None else labels == ignored
    safe = np.where(absent, 0, labels)
    weights = np.ones(labels.shape, scores.dtype) if weight is None else weight[safe]
    weights = np.where(absent, 0, weights).astype(scores.dtype)
    reduction = given.get("reduction", b"mean").decode()
    # Every place is an example.
    rows = np.moveaxis(scores, 1, -1).reshape(-1, scores.shape[1])
    value, _ = loss(rows, safe.ravel(), weight=weights.ravel(), reduction=reduction)
    return value.reshape(labels.shape) if reduction == "none" else value


def nll(given, scores, labels, weight=None):
    # Its cases are no logarithms of probabilities: brought below 0, and the loss back again.
    top = scores.max()
    lower = class_loss(fnn.nll, given, scores - top, labels, weight)
    lifted = class_loss(fnn.nll, given, np.full_like(scores, -1), labels, weight)
    return lower - top * lifted


def softmax_cross_entropy(given, *arrays):
    value = class_loss(fnn.softmax_cross_entropy, given, *arrays)
    return value, fnn.LogSoftmax(axis=1).apply({}, {}, arrays[0])[0]


OPERATORS = {
    "AveragePool": (pool(fnn.AvgPool), 20),
    "MaxPool": (pool(fnn.MaxPool), 18),
    "GlobalAveragePool": (plain(fnn.GlobalAvgPool), 2),
    "Conv": (conv, 6),
    "BatchNormalization": (batch_norm, 4),
    "Softmax": (over_axis(fnn.Softmax), 7),
    "LogSoftmax": (over_axis(fnn.LogSoftmax), 7),
    "Flatten": (flatten, 9),
    "Reshape": (reshape, 9),
    "Relu": (plain(fnn.Relu), 1),
    "LeakyRelu": (
        lambda given, x: fnn.LeakyRelu(slope=given.get("alpha", 0.01)).apply({}, {}, x)[0],
        3,
    ),
    "Sigmoid": (plain(fnn.Sigmoid), 2),
    "Tanh": (plain(fnn.Tanh), 2),
    "Identity": (plain(fnn.Identity), 2),
    "Gemm": (gemm, 10),
    "Dropout": (dropout, 8),
    "NegativeLogLikelihoodLoss": (nll, 18),
    "SoftmaxCrossEntropyLoss": (softmax_cross_entropy, 34),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_cases_of_onnx_pass_for_every_operator_that_there_is_a_layer_for(cases, operator):
    run, least = OPERATORS[operator]
    passed = 0
    for case in cases[operator]:
        if case.name in CANNOT:
            continue
        for inputs, wanted in case.data_sets:
            got = run(attributes(case), *inputs)
            got = got if isinstance(got, tuple) else (got,)
            # Masks of dropout and places of maxima are no outputs of ours.
            for ours, theirs in zip(got, wanted, strict=False):
                theirs = theirs.reshape(ours.shape) if operator == "GlobalAveragePool" else theirs
                assert ours.shape == theirs.shape, case.name
                assert ours.dtype == theirs.dtype, case.name
                atol = ROUNDED.get(case.name, 1e-6)
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=atol, err_msg=case.name)
        passed += 1
    assert passed >= least


def test_what_cannot_be_expressed_is_a_case_that_there_is(cases):
    known = {case.name for operator in OPERATORS for case in cases[operator]}
    assert CANNOT.keys() <= known
