"""What layers and combinators say of bad input, and where they say it happened."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from layer_cases import CASES, IDS, make

import fnn
from fnn import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    DTypeError,
    Flatten,
    FnnError,
    GlobalAvgPool,
    Key,
    MaxPool,
    OptionError,
    Reshape,
    ShapeError,
    Softmax,
    Tanh,
    TreeError,
    named,
    residual,
    serial,
)

KEY = Key.of(0)
FLOATS = "expected float32, float64 or their complex counterparts"
TUPLE = "expected in_shape to be a tuple of integers such as (784,)"
IMAGES = "expected examples (channels, *space)"
TREES = "params and state as init returns them"


def says(text):
    return "^" + re.escape(text) + "$"


def line():
    """Return "file:line" of the caller."""
    return f"test_layer_messages.py:{inspect.currentframe().f_back.f_lineno}"


def images(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


# --- the place of an error -------------------------------------------------------------------


def test_an_error_names_the_path_the_line_what_was_expected_and_what_came():
    first, here = Dense(16), line()
    second, there = Dense(8), line()
    net = serial(first, Tanh(), residual(Dense(16), second, named("back", Dense(16))))
    _, params, state = net.init(KEY, (4,))
    x = images(128, 8)
    for call in (net.apply, net.vjp):
        with pytest.raises(
            ShapeError, match=says(f"serial/dense_0 ({here}): expected last axis 4, got (128, 8)")
        ):
            call(params, state, x)
    inside = params["residual_0"] | {"dense_1": {"w": images(7, 8), "b": images(8)}}
    message = f"serial/residual_0/dense_1 ({there}): expected last axis 7, got (3, 16)"
    for call in (net.apply, net.vjp):
        with pytest.raises(ShapeError, match=says(message)):
            call(params | {"residual_0": inside}, state, images(3, 4))


def test_an_error_of_init_has_its_place_too():
    conv, here = Conv(4, 3), line()
    net = serial(conv, named("deep", serial(MaxPool(5))))
    with pytest.raises(
        ShapeError, match=r"^serial/deep/max_pool_0 \(test_layer_messages.py:\d+\): expected"
    ):
        net.init(KEY, (1, 6, 6))
    with pytest.raises(
        ShapeError, match=re.escape(f"serial/conv_0 ({here}): expected examples (channels, *")
    ):
        net.init(KEY, (6,))


def test_an_error_of_a_shortcut_has_its_place():
    net, here = residual(Dense(3), shortcut=(side := Dense(2))), line()
    with pytest.raises(ShapeError, match=says(
        f"residual ({here}): expected both ways to end in one shape, got (3,) + (2,)"
    )):  # fmt: skip
        net.init(KEY, (4,))
    net = residual(Dense(2), shortcut=side)
    _, params, state = net.init(KEY, (4,))
    bad = params | {"shortcut": {"w": images(5, 2), "b": images(2)}}
    with pytest.raises(
        ShapeError, match=says(f"residual/shortcut ({here}): expected last axis 5, got (3, 4)")
    ):
        net.apply(bad, state, images(3, 4))


def test_an_error_on_the_way_back_has_its_place():
    bad = fnn.elementwise("bad", lambda x: 2 * x, lambda x, y, dy: dy[:1])
    net = serial(Dense(3), serial(bad))
    _, params, state = net.init(KEY, (4,))
    _, _, pullback = net.vjp(params, state, images(2, 4))
    match = (
        r"^serial/serial_0/bad_0 \(test_layer_messages.py:\d+\): expected f_vjp\(x, y, dy\) of shape"
    )
    with pytest.raises(ShapeError, match=match):
        pullback(images(2, 3))


# --- inputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda x: x.astype("int64"),
            f"{FLOATS}, got int64",
        ),
        (
            lambda x: x.astype("float16"),
            f"{FLOATS}, got float16",
        ),
        (lambda x: x > 0, f"{FLOATS}, got bool"),
        (lambda x: x.tolist(), "expected an array, got list"),
        (lambda x: None, "expected an array, got NoneType"),
    ],
)
def test_every_layer_refuses_what_is_no_array_of_floats(case, spoil, message):
    at = make(case, dtype="float32")
    if at.layer == serial():
        return  # The identity of composition asks for nothing.
    for call in (at.layer.apply, at.layer.vjp):
        with pytest.raises(DTypeError, match=re.escape(message)):
            call(at.params, at.state, spoil(at.x))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_layer_with_parameters_refuses_another_precision(case):
    at = make(case, dtype="float32")
    if at.params and at.layer.recipe.call is fnn.make_layer:  # With an `init` of its own: y tells it.
        with pytest.raises(DTypeError, match="expected float32 as x, got float64"):
            at.layer.apply(fnn.tree.cast(at.params, "float64"), at.state, at.x)
    elif at.params:
        match = r"expected float32 as the parameters, got float64; cast one of them: Dataset\("
        for call in (at.layer.apply, at.layer.vjp):
            with pytest.raises(DTypeError, match=match):
                call(at.params, at.state, at.x.astype("float64"))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_pullback_refuses_cotangents_that_would_broadcast_or_leak(case):
    at = make(case, dtype="float32")
    y, _, pullback = at.vjp(train=False)
    for bad, error in (
        (y[:1], ShapeError),
        (np.ones((1, *y.shape), "float32"), ShapeError),
        (y.astype("float64"), DTypeError),
        (1.0, DTypeError),
        (np.ones(y.shape, int), DTypeError),
    ):
        with pytest.raises(error, match=rf"^{at.layer.name} \(\w+_cases.py:\d+\): expected"):
            pullback(bad)


@pytest.mark.parametrize(
    ("layer", "in_shape", "x", "message"),
    [
        (Dense(2), (3,), images(4), "expected a feature axis of 1 or more, got (4,), the batch first"),
        (Dense(2), (3,), images(4, 5), "expected last axis 3, got (4, 5)"),
        (Conv(2, 3), (1, 5, 5), images(4, 5), f"{IMAGES}, got (4, 5), the batch first"),
        (
            Conv(2, 3),
            (1, 5, 5),
            images(4, 2, 5, 5),
            "expected axis 1 of size 1, got (4, 2, 5, 5)",
        ),
        (Conv(2, 3), (1, 5, 5), images(4, 1, 5), "expected 4 axes, got (4, 1, 5)"),
        (
            Conv(2, 3),
            (1, 5, 5),
            images(4, 1, 2, 5),
            "expected images of (3, 3) or more after padding, got (2, 5)",
        ),
        (
            MaxPool(2),
            (1, 4),
            images(4, 1, 1),
            "expected images of (2,) or more after padding, got (1,)",
        ),
        (MaxPool((2, 2)), (1, 4, 4), images(4, 1, 4), "window: expected 1 integers, got (2, 2)"),
        (AvgPool(2), (1, 4), images(4, 4), f"{IMAGES}, got (4, 4), the batch first"),
        (
            GlobalAvgPool(),
            (1, 4),
            images(4, 1, 0),
            "expected images of 1 or more values, got (4, 1, 0), the batch first",
        ),
        (BatchNorm(), (3,), images(4, 2), "expected axis 1 of size 3, got (4, 2)"),
        (BatchNorm(axis=2), (3, 2), images(4, 2), "expected a feature axis 2, got arrays of 2 axes"),
        (Softmax(), (3,), images(4), "expected a last axis of 1 or more, got (4,), the batch first"),
        (
            Softmax(),
            (3,),
            images(4, 0),
            "expected a last axis of 1 or more, got (4, 0), the batch first",
        ),
        (
            Reshape((2, 2)),
            (4,),
            images(3, 5),
            "expected examples that fill (2, 2), got (5,) (5 numbers)",
        ),
        (Flatten(), (4,), np.float32(1), "expected an array, got float32"),
        (Flatten(), (4,), np.ones((), "float32"), "expected 1 or more axes, the batch first, got ()"),
    ],
)
def test_inputs_of_another_shape_raise_with_what_was_expected(layer, in_shape, x, message):
    _, params, state = layer.init(KEY, in_shape)
    for call in (layer.apply, layer.vjp):
        with pytest.raises(FnnError, match=says(f"{layer.name} ({layer.where}): {message}")):
            call(params, state, x)


@pytest.mark.parametrize("x", [images(1, 3), images(1, 3, 1, 1), images(0, 3)])
def test_batch_norm_refuses_to_train_on_a_single_value_per_feature(x):
    layer = BatchNorm()
    _, params, state = layer.init(KEY, (3,))
    with pytest.raises(
        ShapeError, match=re.escape(f"expected 2 or more values per feature in training, got {x.shape}")
    ):
        layer.apply(params, state, x, train=True)
    assert layer.apply(params, state, x)[0].shape == x.shape


@pytest.mark.parametrize(
    ("layer", "in_shape", "message"),
    [
        (Dense(2), (), "expected a feature axis of 1 or more, got in_shape=()"),
        (Dense(2), (0,), "expected a feature axis of 1 or more, got in_shape=(0,)"),
        (Dense(2), 784, f"{TUPLE}, got 784"),
        (Dense(2), (3.0,), f"{TUPLE}, got (3.0,)"),
        (Dense(2), "28", f"{TUPLE}, got '28'"),
        (Dense(2), (-1,), "expected sizes of 0 or more, got in_shape=(-1,)"),
        (Conv(2, 3), (5,), "expected examples (channels, *space), got in_shape=(5,)"),
        (Conv(2, 3), (1, 2, 5), "expected images of (3, 3) or more after padding, got (2, 5)"),
        (Conv(2, 3, dilation=2), (1, 4), "expected images of (5,) or more after padding, got (4,)"),
        (Conv(2, (3, 3)), (1, 9), "window: expected 1 integers, got (3, 3)"),
        (Conv(2, 3, stride=(1, 1)), (1, 9), "stride: expected 1 integers, got (1, 1)"),
        (Conv(2, 3, padding=((1, 1),)), (1, 9, 9), "padding: expected 2 pairs, got ((1, 1),)"),
        (Conv(4, 3, groups=2), (3, 9), "expected channels in multiples of groups=2, got (3, 9)"),
        (MaxPool(2), (4,), "expected examples (channels, *space), got in_shape=(4,)"),
        (MaxPool(2, padding=2), (1, 4), "expected less padding than the window (2,), got ((2, 2),)"),
        (AvgPool((2, 2)), (1, 4), "window: expected 1 integers, got (2, 2)"),
        (GlobalAvgPool(), (3,), "expected examples (channels, *space), got in_shape=(3,)"),
        (BatchNorm(axis=3), (3,), "expected a feature axis 3, got arrays of 2 axes"),
        (BatchNorm(), (0,), "expected 1 or more features, got in_shape=(0,)"),
        (Softmax(), (), "expected a last axis of 1 or more, got in_shape=()"),
        (Reshape((3, -1)), (4,), "expected examples that fill (3, -1), got (4,) (4 numbers)"),
    ],
)
def test_init_refuses_examples_of_another_shape(layer, in_shape, message):
    with pytest.raises(FnnError, match=says(f"{layer.name} ({layer.where}): {message}")):
        layer.init(KEY, in_shape)


# --- parameters and state --------------------------------------------------------------------

W, B, X, ROWS = images(3, 2), images(2), images(4, 3), images(4, 1, 5)
ONE = np.ones(3, "float32")
NORM = {"scale": ONE, "shift": ONE}
MOVED = {"mean": ONE, "var": ONE}


@pytest.mark.parametrize(
    ("layer", "params", "state", "x", "message"),
    [
        (Dense(2), {}, {}, X, "params ['b', 'w'], got []"),
        (Dense(2), {"w": W}, {}, X, "params ['b', 'w'], got ['w']"),
        (Dense(2, bias=False), {"w": W, "b": B}, {}, X, "params ['w'], got ['b', 'w']"),
        (Dense(2), {"w": W, "c": B}, {}, X, "params ['b', 'w'], got ['c', 'w']"),
        (Dense(2), {"w": W.tolist(), "b": B}, {}, X, "an array at w, got list"),
        (Dense(2), {"w": W, "b": images(1)}, {}, X, "b of shape (2,), got (1,)"),
        (Dense(2), {"w": W, "b": images(4, 2)}, {}, X, "b of shape (2,), got (4, 2)"),
        (Dense(2), {"w": W, "b": B.astype("float64")}, {}, X, "b in float32, got float64"),
        (Dense(2), {"w": images(3, 5), "b": B}, {}, X, "w of shape (3, 2), got (3, 5)"),
        (Dense(2), {"w": images(3), "b": B}, {}, X, "w of shape (3, 2), got (3,)"),
        (
            Dense(2),
            {"w": W.astype(int), "b": B},
            {},
            X,
            "int64 as the parameters, got float32",
        ),
        (Dense(2), W, {}, X, f"{TREES}, got ndarray"),
        (Dense(2), None, {}, X, f"{TREES}, got NoneType"),
        (Dense(2), {"w": W, "b": B}, None, X, f"{TREES}, got NoneType"),
        (Conv(2, 3), {"w": images(2, 1, 3)}, {}, ROWS, "params ['b', 'w'], got ['w']"),
        (
            Conv(2, 3),
            {"w": images(2, 1, 3), "b": images(1)},
            {},
            ROWS,
            "b of shape (2,), got (1,)",
        ),
        (
            Conv(2, 3),
            {"w": images(2, 1, 2), "b": B},
            {},
            ROWS,
            "w of shape (2, 1, 3), got (2, 1, 2)",
        ),
        (
            Conv(2, 3),
            {"w": images(4, 1, 3), "b": B},
            {},
            ROWS,
            "w of shape (2, 1, 3), got (4, 1, 3)",
        ),
        (
            Conv(2, 3),
            {"w": images(2), "b": B},
            {},
            ROWS,
            "w of shape (2, 1, 3), got (2,)",
        ),
        (BatchNorm(), NORM, {}, X, "state ['mean', 'var'], got []"),
        (BatchNorm(), {"scale": ONE}, MOVED, X, "params ['scale', 'shift'], got ['scale']"),
        (BatchNorm(), NORM | {"shift": images(1)}, MOVED, X, "shift of shape (3,), got (1,)"),
        (BatchNorm(), NORM, MOVED | {"var": images(1)}, X, "var of shape (3,), got (1,)"),
        (
            BatchNorm(),
            NORM,
            MOVED | {"mean": images(3, 1)},
            X,
            "mean of shape (3,), got (3, 1)",
        ),
        (
            BatchNorm(),
            NORM,
            MOVED | {"mean": ONE.astype("float64")},
            X,
            "mean in float32, got float64",
        ),
    ],
)
def test_params_and_state_of_another_network_raise_before_they_broadcast(
    layer, params, state, x, message
):
    for call in (layer.apply, layer.vjp):
        with pytest.raises(
            FnnError, match="^" + re.escape(f"{layer.name} ({layer.where}): expected {message}")
        ):
            call(params, state, x)


def test_foreign_and_missing_entries_of_a_network_are_named():
    net = serial(Dense(2), Tanh(), Dense(1))
    _, params, state = net.init(KEY, (3,))
    x = images(4, 3)
    with pytest.raises(
        TreeError, match=r"expected params of \['dense_0', .*\], got \['conv_0'\] beside them"
    ):
        net.apply(params | {"conv_0": {}}, state, x)
    with pytest.raises(TreeError, match=r"expected state of .* got \['batch_norm_0'\] beside them"):
        net.vjp(params, {"batch_norm_0": {}}, x)
    with pytest.raises(TreeError, match=r"^serial/dense_1 .*: expected params \['b', 'w'\], got \[\]"):
        net.apply({"dense_0": params["dense_0"]}, state, x)
    with pytest.raises(
        TreeError, match=r"^serial/dense_1 .*: expected params \['b', 'w'\], got ndarray"
    ):
        net.apply(params | {"dense_1": ONE}, state, x)
    with pytest.raises(
        TreeError, match=r"^serial/serial_0 .*: expected params of \['dense_0'\], got ndarray"
    ):
        serial(serial(Dense(1))).apply({"serial_0": ONE}, state, x)


def test_keys_that_are_none_raise():
    net = serial(Dropout(0.5))
    for call in (net.apply, net.vjp):
        with pytest.raises(OptionError, match=r"expected a Key, got 3; write Key.of\(seed\)"):
            call({}, {}, images(2, 3), train=True, key=3)
        with pytest.raises(
            OptionError, match=r"serial/dropout_0 .*expected a key when train=True, got None"
        ):
            call({}, {}, images(2, 3), train=True)
    with pytest.raises(OptionError, match=r"^dense .*expected a Key, got 0; write Key.of\(seed\)"):
        Dense(2).init(0, (3,))
