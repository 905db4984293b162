"""Pictures as arrays: one image file, or a folder with one subfolder of them per class."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fnn.datasets.dataset import Dataset
from fnn.errors import DataError
from fnn.files import PathLike
from fnn.options import sizes
from fnn.tree import Array


def _pillow() -> Any:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError('reading pictures needs Pillow: pip install "fnn[data]"') from None
    return Image, ImageOps


def _eight_bits(pillow: Any, picture: Any) -> Any:
    """Return the picture in L or RGB, upright; what is transparent becomes white."""
    image, ops = pillow
    picture = ops.exif_transpose(picture)
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        # Pillow's own conversion would clip 16-bit values at 255.
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"values from {values.min()} to {values.max()}, more than 16 bits")
        return image.fromarray((values // 257).astype(np.uint8))
    if picture.mode == "F":
        raise DataError("floating-point pixels, whose range it does not say")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = image.new("RGBA", picture.size, "white")
        picture = image.alpha_composite(white, picture)
    return picture if picture.mode == "L" else picture.convert("RGB")


def read_image(path: PathLike, *, size: Any = (28, 28), gray: bool = True) -> Array:
    """Return the picture at `path` as a read-only float32 array (channels, height, width) in [0, 1].

    White is 1 and ink is 0, as in the file; MNIST has it the other way round. What is transparent
    becomes white, and the picture is resized bilinearly (smoothed when it shrinks) to `size`.

    Args:
        path: A file in any format that Pillow reads; of an animation the first picture.
        size: (height, width), one integer for both, or None for the picture's own.
        gray: One channel, else three (red, green, blue).

    Raises:
        DataError: If the file is missing, is no picture, is damaged, or is too large for Pillow.
        ImportError: If Pillow is not installed.
        OptionError: If size is not of positive integers.
    """
    import warnings

    wanted = None if size is None else sizes("read_image", "size", size, 2)
    pillow = _pillow()
    name = os.fspath(path)
    if not os.path.isfile(name):
        got = "something that is not a file" if os.path.exists(name) else "nothing"
        raise DataError(f"{name}: expected a picture, got {got}")
    try:
        with warnings.catch_warnings():
            # Pillow warns of a decompression bomb before it refuses one twice that size.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", pillow[0].DecompressionBombWarning)
            with pillow[0].open(name) as picture:
                picture.load()
                small = _eight_bits(pillow, picture).convert("L" if gray else "RGB")
            if wanted is not None:
                small = small.resize(wanted[::-1], pillow[0].Resampling.BILINEAR)
    except Exception as error:
        # A damaged file can surface in a decoder as almost any error (struct, zlib, Index, Syntax).
        raise DataError(
            f"{name}: expected a picture that can be read, got {str(error) or repr(error)}"
        ) from None
    values = np.asarray(small).astype(np.float32).reshape(small.height, small.width, -1)
    array = np.ascontiguousarray(values.transpose(2, 0, 1)) / np.float32(255)
    array.setflags(write=False)
    return array


def _visible(folder: str) -> list[str]:
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    return [os.path.join(folder, name) for name in names]


def image_folder(
    folder: PathLike, *, size: Any = (28, 28), gray: bool = True, flat: bool = False
) -> tuple[Dataset, tuple[str, ...]]:
    """Return the pictures below `folder`, which has one subfolder per class, and the class names.

    Classes and files are sorted by name; label i stands for names[i]. Hidden files, and files beside
    the subfolders, are ignored. x is float32 (n, channels, height, width) as `read_image` gives it,
    or (n, channels·height·width) with flat=True; y is int64.

    Raises:
        DataError: If there is no such folder, no class, a class without pictures, or a file that is
            no picture; names it.
        ImportError: If Pillow is not installed.
        OptionError: If size is not of positive integers.
    """
    height, width = sizes("image_folder", "size", size, 2)
    _pillow()
    root = os.fspath(folder)
    if not os.path.isdir(root):
        raise DataError(f"{root}: expected a folder with one subfolder per class, got none")
    classes = [path for path in _visible(root) if os.path.isdir(path)]
    if not classes:
        raise DataError(f"{root}: expected one subfolder per class, got none")
    pictures, labels = [], []
    for label, there in enumerate(classes):
        if not (files := _visible(there)):
            raise DataError(f"{there}: expected at least one picture, got none")
        pictures += [read_image(path, size=(height, width), gray=gray) for path in files]
        labels += [label] * len(files)
    x = np.stack(pictures)
    dataset = Dataset(x.reshape(len(x), -1) if flat else x, np.asarray(labels, np.int64))
    return dataset, tuple(map(os.path.basename, classes))
