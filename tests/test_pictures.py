"""Pictures: one PNG each, the same bytes every time, whatever the data look like."""

import io
import subprocess
import sys

import numpy as np
import pytest

from fnn.errors import DataError, ShapeError
from fnn.runs import pictures

imread = pytest.importorskip("matplotlib.image").imread

IMAGES = np.random.Generator(np.random.Philox(0)).random((30, 8, 8))
WEIGHTS = np.random.Generator(np.random.Philox(1)).normal(size=6400)
LABELS = np.arange(30) % 10

PICTURES = {
    "curves": lambda path: pictures.curves(
        path,
        {"train": [2.0, 1.0, 0.5], "test": [2.1, 1.2]},
        title="Loss",
        ylabel="loss",
        from_zero=True,
    ),
    "one point": lambda path: pictures.curves(path, {"loss": [0.3]}, title="t", ylabel="y"),
    "gaps": lambda path: pictures.curves(
        path, {"_hidden": [1.0, np.nan, np.inf, 2.0], "none": []}, title="t", ylabel="y"
    ),
    "many points": lambda path: pictures.curves(
        path, {"loss": 1 / np.arange(1, 10_001)}, title="t", ylabel="y", xlabel="step"
    ),
    "many series": lambda path: pictures.curves(
        path, {f"seed {i}": [i, 1.0] for i in range(14)}, title="t", ylabel="y"
    ),
    "grid": lambda path: pictures.image_grid(
        path,
        IMAGES[:7, None],
        [str(i) for i in range(7)],
        columns=3,
        title="Classes",
        colors=["red"] * 7,
    ),
    "flat grid": lambda path: pictures.image_grid(path, IMAGES.reshape(30, 64), ["a"] * 30, columns=8),
    "a blank image": lambda path: pictures.image_grid(path, np.zeros((1, 4, 6)), ["blank"], columns=1),
    "nothing but nan": lambda path: pictures.image_grid(
        path, np.full((1, 2, 2), np.nan), ["a"], columns=1
    ),
    "right and wrong": lambda path: pictures.right_and_wrong(
        path, IMAGES, np.where(LABELS == 3, 5, LABELS), LABELS, names=[*"abcdefgh", "$i$", "$\\j"]
    ),
    "none wrong": lambda path: pictures.right_and_wrong(path, IMAGES, LABELS, LABELS),
    "none right": lambda path: pictures.right_and_wrong(path, IMAGES[:1], LABELS[:1] + 1, LABELS[:1]),
    "at most two": lambda path: pictures.right_and_wrong(path, IMAGES, LABELS, LABELS, most=2),
    "convolution": lambda path: pictures.filters(path, WEIGHTS[:100].reshape(4, 1, 5, 5)),
    "three channels": lambda path: pictures.filters(path, WEIGHTS[:135].reshape(5, 3, 3, 3)),
    "dense": lambda path: pictures.filters(path, WEIGHTS[:6400].reshape(64, 100)),
    "zero weights": lambda path: pictures.filters(path, np.zeros((1, 1, 3, 3))),
    "confusion": lambda path: pictures.confusion(path, np.diag(np.arange(10))),
    "named confusion": lambda path: pictures.confusion(path, np.ones((2, 2), int), ["cat", "elephant"]),
    "wide confusion": lambda path: pictures.confusion(path, np.eye(100)),
    "empty confusion": lambda path: pictures.confusion(path, np.zeros((3, 3), int)),
    "probabilities": lambda path: pictures.probabilities(path, IMAGES[0], np.full(10, 0.1)),
    "many classes": lambda path: pictures.probabilities(
        path, IMAGES[0].ravel(), np.eye(100)[7], [f"class {i}" for i in range(100)]
    ),
    "predictions": lambda path: pictures.predictions(
        path,
        {"network": WEIGHTS[:99] + 0.1, "$linear": WEIGHTS[1:100]},
        WEIGHTS[:99],
        title="t",
        label="€",
    ),
    "predictions of a column": lambda path: pictures.predictions(
        path, {"all alike": np.full((9, 1), 1e200)}, 1e200 * np.arange(9)[:, None]
    ),
    "rankings": lambda path: pictures.rankings(
        path, {"network": WEIGHTS[:99], "linear": WEIGHTS[1:100]}, WEIGHTS[:99] > 1, title="t"
    ),
    "rankings without a fault": lambda path: pictures.rankings(path, {"_one": [0, 1]}, [0, 1]),
    "one channel": lambda path: pictures.probabilities(path, IMAGES[:1], np.array([1.0])),
}


@pytest.mark.parametrize("what", PICTURES)
def test_every_picture_is_a_png_with_something_in_it_and_has_equal_bytes_again(tmp_path, what):
    draw = PICTURES[what]
    path = draw(tmp_path / "new folder" / "a.png")
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert b"Software" not in content
    pixels = imread(io.BytesIO(content))
    assert len(np.unique(pixels[..., 0])) > 2
    assert draw(tmp_path / "b.png").read_bytes() == content


def test_a_single_point_is_drawn_in_the_colour_of_its_series(tmp_path):
    path = pictures.curves(tmp_path / "a.png", {"loss": [0.3]}, title="", ylabel="")
    pixels = imread(path)[..., :3]
    blue = np.array([0x00, 0x72, 0xB2]) / 255
    assert np.sum(np.all(np.abs(pixels - blue) < 0.02, axis=-1)) > 20


