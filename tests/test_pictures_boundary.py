"""Pictures of decision boundaries: the colours are the classes, the counts the network's."""

from __future__ import annotations

import numpy as np
import pytest

import fnn
from fnn.errors import DataError, OptionError, ShapeError
from fnn.runs import pictures

imread = pytest.importorskip("matplotlib.image").imread
KEY = fnn.Key.of(0)
X = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1], [0.5, 0]], np.float32)
Y = np.array([0, 0, 1, 1, 0])
DATA = fnn.Dataset(X, Y)


def linear(w, *more):
    """Return a network of one matrix, and its weights."""
    w = np.array(w, np.float32)
    net = fnn.serial(fnn.Dense(w.shape[1], bias=False), *more)
    return net, ({"dense_0": {"w": w}}, net.init(KEY, (2,))[2])


# Class 1 to the right, said by one score, by two, and by probabilities.
ONE = linear([[9], [0]])
TWO = linear([[0, 9], [0, 0]])
SIGMOID = linear([[9], [0]], fnn.Sigmoid())
SOFTMAX = linear([[0, 9], [0, 0]], fnn.Softmax())
THREE = linear([[0, 9, 0], [0, 0, 9]])


def near(pixels, color):
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    # Half of the colour on white is what a sure place has.
    return np.abs(pixels[..., :3] - (1 - 0.5 * (1 - rgb))).max(axis=-1) < 0.02


def drawn(path, model, data=DATA, **options):
    net, now = model
    return imread(pictures.decision_boundary(path, net, now, data, steps=60, **options))


@pytest.mark.parametrize(
    ("model", "logits"), [(ONE, True), (TWO, True), (SIGMOID, False), (SOFTMAX, False)], ids=range(4)
)
@pytest.mark.parametrize("y", [Y, Y[:, None], Y.astype(np.float32), np.eye(2)[Y]], ids=range(4))
def test_two_classes_are_parted_where_the_network_parts_them(tmp_path, model, logits, y):
    pixels = drawn(tmp_path / "a.png", model, fnn.Dataset(X, y), logits=logits)
    left, right = near(pixels, pictures.BLUE), near(pixels, pictures.VERMILLION)
    assert left.sum() > 20_000
    assert 0.9 < left.sum() / right.sum() < 1.1
    assert np.argwhere(left)[:, 1].max() < np.argwhere(right)[:, 1].min()


def test_one_score_and_two_give_the_same_bytes(tmp_path):
    for name, model in (("one", ONE), ("two", TWO)):
        drawn(tmp_path / name, model)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    drawn(tmp_path / "again", ONE)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "again").read_bytes()


def test_three_classes_have_three_colours(tmp_path):
    data = fnn.Dataset(X, [0, 2, 1, 1, 1])
    pixels = drawn(tmp_path / "a.png", THREE, data, names=["a", "$b$", "_c"], title="Three")
    for color in (pictures.BLUE, pictures.VERMILLION, pictures.GREEN):
        assert near(pixels, color).sum() > 2000


def test_wrong_points_have_a_dark_rim(tmp_path):
    dark = []
    for name, y in (("wrong", Y), ("right", [0, 0, 1, 1, 1])):
        pixels = drawn(tmp_path / name, ONE, fnn.Dataset(X, y))
        dark.append((pixels[..., :3].max(axis=-1) < 0.25).sum())
    assert dark[0] > dark[1] + 50


@pytest.mark.parametrize(
    "x",
    [np.zeros((3, 2)), np.full((3, 2), 1e6), np.array([[0, 0], [1e-9, 1e9], [0, 1]]), X[:1]],
    ids=["one place", "far away", "two scales", "one point"],
)
def test_points_of_any_extent_are_drawn(tmp_path, x):
    net = fnn.serial(fnn.Dense(2))
    _, params, state = net.init(KEY, (2,))
    data = fnn.Dataset(x.astype(np.float32), np.zeros(len(x), int))
    assert drawn(tmp_path / "a.png", (net, (params, state)), data).shape[2] == 4


def test_many_points_and_a_state_of_a_training_are_drawn(tmp_path):
    data = fnn.blobs(2500, classes=8, key=KEY)
    net = fnn.serial(fnn.Dense(8))
    now = fnn.init_train_state(net, fnn.sgd(0.1), (2,), KEY)
    assert drawn(tmp_path / "a.png", (net, now), data).shape[2] == 4


def endless(shape):
    def init(key, in_shape):
        return shape, {}, {}

    def fwd(params, state, x, train, key):
        return np.full((len(x), *shape), np.nan, x.dtype), state, None

    return fnn.make_layer("endless", init, fwd), ({}, {})


@pytest.mark.parametrize(
    ("model", "data", "options", "error", "message"),
    [
        (
            ONE,
            fnn.Dataset(np.ones((3, 4), np.float32), [0, 1, 0]),
            {},
            ShapeError,
            r"\(n, 2\), got \(3, 4\)",
        ),
        (ONE, fnn.Dataset(np.ones((3, 2, 1), np.float32), [0, 1, 0]), {}, ShapeError, "two features"),
        (ONE, (X, Y), {}, DataError, "expected a Dataset, got tuple"),
        (ONE, fnn.Dataset(X, Y + 1), {}, DataError, "classes from 0 to 1, got 2 at 2"),
        (ONE, fnn.Dataset(X, Y - 1), {}, DataError, "classes from 0 to 1, got -1 at 0"),
        (ONE, fnn.Dataset(X, Y / 2), {}, DataError, "classes from 0 to 1, got 0.5 at 2"),
        (ONE, fnn.Dataset(X, np.ones((5, 2))), {}, DataError, "a single 1"),
        (THREE, fnn.Dataset(X, np.ones((5, 2))), {}, ShapeError, r"one-hot \(5, 3\), got \(5, 2\)"),
        (ONE, DATA, {"names": ["a"]}, ShapeError, "a name for each of 2 classes"),
        (ONE, DATA, {"logits": False}, DataError, "leave logits=False out"),
        (SOFTMAX, DATA, {}, DataError, "say logits=False"),
        (linear(np.ones((2, 9))), DATA, {}, ShapeError, "at most 8 classes, got 9"),
        (endless((2,)), DATA, {}, DataError, "finite outputs"),
        (endless((2, 2)), DATA, {}, ShapeError, r"\(n, classes\), got"),
        (ONE, DATA, {"steps": 1}, OptionError, "steps: expected 2 or more"),
        (ONE, DATA, {"steps": 2001}, OptionError, "steps: expected 2,000 or less"),
    ],
    ids=range(16),
)
def test_what_cannot_be_drawn_is_a_typed_error_and_no_file(
    tmp_path, model, data, options, error, message
):
    net, now = model
    with pytest.raises(error, match=message):
        pictures.decision_boundary(tmp_path / "a.png", net, now, data, **options)
    assert list(tmp_path.iterdir()) == []
