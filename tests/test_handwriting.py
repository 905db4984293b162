"""MNIST, the digits that come with the library, and parity, on files made here."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from fnn.datasets import (
    bundled,
    digits,
    find_mnist,
    mnist,
    mnist_files,
    parity,
    write_idx,
)
from fnn.errors import DataError, OptionError

REPOSITORY = Path(__file__).resolve().parents[1]


# --- MNIST


def write_mnist(folder, *, counts=(12, 7), pack="both", images=None, labels=None):
    """Write a small set in MNIST's format; pack says which files are gzipped."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, n in zip(("train", "t10k"), counts, strict=True):
        pixels = (np.arange(n * 784) % 256).astype(np.uint8).reshape(n, 28, 28)
        classes = (np.arange(n) % 10).astype(np.uint8)
        ends = {"both": (".gz", ".gz"), "none": ("", ""), "some": (".gz", "")}[pack]
        write_idx(folder / f"{stem}-images-idx3-ubyte{ends[0]}", pixels if images is None else images)
        write_idx(folder / f"{stem}-labels-idx1-ubyte{ends[1]}", classes if labels is None else labels)
    return folder


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Run in an empty folder, with no MNIST anywhere."""
    monkeypatch.delenv("FNN_DATA", raising=False)
    monkeypatch.setattr(mnist_files, "REPOSITORY", str(tmp_path / "repository"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize("pack", ["both", "none", "some"])
def test_mnist_is_read_gzipped_or_not(tmp_path, pack):
    write_mnist(tmp_path, pack=pack)
    train, test = mnist(folder=tmp_path), mnist("test", folder=str(tmp_path))
    assert repr(train) == "Dataset(x: float32[12, 784], y: int64[12])"
    assert len(test) == 7
    np.testing.assert_array_equal(
        train.x[0], (np.arange(784) % 256).astype(np.float32) / np.float32(255)
    )
    np.testing.assert_array_equal(train.y, np.arange(12) % 10)


def test_mnist_comes_flat_or_as_images_scaled_or_raw_and_cut_to_the_first(tmp_path):
    write_mnist(tmp_path)
    raw = mnist(folder=tmp_path, flat=False, scaled=False, first=3)
    assert repr(raw) == "Dataset(x: float32[3, 1, 28, 28], y: int64[3])"
    np.testing.assert_array_equal(raw.x[1, 0, 2, 3], (784 + 2 * 28 + 3) % 256)
    scaled = mnist(folder=tmp_path, first=12).x
    assert (scaled.min(), scaled.max()) == (0, 1)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: expected at least 13 images"):
        mnist(folder=tmp_path, first=13)


def test_mnist_is_looked_for_in_the_folder_then_the_environment_then_data_mnist(nowhere, monkeypatch):
    assert find_mnist() is None
    (nowhere / "repository").mkdir()
    (nowhere / "repository" / "pyproject.toml").touch()
    in_repository = write_mnist(nowhere / "repository" / "data" / "mnist")
    assert find_mnist() == in_repository
    write_mnist(Path("data/mnist"))
    assert find_mnist() == Path("data/mnist")
    by_environment = write_mnist(nowhere / "env")
    monkeypatch.setenv("FNN_DATA", str(by_environment))
    assert find_mnist() == by_environment
    given_folder = write_mnist(nowhere / "given")
    assert find_mnist(given_folder) == find_mnist(str(given_folder)) == given_folder
    monkeypatch.setenv("FNN_DATA", "")
    assert find_mnist() == Path("data/mnist")


def test_a_named_folder_without_the_files_is_an_error_that_names_both(nowhere, monkeypatch):
    write_mnist(Path("data/mnist"))
    folder = write_mnist(nowhere / "half")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        DataError, match=r"half: expected the files of MNIST, lacks \['t10k-labels-idx1-ubyte'\]"
    ):
        find_mnist(folder)
    monkeypatch.setenv("FNN_DATA", str(nowhere / "absent"))
    with pytest.raises(
        DataError, match=r"absent \(named by \$FNN_DATA\): .* lacks \['train-images-idx3-ubyte', "
    ):
        mnist()


def test_half_a_data_mnist_is_an_error_and_not_an_absence(nowhere):
    folder = write_mnist(Path("data/mnist"))
    (folder / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"mnist: .* lacks \['train-images-idx3-ubyte'\]"):
        find_mnist()
    for path in folder.iterdir():
        path.unlink()
    assert find_mnist() is None


def test_without_mnist_the_error_says_how_to_get_it(nowhere):
    with pytest.raises(
        DataError, match=r"python -m fnn.datasets fetch mnist.*\n?.*t10k-labels-idx1-ubyte.gz"
    ):
        mnist()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"images": np.zeros(12, "u1")},
            r"train-images.*expected images uint8\[n, 28, 28\], got uint8\[12\]",
        ),
        ({"images": np.zeros((12, 28, 27), "u1")}, r"train-images.*got uint8\[12, 28, 27\]"),
        ({"images": np.zeros((12, 28, 28), "f4")}, r"train-images.*got float32\[12, 28, 28\]"),
        (
            {"images": np.zeros((0, 28, 28), "u1")},
            r"train-images.*expected at least one image, got none",
        ),
        (
            {"labels": np.zeros((12, 28, 28), "u1")},
            r"train-labels.*expected labels uint8\[n\], got uint8\[12, ",
        ),
        ({"labels": np.zeros(12, "i4")}, r"train-labels.*got int32\[12\]"),
        ({"labels": np.zeros(11, "u1")}, r"train-labels.*expected 12 labels, one per image, got 11"),
        (
            {"labels": np.arange(12, dtype="u1")},
            r"train-labels.*expected labels from 0 to 9, got 10 at 10",
        ),
    ],
)
def test_a_mislabelled_file_is_refused_by_name(tmp_path, files, message):
    write_mnist(tmp_path, **files)
    with pytest.raises(DataError, match=message):
        mnist(folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "valid"}, "mnist: split: expected 'train' or 'test', got 'valid'"),
        ({"first": 0}, "mnist: first: expected 1 or more, got 0"),
        ({"first": 2.0}, "mnist: first: expected an integer, got 2.0"),
    ],
)
def test_options_of_mnist_out_of_range_are_refused(nowhere, options, message):
    with pytest.raises(OptionError, match=message):
        mnist(**options)


def test_the_real_mnist_is_read_where_it_is_at_hand():
    there = os.environ.get("FNN_DATA") or REPOSITORY.parent / "shared" / "data" / "mnist"
    if not Path(there).is_dir():
        pytest.skip("no MNIST in $FNN_DATA nor in ../shared/data/mnist")
    train, test = mnist(folder=there), mnist("test", folder=there)
    assert (train.x.shape, test.x.shape) == ((60000, 784), (10000, 784))
    assert np.bincount(train.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (train.x.min(), train.x.max()) == (0, 1)


# --- digits and parity


def test_the_digits_are_split_by_every_fifth_example():
    whole, train, test = digits(), digits("train"), digits("test")
    assert (len(whole), len(train), len(test)) == (1797, 1437, 360)
    np.testing.assert_array_equal(test.x, whole.x[::5])
    np.testing.assert_array_equal(train.y, np.delete(whole.y, np.s_[::5]))
    assert (whole.x.min(), whole.x.max()) == (0, 1)
    assert digits(scaled=False).x.max() == 16


def test_the_digits_are_those_of_scikit_learn():
    load = pytest.importorskip("sklearn.datasets").load_digits()
    whole = digits(flat=False, scaled=False)
    np.testing.assert_array_equal(whole.x[:, 0], load.images)
    np.testing.assert_array_equal(whole.y, load.target)


def resized_by_loops(image, size):
    def at(i):
        centre = max((i + 0.5) * 8 / size - 0.5, 0.0)
        low = int(centre)
        return low, min(low + 1, 7), centre - low

    out = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            top, bottom, v = at(i)
            left, right, h = at(j)
            upper = image[top, left] * (1 - h) + image[top, right] * h
            lower = image[bottom, left] * (1 - h) + image[bottom, right] * h
            out[i, j] = upper * (1 - v) + lower * v
    return out


@pytest.mark.parametrize("size", [1, 3, 8, 13, 28])
def test_resized_digits_agree_with_bilinear_interpolation_by_loops(size):
    resized = digits("test", size=size, flat=False).x
    assert resized.shape == (360, 1, size, size)
    assert (resized.min() >= 0) & (resized.max() <= 1)
    for image, raw in list(zip(resized, digits("test", flat=False).x, strict=True))[::90]:
        np.testing.assert_allclose(image[0], resized_by_loops(raw[0].astype(float), size), atol=1e-7)


@pytest.mark.parametrize("size", [1, 5, 16, 28, 33])
def test_resized_digits_agree_with_pytorch(size):
    torch = pytest.importorskip("torch")
    raw = torch.tensor(digits(flat=False).x.astype(np.float64))
    theirs = torch.nn.functional.interpolate(
        raw, size=(size, size), mode="bilinear", align_corners=False
    )
    ours = digits(size=size).x
    assert ours.shape == (1797, size * size)
    np.testing.assert_allclose(ours, theirs.numpy().reshape(1797, -1), atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, "digits: split: expected 'train' or 'test' or 'all', got 'tset'"),
        ({"size": 0}, "digits: size: expected 1 or more, got 0"),
        ({"size": 28.0}, "digits: size: expected an integer"),
        ({"size": 1025}, "digits: size: expected at most 1024, got 1025"),
    ],
)
def test_options_of_the_digits_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        digits(**options)


def test_the_digits_are_found_beside_the_package_before_the_repository(tmp_path, monkeypatch):
    beside = Path(bundled.__file__).parent / "data"
    assert [Path(folder) for folder in bundled._FOLDERS] == [beside, REPOSITORY / "data"]
    monkeypatch.setattr(bundled, "_FOLDERS", (str(tmp_path / "a"), str(tmp_path / "b")))
    with pytest.raises(DataError, match=r"digits: expected one of the folders .*a.*, .*b.*, got none"):
        digits()
    (tmp_path / "b" / "digits").mkdir(parents=True)
    (tmp_path / "b" / "digits" / "digits-images-idx3-ubyte.gz").write_bytes(b"<html>")
    with pytest.raises(
        DataError, match=r"digits-images-idx3-ubyte.gz: .* what looks like an HTML page"
    ):
        digits()


def test_the_readme_of_the_digits_states_their_digests():
    readme = (REPOSITORY / "data" / "digits" / "README.md").read_text("utf-8")
    files = sorted((REPOSITORY / "data" / "digits").glob("*.gz"))
    assert len(files) == 2
    for path in files:
        assert f"| `{path.name}` |" in readme
        assert hashlib.sha256(path.read_bytes()).hexdigest() in readme
    assert "CC BY 4.0" in readme


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_parity_has_all_binary_vectors_in_order(n):
    dataset = parity(n)
    assert dataset.x.dtype == np.float32
    assert dataset.y.dtype == np.int64
    for i, (x, y) in enumerate(zip(dataset.x, dataset.y, strict=True)):
        assert "".join(str(int(bit)) for bit in x) == f"{i:0{n}b}"
        assert y == f"{i:b}".count("1") % 2
    assert len(dataset) == 2**n


@pytest.mark.parametrize("n", [0, 21, -1, 2.0, True])
def test_parity_has_1_to_20_bits(n):
    with pytest.raises(OptionError, match="parity: n: expected"):
        parity(n)
