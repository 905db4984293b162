"""Parts of a data set by index: folds of cross-validation, parts in which classes keep their shares."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np

from fnn.datasets.one_hot import labels_of
from fnn.errors import DataError, OptionError, ShapeError
from fnn.keys import Key
from fnn.options import integer
from fnn.tree import Array


def checked_key(who: str, key: Any) -> Key | None:
    """Return a key, or None.

    Raises:
        OptionError: If it is anything else.
    """
    if key is not None and not isinstance(key, Key):
        raise OptionError(f"key: expected a Key, e.g. Key.of(0), got {key!r}", path=(who,))
    return key


def shuffled(total: int, key: Key | None) -> Array:
    """Return the numbers below `total` in an order that follows from the key; as they are without."""
    return np.arange(total) if key is None else key.generator().permutation(total)


def by_class(who: str, labels: Any, order: Array) -> Array:
    """Return `order` with the examples of each class next to each other, in that order among them.

    Raises:
        ShapeError: If there is not one label per example.
    """
    labels = labels_of(who, labels)
    if len(labels) != len(order):
        got = f"{len(labels)} for {len(order)} examples"
        raise ShapeError(f"stratify: expected one label per example, got {got}", path=(who,))
    _, classes = np.unique(labels, return_inverse=True)
    grouped: Array = order[np.argsort(classes[order], kind="stable")]
    return grouped


def first_part(grouped: Array, first: int) -> Array:
    """Return which examples come into a first part of `first`, evenly spread over `grouped`, as a mask.

    So of each class there are as many as its share says, rounded up or down.
    """
    total = len(grouped)
    steps = np.arange(total + 1) * first // total
    chosen = np.zeros(total, bool)
    chosen[grouped] = np.diff(steps) > 0
    return chosen


def folds(
    n: int | Sized, k: int, *, key: Key | None = None, stratify: Any = None
) -> list[tuple[Array, Array]]:
    """Return k pairs of indices (train, test) for cross-validation: each example is tested on once.

        for train, test in fnn.folds(data, 5, key=key, stratify=data.y):
            fit(..., data.select(train), validation=data.select(test))

    The sizes of the k test parts differ by 1 at most, and with `stratify` so do the counts of every
    class in them. Indices are sorted.

    Args:
        n: How many examples there are, or a dataset, a table or a list of them.
        k: How many folds, 2 or more.
        key: Where the order comes from in which examples are dealt out; None takes theirs, in k runs
            that follow each other without `stratify`.
        stratify: A label per example, of any kind that sorts.

    Raises:
        OptionError: If k is less than 2 or more than n, or key is no Key.
        DataError, ShapeError: If labels are not as above.
    """
    who = "folds"
    is_sized = isinstance(n, Sized) and not isinstance(n, str | bytes)
    total = len(n) if is_sized else integer(who, "n", n)  # type: ignore[arg-type]
    k = integer(who, "k", k, least=2)
    if k > total:
        raise OptionError(f"k: expected at most {total}, one per example, got {k}", path=(who,))
    order = shuffled(total, checked_key(who, key))
    at = np.empty(total, np.intp)
    if stratify is None:
        at[order] = np.arange(total) * k // total
    else:
        at[by_class(who, stratify, order)] = np.arange(total) % k
    return [(np.flatnonzero(at != i), np.flatnonzero(at == i)) for i in range(k)]


def checked_indices(who: str, indices: Any, total: int) -> Array:
    """Return indices of some of `total` examples, integers on one axis; negative ones are refused.

    Raises:
        DataError: If one is out of range, or there are none; names its place.
        ShapeError: If they are not integers on one axis.
    """
    try:
        array = np.asarray(indices)
    except ValueError:
        array = np.empty(())
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        got = f"{array.dtype}{list(array.shape)}"
        raise ShapeError(f"indices: expected integers on one axis, got {got}", path=(who,))
    if not array.size:
        raise DataError("indices: expected at least one, got none", path=(who,))
    if (bad := (array < 0) | (array >= total)).any():
        place = int(np.argmax(bad))
        message = f"indices[{place}] = {array[place]} is not in [0, {total})"
        raise DataError(message, path=(who,))
    return array.astype(np.intp)
