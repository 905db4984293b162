"""Gradients of losses: by complex step, by differences, and beside PyTorch's."""

import numpy as np
import pytest
from loss_cases import CASES, NAMES, along, example

from fnn.losses import (
    LOSSES,
    absolute_error,
    half_squared_error,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_error,
    summed,
)


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("is_summed", [False, True])
def test_every_gradient_entry_is_the_complex_step_derivative(name, shape, weighted, is_summed):
    pred, target, weight = example(name, shape)
    weight = weight if weighted else None
    loss = LOSSES[name]
    if is_summed and loss is not half_squared_error:
        loss = summed(loss)
    _, dpred = loss(pred, target, weight=weight)
    steps = np.eye(pred.size).reshape(-1, *shape)
    numeric = np.array([along(loss, pred, target, weight, step) for step in steps]).reshape(shape)
    np.testing.assert_allclose(dpred, numeric, rtol=1e-12, atol=1e-13 * np.abs(dpred).max())
    direction = np.random.default_rng(3).normal(size=shape)
    exact = np.sum(dpred * direction)
    size = np.linalg.norm(dpred) * np.linalg.norm(direction)
    assert abs(along(loss, pred, target, weight, direction) - exact) <= 1e-13 * size


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_every_gradient_entry_is_the_central_difference(name, shape):
    pred, target, weight = example(name, shape)
    _, dpred = LOSSES[name](pred, target, weight=weight)
    # The edges of the probabilities' range are checked, so steps stay inside it.
    h = 1e-6 if name != "cross_entropy" else 1e-6 * float(pred.min())
    for i in np.ndindex(shape):
        step = np.zeros(shape)
        step[i] = h
        up, down = (LOSSES[name](p, target, weight=weight)[0] for p in (pred + step, pred - step))
        assert (up - down) / (2 * h) == pytest.approx(dpred[i], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_itself_continues_analytically(name):
    pred, target, weight = example(name, (3, 4))
    direction, h = np.random.default_rng(1).normal(size=(3, 4)), 1e-6
    h *= float(pred.min()) if name == "cross_entropy" else 1
    grad = lambda p: LOSSES[name](p, target, weight=weight)[1]  # noqa: E731
    by_step = grad(pred + 1e-30j * direction).imag / 1e-30
    by_difference = (grad(pred + h * direction) - grad(pred - h * direction)) / (2 * h)
    np.testing.assert_allclose(by_step, by_difference, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_complex64_predictions_give_complex64(name):
    pred, target, weight = example(name, (3, 4), "complex64")
    value, dpred = LOSSES[name](pred, target, weight=weight)
    assert type(value) is np.complex64
    assert dpred.dtype == np.complex64


@pytest.mark.parametrize("x", [-800.0, -1.0, 0.0, 1.0, 800.0])
def test_the_sigmoid_loss_is_analytic_at_and_far_from_zero(x):
    pred, target = np.array([x]), np.array([0.3])
    value, dpred = sigmoid_cross_entropy(pred, target)
    sigmoid = 0.5 * (1 + np.tanh(x / 2))
    assert dpred[0] == pytest.approx(sigmoid - 0.3, abs=1e-15)
    assert value == pytest.approx(np.logaddexp(0, x) - 0.3 * x, rel=1e-15)
    assert along(sigmoid_cross_entropy, pred, target, None, np.ones(1)) == pytest.approx(dpred[0])


def test_the_absolute_error_has_no_slope_where_it_is_zero():
    value, dpred = absolute_error(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 1.0]))
    assert value == 1
    np.testing.assert_allclose(dpred, [0, -1 / 3, 1 / 3])


# --- PyTorch ------------------------------------------------------------------------------------


OF_NUMBERS = {
    "absolute_error": "l1_loss",
    "half_squared_error": "mse_loss",
    "sigmoid_cross_entropy": "binary_cross_entropy_with_logits",
    "squared_error": "mse_loss",
}
THERE = {*OF_NUMBERS, "cross_entropy", "nll", "softmax_cross_entropy", "softmax_cross_entropy_dense"}
"""Losses that PyTorch has too."""


def torch_mean(torch, name, x, target, weight):
    """Return PyTorch's loss per example, averaged as ours are."""
    f = torch.nn.functional
    last_to_1 = (0, x.ndim - 1, *range(1, x.ndim - 1))
    options = {"reduction": "none"}
    t = torch.tensor(target)
    if name in ("softmax_cross_entropy", "softmax_cross_entropy_dense"):
        t = t if name == "softmax_cross_entropy" else t.to(x.dtype).permute(last_to_1).contiguous()
        values = f.cross_entropy(x.permute(last_to_1).contiguous(), t, **options)
    elif name in ("nll", "cross_entropy"):
        log_p = x.log() if name == "cross_entropy" else x
        values = f.nll_loss(log_p.permute(last_to_1).contiguous(), t, **options)
    else:
        values = getattr(f, OF_NUMBERS[name])(x, t.to(x.dtype), **options)
    by_example = values.reshape(len(x), -1)
    w = torch.ones(len(x), dtype=x.dtype) if weight is None else torch.tensor(weight).to(x.dtype)
    if name == "half_squared_error":
        return 0.5 * (w * by_example.sum(1)).sum()
    return (w * by_example.mean(1)).sum() / w.sum()


@pytest.mark.parametrize(("name", "shape"), [case for case in CASES if case[0] in THERE])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
def test_values_and_gradients_agree_with_pytorch(name, shape, weighted, dtype, tolerance):
    torch = pytest.importorskip("torch")
    pred, target, weight = example(name, shape, dtype)
    weight = weight if weighted else None
    x = torch.tensor(pred, requires_grad=True)
    expected = torch_mean(torch, name, x, target, weight)
    expected.backward()
    value, dpred = LOSSES[name](pred, target, weight=weight)
    assert value == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    np.testing.assert_allclose(dpred, x.grad.numpy(), rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(7, 5), (4, 3, 5)])
def test_plain_means_are_those_of_pytorchs_reductions(shape):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    logits, labels, _ = example("softmax_cross_entropy", shape)
    t, order = torch.tensor(logits), (0, len(shape) - 1, *range(1, len(shape) - 1))
    value, _ = softmax_cross_entropy(logits, labels)
    assert value == pytest.approx(f.cross_entropy(t.permute(order), torch.tensor(labels)).item())
    for ours, theirs in ((squared_error, f.mse_loss), (absolute_error, f.l1_loss)):
        assert ours(logits, logits**2)[0] == pytest.approx(theirs(t, t**2).item(), rel=1e-13)
