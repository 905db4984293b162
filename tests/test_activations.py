"""Activations, gates and noise beside exact values, PyTorch, and their closed forms."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fnn
from fnn import Key, OptionError, ShapeError, tree
from fnn.layers import (
    ACTIVATIONS,
    Celu,
    Elu,
    GaussianNoise,
    GeGlu,
    Gelu,
    Glu,
    Maxout,
    PRelu,
    Softmax,
    Sparsemax,
    SpatialDropout,
    StochasticDepth,
    SwiGlu,
    mlp,
)

GRID = np.concatenate([np.linspace(-12, 12, 97), [-1e4, -100, -1e-3, -1e-8, 1e-8, 1e-3, 100, 1e4]])
NEW = ["abs", "celu", "elu", "exp", "gelu", "hard_sigmoid", "hard_swish", "hard_tanh", "log_sigmoid",
       "mish", "relu6", "selu", "silu", "softplus", "softsign", "square"]  # fmt: skip
EXACT = {
    "abs": abs,
    "celu": lambda mp, x: x if x > 0 else mp.expm1(x),
    "elu": lambda mp, x: x if x > 0 else mp.expm1(x),
    "exp": lambda mp, x: mp.exp(x),
    "gelu": lambda mp, x: x * mp.ncdf(x),
    "log_sigmoid": lambda mp, x: -mp.log1p(mp.exp(-x)),
    "mish": lambda mp, x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "selu": lambda mp, x: mp.mpf("1.0507009873554804934193349852946")
    * (x if x > 0 else mp.mpf("1.6732632423543772848170429916717") * mp.expm1(x)),
    "silu": lambda mp, x: x / (1 + mp.exp(-x)),
    "softplus": lambda mp, x: mp.log1p(mp.exp(x)),
    "softsign": lambda mp, x: x / (1 + abs(x)),
}  # fmt: skip


def at(layer, x):
    y, _, back = layer.vjp({}, {}, x.reshape(-1, 1))
    return y[:, 0], back(np.ones_like(y))[1][:, 0]


@pytest.mark.parametrize("name", sorted(EXACT.keys() - {"abs"}))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_derivatives_are_within_a_few_eps_of_the_exact_ones(name, dtype):
    mp = pytest.importorskip("mpmath")
    x = GRID[(np.abs(GRID) < 80) & (GRID != 0)].astype(dtype)
    y, dy = at(ACTIVATIONS[name](), x)
    with mp.workdps(40):
        want = [EXACT[name](mp, mp.mpf(float(v))) for v in x]
        slope = [mp.diff(lambda t: EXACT[name](mp, t), mp.mpf(float(v))) for v in x]
    eps = np.finfo(dtype).eps
    # Where sums cancel, as in a derivative that passes 0, what is lost is that of their terms.
    for got, exact in ((y, want), (dy, slope)):
        scale = np.array([max(abs(float(v)), 0.1) for v in exact])
        error = np.abs([float(mp.mpf(float(g)) - e) for g, e in zip(got, exact, strict=True)])
        assert (error <= 16 * eps * scale + np.finfo(dtype).tiny).all(), (error / eps / scale).max()


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_numbers_give_finite_values_and_derivatives(name, dtype):
    with np.errstate(all="raise", under="ignore"):
        y, dy = at(ACTIVATIONS[name](), GRID.astype(dtype))
    assert y.dtype == dy.dtype == dtype
    fits = GRID < 80 if name == "exp" else np.full(GRID.shape, True)
    assert np.isfinite(y[fits]).all()
    assert np.isfinite(dy[fits]).all()
    assert name != "exp" or np.isinf(y[-1])


TWINS = {
    "abs": "abs", "celu": "nn.functional.celu", "elu": "nn.functional.elu", "exp": "exp",
    "gelu": "nn.functional.gelu", "hard_sigmoid": "nn.functional.hardsigmoid",
    "hard_swish": "nn.functional.hardswish", "hard_tanh": "nn.functional.hardtanh",
    "log_sigmoid": "nn.functional.logsigmoid", "mish": "nn.functional.mish",
    "relu6": "nn.functional.relu6", "selu": "nn.functional.selu", "silu": "nn.functional.silu",
    "softplus": "nn.functional.softplus", "softsign": "nn.functional.softsign", "square": "square",
}  # fmt: skip


# PyTorch's softplus is linear from 20 on, and the slope of its hard sigmoid is a 1/6 of float32.
TWIN_ERRORS = {"softplus": 1e-8, "hard_sigmoid": 1e-8}


def torch_at(torch, f, x):
    tx = torch.tensor(x, requires_grad=True)
    ty = f(tx)
    ty.sum().backward()
    return ty.detach().numpy(), tx.grad.numpy()


@pytest.mark.parametrize("name", NEW)
def test_torch_agrees(name):
    torch = pytest.importorskip("torch")
    f = torch
    for part in TWINS[name].split("."):
        f = getattr(f, part)
    x = GRID[np.abs(GRID) < 80]
    # At 0 and at other kinks derivatives are a choice.
    x = x[~np.isin(np.abs(x), [0, 1, 3, 6])]
    for got, want in zip(at(ACTIVATIONS[name](), x), torch_at(torch, f, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=TWIN_ERRORS.get(name, 1e-12))


def test_torch_agrees_on_options():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = GRID[(np.abs(GRID) < 80) & (GRID != 0)]
    pairs = [
        (Elu(0.3), lambda v: functional.elu(v, 0.3)),
        (Celu(0.3), lambda v: functional.celu(v, 0.3)),
        (Gelu(approximate=True), lambda v: functional.gelu(v, approximate="tanh")),
    ]
    for layer, f in pairs:
        for got, want in zip(at(layer, x), torch_at(torch, f, x), strict=True):
            # PyTorch divides by the alpha of celu in float32.
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("layer", "name"), [(Glu(), "sigmoid"), (GeGlu(), "gelu"), (SwiGlu(), "silu")])
def test_a_gate_is_a_product_with_the_activation_of_the_other_half(layer, name):
    x = np.random.default_rng(0).normal(size=(3, 6))
    want = x[:, :3] * ACTIVATIONS[name]().apply({}, {}, x[:, 3:])[0]
    np.testing.assert_array_equal(layer.apply({}, {}, x)[0], want)


def test_glu_is_that_of_torch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(3, 6))
    y, _, back = Glu().vjp({}, {}, x)
    want = torch_at(torch, torch.nn.functional.glu, x)
    np.testing.assert_allclose(y, want[0], rtol=1e-12)
    np.testing.assert_allclose(back(np.ones_like(y))[1], want[1], rtol=1e-12)


def test_prelu_and_its_slopes_are_those_of_torch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    for layer, n in ((PRelu(), 1), (PRelu(per_channel=True), 4)):
        slope = np.linspace(0.1, 0.4, n)
        y, _, back = layer.vjp({"slope": slope}, {}, x)
        tslope = torch.tensor(slope, requires_grad=True)
        value, dx = torch_at(torch, lambda v, s=tslope: torch.nn.functional.prelu(v, s), x)
        np.testing.assert_allclose(y, value, rtol=1e-12)
        dparams, own_dx = back(np.ones_like(y))
        np.testing.assert_allclose(own_dx, dx, rtol=1e-12)
        np.testing.assert_allclose(dparams["slope"], tslope.grad.numpy(), rtol=1e-12)


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(20, 5)), 1e4 * rng.normal(size=(5, 5)), np.zeros((1, 5))])
    y = Sparsemax().apply({}, {}, x)[0]
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-12)
    assert (y >= 0).all()
    np.testing.assert_allclose(y[-1], 0.2)
    for row, point in zip(x, y, strict=True):
        for other in rng.dirichlet(np.ones(5), 50):
            assert np.sum((row - point) ** 2) <= np.sum((row - other) ** 2) * (1 + 1e-12)


def test_a_temperature_divides_the_scores():
    x = np.random.default_rng(0).normal(size=(3, 4))
    want = Softmax().apply({}, {}, x / 2)[0]
    np.testing.assert_array_equal(Softmax(temperature=2).apply({}, {}, x)[0], want)


def test_maxout_takes_the_largest_of_neighbours_and_the_first_of_equal_ones():
    x = np.array([[1.0, 5, 2, 2, -1, -3]])
    y, _, back = Maxout(2).vjp({}, {}, x)
    np.testing.assert_array_equal(y, [[5, 2, -1]])
    np.testing.assert_array_equal(back(np.array([[1.0, 2, 3]]))[1], [[0, 1, 2, 0, 3, 0]])


@pytest.mark.parametrize(
    ("layer", "axes"), [(SpatialDropout(0.5), (2, 3)), (StochasticDepth(0.5), (1, 2, 3))]
)
def test_what_is_dropped_is_dropped_whole(layer, axes):
    x = np.ones((50, 4, 2, 3))
    y = layer.apply({}, {}, x, train=True, key=Key.of(0))[0]
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (y.min(axis=axes) == y.max(axis=axes)).all()
    np.testing.assert_allclose(y.mean(), 1, atol=5 / np.sqrt(50 if len(axes) == 3 else 200))
    np.testing.assert_array_equal(layer.apply({}, {}, x)[0], x)


def test_noise_is_normal_and_only_in_training():
    x = np.full((100, 100), 2.0)
    y = GaussianNoise(0.5).apply({}, {}, x, train=True, key=Key.of(0))[0]
    assert abs(y.mean() - 2) < 5 * 0.5 / 100
    assert abs(y.std() - 0.5) < 5 * 0.5 / np.sqrt(2) / 100
    np.testing.assert_array_equal(GaussianNoise(0.5).apply({}, {}, x)[0], x)


def test_an_mlp_is_the_chain_that_it_says():
    assert repr(mlp((3, 2))) == "serial(Dense(3), Relu(), Dense(2))"
    whole = mlp([3, 2], activation=fnn.Tanh(), norm=fnn.LayerNorm(), dropout=0.1, activate_last=True)
    each = "LayerNorm(), Tanh(), Dropout(0.1)"
    assert repr(whole) == f"serial(Dense(3), {each}, Dense(2), {each})"


# --- initializers -------------------------------------------------------------------------------


def drawn(init, shape, seed=0):
    return fnn.layers.initializers.draw(init, Key.of(seed), shape, shape[0], shape[-1]).astype(
        "float64"
    )


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        (fnn.truncated_normal(0.5), 0.25),
        (fnn.truncated_normal(2.0, cut=0.7), 4.0),
        (fnn.variance_scaling(), 1 / 200),
        (fnn.variance_scaling(2.0, "fan_out", "normal"), 2 / 300),
        (fnn.variance_scaling(3.0, "fan_avg", "uniform"), 3 / 250),
    ],
    ids=repr,
)
def test_numbers_have_the_variance_that_was_asked_for(init, variance):
    w = drawn(init, (200, 300))
    assert abs(w.mean()) < 5 * np.sqrt(variance / w.size)
    # The fourth moment of all of them is at most that of the normal distribution.
    assert abs(w.var() / variance - 1) < 5 * np.sqrt(2 / w.size)


def test_what_is_cut_off_never_comes():
    assert np.abs(drawn(fnn.truncated_normal(1.0), (100, 100))).max() < 2 / 0.87


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5), (6, 2, 3)])
def test_rows_or_columns_are_orthonormal(shape):
    w = drawn(fnn.orthogonal(2.0), shape).reshape(shape[0], -1) / 2
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-6)


def test_kernels_hand_on_in_the_middle_alone():
    w = drawn(fnn.delta_orthogonal(), (4, 3, 3, 2))
    middle = w[:, :, 1, 0].copy()
    np.testing.assert_allclose(middle.T @ middle, np.eye(3), atol=1e-6)
    w[:, :, 1, 0] = 0
    assert not w.any()
    np.testing.assert_array_equal(drawn(fnn.identity(3.0), (2, 3)), 3 * np.eye(2, 3))
    net = fnn.Conv(2, 3, padding="same", init_w=fnn.identity())
    x = np.random.default_rng(0).normal(size=(2, 2, 5, 5)).astype("float32")
    np.testing.assert_array_equal(net.apply(net.init(Key.of(0), (2, 5, 5))[1], {}, x)[0], x)


def test_a_share_of_every_column_is_zero():
    w = drawn(fnn.sparse(0.3, std=2.0), (10, 50))
    np.testing.assert_array_equal((w == 0).sum(axis=0), 3)
    assert abs(w[w != 0].std() / 2 - 1) < 5 / np.sqrt(2 * 350)


def test_equal_keys_draw_equal_numbers():
    for init in (fnn.orthogonal(), fnn.sparse(0.5), fnn.truncated_normal(), fnn.variance_scaling()):
        np.testing.assert_array_equal(drawn(init, (5, 6)), drawn(init, (5, 6)))
        assert (drawn(init, (5, 6)) != drawn(init, (5, 6), seed=1)).any()


# --- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "in_shape", "message"),
    [
        (Glu(), (3,), "expected an even number of features, got in_shape=(3,)"),
        (GeGlu(axis=2), (4,), "expected a feature axis 2, got in_shape=(4,)"),
        (Maxout(2), (3,), "expected features in multiples of 2, got in_shape=(3,)"),
        (PRelu(per_channel=True), (), "expected 1 or more channels, got in_shape=()"),
        (SpatialDropout(0.5), (), "expected examples (channels, *space), got in_shape=()"),
        (fnn.Dense(2, init_w=fnn.delta_orthogonal()), (3,), "expected kernels (channels, in_channels"),
        (fnn.Dense(2, init_b=fnn.orthogonal()), (3,), "expected two or more axes, got shape (2,)"),
    ],
)
def test_shapes_that_are_none_are_refused(layer, in_shape, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        layer.init(Key.of(0), in_shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Celu(0), "^Celu: alpha: expected a number"),
        (lambda: Softmax(temperature=0), "^Softmax: temperature: expected a number"),
        (lambda: StochasticDepth(1), "^StochasticDepth: rate: expected a number"),
        (lambda: GaussianNoise(-1), "^GaussianNoise: std: expected a number"),
        (lambda: mlp(()), "^mlp: widths: expected one or more integers"),
        (lambda: mlp((3, 0)), "^mlp: widths: expected 1 or more, got 0"),
        (lambda: fnn.variance_scaling(mode="fan"), "^variance_scaling: mode: expected one of"),
        (lambda: fnn.truncated_normal(cut=0.1), "^truncated_normal: cut: expected a number"),
    ],
)
def test_options_that_are_none_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


def test_every_layer_that_draws_wants_a_key():
    for layer in (SpatialDropout(0.1), StochasticDepth(0.1), GaussianNoise(0.1)):
        with pytest.raises(OptionError, match="expected a key when train=True"):
            layer.apply({}, {}, np.ones((2, 3)), train=True)
    assert tree.EMPTY == {}
