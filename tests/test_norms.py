"""Norms of examples and embeddings: closed forms, PyTorch's values, and what they refuse."""

from __future__ import annotations

import re

import attrs
import numpy as np
import pytest

import fnn
from fnn import DataError, DTypeError, Key, OptionError, ShapeError, tree
from fnn.layers import Embedding, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, tied_embedding

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 4, 2, 3))
TOKENS = RNG.integers(0, 7, (4, 5))


def drawn(layer, in_shape, seed=0):
    rng = np.random.default_rng(seed)
    params = layer.init(Key.of(seed), in_shape)[1]
    return tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), params)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


TWINS = [
    (LayerNorm(), lambda nn: nn.LayerNorm(3)),
    (LayerNorm(axis=(1, 2, 3), eps=0.1), lambda nn: nn.LayerNorm((4, 2, 3), eps=0.1)),
    (LayerNorm(axis=(-2, -1)), lambda nn: nn.LayerNorm((2, 3))),
    (RMSNorm(), lambda nn: nn.RMSNorm(3, eps=1e-5)),
    (GroupNorm(2), lambda nn: nn.GroupNorm(2, 4)),
    (GroupNorm(1), lambda nn: nn.GroupNorm(1, 4)),
    (InstanceNorm(), lambda nn: nn.InstanceNorm2d(4, affine=True)),
]


@pytest.mark.parametrize(("layer", "twin"), TWINS, ids=[repr(each) for each, _ in TWINS])
def test_values_gradients_and_twenty_steps_are_those_of_torch(layer, twin):
    torch = pytest.importorskip("torch")
    twin = twin(torch.nn).double()
    params = drawn(layer, IMAGES.shape[1:])
    with torch.no_grad():
        twin.weight.copy_(torch.tensor(params["scale"]))
        if "shift" in params:
            twin.bias.copy_(torch.tensor(params["shift"]))
    y, _, back = layer.vjp(params, {}, IMAGES)
    tx = torch.tensor(IMAGES, requires_grad=True)
    ty = twin(tx)
    close(y, ty.detach().numpy())
    dy = RNG.normal(size=y.shape)
    (ty * torch.tensor(dy)).sum().backward()
    dparams, dx = back(dy)
    close(dx, tx.grad.numpy())
    close(dparams["scale"], twin.weight.grad.numpy())
    if "shift" in params:
        close(dparams["shift"], twin.bias.grad.numpy())
    step = fnn.train_step(layer, fnn.squared_error, fnn.sgd(0.5))
    now = fnn.init_train_state(layer, fnn.sgd(0.5), IMAGES.shape[1:], Key.of(0))
    now = attrs.evolve(now, params=tree.Tree(params))
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.5)
    for _ in range(20):
        now, _ = step(now, (IMAGES, dy))
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(twin(torch.tensor(IMAGES)), torch.tensor(dy)).backward()
        optimizer.step()
    close(now.params["scale"], twin.weight.detach().numpy())


@pytest.mark.parametrize(
    "layer", [LayerNorm(), GroupNorm(2), InstanceNorm(), LayerNorm(axis=1)], ids=repr
)
def test_a_large_mean_costs_no_digits_that_the_data_have(layer):
    x = (1e4 + IMAGES).astype("float32")
    y = layer.apply(layer.init(Key.of(0), x.shape[1:])[1], {}, x)[0]
    params = tree.map(lambda leaf: leaf.astype("float64"), layer.init(Key.of(0), x.shape[1:])[1])
    want = layer.apply(params, {}, x.astype("float64"))[0]
    np.testing.assert_allclose(y, want, atol=2e-5)


def test_one_feature_gives_zero_and_no_division_by_it():
    y, _, back = LayerNorm(scale=False).vjp({"shift": np.zeros(1)}, {}, np.full((2, 1), 7.0))
    assert not y.any()
    assert not back(np.ones((2, 1)))[1].any()


# --- tokens -------------------------------------------------------------------------------------


