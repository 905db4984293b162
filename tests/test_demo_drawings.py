"""The demo: what is drawn becomes an image like those of the data, and what layers give is seen."""

from __future__ import annotations

import os

import numpy as np
import pytest
from demo_cases import DIGITS, trained
from layer_cases import CASES

import fnn
from fnn.demo.strokes import drawn
from fnn.demo.watching import outcome, seen, watched


def moved(strokes, scale, x, y):
    return [[(scale * a + x, scale * b + y) for a, b in stroke] for stroke in strokes]


# --- drawings


@pytest.mark.parametrize("side", [20, 28, 56])
@pytest.mark.parametrize("digit", DIGITS)
def test_a_drawing_is_centred_and_scaled_as_in_mnist(digit, side):
    image = drawn(DIGITS[digit], side, "mnist")
    assert image.shape == (side, side)
    assert image.min() == 0
    assert 0.85 < image.max() <= 1
    place = np.arange(side) + 0.5
    mass = [image.sum(axis=axis) @ place / image.sum() for axis in (0, 1)]
    assert mass == pytest.approx([side / 2] * 2, abs=0.02 * side)
    ink = [np.flatnonzero(image.max(axis=axis) > 0.5) for axis in (0, 1)]
    longer = max(each[-1] - each[0] + 1 for each in ink)
    assert longer == pytest.approx(20 / 28 * side, abs=1.01)
    # No edge is hard: some pixels are partly ink.
    assert ((image > 0.1) & (image < 0.9)).sum() > side


@pytest.mark.parametrize("style", ["mnist", "small"])
@pytest.mark.parametrize("digit", DIGITS)
def test_where_and_how_large_it_was_drawn_makes_no_difference(digit, style):
    image = drawn(DIGITS[digit], 28, style)
    other = drawn(moved(DIGITS[digit], 0.3, 0.6, 0.05), 28, style)
    np.testing.assert_allclose(other, image, rtol=0, atol=1e-9)


def test_a_stroke_in_two_parts_is_the_same_stroke():
    whole = DIGITS[0][0]
    image = drawn([whole[:10], whole[9:]], 28, "mnist")
    np.testing.assert_allclose(image, drawn([whole], 28, "mnist"), rtol=0, atol=1e-12)


def test_a_long_drawing_is_the_same_in_parts():
    rng = np.random.default_rng(0)
    points = [tuple(each) for each in rng.random((700, 2))]
    image = drawn([points], 28, "mnist")
    assert image.mean() > 0.2
    parts = drawn([points[:400], points[399:]], 28, "mnist")
    np.testing.assert_allclose(parts, image, rtol=0, atol=1e-12)


def test_a_dot_stays_a_dot_and_nothing_is_nothing():
    dot = drawn([[(0.1, 0.9)]], 28, "mnist")
    assert 3 < dot.sum() < 10
    assert dot[13:15, 13:15].min() > 0.5
    assert drawn([], 28, "mnist").sum() == 0
    assert drawn([], 8, "small").shape == (8, 8)


def test_the_ink_is_as_much_as_that_of_real_digits():
    ours = np.mean([drawn(each, 8, "small").mean() for each in DIGITS.values()])
    assert ours == pytest.approx(fnn.digits().x.mean(), rel=0.15)
    # 0.1307 is the mean of MNIST's training images.
    ours = np.mean([drawn(each, 28, "mnist").mean() for each in DIGITS.values()])
    assert ours == pytest.approx(0.1307, rel=0.1)


def test_small_digits_fill_their_image_as_the_bundled_ones_do():
    real = fnn.digits(flat=False).x[:, 0]
    for digit in DIGITS:
        image = drawn(DIGITS[digit], 8, "small")
        assert image[0].max() > 0.15
        assert image[7].max() > 0.15
    assert (real[:, [0, 7]].max(axis=2) > 0.15).mean() > 0.99
    # Larger ones are those made larger, as `digits` makes them.
    larger = drawn(DIGITS[3], 28, "small")
    small = drawn(DIGITS[3], 8, "small")
    at = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7)
    rows = np.array([np.interp(at, np.arange(8), row) for row in small])
    want = np.array([np.interp(at, np.arange(8), column) for column in rows.T]).T
    np.testing.assert_allclose(larger, want, rtol=0, atol=1e-12)
    twice = drawn(DIGITS[3], 16, "small")
    at = np.clip((np.arange(16) + 0.5) / 2 - 0.5, 0, 7)
    rows = np.array([np.interp(at, np.arange(8), row) for row in small])
    want = np.array([np.interp(at, np.arange(8), column) for column in rows.T]).T
    np.testing.assert_allclose(twice, want, rtol=0, atol=1e-12)


