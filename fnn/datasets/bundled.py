"""Sets that need no download: digits, a play and two tables that come with the library, and parity."""

from __future__ import annotations

import functools
import os

import numpy as np

from fnn.datasets.dataset import Dataset
from fnn.datasets.mnist_files import REPOSITORY, as_dataset, choice, labelled_images
from fnn.datasets.tables.table import Table, read_csv
from fnn.errors import DataError, OptionError
from fnn.files import content
from fnn.options import integer
from fnn.tree import Array

# Where a wheel puts them, then where the repository keeps them.
_FOLDERS = (
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "data"),
    os.path.join(REPOSITORY, "data"),
)
_LARGEST_TEXT = 1 << 20
_SIDE = 8
_LARGEST = 1024


def _folder(who: str, name: str) -> str:
    """Return the folder of a set.

    Raises:
        DataError: If it is nowhere.
    """
    folders = [os.path.join(folder, name) for folder in _FOLDERS]
    found = next((folder for folder in folders if os.path.isdir(folder)), None)
    if found is None:
        raise DataError(f"{who}: expected one of the folders {', '.join(folders)}, got none")
    return found


@functools.cache
def _digits(folder: str) -> tuple[Array, Array]:
    return labelled_images(
        os.path.join(folder, "digits-images-idx3-ubyte.gz"),
        os.path.join(folder, "digits-labels-idx1-ubyte.gz"),
        _SIDE,
        16,
    )


def _resized(images: Array, axis: int, size: int) -> Array:
    """Interpolate linearly along one axis, pixel centres at (i + ½)·scale - ½, ends repeated."""
    length = images.shape[axis]
    centres = np.maximum((np.arange(size) + 0.5) * (length / size) - 0.5, 0.0)
    left = centres.astype(np.intp)
    right = np.minimum(left + 1, length - 1)
    shape = [1] * images.ndim
    shape[axis] = size
    share = (centres - left).reshape(shape)
    low = images.take(left, axis)
    # This form, unlike low·(1 - share) + high·share, never leaves the range of its two ends.
    return low + share * (images.take(right, axis) - low)


def digits(split: str = "all", *, size: int = _SIDE, flat: bool = True, scaled: bool = True) -> Dataset:
    """Return the 1,797 real handwritten digits of 8×8 pixels that come with the library.

    x is float32 (n, size·size), or (n, 1, size, size) with flat=False; y holds the digits as int64.

    Args:
        split: "test" is every fifth example, from the first (360), "train" the other 1,437.
        size: Side of the images, 1 to 1024. Other than 8, the images are interpolated bilinearly
            (half-pixel centres, no smoothing when they shrink).
        flat: One row per image, or one channel of rows and columns.
        scaled: Values in [0, 1], else 0 to 16.

    Raises:
        OptionError: If split or size is out of range.
        DataError: If the files are missing or damaged.

    References:
        Alpaydin & Kaynak (1998), "Optical recognition of handwritten digits", UCI Machine Learning
        Repository, CC BY 4.0.
    """
    choice("digits", "split", split, "train", "test", "all")
    size = integer("digits", "size", size)
    if size > _LARGEST:
        raise OptionError(f"size: expected at most {_LARGEST}, got {size}", path=("digits",))
    images, labels = _digits(_folder("digits", "digits"))
    if split != "all":
        rows = (np.arange(len(images)) % 5 == 0) == (split == "test")
        images, labels = images[rows], labels[rows]
    if size != _SIDE:
        images = _resized(_resized(images.astype(np.float64), 1, size), 2, size)
    return as_dataset(images, labels, flat=flat, divisor=16.0 if scaled else 1.0)


def parity(n: int) -> Dataset:
    """Return all 2ⁿ binary vectors of length n, with 1 where the number of ones is odd.

    Row i of x (float32) holds the binary digits of i, the most significant first; y is int64.

    Raises:
        OptionError: If n is not an integer from 1 to 20.
    """
    n = integer("parity", "n", n)
    if n > 20:
        raise OptionError(f"n: expected 20 or less, got {n}", path=("parity",))
    bits = (np.arange(2**n)[:, None] >> np.arange(n)[::-1]) & 1
    return Dataset(bits.astype(np.float32), bits.sum(axis=1) % 2)


def coriolanus(split: str = "all") -> str:
    """Return "Coriolanus" by William Shakespeare, a text of 154,469 characters of ASCII.

    `Characters.fit(text)` makes tokens of it, `text_windows` examples of these.

    Args:
        split: "train" is what is said in the first nine tenths, "test" the rest, from the beginning of
            a speech; "all" is both.

    Raises:
        OptionError: If split is none of these.
        DataError: If the file is missing or damaged.
    """
    choice("coriolanus", "split", split, "train", "test", "all")
    path = os.path.join(_folder("coriolanus", "shakespeare"), "coriolanus.txt")
    try:
        text = content(path, most=_LARGEST_TEXT).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected the play, got {error}") from None
    if split == "all":
        return text
    # An empty line stands between two speeches.
    cut = text.find("\n\n", len(text) * 9 // 10) + 2
    return text[:cut] if split == "train" else text[cut:]


def flats() -> Table:
    """Return 2,000 made-up flats with the price of each, in thousands, for regression.

    Some years of building are missing. No model of `price` errs by less than about 8 %: that much of it
    is noise (data/tables/README.md).

    Raises:
        DataError: If the file is missing or damaged.
    """
    return read_csv(os.path.join(_folder("flats", "tables"), "flats.csv"))


def machines() -> Table:
    """Return 3,000 made-up machines, and whether each `failed`, which few did, for classification.

    Raises:
        DataError: If the file is missing or damaged.
    """
    return read_csv(os.path.join(_folder("machines", "tables"), "machines.csv"))
