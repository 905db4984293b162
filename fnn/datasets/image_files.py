"""Pictures as arrays: one image file, or a folder with one subfolder of them per class.

They may be a stranger's (`fnn.files`): only readers of `FORMATS` are asked, none of which starts
another program as that of PostScript does, and only for as many pixels as are allowed.
"""

from __future__ import annotations

import errno
import os
from typing import Any

import numpy as np

from fnn.datasets.dataset import Dataset
from fnn.errors import DataError, FnnError
from fnn.files import PathLike, limit, names, opened, shown
from fnn.options import integer, sizes
from fnn.tree import Array

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP")
"""The formats that are read, by Pillow's names."""
# Nothing that is not compressed needs more for a pixel: four channels of 16 bits.
_BYTES = 8
_MEBIBYTE = 1 << 20
_WHITE = 65535


def _pillow() -> Any:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError('reading pictures needs Pillow: pip install "fnn[data]"') from None
    return Image, ImageOps


def _eight_bits(pillow: Any, picture: Any) -> Any:
    """Return the picture in L or RGB, upright; what is transparent becomes white."""
    image, ops = pillow
    clear = picture.info.get("transparency")
    picture = ops.exif_transpose(picture)
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        # Pillow's own conversion would clip 16-bit values at 255.
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > _WHITE:
            raise DataError(f"values from {values.min()} to {values.max()}, more than 16 bits")
        values = values.astype(np.uint16)
        if isinstance(clear, int) and 0 <= clear <= _WHITE:
            values[values == clear] = _WHITE
        return image.fromarray((values // 257).astype(np.uint8))
    if picture.mode == "F":
        raise DataError("floating-point pixels, whose range it does not say")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = image.new("RGBA", picture.size, "white")
        picture = image.alpha_composite(white, picture)
    return picture if picture.mode == "L" else picture.convert("RGB")


def _decoded(pillow: Any, file: Any, most: int) -> Any:
    """Return the picture in an open file, in L or RGB.

    Raises:
        Exception: Almost any, since a damaged file can surface in a decoder as struct, zlib, Index or
            Syntax errors.
    """
    size = os.fstat(file.fileno()).st_size
    if size > _BYTES * most + _MEBIBYTE:
        raise DataError(f"a file of {size:,} bytes, too many for {most:,} pixels")
    with pillow[0].open(file, formats=FORMATS) as picture:
        width, height = picture.size
        if not (width > 0 and height > 0):
            raise DataError(f"one of {width}×{height} pixels")
        # By its header, before any of it is decoded.
        if width * height > most:
            more = "max_pixels or $FNN_LIMITS allows more"
            raise DataError(f"one of {width}×{height} pixels, above {most:,} ({more})")
        picture.load()
        return _eight_bits(pillow, picture)


def read_image(
    path: PathLike,
    *,
    size: Any = (28, 28),
    gray: bool = True,
    max_pixels: int | None = None,
    within: PathLike | None = None,
) -> Array:
    """Return the picture at `path` as a read-only float32 array (channels, height, width) in [0, 1].

    White is 1 and ink is 0, as in the file; MNIST has it the other way round. What is transparent
    becomes white, and the picture is resized bilinearly (smoothed when it shrinks) to `size`.

    Args:
        path: A file in one of `FORMATS`; of an animation the first picture.
        size: (height, width), one integer for both, or None for the picture's own.
        gray: One channel, else three (red, green, blue).
        max_pixels: Refuse pictures that announce more; by default 33,554,432. Pillow refuses more
            than 178,956,970 (twice its MAX_IMAGE_PIXELS) whatever is allowed here.
        within: The folder that the caller chose, below which no link is followed; without, `path` is
            the caller's own and may be a link.

    Raises:
        DataError: If the file is missing, is no picture in one of `FORMATS`, is damaged, or too large.
        ImportError: If Pillow is not installed.
        OptionError: If size is not of positive integers, or max_pixels is not one.
    """
    import warnings

    wanted = None if size is None else sizes("read_image", "size", size, 2)
    if max_pixels is not None:
        max_pixels = integer("read_image", "max_pixels", max_pixels)
    most = limit("pixels", max_pixels)
    pillow = _pillow()
    name = shown(os.fspath(path))
    try:
        with opened(path, within=within) as file, warnings.catch_warnings():
            # Of a large picture, which is refused or allowed above, and of damage to what is not used.
            warnings.simplefilter("ignore")
            if max_pixels is None:  # Who has lowered Pillow's own limit is heard.
                warnings.simplefilter("error", pillow[0].DecompressionBombWarning)
            small = _decoded(pillow, file, most).convert("L" if gray else "RGB")
            if wanted is not None:
                small = small.resize(wanted[::-1], pillow[0].Resampling.BILINEAR)
    except Exception as error:
        raise DataError(f"{name}: expected a picture{_reason(error)}") from None
    pixels = np.asarray(small).reshape(small.height, small.width, -1).transpose(2, 0, 1)
    array = np.divide(np.ascontiguousarray(pixels), np.float32(255), dtype=np.float32)
    array.setflags(write=False)
    return array


def _reason(error: Exception) -> str:
    if isinstance(error, FnnError):
        return f" that can be read, got {error.message}"
    if isinstance(error, FileNotFoundError):
        return ", got nothing"
    if isinstance(error, IsADirectoryError) or getattr(error, "errno", None) == errno.EINVAL:
        return ", got something that is not a file"
    if getattr(error, "errno", None) == errno.ELOOP:
        return ", got a link, which is not followed"
    if type(error).__name__ == "UnidentifiedImageError":
        return f" that can be read, got a file in none of the formats {', '.join(FORMATS)}"
    # Some of Pillow's texts hold bytes of the file.
    return f" that can be read, got {shown(str(error) or type(error).__name__):.200}"


def _visible(folder: str, root: str | None) -> list[str]:
    try:
        found = [name for name in names(folder, within=root) if not name.startswith(".")]
    except OSError as error:
        got = "a link, which is not followed" if error.errno == errno.ELOOP else error.strerror
        raise DataError(f"{shown(folder)}: expected a folder, got {got or error}") from None
    paths = [os.path.join(folder, name) for name in found]
    linked = [path for path in paths if root is not None and os.path.islink(path)]
    if linked:
        raise DataError(
            f"{shown(linked[0])}: expected no links below a folder of pictures, got one "
            "(links=True follows them)"
        )
    return paths


def image_folder(
    folder: PathLike,
    *,
    size: Any = (28, 28),
    gray: bool = True,
    flat: bool = False,
    max_pixels: int | None = None,
    links: bool = False,
) -> tuple[Dataset, tuple[str, ...]]:
    """Return the pictures below `folder`, which has one subfolder per class, and the class names.

    Classes and files are sorted by name; label i stands for names[i], in which what cannot be printed
    is escaped. Hidden files, and files beside the subfolders, are ignored. x is float32 (n, channels,
    height, width) as `read_image` gives it, or (n, channels·height·width) with flat=True; y is int64.

    Args:
        folder: The folder.
        size: As for `read_image`.
        gray: See there.
        flat: One row per picture.
        max_pixels: See there; of each picture.
        links: Follow links to folders and pictures. Not for a folder of somebody else's.

    Raises:
        DataError: If there is no such folder, no class, a class without pictures, a link, or a file
            that is no picture; names it.
        ImportError: If Pillow is not installed.
        OptionError: If size is not of positive integers.
    """
    height, width = sizes("image_folder", "size", size, 2)
    _pillow()
    root = os.fspath(folder)
    within = None if links else root
    if not os.path.isdir(root):
        raise DataError(f"{shown(root)}: expected a folder with one subfolder per class, got none")
    classes = [path for path in _visible(root, within) if os.path.isdir(path)]
    if not classes:
        raise DataError(f"{shown(root)}: expected one subfolder per class, got none")
    pictures, labels = [], []
    for label, there in enumerate(classes):
        if not (files := _visible(there, within)):
            raise DataError(f"{shown(there)}: expected at least one picture, got none")
        pictures += [
            read_image(path, size=(height, width), gray=gray, max_pixels=max_pixels, within=within)
            for path in files
        ]
        labels += [label] * len(files)
    x = np.stack(pictures)
    dataset = Dataset(x.reshape(len(x), -1) if flat else x, np.asarray(labels, np.int64))
    return dataset, tuple(shown(os.path.basename(path)) for path in classes)
