"""Examples with their targets, as frozen values, and the batches cut from them."""

from __future__ import annotations

from collections.abc import Iterator
from operator import index
from typing import Any

import attrs
import numpy as np

from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.keys import Key
from fnn.options import integer
from fnn.tree import Array, freeze

# Rows that a pass over the data widens to float64 at a time.
_ROWS = 4096


def _checked(name: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{name}: expected rows of equal shapes, got {error}") from None
    if array.dtype.kind not in "fciub":
        raise DTypeError(f"{name}: expected numbers, got dtype {array.dtype} (labels: OneHot.fit)")
    if array.ndim == 0:
        raise ShapeError(f"{name}: expected at least one axis, got a scalar")
    if array.dtype.kind in "fc" and not (finite := np.isfinite(array)).all():
        place = np.unravel_index(np.argmin(finite), array.shape)
        raise DataError(f"{name}[{', '.join(map(str, place))}] is {array[place]}")
    frozen: Array = freeze(
        array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    )
    return frozen


def _rows(array: Array, order: Array) -> Array:
    rows = array[order]
    rows.setflags(write=False)
    return rows


def _key(who: str, key: Any) -> Key | None:
    if key is not None and not isinstance(key, Key):
        raise OptionError(f"key: expected a Key, e.g. Key.of(0), got {key!r}", path=(who,))
    return key


@attrs.frozen(eq=False, repr=False)
class Dataset:
    """Examples `x` and their targets `y`, one of each per entry of axis 0.

    Both are kept read-only: an array that its owner could still write to is copied, an immutable one
    is shared.

    Raises:
        DataError: If there are no examples, if the lengths differ, or if a number is nan or
            infinite; names its index.
        DTypeError: If x or y holds something else than numbers.
    """

    x: Array = attrs.field()
    y: Array = attrs.field()

    def __init__(self, x: Any, y: Any) -> None:
        """Check and freeze both arrays."""
        try:
            x, y = _checked("x", x), _checked("y", y)
            if len(x) != len(y):
                raise DataError(f"expected x and y of equal length, got {len(x)} and {len(y)}")
            if len(x) == 0:
                raise DataError(f"expected at least one example, got x of shape {x.shape}")
        except (DataError, DTypeError, ShapeError) as error:
            raise error.inside("Dataset", "") from None
        self.__attrs_init__(x, y)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        shown = (f"{name}: {a.dtype}{list(a.shape)}" for name, a in (("x", self.x), ("y", self.y)))
        return f"Dataset({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Through __init__, because NumPy forgets in a pickle that an array was read-only.
        return Dataset, (self.x, self.y)

    def take(self, n: int) -> Dataset:
        """Return the first `n` examples.

        Raises:
            DataError: If there are fewer than n.
        """
        n = integer("Dataset.take", "n", n)
        if n > len(self):
            raise DataError(
                f"expected at most {len(self)} examples, got n = {n}", path=("Dataset.take",)
            )
        return Dataset(self.x[:n], self.y[:n])

    def split(self, n_or_fraction: float, *, key: Key | None = None) -> tuple[Dataset, Dataset]:
        """Cut in two: an integer is the length of the first part, a float its fraction, rounded.

        Without a key the order stays, so sorted labels end up in different parts; with one, both
        parts are drawn from a permutation that depends on the key alone.

        Raises:
            OptionError: If either part would be empty.
        """
        who, total = ("Dataset.split",), len(self)
        key = _key("Dataset.split", key)
        if isinstance(n_or_fraction, float | np.floating):
            if not 0 < n_or_fraction < 1:
                raise OptionError(f"expected a fraction in (0, 1), got {n_or_fraction}", path=who)
            first = round(float(n_or_fraction) * total)
        else:
            first = integer("Dataset.split", "n_or_fraction", n_or_fraction)
        if not 0 < first < total:
            got = f"{first} and {total - first} of {total} examples"
            raise OptionError(f"expected two parts with examples in each, got {got}", path=who)
        if key is None:
            return Dataset(self.x[:first], self.y[:first]), Dataset(self.x[first:], self.y[first:])
        order = key.generator().permutation(total)
        left, right = order[:first], order[first:]
        return (
            Dataset(_rows(self.x, left), _rows(self.y, left)),
            Dataset(_rows(self.x, right), _rows(self.y, right)),
        )

    def standardize(self, like: Dataset | None = None) -> Dataset:
        """Return (x - mean) / std per feature, both taken from `like`, or from this set itself.

        A test set is standardised like the training set: `test.standardize(like=train)`. The
        standard deviation is the population's (divided by n); where it is 0 the divisor is 1.

        Raises:
            DTypeError: If either x is not of real floats.
            ShapeError: If the examples of `like` have another shape.
            DataError: If a result exceeds the range of the dtype.
        """
        like = self if like is None else like
        who = ("Dataset.standardize",)
        for x in (self.x, like.x):
            if x.dtype.kind != "f":
                raise DTypeError(f"expected x of floats, got {x.dtype}", path=who)
        if self.x.shape[1:] != like.x.shape[1:]:
            raise ShapeError(
                f"expected examples of shape {like.x.shape[1:]}, got {self.x.shape[1:]}", path=who
            )
        # Relative to the first row and to the largest distance from it: a constant feature then has a
        # deviation of exactly 0, a large mean cancels nothing, and no square overflows.
        origin = like.x[0].astype(np.float64)
        spread = np.zeros_like(origin)
        total = np.zeros_like(origin)
        squares = np.zeros_like(origin)
        with np.errstate(all="ignore"):
            for rows in _chunks(like.x):
                np.maximum(spread, np.abs(rows - origin).max(axis=0), out=spread)
            spread[spread == 0] = 1.0
            for rows in _chunks(like.x):
                total += ((rows - origin) / spread).sum(axis=0)
            mean = total / len(like)
            for rows in _chunks(like.x):
                squares += np.square((rows - origin) / spread - mean).sum(axis=0)
            std = np.sqrt(squares / len(like))
            std[std == 0] = 1.0
            x = np.empty_like(self.x)
            for start, rows in zip(range(0, len(self), _ROWS), _chunks(self.x), strict=True):
                x[start : start + _ROWS] = ((rows - origin) / spread - mean) / std
        x.setflags(write=False)
        return Dataset(x, self.y)


def _chunks(x: Array) -> Iterator[Array]:
    for start in range(0, len(x), _ROWS):
        yield x[start : start + _ROWS].astype(np.float64)


@attrs.frozen(eq=False)
class Batches:
    """Batches of a dataset, to be iterated over any number of times; made by `batches`."""

    dataset: Dataset
    size: int
    key: Key | None = None
    drop_last: bool = False

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return self.since(0)

    def since(self, first: int) -> Iterator[tuple[Array, Array]]:
        """Yield the batches from number `first` on; no example before them is looked at."""
        x, y = self.dataset.x, self.dataset.y
        starts = range(first * self.size, len(self) * self.size, self.size)
        if self.key is None:
            for start in starts:
                yield x[start : start + self.size], y[start : start + self.size]
            return
        order = self.key.generator().permutation(len(self.dataset))
        for start in starts:
            rows = order[start : start + self.size]
            yield _rows(x, rows), _rows(y, rows)


def batches(dataset: Dataset, size: int, *, key: Key | None = None, drop_last: bool = False) -> Batches:
    """Cut `dataset` into read-only batches `(x, y)` of `size` examples, the last one maybe smaller.

    The order is a pure function of the key, the same at every iteration: an epoch's own order needs an
    epoch's own key, `key.fold("epoch", i)`. Without a key the order is the dataset's. A size larger
    than the set gives one batch.

    Raises:
        OptionError: If size is not an integer of 1 or more.
        DataError: If drop_last would leave no batch at all.
    """
    size = integer("batches", "size", size)
    if not isinstance(dataset, Dataset):
        got = type(dataset).__name__
        raise DataError(f"expected a Dataset, got {got}; write Dataset(x, y)", path=("batches",))
    if drop_last and size > len(dataset):
        got = f"size {size} of {len(dataset)} examples"
        raise DataError(
            f"expected at least one whole batch with drop_last, got {got}", path=("batches",)
        )
    return Batches(dataset, index(size), _key("batches", key), bool(drop_last))
