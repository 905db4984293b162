"""Further layers over images beside PyTorch, their closed forms, and what they refuse."""

from __future__ import annotations

import re

import attrs
import numpy as np
import pytest

import fnn
from fnn import Key, OptionError, ShapeError, tree
from fnn.layers import (
    AdaptiveAvgPool,
    AvgPool,
    Conv,
    ConvTranspose,
    DepthwiseConv,
    GlobalMaxPool,
    MaxPool,
    MinPool,
    Pad,
    PixelShuffle,
    SeparableConv,
    SumPool,
    Upsample,
)

RNG = np.random.default_rng(0)


def drawn(layer, in_shape, seed=0):
    rng = np.random.default_rng(seed)
    params = layer.init(Key.of(seed), in_shape)[1]
    return tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), params)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def names(cases):
    return [repr(layer) for layer, *_ in cases]


def functional(torch):
    return torch.nn.functional


def conv(n, **given):
    return lambda torch, x, w, b: getattr(functional(torch), f"conv{n}d")(x, w, b, **given)


def transposed(n, **given):
    return lambda torch, x, w, b: getattr(functional(torch), f"conv_transpose{n}d")(x, w, b, **given)


def filled(n, pads, mode, **given):
    def f(torch, x, w, b):
        wide = functional(torch).pad(x, pads, mode={"edge": "replicate"}.get(mode, mode))
        return getattr(functional(torch), f"conv{n}d")(wide, w, b, **given)

    return f


PARAMETRIC = [
    (Conv(4, 3), (2, 4, 5, 3), conv(3)),
    (Conv(4, (1, 2, 3), stride=(2, 1, 2), padding=1, dilation=(1, 2, 1), groups=2), (2, 4, 5, 6),
     conv(3, stride=(2, 1, 2), padding=1, dilation=(1, 2, 1), groups=2)),
    (Conv(3, 3, padding="reflect"), (2, 5, 6), filled(2, (1, 1, 1, 1), "reflect")),
    (Conv(3, (3, 5), padding="circular"), (2, 5, 6), filled(2, (2, 2, 1, 1), "circular")),
    (Conv(3, 3, padding="edge", dilation=2), (2, 5), filled(1, (2, 2), "edge", dilation=2)),
    (Conv(3, 3, padding="causal", dilation=2), (2, 7), filled(1, (4, 0), "constant", dilation=2)),
    (DepthwiseConv(3, multiplier=2, stride=2), (3, 6, 7), conv(2, groups=3, stride=2)),
    (ConvTranspose(3, 3), (2, 4), transposed(1)),
    (ConvTranspose(4, (2, 3), stride=2, padding=1, output_padding=1, groups=2), (2, 3, 4),
     transposed(2, stride=2, padding=1, output_padding=1, groups=2)),
    (ConvTranspose(2, 3, stride=(1, 2), dilation=(2, 1)), (3, 3, 4),
     transposed(2, stride=(1, 2), dilation=(2, 1))),
    (ConvTranspose(2, 2, dilation=3, output_padding=2), (3, 4),
     transposed(1, dilation=3, output_padding=2)),
    (ConvTranspose(2, 2, stride=2), (2, 2, 3, 2), transposed(3, stride=2)),
    (ConvTranspose(4, 3), (2, 12, 40), transposed(2)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "in_shape", "twin"), PARAMETRIC, ids=names(PARAMETRIC))
@pytest.mark.parametrize("batch", [1, 3])
def test_values_gradients_and_twenty_steps_are_those_of_torch(layer, in_shape, twin, batch):
    torch = pytest.importorskip("torch")
    x, params = RNG.normal(size=(batch, *in_shape)), drawn(layer, in_shape)
    y, _, back = layer.vjp(params, {}, x, train=True)
    tx, tw, tb = (torch.tensor(each, requires_grad=True) for each in (x, params["w"], params["b"]))
    ty = twin(torch, tx, tw, tb)
    close(y, ty.detach().numpy())
    dy = RNG.normal(size=y.shape)
    (ty * torch.tensor(dy)).sum().backward()
    dparams, dx = back(dy)
    close(dx, tx.grad.numpy())
    close(dparams["w"], tw.grad.numpy())
    close(dparams["b"], tb.grad.numpy())
    step = fnn.train_step(layer, fnn.squared_error, fnn.sgd(0.5))
    now = fnn.init_train_state(layer, fnn.sgd(0.5), in_shape, Key.of(0))
    now = attrs.evolve(now, params=tree.Tree(params))
    optimizer = torch.optim.SGD([tw, tb], lr=0.5)
    for _ in range(20):
        now, _ = step(now, (x, dy))
        optimizer.zero_grad()
        functional(torch).mse_loss(twin(torch, tx, tw, tb), torch.tensor(dy)).backward()
        optimizer.step()
    close(now.params["w"], tw.detach().numpy())