def test_an_embedding_is_a_product_with_one_hot_rows_and_so_is_its_gradient():
    layer = Embedding(7, 3)
    params = drawn(layer, (5,))
    y, _, back = layer.vjp(params, {}, TOKENS)
    one_hot = np.eye(7)[TOKENS]
    close(y, one_hot @ params["w"])
    dy = RNG.normal(size=y.shape)
    dparams, dx = back(dy)
    assert dx is None
    close(dparams["w"], np.einsum("bti,btj->ij", one_hot, dy))


def test_rows_of_an_embedding_have_about_length_one():
    w = Embedding(1000, 64).init(Key.of(0), (5,))[1]["w"]
    assert abs(np.mean(np.sum(w.astype("float64") ** 2, axis=1)) - 1) < 5 * np.sqrt(2 / 64 / 1000)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_tokens_may_be_integers_of_any_size(dtype):
    layer = Embedding(7, 3)
    params = drawn(layer, (5,))
    want = layer.apply(params, {}, TOKENS)[0]
    np.testing.assert_array_equal(layer.apply(params, {}, TOKENS.astype(dtype))[0], want)


def test_the_read_out_has_the_weights_of_the_embedding_and_torch_agrees():
    torch = pytest.importorskip("torch")
    net = tied_embedding(7, 3, fnn.Dense(3), fnn.Tanh())
    params = drawn(net, (5,))
    y, _, back = net.vjp(params, {}, TOKENS)
    leaves = {
        "w": torch.tensor(params["w"], requires_grad=True),
        "dense": torch.tensor(params["dense_0"]["w"], requires_grad=True),
    }
    h = torch.tanh(
        leaves["w"][torch.tensor(TOKENS)] @ leaves["dense"] + torch.tensor(params["dense_0"]["b"])
    )
    ty = h @ leaves["w"].T
    close(y, ty.detach().numpy())
    dy = RNG.normal(size=y.shape)
    (ty * torch.tensor(dy)).sum().backward()
    dparams, _ = back(dy)
    close(dparams["w"], leaves["w"].grad.numpy())
    close(dparams["dense_0"]["w"], leaves["dense"].grad.numpy())


@pytest.mark.parametrize("make", [lambda: Embedding(7, 3), lambda: tied_embedding(7, 3)])
@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ([[0, 1], [7, 2]], DataError, "expected tokens of 0 to 6, got 7 at [1, 0]"),
        ([[0, -1], [7, 2]], DataError, "expected tokens of 0 to 6, got -1 at [0, 1]"),
        ([[0.0, 1.0]], DTypeError, "expected tokens as integers, got float64"),
        ([[True, False]], DTypeError, "expected tokens as integers, got bool"),
    ],
)
def test_what_is_no_token_is_refused(make, tokens, error, message):
    layer = make()
    params = drawn(layer, (2,))
    with pytest.raises(error, match=re.escape(message)):
        layer.apply(params, {}, np.array(tokens))


@pytest.mark.parametrize(
    ("layer", "in_shape", "message"),
    [
        (GroupNorm(3), (4, 2), "expected channels in multiples of groups=3, got (4, 2)"),
        (InstanceNorm(), (4,), "expected examples (channels, *space), got in_shape=(4,)"),
        (InstanceNorm(), (4, 0), "expected 1 or more values per channel, got in_shape=(4, 0)"),
        (LayerNorm(axis=2), (4,), "expected axes (2,) of the features, got arrays of 2 axes"),
        (LayerNorm(axis=(1, -1)), (4,), "expected axes (1, -1) of the features, got arrays of 2 axes"),
        (LayerNorm(), (0,), "expected 1 or more features, got in_shape=(0,)"),
        (tied_embedding(7, 3, fnn.Dense(2)), (4,), "expected layers that return 3 features, got"),
    ],
)
def test_shapes_that_are_none_are_refused(layer, in_shape, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        layer.init(Key.of(0), in_shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LayerNorm(axis=0), "axis: expected axes of the features, got 0, the batch's"),
        (lambda: LayerNorm(axis=(1, 1)), r"axis: expected different axes, got \(1, 1\)"),
        (lambda: LayerNorm(eps=-1), "eps: expected a number"),
        (lambda: Embedding(0, 3), "n: expected 1 or more, got 0"),
        (lambda: tied_embedding(7, 3, fnn.named("w", fnn.Dense(3))), "a child is called 'w'"),
    ],
)
def test_options_that_are_none_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()
