"""Examples with their targets, as frozen values, and the batches cut from them."""

from __future__ import annotations

from collections.abc import Iterator
from operator import index
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.datasets.augmentation.making import Transformation, checked_transform, transformed
from fnn.datasets.cutting import by_class, checked_indices, checked_key, first_part, shuffled
from fnn.datasets.entries import checked_parts, checked_weight, precision
from fnn.datasets.scaling import standardized
from fnn.datasets.weights import ClassWeight, by_label
from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.kernels.values import example_shape, is_integer, length, map_arrays, named_arrays, take_rows
from fnn.keys import Key
from fnn.options import integer
from fnn.tree import Array


def _drawn(value: Any, order: Array) -> Any:
    if type(value) is not np.ndarray and isinstance(value, tuple):
        return tuple(_drawn(part, order) for part in value)
    drawn = value[order]
    drawn.setflags(write=False)
    return drawn


@attrs.frozen(eq=False, repr=False, init=False)
class Dataset:
    """Examples `x` and their targets `y`, one of each per entry of axis 0, and maybe their weights.

    x and y are arrays, or tuples of arrays where a network has several inputs or outputs; a tuple of
    numbers or lists is one array. Integers stay integers. All are kept read-only: an array that its
    owner could still write to is copied, an immutable one and a read-only memory map are shared.

    Attributes:
        x: Examples, shape (n, ...).
        y: Targets, shape (n, ...).
        weight: How much each example counts in losses and metrics, float64 of shape (n,); None if
            all count alike. One of weight 2 counts as two of it would, one of weight 0 as none.
    """

    x: Any = attrs.field()
    y: Any = attrs.field()
    weight: Array | None = attrs.field(default=None)

    def __init__(self, x: Any, y: Any, *, weight: Any = None, dtype: Any = None) -> None:
        """Check and freeze the arrays.

        Args:
            x: Examples; arrays, lists, data frames, or a tuple of arrays.
            y: Targets.
            weight: A number of 0 or more per example, not all of them 0.
            dtype: "float32" or "float64", to which floating x and y are cast; integers, such as
                labels, stay what they are.

        Raises:
            DataError: If there are no examples, if the lengths differ, if a number is nan or
                infinite (names its index), or if an array is masked.
            DTypeError: If x or y holds something else than numbers.
            OptionError: If dtype is another one.
        """
        try:
            name = precision("", dtype)
            x, y = checked_parts("x", x, name), checked_parts("y", y, name)
            n, n_y = length(x), length(y)
            if n != n_y:
                raise DataError(f"expected x and y of equal length, got {n} and {n_y}")
            if n == 0:
                raise DataError(
                    f"expected at least one example, got x of shape {map_arrays(np.shape, x)}"
                )
            weight = checked_weight(weight, n)
        except (DataError, DTypeError, OptionError, ShapeError) as error:
            raise error.inside("Dataset", "") from None
        self.__attrs_init__(x, y, weight)

    def __len__(self) -> int:
        return length(self.x)

    @property
    def in_shape(self) -> tuple[Any, ...]:
        """Shape of one example, as `init` takes it: a tuple of shapes if x is a tuple."""
        return example_shape(self.x)

    def __repr__(self) -> str:
        shown = (f"{name}: {a.dtype}{list(a.shape)}" for name, a in self._arrays())
        return f"Dataset({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Through __init__, because NumPy forgets in a pickle that an array was read-only.
        return _weighed, (self.x, self.y, self.weight)

    def digest(self) -> str:
        """Return the SHA-256 of shapes, dtypes and bytes of all arrays."""
        return tree.digest(dict(self._arrays()))

    def _arrays(self) -> list[tuple[str, Array]]:
        weight = [] if self.weight is None else [("weight", self.weight)]
        return [*named_arrays(self.x, "x"), *named_arrays(self.y, "y"), *weight]

    def _of(self, at: slice | Array) -> Dataset:
        """Return some of the examples: a run of them shares memory, others are copied."""
        values = [self.x, self.y] + ([] if self.weight is None else [self.weight])
        cut: Any = take_rows if isinstance(at, slice) else _drawn
        return _weighed(*(cut(each, at) for each in values))

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
        return self._of(slice(n))

    def select(self, indices: Any) -> Dataset:
        """Return the examples at some indices, in their order; one may be there twice.

        Raises:
            DataError: If there are none, or one is not in [0, n); names it.
            ShapeError: If they are no integers on one axis.
        """
        return self._of(checked_indices("Dataset.select", indices, len(self)))

    def split(
        self, n_or_fraction: float, *, key: Key | None = None, stratify: Any = None
    ) -> tuple[Dataset, Dataset]:
        """Cut in two: an integer is the length of the first part, a float its fraction, rounded.

        Without a key the order stays, so sorted labels end up in different parts; with one, both
        parts are drawn from a permutation that depends on the key alone, and are copies.

        Args:
            n_or_fraction: Where to cut.
            key: Where the order comes from; None keeps that of the set.
            stratify: A label per example, such as `data.y`: both parts then have of each class what
                its share says, rounded up or down.

        Raises:
            OptionError: If either part would be empty.
            DataError, ShapeError: If `stratify` has not one label per example.
        """
        who, total = ("Dataset.split",), len(self)
        key = checked_key("Dataset.split", key)
        if isinstance(n_or_fraction, float | np.floating):
            if not 0 < n_or_fraction < 1:
                raise OptionError(f"expected a fraction in (0, 1), got {n_or_fraction}", path=who)
            first = round(float(n_or_fraction) * total)
        else:
            first = integer("Dataset.split", "n_or_fraction", n_or_fraction)
        if not 0 < first < total:
            got = f"{first} and {total - first} of {total} examples"
            raise OptionError(f"expected two parts with examples in each, got {got}", path=who)
        if key is None and stratify is None:
            return self._of(slice(first)), self._of(slice(first, None))
        order = shuffled(total, key)
        if stratify is None:
            return self._of(order[:first]), self._of(order[first:])
        chosen = first_part(by_class("Dataset.split", stratify, order), first)[order]
        return self._of(order[chosen]), self._of(order[~chosen])

    def cast(self, dtype: Any) -> Dataset:
        """Return the set with floating x and y in "float32" or "float64"; integers stay.

        Raises:
            OptionError: If dtype is another one.
            DataError: If a number is beyond it.
        """
        return Dataset(self.x, self.y, weight=self.weight, dtype=dtype)

    def weighted(self, class_weight: ClassWeight) -> Dataset:
        """Return the set with every example's weight times that of its label.

        Args:
            class_weight: "balanced", by which all classes count alike (`class_weights`); or
                {label: weight}, 1 where a label is not named.

        Raises:
            OptionError: If class_weight is something else, or names a label that does not occur.
            DTypeError, ShapeError: If y is no integers on one axis.
        """
        weight = by_label("Dataset.weighted", self.y, class_weight)
        return Dataset(self.x, self.y, weight=weight if self.weight is None else weight * self.weight)

    def present(self) -> Dataset:
        """Return the set without the examples of weight 0, which count for nothing; or itself."""
        if self.weight is None or (there := self.weight > 0).all():
            return self
        return self._of(np.flatnonzero(there))

    def standardize(self, like: Dataset | None = None) -> Dataset:
        """Return (x - mean) / std per feature, both taken from `like`, or from this set itself.

        Of a tuple its floating arrays are standardised; integers in it stay as they are.
        A test set is standardised like the training set: `test.standardize(like=train)`. The
        standard deviation is the population's (divided by n); where it is 0 the divisor is 1. Where
        `like` has weights, both are weighted averages.

        Raises:
            DTypeError: If either x is not of real floats, or a tuple without any.
            ShapeError: If the examples of `like` have another shape.
            DataError: If a result exceeds the range of the dtype.
        """
        like = self if like is None else like
        like = like.present()  # What counts for nothing is not to set the scale either.
        try:
            given, model = named_arrays(self.x, "x"), named_arrays(like.x, "x")
            if [name for name, _ in given] != [name for name, _ in model]:
                raise ShapeError(f"expected {len(model)} arrays as x, got {len(given)}")
            done = [
                each
                if isinstance(self.x, tuple) and is_integer(each)
                else standardized(each, other, like.weight)
                for (_, each), (_, other) in zip(given, model, strict=True)
            ]
            if all(is_integer(each) for each in done):
                raise DTypeError("expected x of floats in a tuple, got integers alone")
        except (DTypeError, ShapeError) as error:
            raise error.inside("Dataset.standardize", "") from None
        left = iter(done)
        return _weighed(map_arrays(lambda _: next(left), self.x), self.y, self.weight)