PLAIN = [
    (MaxPool(2), (2, 4, 5, 3), lambda f, x: f.max_pool3d(x, 2)),
    (AvgPool((1, 2, 2), stride=1), (2, 3, 4, 3), lambda f, x: f.avg_pool3d(x, (1, 2, 2), 1)),
    (MinPool(3, stride=2, padding=1), (2, 5, 6), lambda f, x: -f.max_pool2d(-x, 3, 2, 1)),
    (SumPool(2), (2, 5, 6), lambda f, x: f.avg_pool2d(x, 2, divisor_override=1)),
    (GlobalMaxPool(), (2, 5, 6), lambda f, x: f.adaptive_max_pool2d(x, 1)[:, :, 0, 0]),
    (AdaptiveAvgPool(3), (2, 7), lambda f, x: f.adaptive_avg_pool1d(x, 3)),
    (AdaptiveAvgPool((2, 5)), (2, 5, 3), lambda f, x: f.adaptive_avg_pool2d(x, (2, 5))),
    (Upsample(3), (2, 4), lambda f, x: f.interpolate(x, scale_factor=3)),
    (Upsample((2, 3)), (2, 4, 3), lambda f, x: f.interpolate(x, scale_factor=(2, 3))),
    (Upsample(3, "bilinear"), (2, 4), lambda f, x: f.interpolate(x, scale_factor=3, mode="linear")),
    (Upsample((2, 3), "bilinear"), (2, 4, 3),
     lambda f, x: f.interpolate(x, scale_factor=(2, 3), mode="bilinear")),
    (Upsample(2, "bilinear"), (2, 2, 3, 2),
     lambda f, x: f.interpolate(x, scale_factor=2, mode="trilinear")),
    (PixelShuffle(2), (8, 2, 3), lambda f, x: f.pixel_shuffle(x, 2)),
    (Pad(((1, 2), (0, 3))), (2, 4, 5), lambda f, x: f.pad(x, (0, 3, 1, 2))),
    (Pad(2, mode="reflect"), (2, 4, 5), lambda f, x: f.pad(x, (2, 2, 2, 2), mode="reflect")),
    (Pad(3, mode="circular"), (2, 4), lambda f, x: f.pad(x, (3, 3), mode="circular")),
    (Pad(7, mode="edge"), (2, 4), lambda f, x: f.pad(x, (7, 7), mode="replicate")),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "in_shape", "twin"), PLAIN, ids=names(PLAIN))
def test_values_and_derivatives_of_what_has_no_weights_are_those_of_torch(layer, in_shape, twin):
    torch = pytest.importorskip("torch")
    x = RNG.normal(size=(3, *in_shape))
    y, _, back = layer.vjp({}, {}, x)
    tx = torch.tensor(x, requires_grad=True)
    ty = twin(functional(torch), tx)
    close(y, ty.detach().numpy())
    dy = RNG.normal(size=y.shape)
    (ty * torch.tensor(dy)).sum().backward()
    close(back(dy)[1], tx.grad.numpy())


def test_a_separable_convolution_is_its_two_parts():
    layer = SeparableConv(3, 2, multiplier=2, stride=2)
    params = drawn(layer, (2, 5, 6))
    assert {path: leaf.shape for path, leaf in tree.items(params)} == {
        "depthwise/w": (4, 1, 2, 2), "pointwise/w": (3, 4, 1, 1), "pointwise/b": (3,)
    }  # fmt: skip
    x = RNG.normal(size=(3, 2, 5, 6))
    deep = DepthwiseConv(2, multiplier=2, stride=2, bias=False).apply(params["depthwise"], {}, x)[0]
    want = Conv(3, 1).apply(params["pointwise"], {}, deep)[0]
    np.testing.assert_array_equal(layer.apply(params, {}, x)[0], want)
    assert repr(layer) == "SeparableConv(3, 2, multiplier=2, stride=2)"


