"""What constructors of layers and combinators say of options out of range."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from fnn import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Layer,
    LeakyRelu,
    MaxPool,
    OptionError,
    Relu,
    Reshape,
    Tanh,
    elementwise,
    make_layer,
    named,
    residual,
    serial,
)

PADDING = "'valid', 'same', an integer or one (before, after) pair per axis"
MORE_PADDINGS = PADDING.replace("'same'", "'same', 'causal', 'reflect', 'circular', 'edge'")
NAME = "name: expected a string without '/'"
A_LAYER = "expected a Layer"
SHAPE = "Reshape: shape: expected axes of 1 or more, one of them -1"
MOMENTUM = "BatchNorm: momentum: expected a number in [0, 1]"


def says(text):
    return "^" + re.escape(text) + "$"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(0), "Dense: width: expected 1 or more, got 0"),
        (lambda: Dense(2.0), "Dense: width: expected an integer, got 2.0"),
        (lambda: Dense(True), "Dense: width: expected an integer, got True"),
        (lambda: Conv(0, 3), "Conv: channels: expected 1 or more, got 0"),
        (lambda: Conv(2, 0), "Conv: window: expected 1 or more, got 0"),
        (lambda: Conv(2, (3, -1)), "Conv: window: expected 1 or more, got -1"),
        (lambda: Conv(2, 3, stride=0), "Conv: stride: expected 1 or more, got 0"),
        (lambda: Conv(2, 3, dilation=0), "Conv: dilation: expected 1 or more, got 0"),
        (lambda: Conv(2, 3, groups=3), "Conv: channels: expected a multiple of groups=3, got 2"),
        (lambda: Conv(2, 3, padding=-1), "Conv: padding: expected 0 or more, got -1"),
        (
            lambda: Conv(2, 3, padding="full"),
            f"Conv: padding: expected {MORE_PADDINGS}, got 'full'",
        ),
        (
            lambda: MaxPool(2, padding=(1, 1)),
            f"MaxPool: padding: expected {PADDING}, got (1, 1)",
        ),
        (lambda: MaxPool(-2), "MaxPool: window: expected 1 or more, got -2"),
        (lambda: AvgPool(2, stride=0), "AvgPool: stride: expected 1 or more, got 0"),
        (lambda: BatchNorm(axis=0), "BatchNorm: axis: expected a feature axis, got 0, the batch's"),
        (lambda: BatchNorm(axis=1.0), "BatchNorm: axis: expected an integer, got 1.0"),
        (lambda: BatchNorm(momentum=1.1), f"{MOMENTUM}, got 1.1"),
        (lambda: BatchNorm(momentum=-0.1), f"{MOMENTUM}, got -0.1"),
        (lambda: BatchNorm(eps=-1), "BatchNorm: eps: expected a number in [0, inf), got -1"),
        (lambda: Dropout(-0.1), "Dropout: rate: expected a number in [0, 1), got -0.1"),
        (lambda: Dropout(1), "Dropout: rate: expected a number in [0, 1), got 1"),
        (lambda: Dropout(math.nan), "Dropout: rate: expected a number in [0, 1), got nan"),
        (lambda: Dropout("half"), "Dropout: rate: expected a number, got 'half'"),
        (lambda: LeakyRelu("steep"), "LeakyRelu: slope: expected a number, got 'steep'"),
        (lambda: LeakyRelu(math.inf), "LeakyRelu: slope: expected a number in (-inf, inf), got inf"),
        (lambda: Reshape((-1, -1)), f"{SHAPE}, got (-1, -1)"),
        (lambda: Reshape((0, 2)), f"{SHAPE}, got (0, 2)"),
        (lambda: Reshape((-2,)), "Reshape: shape: expected -1 or more, got -2"),
        (lambda: named("", Relu()), f"named: {NAME}, got ''"),
        (lambda: named("a/b", Relu()), f"named: {NAME}, got 'a/b'"),
        (lambda: named(Relu(), "a"), f"named: {NAME}, got Relu()"),
        (
            lambda: serial(Relu(), Relu),
            f"serial: argument 1: {A_LAYER}, got Relu; call it: Relu(...)",
        ),
        (lambda: serial([Relu()]), f"serial: argument 0: {A_LAYER}, got [Relu()]"),
        (
            lambda: residual(np.tanh),
            f"residual: argument 0: {A_LAYER}, got tanh; call it: tanh(...)",
        ),
        (lambda: residual(Relu(), shortcut=3), f"residual: shortcut: {A_LAYER}, got 3"),
        (
            lambda: serial(named("a", Relu()), named("a", Tanh())),
            "serial: two children are called 'a'; name one otherwise",
        ),
        (
            lambda: serial(named("relu_0", Tanh()), Relu()),
            "serial: two children are called 'relu_0'; name one otherwise",
        ),
        (lambda: residual(named("shortcut", Tanh())), "residual: two children are called 'shortcut'"),
        (lambda: elementwise("a/b", np.exp, np.exp), f"elementwise: {NAME}, got 'a/b'"),
        (lambda: elementwise("a", 3, np.exp), "elementwise: f: expected a function, got 3"),
        (lambda: elementwise("a", np.exp, None), "elementwise: f_vjp: expected a function, got None"),
        (lambda: make_layer(3, print, print), f"make_layer: {NAME}, got 3"),
        (lambda: make_layer("a", None, print), "make_layer: shapes: expected a function, got None"),
        (lambda: make_layer("a", print, 3), "make_layer: fwd: expected a function, got 3"),
        (lambda: Layer("", print, print, print), f"Layer: {NAME}, got ''"),
        (lambda: Layer("a", print, None, print), "Layer: apply: expected a function, got None"),
    ],
)
def test_options_out_of_range_raise_at_construction(make, message):
    with pytest.raises(OptionError, match=says(message)):
        make()


def test_misspelt_options_raise():
    for make_wrong in (
        lambda: Dense(3, units=2),
        lambda: Conv(2, 3, strides=1),
        lambda: serial(name="a"),
    ):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            make_wrong()
    with pytest.raises(TypeError):
        Dense(3, False)
