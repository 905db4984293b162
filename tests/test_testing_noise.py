"""Noise excuses no gradient: what rounding explains is asked of the oracle, never of the pullback."""

from __future__ import annotations

import zlib

import attrs
import numpy as np
import pytest

import fnn
from fnn import tree
from fnn.layers import Dense, LogSoftmax, Softmax, Tanh
from fnn.testing import LawError, check_layer, check_vjp

SEEDS = {
    "the bytes of x": lambda params, x, dy: zlib.crc32(x.tobytes()),
    "the bytes of dy": lambda params, x, dy: zlib.crc32(dy.tobytes()),
    "the bytes of x and dy": lambda params, x, dy: zlib.crc32(x.tobytes() + dy.tobytes()),
    "the bytes of params": lambda params, x, dy: zlib.crc32(
        b"".join(leaf.tobytes() for leaf in tree.leaves(params)) + b"."
    ),
    "a constant": lambda params, x, dy: 7,
}
KINDS = {
    "times": lambda g, noise: g * (1 + noise),
    "times one number": lambda g, noise: g * (1 + noise.reshape(-1)[0]),
    "plus": lambda g, noise: g + np.abs(g).max() * noise,
}


def noisy(layer, seed_of, kind, size, leaf):
    """Return the layer with one leaf of its gradient drowned in noise."""

    def vjp(params, state, x, *, train=False, key=None):
        y, new, back = layer.vjp(params, state, x, train=train, key=key)

        def pullback(dy, *, need_dx=True):
            dparams, dx = back(dy, need_dx=True)
            g = dx if leaf == "dx" else dparams[leaf]
            rng = np.random.default_rng(seed_of(params, x, dy))
            wrong = kind(g, size * rng.normal(size=g.shape)).astype(g.dtype)
            if leaf == "dx":
                return dparams, wrong if need_dx else None
            return tree.update(dparams, {leaf: wrong}), dx if need_dx else None

        return y, new, pullback

    return attrs.evolve(layer, vjp=vjp)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 1e3])
def test_no_noise_of_any_kind_and_size_passes_the_law_of_the_adjoint(seed, kind, size):
    for layer, leaf in ((Dense(3), "w"), (Dense(3), "b"), (Tanh(), "dx"), (Softmax(), "dx")):
        wrong = noisy(layer, SEEDS[seed], KINDS[kind], size, leaf)
        for law in ("adjoint", "entries"):
            with pytest.raises(LawError, match=law):
                check_layer(wrong, (4,), laws=law, train=False, shrink=False)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1e-2, 1.0])
def test_no_noise_passes_in_float32(seed, size):
    for layer, leaf in ((Dense(3), "w"), (LogSoftmax(), "dx")):
        wrong = noisy(layer, SEEDS[seed], KINDS["times"], size, leaf)
        with pytest.raises(LawError, match="adjoint"):
            check_layer(wrong, (4,), laws="adjoint", train=False, shrink=False, dtype="float32")


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0])
def test_noise_where_derivatives_come_from_differences_passes_neither(size):
    smooth = fnn.elementwise(
        "softplus",
        lambda x: np.logaddexp(x, 0),
        lambda x, y, dy: dy / (1 + np.exp(-x)),
        complex_safe=False,
    )
    wrong = noisy(smooth, SEEDS["the bytes of x"], KINDS["times"], size, "dx")
    with pytest.raises(LawError, match="adjoint"):
        check_layer(wrong, (4,), laws="adjoint", train=False, shrink=False)


def test_noise_breaks_linearity_and_sums_over_examples_by_its_own():
    by_both = SEEDS["the bytes of x and dy"]
    wrong = noisy(Dense(3), by_both, KINDS["times"], 1.0, "w")
    for law in ("pullback_linear", "batch_independent"):
        with pytest.raises(LawError, match=law):
            check_layer(wrong, (4,), laws=law, train=False, shrink=False)


def test_a_function_that_is_noise_itself_excuses_no_gradient():
    def init(key, in_shape):
        return (3,), {"w": key.generator().normal(size=(in_shape[0], 3)).astype("float32")}, {}

    def fwd(params, state, x, train, key):
        rng = np.random.default_rng(zlib.crc32(x.tobytes()))
        w = params["w"] * (1 + rng.normal(size=params["w"].shape).astype(x.real.dtype))
        return x @ w, state, lambda dy: ({"w": x.T @ dy}, dy @ w.T)

    with pytest.raises(LawError, match="adjoint"):
        check_layer(fnn.make_layer("noise", init, fwd), (4,), laws="adjoint", shrink=False)


