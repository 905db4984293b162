"""Sequences of unequal lengths: padded to one array, masked by their lengths, in buckets by length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import numpy as np

from fnn.datasets.cutting import checked_key
from fnn.datasets.entries import checked
from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.kernels.conversion import as_array
from fnn.keys import Key
from fnn.options import flag, integer
from fnn.tree import Array


def _checked_sequences(who: str, sequences: Any) -> list[Array]:
    """Return arrays (time, ...) that agree in dtype and in all but their first axis."""
    if isinstance(sequences, str | bytes) or not isinstance(sequences, Iterable):
        got = type(sequences).__name__
        raise DTypeError(f"expected a list of sequences, got {got}", path=(who,))
    found = [as_array(f"sequences[{i}]", each, (who,)) for i, each in enumerate(sequences)]
    if not found:
        raise DataError("expected at least one sequence, got none", path=(who,))
    # An empty list has the dtype of nothing in particular.
    model = next((each for each in found if each.size), found[0])
    for i, each in enumerate(found):
        if each.ndim == 0:
            raise ShapeError(f"sequences[{i}]: expected an axis of time, got a scalar", path=(who,))
        if not each.size and each.ndim == 1:
            found[i] = np.empty((0, *model.shape[1:]), model.dtype)
        elif each.shape[1:] != model.shape[1:]:
            expected = f"steps of shape {model.shape[1:]} as in the first"
            raise ShapeError(f"sequences[{i}]: expected {expected}, got {each.shape[1:]}", path=(who,))
        elif each.dtype != model.dtype:
            expected = f"dtype {model.dtype} as in the first"
            raise DTypeError(f"sequences[{i}]: expected {expected}, got {each.dtype}", path=(who,))
    return found


def _padded(found: list[Array], time: int, fill: Any) -> Array:
    out = np.full((len(found), time, *found[0].shape[1:]), fill, found[0].dtype)
    for row, each in zip(out, found, strict=True):
        row[: len(each)] = each
    return out


def _fill(who: str, value: Any, dtype: np.dtype[Any]) -> Any:
    """Return what pads, in the dtype of the sequences, if it is the same number there."""
    with np.errstate(all="ignore"):
        try:
            made = np.asarray(value).astype(dtype)
            same = made.ndim == 0 and bool(made == value)
        except (TypeError, ValueError, OverflowError):
            same = False
    if not same and not (dtype.kind == "f" and isinstance(value, float) and np.isfinite(value)):
        raise OptionError(f"value: expected a number that {dtype} holds, got {value!r}", path=(who,))
    return made


def pad_sequences(sequences: Any, *, value: Any = 0, length: int | None = None) -> tuple[Array, Array]:
    """Return sequences as one array, each followed by as many `value` as it lacks, and their lengths.

    Args:
        sequences: Arrays or lists (time, ...) that differ in their first axis alone.
        value: What is put after them.
        length: The length that all get; that of the longest if None.

    Returns:
        The array (n, time, ...) in the sequences' dtype, and lengths, int64 (n,). With them as
        `Dataset((array, lengths), y)` layers with `lengths=True` look at what was there alone.

    Raises:
        DataError: If there are no sequences, or one is longer than `length`; names it.
        DTypeError, ShapeError: If they differ in more than their length; names the first that does.
        OptionError: If `value` is no number of their dtype.
    """
    who = "pad_sequences"
    found = _checked_sequences(who, sequences)
    lengths = np.array([len(each) for each in found], np.int64)
    time = int(lengths.max()) if length is None else integer(who, "length", length)
    if (long := lengths > time).any():
        at = int(np.argmax(long))
        message = f"sequences[{at}]: expected at most {time} steps, got {lengths[at]}"
        raise DataError(message, path=(who,))
    return _padded(found, time, _fill(who, value, found[0].dtype)), lengths


def length_mask(lengths: Any, time: int) -> Array:
    """Return booleans (n, time), True for the first `lengths[i]` steps of row i: those that are valid.

    Raises:
        DataError: If a length is not in [0, time]; names it.
        DTypeError, ShapeError: If they are not integers on one axis.
        OptionError: If time is no integer of 0 or more.
    """
    who = "length_mask"
    time = integer(who, "time", time, least=0)
    array = as_array("lengths", lengths, (who,))
    if array.ndim != 1:
        raise ShapeError(f"expected lengths on one axis, got shape {array.shape}", path=(who,))
    if array.size and array.dtype.kind not in "iu":
        raise DTypeError(f"expected lengths of an integer dtype, got {array.dtype}", path=(who,))
    if (bad := (array < 0) | (array > time)).any():
        at = int(np.argmax(bad))
        raise DataError(f"lengths[{at}] = {array[at]} is not in [0, {time}]", path=(who,))
    return np.arange(time) < array[:, None]


@attrs.frozen(eq=False)
class Buckets:
    """Batches of sequences of about one length, to be iterated over; made by `bucket_batches`."""

    sequences: tuple[Array, ...] = attrs.field(repr=False)
    targets: Array = attrs.field(repr=False)
    size: int
    width: int
    value: Any
    key: Key | None = None
    drop_last: bool = False

    def _bucketed(self) -> list[Array]:
        """Return the indices of every batch, in the order of the batches."""
        lengths = np.array([len(each) for each in self.sequences])
        bucket = -(-lengths // self.width)
        order = np.arange(len(lengths))
        generator = None if self.key is None else self.key.generator()
        if generator is not None:
            order = generator.permutation(len(lengths))
        found = []
        for each in np.unique(bucket):
            inside = order[bucket[order] == each]
            cuts = [inside[at : at + self.size] for at in range(0, len(inside), self.size)]
            found += [cut for cut in cuts if len(cut) == self.size or not self.drop_last]
        if generator is not None:
            found = [found[i] for i in generator.permutation(len(found))]
        return found

    def __len__(self) -> int:
        return len(self._bucketed())

    def __iter__(self) -> Iterator[tuple[tuple[Array, Array], Array]]:
        return self.since(0)

    def since(self, first: int) -> Iterator[tuple[tuple[Array, Array], Array]]:
        """Yield the batches from number `first` on; no sequence before them is looked at."""
        for at in self._bucketed()[first:]:
            chosen = [self.sequences[i] for i in at]
            lengths = np.array([len(each) for each in chosen], np.int64)
            # No step at all, of sequences that are all empty, is for no network.
            time = self.width * max(1, -(-int(lengths.max()) // self.width))
            arrays = _padded(chosen, time, self.value), lengths, self.targets[at]
            for array in arrays:
                array.setflags(write=False)
            yield (arrays[0], arrays[1]), arrays[2]


def bucket_batches(
    sequences: Any,
    targets: Any,
    size: int,
    *,
    width: int = 8,
    value: Any = 0,
    key: Key | None = None,
    drop_last: bool = False,
) -> Buckets:
    """Cut sequences into read-only batches `((x, lengths), y)` of about one length, for little padding.

    Sequences whose lengths round up to one multiple of `width` share batches, padded to that multiple:
    less than `width` steps of a sequence are padding, and no more array shapes come than multiples.
    Which sequences share a batch, and the order of the batches, follow from the key alone: an epoch's
    own order needs an epoch's own key. Without a key they go by bucket, the shortest first.

    Args:
        sequences: Arrays or lists (time, ...) that differ in their first axis alone.
        targets: One per sequence, shape (n, ...).
        size: Sequences per batch; the last one of a bucket may be smaller.
        width: Widest difference in length within a batch, and what padded lengths are multiples of.
        value: What is put after a sequence.
        key: Where the order comes from.
        drop_last: Leave out batches that are smaller.

    Raises:
        DataError: If there are no sequences, not as many targets, or no batch at all.
        DTypeError, ShapeError: If sequences differ in more than their length; names the first.
        OptionError: If an option is out of range.
    """
    who = "bucket_batches"
    found = _checked_sequences(who, sequences)
    try:
        y = checked("targets", targets)
    except (DataError, DTypeError, ShapeError) as error:
        raise error.inside(who, "") from None
    if len(y) != len(found):
        message = f"expected a target per sequence, got {len(y)} for {len(found)}"
        raise DataError(message, path=(who,))
    made = Buckets(
        tuple(checked(f"sequences[{i}]", each) for i, each in enumerate(found)),
        y,
        integer(who, "size", size),
        integer(who, "width", width),
        _fill(who, value, found[0].dtype),
        checked_key(who, key),
        flag(who, "drop_last", drop_last),
    )
    if not len(made):
        message = f"expected at least one whole batch of {made.size} with drop_last, got none"
        raise DataError(message, path=(who,))
    return made
