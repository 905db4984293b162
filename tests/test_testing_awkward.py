"""What is right passes, however sharp, narrow, deep or implicit; what is like it and wrong does not."""

from __future__ import annotations

import attrs
import awkward_cases as awkward
import numpy as np
import pytest

import fnn
from fnn import Traits
from fnn.testing import LawError, check_layer

RIGHT = {
    "thirty residual blocks": (awkward.deep_residual(), (8,), {"train": False}),
    "sines of 30 x": (awkward.siren(), (2,), {}),
    "sin(40 x²)": (awkward.chirp(), (4,), {}),
    "tanh(10 x)": (awkward.steep_tanh(10.0), (4,), {}),
    "tanh(100 x)": (awkward.steep_tanh(100.0), (4,), {}),
    "tanh(1000 x)": (awkward.steep_tanh(1e3), (4,), {}),
    "tanh(100,000 x)": (awkward.steep_tanh(1e5), (4,), {}),
    "tanh(10 x) by differences": (awkward.steep_tanh(10.0, complex_safe=False), (4,), {}),
    "tanh(100 x) by differences": (awkward.steep_tanh(100.0, complex_safe=False), (4,), {}),
    "tanh(1000 x) by differences": (awkward.steep_tanh(1e3, complex_safe=False), (4,), {}),
    "a rounded corner": (awkward.steep_softplus(1e4), (4,), {}),
    "softmax of one": (fnn.Softmax(), (1,), {}),
    "softmax of two": (fnn.Softmax(), (2,), {}),
    "log-softmax of one": (fnn.LogSoftmax(), (1,), {}),
    "log-softmax of two": (fnn.LogSoftmax(), (2,), {}),
    "one feature normalised": (awkward.l2_normalised(), (1,), {}),
    "two features normalised": (awkward.l2_normalised(), (2,), {}),
    "layer norm over one": (awkward.layer_norm(), (1,), {}),
    "layer norm over two": (awkward.layer_norm(), (2,), {}),
    "layer norm over two, ε of 1e-12": (awkward.layer_norm(1e-12), (2,), {}),
    "a fixed point": (awkward.fixed_point(1e-13), (3,), {"rtol": 1e-10}),
    "a fixed point to 1e-10": (awkward.fixed_point(1e-10), (3,), {"rtol": 1e-8}),
    "a fixed point by differences": (awkward.fixed_point(complex_safe=False), (3,), {"train": False}),
}


@pytest.mark.parametrize("name", RIGHT)
def test_awkward_layers_that_are_right_pass(name):
    layer, in_shape, options = RIGHT[name]
    check_layer(layer, in_shape, **options)


@pytest.mark.parametrize(
    "name", [name for name in RIGHT if "fixed" not in name and "thirty" not in name]
)
def test_awkward_layers_that_are_right_pass_in_float32(name):
    layer, in_shape, _ = RIGHT[name]
    check_layer(layer, in_shape, dtype="float32")


def leaning(layer, by):
    """Return the layer with dx off by a factor."""

    def vjp(params, state, x, *, train=False, key=None):
        y, new, back = layer.vjp(params, state, x, train=train, key=key)

        def pullback(dy, *, need_dx=True):
            dparams, dx = back(dy, need_dx=need_dx)
            return dparams, None if dx is None else (dx * by).astype(dx.dtype)

        return y, new, pullback

    return attrs.evolve(layer, vjp=vjp)


# The derivative of one feature normalised is 0: no factor changes it.
LEANING = [name for name in RIGHT if name not in ("one feature normalised", "layer norm over one")]


@pytest.mark.parametrize(
    "name", [name for name in LEANING if "of one" not in name and "thirty" not in name]
)
def test_their_gradients_off_by_a_ten_thousandth_are_refused(name):
    layer, in_shape, options = RIGHT[name]
    wrong = leaning(layer, 1.0001)
    for laws in ("adjoint", "entries"):
        options = {**options, "laws": laws, "train": False, "shrink": False}
        with pytest.raises(LawError, match=laws):
            check_layer(wrong, in_shape, **options)


@pytest.mark.parametrize("place", [0.0, 0.3, 1.7])
@pytest.mark.parametrize("jump", [0.2, 1.0])
@pytest.mark.parametrize("safe", [True, False])
def test_a_kink_is_one_at_any_place_and_of_any_size(place, jump, safe):
    def f(x):
        return np.tanh(x) + jump * (x.real > place).astype(x.real.dtype) * (x - place)

    def f_vjp(x, y, dy):
        return dy * (1 - np.tanh(x) ** 2 + jump * (x.real > place).astype(x.real.dtype))

    bent = fnn.elementwise("bent", f, f_vjp, complex_safe=safe)
    with pytest.raises(LawError, match="declares no kinks, but the derivative jumps"):
        check_layer(bent, (4,), laws="kinks")
    check_layer(fnn.elementwise("bent", f, f_vjp, complex_safe=safe, has_kinks=True), (4,))


def test_a_kink_in_a_parameter_is_found_near_its_value():
    def init(key, in_shape):
        return in_shape, {"w": key.generator().normal(size=in_shape).astype("float32")}, {}

    def fwd(params, state, x, train, key):
        w = params["w"]
        size = np.where(w.real > 0, w, -w)
        sign = np.where(w.real > 0, 1, -1).astype(w.real.dtype)
        return x * size, state, lambda dy: ({"w": (dy * x * sign).sum(axis=0)}, dy * size)

    with pytest.raises(LawError, match="declares no kinks"):
        check_layer(fnn.make_layer("size", init, fwd), (4,), laws="kinks")


# --- recurrent layers, and arrays that hold no complex numbers ----------------------------------


def test_an_lstm_passes_alone_and_in_a_chain():
    for dtype in ("float64", "float32"):
        check_layer(awkward.lstm(), (4, 2), dtype=dtype)
        check_layer(fnn.serial(awkward.lstm(), fnn.Dense(2)), (4, 2), dtype=dtype)


def test_an_lstm_whose_way_back_takes_its_buffers_from_dy_passes():
    for dtype in ("float64", "float32"):
        check_layer(awkward.lstm(back="dy"), (4, 2), dtype=dtype)


def test_buffers_without_room_for_complex_numbers_are_named_by_their_line():
    with pytest.raises(LawError) as caught:
        check_layer(awkward.lstm(back="params"), (4, 2))
    text = str(caught.value)
    assert caught.value.report.broken == ("complex_safe",)
    assert "with complex arrays pullback raised UFuncTypeError: Cannot cast ufunc 'add'" in text
    assert "awkward_cases.py:" in text
    assert "dw += x[:, t].T @ dz" in text
    assert "np.result_type(w, dy)), or declare complex_safe=False" in text
    check_layer(awkward.lstm(back="params", traits=Traits(complex_safe=False)), (4, 2))


def test_buffers_that_drop_imaginary_parts_are_told_what_to_do():
    def of_params(x, w):
        return w.dtype

    with pytest.raises(LawError, match=r"allocate arrays in x\.dtype, or declare complex_safe=False"):
        check_layer(awkward.lstm(zeros=of_params), (4, 2))
    check_layer(awkward.lstm(zeros=of_params, traits=Traits(complex_safe=False)), (4, 2))


def test_errors_of_a_layer_come_with_its_line():
    def f(x):
        return x @ np.ones((7, 7))

    layer = fnn.elementwise("broken", f, lambda x, y, dy: dy)
    with pytest.raises(LawError, match=r"at test_testing_awkward\.py:\d+: return x @ np\.ones"):
        check_layer(layer, (4,))