@pytest.mark.parametrize("slope", [1e-4, 1e-8, 1e-10, 1e-12])
@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0])
def test_a_large_value_excuses_no_small_derivative(slope, factor):
    """Of y = 10⁶ + slope · x the derivative is far below the rounding of y, and steady."""

    def offset(times):
        return fnn.elementwise("offset", lambda x: 1e6 + slope * x, lambda x, y, dy: times * slope * dy)

    laws = ("adjoint", "entries")
    check_layer(offset(1.0), (4,), laws=laws)
    for law in laws:
        with pytest.raises(LawError, match=law):
            check_layer(offset(factor), (4,), laws=law, train=False)


def test_noise_in_a_function_with_a_pullback_is_seen_too():
    def f(x):
        def pullback(dy):
            noise = np.random.default_rng(zlib.crc32(x.tobytes())).normal(size=x.shape)
            return (dy * np.cos(x) * (1 + noise),)

        return np.sin(x), pullback

    for method in ("complex", "difference", "taylor"):
        with pytest.raises(LawError, match="along 'args/0'"):
            check_vjp(f, (np.linspace(0.1, 1, 5),), method=method)


# --- float32 where derivatives come from differences --------------------------------------------


def drifting(factor, scale=1.0):
    """y = tanh(k x), where k is another number in float32; its gradient times `scale`."""

    def slope(x):
        return x.dtype.type(1.0 if x.dtype == np.float64 else factor)

    return fnn.elementwise(
        "drift",
        lambda x: np.tanh(slope(x) * x),
        lambda x, y, dy: scale * slope(x) * dy * (1 - y * y),
        complex_safe=False,
    )


@pytest.mark.parametrize("law", ["adjoint", "entries"])
@pytest.mark.parametrize("scale", [2.0, 7.0, 0.5, -1.0, 1.001])
def test_a_wrong_gradient_is_refused_in_float32_too(law, scale):
    check_layer(drifting(1.0), (4,), dtype="float32", laws=law)
    with pytest.raises(LawError, match=law):
        check_layer(drifting(1.0, scale), (4,), dtype="float32", laws=law)


@pytest.mark.parametrize("factor", [1.05, 1.5, 1.001])
def test_a_float32_function_that_is_another_one_is_said_to_be_so(factor):
    for scale in (1.0, 7.0):
        with pytest.raises(LawError) as caught:
            check_layer(drifting(factor, scale), (4,), dtype="float32", laws="adjoint")
        if factor > 1.01:
            assert "float32 computes another function than float64" in str(caught.value)
    check_layer(drifting(factor), (4,), laws="adjoint")


def test_complex_safe_layers_that_drift_are_told_too():
    def f(x):
        return np.tanh(x * x.real.dtype.type(1.1 if x.real.dtype == np.float32 else 1.0))

    layer = fnn.elementwise("drift", f, lambda x, y, dy: dy * 1.1 * (1 - y * y))
    with pytest.raises(LawError, match="float32 computes another function"):
        check_layer(layer, (4,), dtype="float32", laws="adjoint")


def draws_by_dtype(scale=1.0):
    """Noise drawn in x's own precision, so that float32 and float64 draw otherwise."""

    def init(key, in_shape):
        return in_shape, {}, {}

    def fwd(params, state, x, train, key):
        factor = 1 + key.generator().random(x.shape, x.dtype) if train else x.dtype.type(1)
        y = np.logaddexp(factor * x, 0)

        def pullback(dy):
            return {}, (dy * factor * scale / (1 + np.exp(-factor * x))).astype(x.dtype)

        return y.astype(x.dtype), state, pullback

    traits = fnn.Traits(stochastic=True, complex_safe=False)
    return fnn.make_layer("draws", init, fwd, traits=traits)


def test_layers_that_draw_otherwise_in_float32_are_held_to_differences_in_float32():
    report = check_layer(draws_by_dtype(), (4,), dtype="float32", laws=("adjoint", "entries"))
    assert any("differences in float32" in note for note in report.notes)
    for scale in (2.0, 0.5, 1.1, -1.0):
        for law in ("adjoint", "entries"):
            with pytest.raises(LawError, match=law):
                check_layer(draws_by_dtype(scale), (4,), dtype="float32", train=True, laws=law)
