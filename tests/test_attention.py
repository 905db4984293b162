"""Attention: laws of its own, PyTorch's values, and what it refuses."""

from __future__ import annotations

import re

import attrs
import numpy as np
import pytest

import fnn
from fnn import DataError, DTypeError, Key, OptionError, ShapeError, tree
from fnn.layers import (
    LearnedPositions,
    MultiHeadAttention,
    RotaryPositions,
    SinusoidalPositions,
    TransformerBlock,
)

TIME, FEATURES, BATCH = 5, 8, 3
SHOWN = np.arange(TIME) < np.array([5, 3, 1])[:, None]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BATCH, TIME, FEATURES))


def drawn(layer, in_shape, seed=0):
    rng = np.random.default_rng(seed)
    params = layer.init(Key.of(seed), in_shape)[1]
    return tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), params)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


# --- laws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [MultiHeadAttention, TransformerBlock])
@pytest.mark.parametrize("positions", [None, "rotary"])
def test_what_is_hidden_changes_nothing(make, positions):
    layer = make(2, mask=True, positions=positions)
    params = drawn(layer, ((TIME, FEATURES), (TIME,)))
    other = np.where(SHOWN[:, :, None], X, 100 * RNG.normal(size=X.shape))
    ends = [layer.vjp(params, {}, (x, SHOWN)) for x in (X, other)]
    first, second = (y[0] if isinstance(y, tuple) else y for y, _, _ in ends)
    np.testing.assert_array_equal(first[SHOWN], second[SHOWN])
    dy = np.where(SHOWN[:, :, None], RNG.normal(size=X.shape), 0)
    given = (dy, None) if make is TransformerBlock else dy
    grads = [back(given) for _, _, back in ends]
    for a, b in zip(tree.leaves(grads[0][0]), tree.leaves(grads[1][0]), strict=True):
        close(a, b)
    assert not grads[0][1][0][~SHOWN].any()
    assert grads[0][1][1] is None


@pytest.mark.parametrize("make", [MultiHeadAttention, TransformerBlock])
def test_a_mask_that_shows_all_is_none_and_the_block_hands_it_on(make):
    plain, masked = make(2), make(2, mask=True)
    params = drawn(plain, (TIME, FEATURES))
    mask = np.ones((BATCH, TIME), bool)
    y = masked.apply(params, {}, (X, mask))[0]
    if make is TransformerBlock:
        assert y[1] is mask
        y = y[0]
    np.testing.assert_array_equal(y, plain.apply(params, {}, X)[0])
    two = fnn.serial(TransformerBlock(2, mask=True), TransformerBlock(2, mask=True))
    two.apply(two.init(Key.of(0), ((TIME, FEATURES), (TIME,)))[1], {}, (X.astype("f4"), mask))


@pytest.mark.parametrize("make", [MultiHeadAttention, TransformerBlock])
def test_a_causal_step_sees_nothing_of_later_ones(make):
    layer = make(2, causal=True)
    params = drawn(layer, (TIME, FEATURES))
    y = layer.apply(params, {}, X)[0]
    for t in range(1, TIME):
        other = X.copy()
        other[:, t:] = 7
        np.testing.assert_array_equal(layer.apply(params, {}, other)[0][:, :t], y[:, :t])


def test_a_query_that_may_see_nothing_gets_the_bias_alone():
    layer = MultiHeadAttention(2, causal=True, mask=True)
    params = drawn(layer, ((TIME, FEATURES), (TIME,)))
    mask = np.arange(TIME) >= np.array([2, 0, 1])[:, None]
    y, _, back = layer.vjp(params, {}, (X, mask))
    assert np.isfinite(y).all()
    close(y[0, :2], np.broadcast_to(params["b_o"], (2, FEATURES)))
    dparams, (dx, _) = back(np.ones_like(y))
    assert all(np.isfinite(leaf).all() for leaf in (*tree.leaves(dparams), dx))


