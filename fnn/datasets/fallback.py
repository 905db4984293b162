"""Handwritten digits of 28×28 pixels wherever the code runs: MNIST, or the bundled digits for it."""

from __future__ import annotations

from fnn.datasets.bundled import digits
from fnn.datasets.dataset import Dataset
from fnn.datasets.mnist_files import find_mnist, mnist
from fnn.files import PathLike


def mnist_or_digits(
    folder: PathLike | None = None,
    *,
    flat: bool = True,
    scaled: bool = True,
    first: tuple[int | None, int | None] = (None, None),
) -> tuple[Dataset, Dataset, str]:
    """Return a training set, a test set and one line that says which they are.

    MNIST is looked for as `find_mnist` says. Where it is not, the 1,797 bundled digits, scaled up from
    8×8 pixels, stand in for it, so that every network for it runs.

    Args:
        folder: Where MNIST is; None looks at $FNN_DATA and data/mnist.
        flat: Whether examples are (784,) or (1, 28, 28).
        scaled: Whether pixels are in [0, 1] or as they are stored.
        first: How many examples of each set to take, at most; None takes all.

    Raises:
        DataError: If a folder is given, or $FNN_DATA is set, and the files are not there or damaged.
    """
    found = find_mnist(folder)
    if found is None:
        sets = [digits(split, size=28, flat=flat, scaled=scaled) for split in ("train", "test")]
        name = "the bundled digits, 8×8 scaled to 28×28, for MNIST is not in data/mnist or $FNN_DATA"
    else:
        sets = [mnist(split, folder=found, flat=flat, scaled=scaled) for split in ("train", "test")]
        name = f"MNIST from {found}"
    train, test = (
        one if n is None or n >= len(one) else one.take(n) for one, n in zip(sets, first, strict=True)
    )
    return train, test, f"Data: {name} ({len(train):,} to train on, {len(test):,} to test)"


handwriting = mnist_or_digits
"""The name that it had at first; scripts that use it go on."""
