"""The one-hot codec: labels of any sortable kind to rows of zeros with a single one, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np

from fnn.errors import DataError, DTypeError, ShapeError
from fnn.kernels.conversion import NUMBERS, as_array, check_unmasked
from fnn.tree import Array


def labels_of(who: str, labels: Any) -> Array:
    """Return labels as an array on one axis, of one kind that sorts.

    Raises:
        DataError: If a label is nan or masked, or strings stand among others.
        DTypeError, ShapeError: If they do not sort, or stand on no axis or several.
    """
    path = (who,)
    check_unmasked("labels", labels, path)
    if isinstance(labels, np.ndarray):
        labels = as_array("labels", labels, path, kinds=NUMBERS + "USMmOV")
    if not isinstance(labels, np.ndarray) or labels.dtype.kind == "O":
        if not isinstance(labels, Iterable):
            got = type(labels).__name__
            raise ShapeError(f"expected labels on one axis, got {got}", path=path)
        values = list(labels)
        # NumPy would turn 1 beside "a" into "1" without a word.
        if len({isinstance(value, str) for value in values}) > 1:
            raise DataError("expected labels of one kind, got strings among others", path=path)
        try:
            labels = np.asarray(values)
        except ValueError as error:
            raise DataError(f"expected one label per example, got {error}", path=path) from None
    if labels.ndim != 1:
        raise ShapeError(f"expected labels on one axis, got shape {labels.shape}", path=path)
    if labels.dtype.kind in "OV":
        raise DTypeError(f"expected labels that sort, got dtype {labels.dtype}", path=path)
    # Only nan (and NaT) differ from themselves.
    if (odd := labels != labels).any():
        place = int(np.argmax(odd))
        raise DataError(f"labels[{place}] is {labels[place]}", path=path)
    return labels


def _family(labels: Array) -> str:
    return "number" if labels.dtype.kind in "biufc" else labels.dtype.kind


@attrs.frozen(repr=False)
class OneHot:
    """A codec between labels and one-hot rows; column i stands for `classes[i]`.

    Made by `OneHot.fit(labels)`. `classes` is sorted, distinct and read-only.
    """

    classes: Array = attrs.field(eq=attrs.cmp_using(eq=np.array_equal), hash=False)

    @classmethod
    def fit(cls, labels: Any) -> OneHot:
        """Learn the classes: the distinct labels, sorted.

        Raises:
            DataError: If there are no labels, a label is nan, or strings stand among numbers.
            ShapeError: If the labels are not on one axis.
        """
        classes = np.unique(labels_of("OneHot.fit", labels))
        if len(classes) == 0:
            raise DataError("expected at least one label, got none", path=("OneHot.fit",))
        classes.setflags(write=False)
        return cls(classes)

    def encode(self, labels: Any) -> Array:
        """Return one float32 row per label, with a 1 in the column of its class.

        Raises:
            DataError: If a label is not among the classes; names its index and value.
        """
        labels = labels_of("OneHot.encode", labels)
        rows = np.zeros((len(labels), len(self.classes)), np.float32)
        if len(labels) == 0:
            return rows
        if _family(labels) != _family(self.classes):
            places, known = np.zeros(len(labels), np.intp), np.zeros(len(labels), bool)
        else:
            places = np.searchsorted(self.classes, labels).clip(max=len(self.classes) - 1)
            known = self.classes[places] == labels
        if not known.all():
            place = int(np.argmin(known))
            got = f"labels[{place}] = {labels[place : place + 1].tolist()[0]!r}"
            raise DataError(f"expected one of {self._shown()}, got {got}", path=("OneHot.encode",))
        rows[np.arange(len(labels)), places] = 1.0
        return rows

    def decode(self, rows: Any) -> Array:
        """Return the class of each row's largest entry, the first one among equals.

        The rows may be probabilities or logits.

        Raises:
            ShapeError: If the rows are not as wide as there are classes.
            DTypeError: If they are not of real numbers.
            DataError: If an entry is nan; names its index.
        """
        path = ("OneHot.decode",)
        rows = as_array("rows", rows, path)
        if rows.ndim != 2 or rows.shape[1] != len(self.classes):
            raise ShapeError(f"expected shape (n, {len(self.classes)}), got {rows.shape}", path=path)
        if rows.dtype.kind not in "biuf":
            raise DTypeError(f"expected rows of real numbers, got dtype {rows.dtype}", path=path)
        if (odd := np.isnan(rows)).any():
            i, j = np.unravel_index(np.argmax(odd), rows.shape)
            raise DataError(f"rows[{i}, {j}] is nan", path=path)
        labels: Array = self.classes[rows.argmax(axis=1)]
        return labels

    def __reduce__(self) -> tuple[Any, ...]:
        # NumPy forgets in a pickle that an array was read-only.
        return OneHot.fit, (self.classes,)

    def __repr__(self) -> str:
        return f"OneHot({self._shown()})"

    def _shown(self) -> str:
        classes = self.classes.tolist()
        if len(classes) <= 12:
            return repr(classes)
        return f"[{', '.join(map(repr, classes[:10]))}, ..., {classes[-1]!r}]"