def test_rotary_scores_depend_on_the_distance_alone():
    turn = RotaryPositions()
    q, k = RNG.normal(size=(2, 1, 1, FEATURES))
    at = turn.apply({}, {}, np.repeat(q, TIME, axis=1))[0][0]
    other = turn.apply({}, {}, np.repeat(k, TIME, axis=1))[0][0]
    scores = at @ other.T
    for distance in range(-TIME + 1, TIME):
        along = np.diagonal(scores, distance)
        close(along, np.full(len(along), along[0]))
    close(np.linalg.norm(at, axis=1), np.full(TIME, np.linalg.norm(q)))


def test_sinusoids_are_those_of_the_paper():
    y = SinusoidalPositions().apply({}, {}, np.zeros((1, TIME, 5)))[0][0]
    for t in range(TIME):
        for i in range(5):
            angle = t / 10_000 ** ((i - i % 2) / 6)
            close(y[t, i], np.cos(angle) if i % 2 else np.sin(angle))


def test_large_scores_saturate_without_a_warning():
    layer = MultiHeadAttention(2, bias=False)
    params = layer.init(Key.of(0), (TIME, FEATURES))[1]
    y, _, back = layer.vjp(params, {}, (1e4 * X).astype("float32"))
    dparams, dx = back(np.ones_like(y))
    assert all(np.isfinite(leaf).all() for leaf in (y, dx, *tree.leaves(dparams)))