def _weighed(x: Any, y: Any, weight: Array | None = None) -> Dataset:
    return Dataset(x, y, weight=weight)


@attrs.frozen(eq=False)
class Batches:
    """Batches of a dataset, to be iterated over any number of times; made by `batches`."""

    dataset: Dataset
    size: int
    key: Key | None = None
    drop_last: bool = False
    transform: Transformation | None = None

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.size)
        return full + (rest > 0 and not self.drop_last)

    def mass(self, first: int) -> float:
        """Return the sum of the weights in the batches before number `first`, each 1 if there are none.

        Added batch by batch, as who goes through them would.
        """
        weight = self.dataset.weight
        if weight is None:
            return min(first * self.size, len(self.dataset))
        if self.key is not None:
            weight = weight[self.key.generator().permutation(len(weight))]
        total = 0.0
        for start in range(0, first * self.size, self.size):
            # Not by `sum`, which since Python 3.12 keeps what additions lose.
            total += float(weight[start : start + self.size].sum())
        return total

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self.since(0)

    def since(self, first: int) -> Iterator[tuple[Any, ...]]:
        """Yield the batches from number `first` on; no example before them is looked at."""
        data = self.dataset
        values = (data.x, data.y) if data.weight is None else (data.x, data.y, data.weight)
        starts = range(first * self.size, len(self) * self.size, self.size)
        if self.key is None:
            for start in starts:
                at = slice(start, start + self.size)
                yield tuple([take_rows(each, at) for each in values])
            return
        order, key = self.key.generator().permutation(len(data)), self.key.fold("transform")
        for number, start in enumerate(starts, first):
            drawn = order[start : start + self.size]
            batch = tuple([_drawn(each, drawn) for each in values])
            if self.transform is not None:
                batch = transformed(self.transform, key, number, drawn, batch)
            yield batch