def test_a_causal_convolution_sees_nothing_of_later_values():
    layer = Conv(2, 3, padding="causal", dilation=2)
    params, x = drawn(layer, (1, 9)), RNG.normal(size=(2, 1, 9))
    y = layer.apply(params, {}, x)[0]
    for t in range(1, 9):
        other = x.copy()
        other[:, :, t:] = 5
        close(layer.apply(params, {}, other)[0][:, :, :t], y[:, :, :t])


def test_a_transposed_convolution_is_the_adjoint_of_the_convolution():
    options = {"stride": (2, 3), "padding": 1, "dilation": (1, 2)}
    there = Conv(3, (3, 2), bias=False, **options)
    shape = (2, 7, 8)
    out, params, _ = there.init(Key.of(0), shape)
    w = params["w"].astype("float64")
    back = ConvTranspose(2, (3, 2), bias=False, output_padding=(0, 1), **options)
    x, y = RNG.normal(size=(1, *shape)), RNG.normal(size=(1, *out))
    spread = back.apply({"w": w}, {}, y)[0]
    assert spread.shape == x.shape
    close((there.apply({"w": w}, {}, x)[0] * y).sum(), (spread * x).sum())


@pytest.mark.parametrize(
    ("layer", "in_shape", "error", "message"),
    [
        (Conv(2, 3, padding="causal"), (1, 4, 4), OptionError, "expected 'causal' along one axis"),
        (Conv(2, 5, padding="reflect"), (1, 2), ShapeError, "expected reflect padding of at most 1"),
        (ConvTranspose(2, 2, output_padding=1), (1, 3), OptionError,
         "output_padding: expected less than the stride (1,) or the dilation (1,), got (1,)"),
        (ConvTranspose(2, 1, padding=2), (1, 3), ShapeError, "expected less padding for images of"),
        (ConvTranspose(2, 2, groups=2), (3, 3), ShapeError, "expected channels in multiples of"),
        (ConvTranspose(2, 2, padding=((1, 1),)), (3, 3, 3), OptionError, "expected 2 pairs"),
        (PixelShuffle(2), (6, 2, 2), ShapeError, "with channels in multiples of 4, got"),
        (PixelShuffle(2), (4, 2), ShapeError, "expected examples (channels, height, width)"),
        (Pad(2, mode="reflect"), (1, 2), ShapeError, "expected reflect padding of at most 1 rows of 2"),
        (Pad(3, mode="circular"), (1, 2), ShapeError, "expected circular padding of at most 2"),
        (Pad(((1, 1),)), (1, 2, 2), OptionError, "padding: expected 2 pairs"),
        (Upsample(2), (3,), ShapeError, "expected examples (channels, *space), got in_shape=(3,)"),
        (Upsample((2, 2)), (3, 3), OptionError, "factor: expected 1 integers, got (2, 2)"),
        (AdaptiveAvgPool(2), (3, 0), ShapeError, "expected images of 1 or more values"),
    ],
)  # fmt: skip
def test_shapes_that_are_none_are_refused(layer, in_shape, error, message):
    with pytest.raises(error, match=re.escape(message)):
        layer.init(Key.of(0), in_shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Conv(2, 3, padding="mirror"),
            "padding: expected 'valid', 'same', 'causal', 'reflect'",
        ),
        (lambda: MaxPool(2, padding="reflect"), "padding: expected 'valid', 'same', an integer or one"),
        (lambda: ConvTranspose(2, 3, padding="same"), "padding: expected rows to cut off, got 'same'"),
        (lambda: ConvTranspose(3, 2, groups=2), "channels: expected a multiple of groups=2, got 3"),
        (lambda: DepthwiseConv(2, multiplier=0), "multiplier: expected 1 or more, got 0"),
        (lambda: Pad("same"), "padding: expected rows, got 'same'"),
        (lambda: Pad(1, mode="mirror"), "mode: expected one of"),
        (lambda: Upsample(0), "factor: expected 1 or more, got 0"),
        (lambda: Upsample(2, "cubic"), "mode: expected 'nearest' or 'bilinear', got 'cubic'"),
    ],
)
def test_options_that_are_none_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()
