"""Weight and spectral normalisation, beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import fnn
from fnn import Key, OptionError, ShapeError, TreeError, tree
from fnn.layers import (
    LSTM,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Relu,
    Tanh,
    frozen,
    named,
    serial,
    spectral_norm,
    weight_norm,
    zeros,
)
from fnn.testing import check_layer
from fnn.testing.laws.of_layers import ALL

KEY = Key.of(0)
RNG = np.random.default_rng(0)


def rows(*shape, dtype="float64"):
    return RNG.normal(size=shape).astype(dtype)


def doubled(layer, in_shape):
    """Return params and state in float64, biases off 0."""
    _, params, state = layer.init(KEY, in_shape)
    params = tree.map(lambda leaf: leaf.astype("float64") + 0.01 * rows(*leaf.shape), params)
    return params, tree.cast(state, "float64")


# --- weight_norm ------------------------------------------------------------------------------


def test_at_first_a_normalised_layer_does_what_it_would_do_without():
    plain = serial(Dense(5), Tanh(), named("out", Dense(2)))
    _, params, _ = plain.init(KEY, (3,))
    _, split, _ = weight_norm(plain).init(KEY, (3,))
    assert {path: leaf.shape for path, leaf in tree.items(split)} == {
        "dense_0/w/v": (3, 5),
        "dense_0/w/g": (5,),
        "dense_0/b": (5,),
        "out/w/v": (5, 2),
        "out/w/g": (2,),
        "out/b": (2,),
    }
    np.testing.assert_array_equal(split["out"]["w"]["v"], params["out"]["w"])
    x = rows(4, 3, dtype="float32")
    want, _ = plain.apply(params, {}, x)
    np.testing.assert_allclose(weight_norm(plain).apply(split, {}, x)[0], want, rtol=1e-5)


def test_the_length_of_every_output_is_its_g():
    for layer, in_shape, axes in ((Dense(3), (4,), 0), (Conv(3, 2), (2, 4, 4), (1, 2, 3))):
        params, _ = doubled(weight_norm(layer), in_shape)
        v, g = params["w"]["v"], params["w"]["g"]
        shape = [-1 if n == 3 and i == (1 if v.ndim == 2 else 0) else 1 for i, n in enumerate(v.shape)]
        w = v / np.sqrt((v * v).sum(axis=axes, keepdims=True)) * g.reshape(shape)
        np.testing.assert_allclose(np.sqrt((w * w).sum(axis=axes)), abs(g), rtol=1e-14)
        x = rows(2, *in_shape)
        want, _ = layer.apply({"w": w, "b": params["b"]}, {}, x)
        np.testing.assert_allclose(weight_norm(layer).apply(params, {}, x)[0], want, rtol=1e-12)


def test_every_weight_of_a_recurrent_layer_is_split():
    _, params, _ = weight_norm(LSTM(2)).init(KEY, (3, 4))
    assert {path: leaf.shape for path, leaf in tree.items(params)} == {
        "w_in/v": (4, 8),
        "w_in/g": (8,),
        "w_state/v": (2, 8),
        "w_state/g": (8,),
        "b": (8,),
    }


def pytorch_twin(torch, wrap):
    """Return a convolution and a dense layer behind it, both wrapped, and a function to fill them."""
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 2), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(12, 4)
    ).double()
    for i in (0, 3):
        wrap(twin[i])
    return twin


OURS = serial(Conv(3, 2), Tanh(), fnn.Flatten(), Dense(4))


def train_both(torch, net, params, state, twin):
    """Take 20 steps of gradient descent with both, and compare y before each."""
    x, target = rows(5, 2, 3, 3), rows(5, 4)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.02)
    for _ in range(20):
        y, state, back = net.vjp(params, state, x, train=True)
        dparams, dx = back(y - target)
        data = torch.tensor(x, requires_grad=True)
        optimizer.zero_grad()
        out = twin(data)
        (0.5 * (out - torch.tensor(target)) ** 2).sum().backward()
        optimizer.step()
        np.testing.assert_allclose(y, out.detach().numpy(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(dx, data.grad.numpy(), rtol=1e-9, atol=1e-12)
        params = tree.map(lambda p, d: p - 0.02 * d, params, dparams)
    return params, state


def test_weight_norm_trains_like_pytorchs():
    torch = pytest.importorskip("torch")
    net = weight_norm(OURS)
    params, state = doubled(net, (2, 3, 3))
    twin = pytorch_twin(torch, torch.nn.utils.parametrizations.weight_norm)
    with torch.no_grad():
        for i, name, order in ((0, "conv_0", (0, 1, 2, 3)), (3, "dense_0", (1, 0))):
            pair, own = twin[i].parametrizations.weight, params[name]
            v = own["w"]["v"].transpose(order).copy()
            pair.original0.data = torch.tensor(own["w"]["g"]).reshape(-1, *[1] * (v.ndim - 1))
            pair.original1.data = torch.tensor(v)
            twin[i].bias.data = torch.tensor(own["b"])
    params, _ = train_both(torch, net, params, state, twin)
    pair = twin[3].parametrizations.weight
    got = params["dense_0"]["w"]
    np.testing.assert_allclose(got["v"].T, pair.original1.detach().numpy(), rtol=1e-9)
    np.testing.assert_allclose(got["g"], pair.original0.detach().numpy()[:, 0], rtol=1e-9)


# --- spectral_norm ----------------------------------------------------------------------------


def test_the_largest_singular_value_of_what_is_used_comes_to_one():
    layer = Dense(4)
    net = spectral_norm(layer, iterations=50)
    params, state = doubled(net, (6,))
    assert {path: leaf.shape for path, leaf in tree.items(state)} == {"w/u": (4,), "w/v": (6,)}
    x = rows(3, 6)
    y, state = net.apply(params, state, x, train=True)
    w = params["w"] / np.linalg.svd(params["w"])[1][0]
    np.testing.assert_allclose(y, x @ w + params["b"], rtol=1e-9)
    again, still = net.apply(params, state, x)
    np.testing.assert_allclose(again, y, rtol=1e-9)
    assert still is state


def test_spectral_norm_trains_like_pytorchs():
    torch = pytest.importorskip("torch")
    net = spectral_norm(OURS)
    params, state = doubled(net, (2, 3, 3))
    twin = pytorch_twin(torch, torch.nn.utils.parametrizations.spectral_norm)
    with torch.no_grad():
        for i, name, order in ((0, "conv_0", (0, 1, 2, 3)), (3, "dense_0", (1, 0))):
            pair, own = twin[i].parametrizations.weight, params[name]
            pair.original.data = torch.tensor(own["w"].transpose(order).copy())
            twin[i].bias.data = torch.tensor(own["b"])
            pair[0]._u.data = torch.tensor(state[name]["w"]["u"])
            pair[0]._v.data = torch.tensor(state[name]["w"]["v"])
    params, state = train_both(torch, net, params, state, twin)
    pair = twin[3].parametrizations.weight
    np.testing.assert_allclose(params["dense_0"]["w"].T, pair.original.detach().numpy(), rtol=1e-9)
    for name in "uv":
        want = getattr(pair[0], f"_{name}").numpy()
        np.testing.assert_allclose(state["dense_0"]["w"][name], want, rtol=1e-9)
    x = rows(5, 2, 3, 3)
    twin.eval()
    y, still = net.apply(params, state, x)
    np.testing.assert_allclose(y, twin(torch.tensor(x)).detach().numpy(), rtol=1e-9)
    assert still is state


NETS = [
    (spectral_norm(Dense(3)), (4,)),
    (spectral_norm(Conv(2, 2), iterations=2), (1, 3, 3)),
    (spectral_norm(serial(Dense(3), BatchNorm(), Dropout(0.3), Tanh(), Dense(2)), axis=0), (2,)),
]


@pytest.mark.parametrize(("net", "in_shape"), NETS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_laws_hold_in_evaluation_and_but_for_the_vectors_in_training(net, in_shape, dtype):
    check_layer(net, in_shape, dtype=dtype, train=False)
    # In training the vectors move with the weights, and no derivative goes through them.
    others = [law for law in ALL if law not in ("adjoint", "entries", "complex_safe", "kinks")]
    check_layer(net, in_shape, dtype=dtype, train=True, laws=others)


@pytest.mark.parametrize(("net", "in_shape"), NETS, ids=repr)
def test_in_training_the_derivative_is_that_with_the_vectors_held(net, in_shape):
    # A complex step does not move them.
    params, state = doubled(net, in_shape)
    state = tree.map(lambda leaf: leaf + 0.1, state)
    x, key = rows(3, *in_shape), Key.of(1)
    y, _, back = net.vjp(params, state, x, train=True, key=key)
    dy = rows(*y.shape)
    dparams, _ = back(dy)
    for path, leaf in tree.items(params):
        v = rows(*leaf.shape)
        bent = tree.update(params, {path: leaf + 1e-30j * v})
        jv = net.apply(bent, state, x + 0j, train=True, key=key)[0].imag / 1e-30
        np.testing.assert_allclose(
            (tree.get(dparams, path) * v).sum(), (dy * jv).sum(), rtol=1e-10, atol=1e-12
        )


def test_where_the_vectors_have_come_to_rest_the_derivative_is_that_of_the_function():
    net = spectral_norm(Dense(3), iterations=500)
    params, state = doubled(net, (4,))
    x, dy = rows(2, 4), rows(2, 3)
    _, state = net.apply(params, state, x, train=True)
    _, _, back = net.vjp(params, state, x, train=True)
    dw = back(dy)[0]["w"]
    h = 1e-6
    for at in np.ndindex(4, 3):
        ends = []
        for sign in (1, -1):
            w = params["w"].copy()
            w[at] += sign * h
            y, _ = net.apply({"w": w, "b": params["b"]}, state, x, train=True)
            ends.append((y * dy).sum())
        np.testing.assert_allclose(dw[at], (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-8)


def test_what_stands_still_keeps_its_vectors():
    net = spectral_norm(serial(frozen(Dense(3)), Dense(2)))
    _, params, state = net.init(KEY, (4,))
    state = tree.map(lambda leaf: leaf + np.float32(0.1), state)
    _, moved = net.apply(params, state, rows(2, 4, dtype="float32"), train=True)
    assert tree.digest(moved["dense_0"]) == tree.digest(state["dense_0"])
    assert tree.digest(moved["dense_1"]) != tree.digest(state["dense_1"])
    _, whole = frozen(net).apply(params, state, rows(2, 4, dtype="float32"), train=True)
    assert whole is state


# --- messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [weight_norm, spectral_norm])
def test_layers_without_fitting_weights_are_refused(wrap):
    for layer, in_shape, message in (
        (
            Relu(),
            (3,),
            r"^relu .*expected a layer with weights 'w' or 'w_…' of 2 or more axes, got \[\]",
        ),
        (BatchNorm(), (3,), r"^batch_norm .*got \['scale', 'shift'\]"),
        (Dense(2, init_w=zeros), (3,), "^dense .*expected first weights .* got .* at w$"),
    ):
        with pytest.raises(OptionError, match=message):
            wrap(layer).init(KEY, in_shape)
    with pytest.raises(
        OptionError, match=r"^dense .*axis: expected one of w, of shape \(3, 2\), got 2"
    ):
        wrap(Dense(2), axis=2).init(KEY, (3,))
    with pytest.raises(OptionError, match=f"^{wrap.__name__}: axis: expected an integer, got 'last'"):
        wrap(Dense(2), axis="last")
    with pytest.raises(OptionError, match=f"^{wrap.__name__}: layer: expected a Layer, got Dense"):
        wrap(Dense)


def test_options_of_spectral_norm_are_checked():
    with pytest.raises(OptionError, match=r"^spectral_norm: iterations: expected 1 or more, got 0"):
        spectral_norm(Dense(2), iterations=0)
    with pytest.raises(OptionError, match=r"^spectral_norm: eps: expected a number in"):
        spectral_norm(Dense(2), eps=-1)


def test_weights_are_not_split_twice():
    for net in (
        weight_norm(weight_norm(Dense(2))),
        weight_norm(serial(Dense(2), weight_norm(Dense(2)))),
    ):
        with pytest.raises(OptionError, match="expected weights that are not split yet"):
            net.init(KEY, (3,))


def test_trees_of_another_network_are_refused_and_never_broadcast():
    net, x = weight_norm(Dense(2)), rows(2, 3, dtype="float32")
    _, params, _ = net.init(KEY, (3,))
    short = {"w": {"v": params["w"]["v"], "g": params["w"]["g"][:1]}, "b": params["b"]}
    with pytest.raises(ShapeError, match=r"^dense .*expected w/g of shape \(2,\), got \(1,\)"):
        net.apply(short, {}, x)
    net = spectral_norm(Dense(2))
    _, params, state = net.init(KEY, (3,))
    with pytest.raises(TreeError, match=r"^dense .*expected state w/u and w/v"):
        net.apply(params, {}, x)
    wrong = {"w": {"u": state["w"]["u"], "v": state["w"]["v"][:1]}}
    with pytest.raises(ShapeError, match=r"^dense .*expected w/v of shape \(3,\), got \(1,\)"):
        net.apply(params, wrong, x)
    with pytest.raises(TreeError, match=r"^dense .*expected state \[\], got \['other'\]"):
        net.apply(params, state | {"other": np.ones(1, "float32")}, x)
