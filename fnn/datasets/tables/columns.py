"""The columns of a table: numbers, or categories that stand for texts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import attrs
import numpy as np

from fnn.errors import DataError
from fnn.kernels.conversion import read_only
from fnn.tree import Array

NUMBER, CATEGORY = "number", "category"
TYPES = (NUMBER, CATEGORY)

_NUMBER = re.compile(r"[ \t]*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t]*")

Place = Callable[[int], str]
"""From a row to where it stands, for errors: "flats.csv: line 3, column 2 ('rooms')"."""


@attrs.frozen(eq=False)
class Column:
    """Numbers, or categories of a table.

    Attributes:
        values: float64 (n,), nan where a number is missing; of categories their codes, int64 (n,), -1
            where one is missing.
        categories: The texts for which codes 0, 1, ... stand, None for numbers. They are sorted, as
            numbers if all of them are.
    """

    values: Array = attrs.field(converter=read_only)
    categories: tuple[str, ...] | None = None

    @property
    def type(self) -> str:
        """Return "number" or "category"."""
        return NUMBER if self.categories is None else CATEGORY

    @property
    def missing(self) -> Array:
        """Return where nothing is, booleans (n,)."""
        return np.isnan(self.values) if self.categories is None else self.values < 0

    def select(self, at: Array) -> Column:
        """Return some of its rows; the categories stay."""
        return Column(frozen(self.values[at]), self.categories)

    def __len__(self) -> int:
        return len(self.values)

    def __reduce__(self) -> tuple[Any, ...]:
        # NumPy forgets in a pickle that an array was read-only.
        return Column, (self.values, self.categories)


def frozen(values: Array) -> Array:
    """Return a new array read-only."""
    values.setflags(write=False)
    return values


def is_number(field: str) -> bool:
    """Return whether a text is a decimal number; "nan", "1_000" and "0x10" are none."""
    return _NUMBER.fullmatch(field) is not None


def numbers_of(fields: Sequence[str], missing: Collection[str], place: Place, hint: str) -> Column:
    """Return a column of numbers.

    Raises:
        DataError: If a field is neither a finite number nor missing.
    """
    values = np.empty(len(fields))
    for i, field in enumerate(fields):
        if field in missing:
            values[i] = math.nan
            continue
        if not is_number(field):
            raise DataError(f"{place(i)}: expected a number, got {field!r:.80}{hint}")
        values[i] = float(field)
        if not math.isfinite(values[i]):
            raise DataError(f"{place(i)}: expected a number within float64, got {field!r:.80}")
    return Column(frozen(values))


def categories_of(fields: Sequence[Any], missing: Collection[Any]) -> Column:
    """Return a column of categories."""
    there = {field for field in fields if field not in missing}
    known = sorted(there)
    if all(map(is_number, known)):
        known.sort(key=float)
    codes: dict[Any, int] = {each: i for i, each in enumerate(known)}
    found = [codes.get(field, -1) for field in fields]
    return Column(frozen(np.array(found, np.int64)), tuple(known))


def column_of(
    fields: Sequence[str], missing: Collection[str], wanted: str | None, place: Place
) -> Column:
    """Return the column of some fields; without a type, the first field that is there says which."""
    kind = wanted
    if kind is None:
        first = next((field for field in fields if field not in missing), "0")
        kind = NUMBER if is_number(first) else CATEGORY
    if kind == CATEGORY:
        return categories_of(fields, missing)
    hint = '; types={..: "category"} if the column holds texts' if wanted is None else ""
    return numbers_of(fields, missing, place, hint)


def column_of_values(values: Any, wanted: str | None, place: Place) -> Column:
    """Return the column of what a program has: an array, a list, a column of a data frame.

    Raises:
        DataError: If they are not on one axis, or neither numbers nor texts.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{place(0)}: expected values on one axis, got shape {array.shape}")
    if array.dtype.kind in "biuf" and wanted != CATEGORY:
        numbers = array.astype(np.float64)
        if (bad := np.isinf(numbers)).any():
            at = int(np.argmax(bad))
            raise DataError(f"{place(at)}: expected a finite number, got {array[at]}")
        return Column(frozen(numbers))
    if array.dtype.kind not in "biufUO":
        expected = f"{place(0)}: expected numbers or texts"
        raise DataError(f"{expected}, got dtype {array.dtype}")
    return _of_objects(array.tolist(), wanted, place)


def _is_nothing(value: Any) -> bool:
    # None, nan, and the marks of data frames, which compare with nothing, not even with themselves.
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return True


def _of_objects(items: list[Any], wanted: str | None, place: Place) -> Column:
    absent = [_is_nothing(each) for each in items]
    first = next((each for each, gone in zip(items, absent, strict=True) if not gone), 0.0)
    kind = wanted or (CATEGORY if isinstance(first, str) else NUMBER)
    if kind == CATEGORY:
        texts = [None if gone else str(each) for each, gone in zip(items, absent, strict=True)]
        return categories_of(texts, {None})
    values = np.full(len(items), math.nan)
    for i, (each, gone) in enumerate(zip(items, absent, strict=True)):
        if gone:
            continue
        try:
            if isinstance(each, str | bytes):
                raise TypeError
            values[i] = float(each)
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{place(i)}: expected a number, got {each!r:.80}") from None
        if math.isinf(values[i]):
            raise DataError(f"{place(i)}: expected a finite number, got {each!r:.80}")
    return Column(frozen(values))