def batches(
    dataset: Dataset,
    size: int,
    *,
    key: Key | None = None,
    drop_last: bool = False,
    transform: Transformation | None = None,
) -> Batches:
    """Cut `dataset` into read-only batches `(x, y)` of `size` examples, the last one maybe smaller.

    Where the dataset has weights, batches are `(x, y, weight)`, which a train step takes as well, and
    examples of weight 0 are left out: a batch of nothing else would have no mean.

    The order is a pure function of the key, the same at every iteration: an epoch's own order needs
    an epoch's own key, `key.fold("epoch", i)`. Without a key the order is the dataset's. A size larger
    than the set gives one batch.

    Args:
        dataset: What to cut.
        size: Examples per batch.
        key: Where the order and the draws of `transform` come from.
        drop_last: Leave out a last batch that is smaller.
        transform: An augmentation, such as `random_flip()`, through which every batch goes. What
            becomes of an example follows from the key and its number in the dataset, counted without
            those of weight 0. Or a pure function `(key, x) -> x` of one's own, which gets a key by the
            number of the batch, so that its draws depend on the size too.

    Raises:
        OptionError: If size is not an integer of 1 or more, or there is a transform without a key.
        DataError: If drop_last would leave no batch at all.
    """
    size = integer("batches", "size", size)
    if not isinstance(dataset, Dataset):
        got = type(dataset).__name__
        raise DataError(f"expected a Dataset, got {got}; write Dataset(x, y)", path=("batches",))
    dataset = dataset.present()
    if drop_last and size > len(dataset):
        got = f"size {size} of {len(dataset)} examples"
        raise DataError(
            f"expected at least one whole batch with drop_last, got {got}", path=("batches",)
        )
    key, transform = checked_key("batches", key), checked_transform("batches", "transform", transform)
    if transform is not None and key is None:
        raise OptionError("transform: expected a key beside it, got None", path=("batches",))
    return Batches(dataset, index(size), key, bool(drop_last), transform)
