"""Sets that need no download: the 8×8 digits that come with the library, and the parity function."""

from __future__ import annotations

import functools
import os

import numpy as np

from fnn.datasets.dataset import Dataset
from fnn.datasets.mnist_files import REPOSITORY, as_dataset, choice, labelled_images
from fnn.errors import DataError, OptionError
from fnn.options import integer
from fnn.tree import Array

# Where a wheel puts them, then where the repository keeps them.
_FOLDERS = (
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "digits"),
    os.path.join(REPOSITORY, "data", "digits"),
)
_SIDE = 8
_LARGEST = 1024


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
    folder = next((folder for folder in _FOLDERS if os.path.isdir(folder)), None)
    if folder is None:
        raise DataError(f"digits: expected one of the folders {', '.join(_FOLDERS)}, got none")
    images, labels = _digits(folder)
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
