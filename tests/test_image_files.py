"""Image files as arrays, from one file and from a folder with one subfolder per class."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from fnn.datasets import (
    image_folder,
    read_image,
)
from fnn.errors import DataError, OptionError


@pytest.fixture
def image():
    return pytest.importorskip("PIL.Image", reason="pictures need Pillow (extra `data`)")


def paint(image, path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(np.asarray(values, np.uint8)).save(path, **options)


def test_a_picture_is_read_as_channels_height_width_from_0_to_1(tmp_path, image):
    values = np.zeros((3, 5, 3), np.uint8)
    values[1, 4] = [255, 51, 0]
    paint(image, tmp_path / "a.png", values)
    color = read_image(tmp_path / "a.png", size=(3, 5), gray=False)
    assert color.dtype == np.float32
    assert not color.flags.writeable
    np.testing.assert_array_equal(color, values.transpose(2, 0, 1) / np.float32(255))
    assert read_image(str(tmp_path / "a.png"), size=(3, 5)).shape == (1, 3, 5)
    assert read_image(tmp_path / "a.png").shape == (1, 28, 28)
    assert read_image(tmp_path / "a.png", size=9, gray=False).shape == (3, 9, 9)


def test_what_is_transparent_is_white(tmp_path, image):
    values = np.zeros((2, 2, 4), np.uint8)
    values[0, 0, 3] = 255
    paint(image, tmp_path / "a.png", values)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", size=2)[0], [[0, 1], [1, 1]])
    image.open(tmp_path / "a.png").convert("P").save(tmp_path / "p.png", transparency=bytes([0] * 256))
    np.testing.assert_array_equal(read_image(tmp_path / "p.png", size=2)[0], np.ones((2, 2)))


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, image):
    image.fromarray(np.array([[0, 12345], [50000, 65535]], np.uint16)).save(tmp_path / "a.png")
    grays = read_image(tmp_path / "a.png", size=2)[0]
    np.testing.assert_array_equal(grays, np.array([[0, 48], [194, 255]], np.float32) / np.float32(255))


def test_a_folder_of_pictures_is_read_by_sorted_class_and_name(tmp_path, image):
    for name, value in {"b/2": 102, "b/1": 51, "a/9": 255, "c/x": 0}.items():
        paint(image, tmp_path / f"{name}.png", np.full((4, 4), value))
    for hidden in (".DS_Store", "a/.hidden", "labels.txt"):
        (tmp_path / hidden).write_text("no picture")
    (tmp_path / ".git").mkdir()
    dataset, names = image_folder(tmp_path, size=(2, 3))
    assert names == ("a", "b", "c")
    assert repr(dataset) == "Dataset(x: float32[4, 1, 2, 3], y: int64[4])"
    np.testing.assert_array_equal(dataset.y, [0, 1, 1, 2])
    np.testing.assert_allclose(dataset.x[:, 0, 0, 0], [1, 0.2, 0.4, 0], rtol=1e-6)
    flat, _ = image_folder(str(tmp_path), size=5, gray=False, flat=True)
    assert flat.x.shape == (4, 75)


def test_a_folder_without_classes_or_pictures_is_refused(tmp_path, image):
    with pytest.raises(
        DataError, match="nowhere: expected a folder with one subfolder per class, got none"
    ):
        image_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="expected one subfolder per class, got none"):
        image_folder(tmp_path)
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / ".hidden").touch()
    with pytest.raises(DataError, match="cats: expected at least one picture, got none"):
        image_folder(tmp_path)


def test_what_is_no_picture_is_refused_by_name(tmp_path, image):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "notes.txt").write_text("meow")
    with pytest.raises(DataError, match=r"notes.txt: expected a picture that can be read"):
        image_folder(tmp_path)
    with pytest.raises(DataError, match="cats: expected a picture, got something that is not a file"):
        read_image(tmp_path / "cats")
    with pytest.raises(DataError, match=r"no.png: expected a picture, got nothing"):
        read_image(tmp_path / "no.png")
    image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(DataError, match=r"f.tiff: .* floating-point pixels"):
        read_image(tmp_path / "f.tiff")
    for size in (0, (28,), (28, 28.0), (1, 2, 3)):
        with pytest.raises(OptionError, match="read_image: size: expected"):
            read_image(tmp_path / "f.tiff", size=size)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.bmp", "a.tiff"])
def test_a_truncated_picture_is_refused_or_read_without_a_warning(tmp_path, image, name):
    values = np.random.Generator(np.random.Philox(key=3)).integers(0, 256, (12, 12))
    paint(image, tmp_path / name, values)
    whole = (tmp_path / name).read_bytes()
    refused = 0
    for length in range(0, len(whole), 5):
        (tmp_path / name).write_bytes(whole[:length])
        try:
            read_image(tmp_path / name)
        except DataError as error:
            refused += f"{name}: expected a picture" in str(error)
    assert refused > 5


@pytest.mark.parametrize("factor", [1.5, 3])
def test_a_decompression_bomb_is_refused(tmp_path, image, monkeypatch, factor):
    # Pillow warns above its limit and refuses above twice its limit.
    paint(image, tmp_path / "bomb.png", np.zeros((20, 20)))
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", int(400 / factor))
    with pytest.raises(DataError, match=r"bomb.png: expected a picture that can be read, .* pixels"):
        read_image(tmp_path / "bomb.png")


def test_without_pillow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    for read in (read_image, image_folder):
        with pytest.raises(ImportError, match=re.escape('pip install "fnn[data]"')):
            read(tmp_path)