def test_images_are_drawn_upright_and_dark_where_high(tmp_path):
    image = np.zeros((1, 2, 2))
    image[0, 0, 0] = 1
    path = pictures.image_grid(tmp_path / "a.png", image, [""], columns=1)
    pixels = imread(path)[..., :3].mean(axis=-1)
    dark = np.argwhere(pixels < 0.1).mean(axis=0)
    assert np.all(dark < np.array(pixels.shape) / 2)


def test_drawing_changes_no_setting_and_needs_no_pyplot(tmp_path):
    code = (
        "import matplotlib, sys, fnn.runs.pictures as p; before = matplotlib.rcParams.copy();"
        f"p.curves({str(tmp_path / 'a.png')!r}, {{'a': [1, 2]}}, title='', ylabel='');"
        "assert dict.__eq__(matplotlib.rcParams, before); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_this_module_imports_no_matplotlib():
    code = "import sys, fnn.runs.pictures; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "fnn\[plot\]"'):
        pictures.require()
    with pytest.raises(ImportError, match=r"fnn\[plot\]"):
        pictures.curves(tmp_path / "a.png", {"a": [1]}, title="", ylabel="")


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda p: pictures.curves(p, {}, title="", ylabel=""), DataError, "one series"),
        (lambda p: pictures.curves(p, {"a": []}, title="", ylabel=""), DataError, "one series"),
        (lambda p: pictures.image_grid(p, IMAGES, ["a"], columns=2), ShapeError, "a title per image"),
        (lambda p: pictures.image_grid(p, IMAGES[:0], [], columns=2), ShapeError, "a title per image"),
        (
            lambda p: pictures.image_grid(p, np.ones((2, 3)), ["", ""], columns=1),
            ShapeError,
            "flat squares",
        ),
        (
            lambda p: pictures.image_grid(p, np.ones((2, 3, 4, 4)), [], columns=1),
            ShapeError,
            "flat squares",
        ),
        (
            lambda p: pictures.right_and_wrong(p, IMAGES, LABELS[:3], LABELS),
            ShapeError,
            "class per image",
        ),
        (lambda p: pictures.right_and_wrong(p, IMAGES[:0], [], []), ShapeError, "class per image"),
        (lambda p: pictures.filters(p, np.ones((5, 4))), ShapeError, "square, width"),
        (lambda p: pictures.filters(p, np.ones((0, 1, 3, 3))), ShapeError, "square, width"),
        (lambda p: pictures.confusion(p, np.ones((2, 3))), ShapeError, "square"),
        (lambda p: pictures.confusion(p, np.ones((2, 2)), ["a"]), ShapeError, "name per class"),
        (lambda p: pictures.probabilities(p, IMAGES[:2], np.ones(2)), ShapeError, "one image"),
        (lambda p: pictures.probabilities(p, IMAGES[0], np.ones((2, 2))), ShapeError, "a vector"),
        (lambda p: pictures.probabilities(p, IMAGES[0], [0.5, np.nan]), DataError, r"\[0, 1\]"),
    ],
)
def test_what_cannot_be_drawn_is_a_typed_error_and_no_file(tmp_path, draw, error, message):
    with pytest.raises(error, match=message):
        draw(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "is_flat"),
    [
        ([0.6931472, 0.69314724, 0.6931471] * 5, True),
        ([2.5] * 9, True),
        ([0.0] * 9, True),
        ([1.0, np.nextafter(1.0, 2.0)] * 4, True),
        ([-3.0] * 4, True),
        ([5e-324, 0.0, 1e-310], True),
        ([1e-200, 3e-200], False),
        ([1e299, -1e299, 1e308], False),
        ([1.0, 1.001], False),
    ],
    ids=range(9),
)
def test_a_curve_that_only_rounds_is_drawn_flat(tmp_path, values, is_flat):
    path = pictures.curves(tmp_path / "a.png", {"loss": values}, title="", ylabel="")
    blue = np.array([0x00, 0x72, 0xB2]) / 255
    rows = np.argwhere(np.all(np.abs(imread(path)[..., :3] - blue) < 0.02, axis=-1))[:, 0]
    # A line and its marks are some pixels high, a curve most of the picture.
    assert (np.ptp(rows) < 20) == is_flat


@pytest.mark.parametrize("draw", [pictures.predictions, pictures.rankings])
def test_predictions_that_cannot_be_compared_are_refused(tmp_path, draw):
    true = np.array([0.0, 1.0, 1.0])
    for models, error, message in (
        ({}, DataError, "expected 1 to 6 models by name, got 0"),
        ({str(i): true for i in range(7)}, DataError, "expected 1 to 6 models by name, got 7"),
        (true, DataError, "expected 1 to 6 models by name, got ndarray"),
        ({"a": true[:2]}, ShapeError, r"a: expected shape \(3,\), as of the target, got \(2,\)"),
        ({"a": true * np.nan}, DataError, "nan is no score"),
    ):
        with pytest.raises(error, match=message):
            draw(tmp_path / "a.png", models, true)
    with pytest.raises(DataError, match="expected"):
        draw(tmp_path / "a.png", {"a": true}, np.ones(3))
    assert not list(tmp_path.iterdir())