def test_dropout_drops_weights_of_attention_in_training_alone():
    layer = MultiHeadAttention(2, dropout=0.5)
    params = drawn(layer, (TIME, FEATURES))
    plain = MultiHeadAttention(2).apply(params, {}, X)[0]
    np.testing.assert_array_equal(layer.apply(params, {}, X)[0], plain)
    first, again, other = (
        layer.apply(params, {}, X, train=True, key=Key.of(seed))[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    mean = np.mean(
        [layer.apply(params, {}, X, train=True, key=Key.of(i))[0] for i in range(3000)], axis=0
    )
    np.testing.assert_allclose(mean, plain, atol=0.15)


# --- PyTorch ------------------------------------------------------------------------------------


def torch_attention(params, memory=FEATURES):
    torch = pytest.importorskip("torch")
    given = {} if memory == FEATURES else {"kdim": memory, "vdim": memory}
    twin = torch.nn.MultiheadAttention(FEATURES, 2, batch_first=True, dtype=torch.float64, **given)
    copy_attention(torch, twin, params)
    return torch, twin


def copy_attention(torch, twin, params):
    with torch.no_grad():
        parts = [torch.tensor(params[f"w_{each}"].T) for each in "qkv"]
        if twin.in_proj_weight is None:
            for name, part in zip("qkv", parts, strict=True):
                getattr(twin, f"{name}_proj_weight").copy_(part)
        else:
            twin.in_proj_weight.copy_(torch.cat(parts))
        zero = np.zeros_like(params["b_q"])
        b = [torch.tensor(params.get(f"b_{each}", zero)) for each in "qkv"]
        twin.in_proj_bias.copy_(torch.cat(b))
        twin.out_proj.weight.copy_(torch.tensor(params["w_o"].T))
        twin.out_proj.bias.copy_(torch.tensor(params["b_o"]))


def attention_grads(twin):
    if twin.in_proj_weight is None:
        parts = [getattr(twin, f"{each}_proj_weight").grad.numpy() for each in "qkv"]
    else:
        parts = np.split(twin.in_proj_weight.grad.numpy(), 3)
    b = np.split(twin.in_proj_bias.grad.numpy(), 3)
    return {
        **{f"w_{each}": part.T for each, part in zip("qkv", parts, strict=True)},
        "b_q": b[0], "b_v": b[2],
        "w_o": twin.out_proj.weight.grad.numpy().T, "b_o": twin.out_proj.bias.grad.numpy(),
    }  # fmt: skip


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("memory", [None, 6])
def test_attention_and_all_its_gradients_are_those_of_torch(causal, mask, memory):
    cross = memory is not None
    layer = MultiHeadAttention(2, causal=causal, mask=mask, cross=cross)
    other = RNG.normal(size=(BATCH, TIME, memory)) if cross else None
    value = [X, *([other] if cross else []), *([SHOWN] if mask else [])]
    in_shape = tuple(each.shape[1:] for each in value)
    value = tuple(value) if len(value) > 1 else value[0]
    params = drawn(layer, in_shape if len(in_shape) > 1 else in_shape[0])
    y, _, back = layer.vjp(params, {}, value)
    torch, twin = torch_attention(params, memory or FEATURES)
    tx = torch.tensor(X, requires_grad=True)
    tmemory = torch.tensor(other, requires_grad=True) if cross else tx
    given = {"key_padding_mask": torch.tensor(~SHOWN)} if mask else {}
    given |= {"attn_mask": torch.tensor(~np.tri(TIME, dtype=bool))} if causal else {}
    ty, _ = twin(tx, tmemory, tmemory, need_weights=False, **given)
    close(y, ty.detach().numpy())
    dy = RNG.normal(size=y.shape)
    (ty * torch.tensor(dy)).sum().backward()
    dparams, dx = back(dy)
    for name, want in attention_grads(twin).items():
        close(dparams[name], want)
    dxs = dx if isinstance(dx, tuple) else (dx,)
    close(dxs[0], tx.grad.numpy())
    if cross:
        close(dxs[1], tmemory.grad.numpy())


def torch_block(params, norm):
    torch = pytest.importorskip("torch")
    twin = torch.nn.TransformerEncoderLayer(
        FEATURES, 2, 12, 0.0, "relu", batch_first=True, norm_first=norm == "pre", dtype=torch.float64
    )
    copy_attention(torch, twin.self_attn, params["attention"])
    with torch.no_grad():
        for own, theirs in (("norm_1", twin.norm1), ("norm_2", twin.norm2)):
            theirs.weight.copy_(torch.tensor(params[own]["scale"]))
            theirs.bias.copy_(torch.tensor(params[own]["shift"]))
        for own, theirs in (("dense_0", twin.linear1), ("dense_1", twin.linear2)):
            theirs.weight.copy_(torch.tensor(params["mlp"][own]["w"].T))
            theirs.bias.copy_(torch.tensor(params["mlp"][own]["b"]))
    return torch, twin


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_block_and_twenty_steps_of_its_descent_are_those_of_torch(norm):
    net = fnn.serial(
        TransformerBlock(2, width_mlp=12, norm=norm, mask=True, activation="relu"), fnn.frozen(First())
    )
    params = drawn(net, ((TIME, FEATURES), (TIME,)))
    torch, twin = torch_block(params["transformer_block_0"], norm)
    target = RNG.normal(size=X.shape)
    weight = SHOWN.astype(float)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    step = fnn.train_step(net, masked_error(weight), fnn.sgd(0.1))
    now = fnn.init_train_state(net, fnn.sgd(0.1), ((TIME, FEATURES), (TIME,)), Key.of(0))
    now = attrs.evolve(now, params=tree.Tree(params))
    hides = torch.tensor(~SHOWN)
    for _ in range(20):
        now, _ = step(now, ((X, SHOWN), target))
        optimizer.zero_grad()
        out = twin(torch.tensor(X), src_key_padding_mask=hides)
        ((out - torch.tensor(target)) ** 2 * torch.tensor(weight)[:, :, None]).mean().backward()
        optimizer.step()
    own = now.params["transformer_block_0"]
    close(own["mlp"]["dense_0"]["w"], twin.linear1.weight.detach().numpy().T)
    close(own["attention"]["w_o"], twin.self_attn.out_proj.weight.detach().numpy().T)
    close(own["norm_1"]["scale"], twin.norm1.weight.detach().numpy())
    w_q = twin.self_attn.in_proj_weight.detach().numpy()[:FEATURES].T
    close(own["attention"]["w_q"], w_q)


@fnn.constructor
def First():
    """Return the first part of a tuple."""

    def shapes(in_shape):
        return in_shape[0], {}, {}

    def fwd(params, state, x, train, key):
        return x[0], state, lambda dy: ({}, (dy, None))

    traits = fnn.Traits(takes_integers=True, takes_tuples=True)
    return fnn.make_layer("first", shapes, fwd, traits=traits)


def masked_error(weight):
    def loss(pred, target):
        d = (pred - target) * weight[:, :, None]
        return float((d**2).mean()), 2 * d / d.size

    return loss


# --- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (SHOWN & (np.arange(BATCH) != 1)[:, None], DataError,
         "expected a mask that shows a step, got one of 5 hidden for example 1"),
        (SHOWN.astype(int), DTypeError, "expected a mask of booleans, got int64"),
        (SHOWN[:, :4], ShapeError, "expected a mask of shape (5,), got (4,)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", [MultiHeadAttention, TransformerBlock])
def test_masks_that_are_none_are_refused(make, mask, error, message):
    layer = make(2, mask=True)
    params = drawn(layer, ((TIME, FEATURES), (TIME,)))
    with pytest.raises(error, match=re.escape(message)):
        layer.apply(params, {}, (X, mask))


@pytest.mark.parametrize(
    ("layer", "in_shape", "message"),
    [
        (MultiHeadAttention(3), (5, 8), "expected a width in multiples of heads=3, got 8"),
        (MultiHeadAttention(2, positions="rotary"), (5, 6), "expected an even width of rotary heads"),
        (MultiHeadAttention(2), (8,), "expected (time, features), got in_shape=(8,)"),
        (MultiHeadAttention(2, mask=True), (5, 8), "expected (x, mask), got in_shape=(5, 8)"),
        (MultiHeadAttention(2, cross=True), ((5, 8),), "expected (x, memory), got in_shape=((5, 8),)"),
        (TransformerBlock(2), (8,), "expected (time, features), got in_shape=(8,)"),
        (TransformerBlock(2, mask=True), (5, 8), "expected ((time, features), (time,)), got"),
        (RotaryPositions(), (5, 3), "expected an even number of features, got in_shape=(5, 3)"),
        (LearnedPositions(4), (5, 3), "expected at most 4 steps, got in_shape=(5, 3)"),
    ],
)  # fmt: skip
def test_shapes_that_are_none_are_refused(layer, in_shape, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        layer.init(Key.of(0), in_shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiHeadAttention(0), "heads: expected 1 or more, got 0"),
        (lambda: MultiHeadAttention(2, dropout=1), "dropout: expected a number in"),
        (lambda: MultiHeadAttention(2, positions="learned"), "positions: expected None or 'rotary'"),
        (lambda: TransformerBlock(2, norm="none"), "norm: expected 'pre' or 'post', got 'none'"),
        (lambda: TransformerBlock(2, activation="bend"), "bend"),
        (
            lambda: TransformerBlock(2, activation=fnn.Relu),
            "activation: expected a Layer, got Relu; call",
        ),
    ],
)
def test_options_that_are_none_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize("dtype", [int, bool])
def test_integers_stand_for_the_mask_alone(dtype):
    layer = fnn.MultiHeadAttention(1, mask=True, cross=True)
    _, params, state = layer.init(fnn.Key.of(0), ((3, 2), (4, 2), (4,)))
    params, shown = fnn.tree.cast(params, "float64"), np.ones((2, 4), bool)
    x, memory = np.ones((2, 3, 2)), np.ones((2, 4, 2))
    for value, what in (((x.astype(dtype), memory), "x"), ((x, memory.astype(dtype)), "the memory")):
        with pytest.raises(fnn.DTypeError, match=f"expected {what} as floating numbers, got"):
            layer.apply(params, state, (*value, shown))
