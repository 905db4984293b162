"""MNIST: 70,000 handwritten digits of 28×28 pixels, read from the four files of its distribution."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from fnn.datasets.dataset import Dataset
from fnn.datasets.idx import read_idx
from fnn.errors import DataError, OptionError
from fnn.files import PathLike
from fnn.options import integer
from fnn.tree import Array

if TYPE_CHECKING:  # loading pathlib costs a tenth of loading NumPy
    from pathlib import Path

_STEMS = {"train": "train", "test": "t10k"}
_FILES = tuple(
    f"{stem}-{kind}-ubyte" for stem in _STEMS.values() for kind in ("images-idx3", "labels-idx1")
)
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BY_HAND = (
    "fetch it with `python -m fnn.datasets fetch mnist`, or put the files "
    + ", ".join(f"{name}.gz" for name in _FILES)
    + " (gzipped or not) into data/mnist or another folder, and name that as folder= or in $FNN_DATA"
)


def choice(who: str, name: str, value: object, *known: str) -> None:
    """Refuse an option that is none of the known words."""
    if value not in known:
        raise OptionError(
            f"{name}: expected {' or '.join(map(repr, known))}, got {value!r}", path=(who,)
        )


def _file(folder: PathLike, name: str) -> str | None:
    for path in (os.path.join(folder, f"{name}.gz"), os.path.join(folder, name)):
        if os.path.exists(path):
            return path
    return None


def _missing(folder: PathLike) -> list[str]:
    return [name for name in _FILES if _file(folder, name) is None]


def find_mnist(folder: PathLike | None = None) -> Path | None:
    """Return the folder with the four files of MNIST: `folder`, else $FNN_DATA, else data/mnist.

    data/mnist is looked for in the working directory, then in the repository this package runs from.
    None means that nobody named a folder and there is no data/mnist.

    Raises:
        DataError: If the named folder lacks a file, or a data/mnist has some of the files but no
            folder has all; names the folder and what it lacks.
    """
    from pathlib import Path

    named = folder if folder is not None else os.environ.get("FNN_DATA") or None
    if named is not None:
        if missing := _missing(named):
            by = "" if folder is not None else " (named by $FNN_DATA)"
            raise DataError(f"{os.fspath(named)}{by}: expected the files of MNIST, lacks {missing}")
        return Path(named)
    roots = [Path()]
    if os.path.exists(os.path.join(REPOSITORY, "pyproject.toml")):
        roots.append(Path(REPOSITORY))
    lacks = {root / "data" / "mnist": _missing(root / "data" / "mnist") for root in roots}
    for there, missing in lacks.items():
        if not missing:
            return there
    for there, missing in lacks.items():
        # Half a set is a copy gone wrong, and nobody should train on another set without knowing.
        if len(missing) < len(_FILES):
            raise DataError(f"{there}: expected the files of MNIST, lacks {missing}")
    return None


def labelled_images(images: str, labels: str, side: int, most: int) -> tuple[Array, Array]:
    """Read uint8 images (n, side, side) of values up to `most`, and as many labels from 0 to 9.

    Raises:
        DataError: If either file holds something else; names it.
    """
    pixels = read_idx(images)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[1:] != (side, side):
        got = f"{pixels.dtype}{list(pixels.shape)}"
        raise DataError(f"{images}: expected images uint8[n, {side}, {side}], got {got}")
    if pixels.size and (peak := int(pixels.max())) > most:
        raise DataError(f"{images}: expected pixels from 0 to {most}, got {peak}")
    classes = read_idx(labels)
    if classes.dtype != np.uint8 or classes.ndim != 1:
        got = f"{classes.dtype}{list(classes.shape)}"
        raise DataError(f"{labels}: expected labels uint8[n], got {got}")
    if len(pixels) == 0:
        raise DataError(f"{images}: expected at least one image, got none")
    if len(classes) != len(pixels):
        raise DataError(f"{labels}: expected {len(pixels)} labels, one per image, got {len(classes)}")
    if (wrong := classes > 9).any():
        place = int(np.argmax(wrong))
        raise DataError(f"{labels}: expected labels from 0 to 9, got {classes[place]} at {place}")
    return pixels, classes


def as_dataset(pixels: Array, classes: Array, *, flat: bool, divisor: float) -> Dataset:
    """Return images (n, side, side) as float32 examples with int64 labels."""
    x = pixels.astype(np.float32)
    x = x.reshape(len(x), -1) if flat else x[:, None]
    x /= np.float32(divisor)
    y = classes.astype(np.int64)
    # Fresh arrays that nobody else holds are frozen as they are, not copied.
    base = x.base if isinstance(x.base, np.ndarray) else x
    for array in (base, x, y):
        array.setflags(write=False)
    return Dataset(x, y)


def mnist(
    split: str = "train",
    *,
    folder: PathLike | None = None,
    first: int | None = None,
    flat: bool = True,
    scaled: bool = True,
) -> Dataset:
    """Return MNIST, read from the folder that `find_mnist` finds; nothing is ever downloaded.

    x is float32 (n, 784), or (n, 1, 28, 28) with flat=False; y holds the digits as int64.

    Args:
        split: "train" (60,000 examples) or "test" (10,000).
        folder: Where the four files are.
        first: Take only the first so many examples.
        flat: One row per image, or one channel of rows and columns.
        scaled: Values in [0, 1], else 0 to 255.

    Raises:
        DataError: If the files are not found, are not what their names say, or hold fewer than
            `first` examples.
        OptionError: If split or first is out of range.

    References:
        LeCun, Bottou, Bengio & Haffner (1998), "Gradient-based learning applied to document
        recognition".
    """
    choice("mnist", "split", split, *_STEMS)
    if first is not None:
        first = integer("mnist", "first", first)
    there = find_mnist(folder)
    if there is None:
        raise DataError(f"mnist: expected the files of MNIST, found none: {BY_HAND}")
    images = _file(there, f"{_STEMS[split]}-images-idx3-ubyte")
    labels = _file(there, f"{_STEMS[split]}-labels-idx1-ubyte")
    if images is None or labels is None:
        raise DataError(f"{there}: expected the files of MNIST, lacks {_missing(there)}")
    pixels, classes = labelled_images(images, labels, 28, 255)
    if first is not None and first > len(pixels):
        raise DataError(f"{images}: expected at least {first} images (first), got {len(pixels)}")
    return as_dataset(pixels[:first], classes[:first], flat=flat, divisor=255.0 if scaled else 1.0)