@pytest.mark.skipif("FNN_DATA" not in os.environ, reason="no MNIST: $FNN_DATA names its folder")
def test_a_network_of_mnist_knows_all_digits_that_are_drawn():
    net = fnn.serial(fnn.Dense(64), fnn.Relu(), fnn.Dense(10))
    now = trained(net, fnn.mnist("train").take(10_000), epochs=4, size=100).last
    x = np.stack([drawn(each, 28, "mnist").reshape(-1) for each in DIGITS.values()]).astype("float32")
    assert fnn.predict(net, now, x).argmax(axis=1).tolist() == list(DIGITS)


# --- what layers give


@pytest.mark.parametrize(("net", "in_shape"), CASES, ids=lambda each: repr(each)[:60])
def test_a_watched_network_computes_the_same_bits(net, in_shape):
    if net.inputs is not None:
        pytest.skip("it takes more than any numbers")
    _, params, state = net.init(fnn.Key.of(0), in_shape)
    x = fnn.Key.of(1).generator().standard_normal((2, *in_shape), "float32")
    y, notes = seen(watched(net), params, state, x)
    want, _ = net.apply(params, state, x)
    for ours, theirs in zip((y,), (want,), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert all(isinstance(note.y, np.ndarray) for note in notes)


def test_every_layer_is_seen_once_by_its_path():
    inner = fnn.serial(fnn.Conv(4, 3, padding="same"), fnn.BatchNorm(), fnn.Relu())
    net = fnn.serial(
        fnn.named("first", fnn.serial(inner, fnn.residual(fnn.Conv(4, 3, padding="same"), fnn.Relu()))),
        fnn.frozen(fnn.Conv(2, 3)), fnn.Flatten(), fnn.Dropout(0.5), fnn.Dense(10),
    )  # fmt: skip
    _, params, state = net.init(fnn.Key.of(0), (1, 8, 8))
    x = fnn.Key.of(1).generator().standard_normal((1, 1, 8, 8), "float32")
    _, notes = seen(watched(net), params, state, x)
    paths = ["first/serial_0/conv_0", "first/serial_0/batch_norm_0", "first/serial_0/relu_0"]
    paths += [f"first/residual_0/{each}" for each in ("conv_0", "relu_0")]
    assert [note.path for note in notes] == [*paths, "first/residual_0", "conv_0", "dense_0"]
    conv, _ = fnn.Conv(4, 3, padding="same").apply(params["first"]["serial_0"]["conv_0"], {}, x)
    np.testing.assert_array_equal(notes[0].y, conv)


@pytest.mark.parametrize("how", ["logits", "probabilities"])
def test_what_decides_is_the_derivative_of_the_log_odds(how):
    net = fnn.serial(fnn.Dense(5), fnn.Tanh(), fnn.Dense(3), *([fnn.Softmax()] * (how != "logits")))
    _, params, state = net.init(fnn.Key.of(0), (4,))
    params = fnn.tree.cast(params, "float64")
    x = fnn.Key.of(1).generator().standard_normal((1, 4))
    found = outcome(net, params, state, x, how)

    def odds(x):
        y = net.apply(params, state, x)[0][0]
        y = y if how == "logits" else np.log(y)
        return y[found.first] - y[found.second]

    y = net.apply(params, state, x)[0][0]
    assert (found.first, found.second) == tuple(np.argsort(-y)[:2])
    step = 1e-6 * np.eye(4)
    want = [(odds(x + each) - odds(x - each)) / 2e-6 for each in step]
    np.testing.assert_allclose(found.heat, want, rtol=1e-7)
