"""The codec from tables to data sets: what is learnt from one table and kept for others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs
import numpy as np

from fnn.datasets.cutting import checked_indices
from fnn.datasets.dataset import Dataset
from fnn.datasets.entries import cast, precision
from fnn.datasets.tables.columns import CATEGORY, NUMBER, Column
from fnn.errors import DataError, DTypeError, OptionError
from fnn.kernels.conversion import as_array
from fnn.options import flag
from fnn.tree import Array

_POLICIES = ("refuse", "drop", "fill")


class Rows(Protocol):
    """What a codec asks of a table."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """Return the columns by name."""

    def __len__(self) -> int: ...
    def __getitem__(self, name: str) -> Column: ...
    def place(self, row: int, name: str) -> str:
        """Return where a value stands."""

    def select(self, indices: Any) -> Any:
        """Return some of the rows."""


@attrs.frozen
class Scale:
    """What becomes of a column of numbers: (x - mean) / std, and `fill` stands for what is missing.

    Where columns are not standardised, mean is 0 and std is 1.
    """

    fill: float
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def of(cls, values: Array, standardize: bool) -> Scale:
        """Learn from numbers, at least one; nothing in between overflows, a constant has std 1."""
        origin = float(values[0])
        with np.errstate(all="ignore"):
            spread = float(np.abs(values - origin).max())
            if spread == 0:
                return cls(origin, origin) if standardize else cls(origin)
            # A spread beyond float64 gives nan here, which `_learnt` refuses.
            parts = (values - origin) / spread
            part = float(parts.mean())
            mean = origin + spread * part
            std = spread * math.sqrt(float(np.square(parts - part).mean()))
        return cls(mean, mean, std or 1.0) if standardize else cls(mean)


@attrs.frozen(repr=False)
class TableCodec:
    """A codec from rows of a table to examples; made by `TableCodec.fit(table)`.

        codec = fnn.TableCodec.fit(train_table, target="price")
        train, test = codec.dataset(train_table), codec.dataset(test_table)

    Attributes:
        features: A `Scale` for each column of numbers, the categories for each other one, by name.
        target: The column to predict, None without one.
        classes: Its categories, None for numbers.
        one_hot, missing, dtype: As in `fit`.
        target_scale: The `Scale` of the numbers to predict, None where they stay in their unit.
    """

    features: tuple[tuple[str, Scale | tuple[str, ...]], ...]
    target: str | None
    classes: tuple[str, ...] | None
    one_hot: bool
    missing: str
    dtype: str
    target_scale: Scale | None = None

    @classmethod
    def fit(
        cls,
        table: Rows,
        *,
        target: str | None = None,
        features: Sequence[str] | None = None,
        standardize: bool = True,
        standardize_target: bool = False,
        one_hot: bool = True,
        missing: str = "refuse",
        dtype: str = "float32",
    ) -> TableCodec:
        """Learn from a table how its rows become examples.

        Args:
            table: The one to learn from, that of the training set.
            target: The column to predict; None if only examples are wanted.
            features: The columns that examples are made of, in this order; all others if None.
            standardize: Make of every number (x - mean) / std of its column, by the numbers that are
                there; the standard deviation is the population's, and 1 where it is 0.
            standardize_target: Do so with numbers to predict as well: networks learn those of a size of
                1 best. `decode` takes predictions back. Of categories it changes nothing.
            one_hot: A 1 in the column of its category for every category, numbers first. False leaves
                them integers, for an `Embedding`: x is then (numbers, codes), or the codes alone.
            missing: What becomes of a row in which something is missing: "refuse" raises, "drop"
                leaves the row out, "fill" puts the mean for a number, and for a category no 1 at all,
                or the code after the last. A row without its target is refused, or dropped.
            dtype: "float32" or "float64".

        Raises:
            OptionError: If an option is out of range, or names no column.
            DataError: If no number or no category is in a column.
        """
        who = "TableCodec.fit"
        if missing not in _POLICIES:
            raise OptionError(f"missing: expected one of {_POLICIES}, got {missing!r}", path=(who,))
        one_hot, name = flag(who, "one_hot", one_hot), precision(who, dtype) or "float32"
        standardize = flag(who, "standardize", standardize)
        standardize_target = flag(who, "standardize_target", standardize_target)
        if features is None:
            features = [each for each in table.columns if each != target]
        chosen = [features] if isinstance(features, str) else list(features)
        for each in [*chosen, *([] if target is None else [target])]:
            if each not in table.columns:
                message = f"expected columns among {list(table.columns)}, got {each!r}"
                raise OptionError(message, path=(who,))
        if not chosen or len({*chosen, target}) != len(chosen) + 1:
            got = f"{chosen} and target {target!r}"
            raise OptionError(f"features: expected distinct columns, got {got}", path=(who,))
        if missing == "drop":
            table = _complete(table, [*chosen, *([] if target is None else [target])])
        if target is not None and table[target].missing.all():
            raise DataError(f"expected values in column {target!r}, got none", path=(who,))
        learnt = tuple((each, _learnt(who, each, table[each], standardize)) for each in chosen)
        classes = None if target is None else table[target].categories
        scale = None
        if standardize_target and target is not None and classes is None:
            found = _learnt(who, target, table[target], True)
            assert isinstance(found, Scale)
            scale = found
        return cls(learnt, target, classes, one_hot, missing, name, scale)

    @property
    def names(self) -> tuple[str, ...]:
        """Return what each column of x is: "age", and "city=Rome" of one-hot categories."""
        numbers = tuple(name for name, _ in self._numbers())
        if not self.one_hot:
            return numbers + tuple(name for name, _ in self._categories())
        return numbers + tuple(f"{name}={each}" for name, known in self._categories() for each in known)

    @property
    def types(self) -> dict[str, str]:
        """Return the type of every column that it knows, as `read_csv` takes them for new data."""
        found = {name: NUMBER if isinstance(of, Scale) else CATEGORY for name, of in self.features}
        if self.target is not None:
            found[self.target] = NUMBER if self.classes is None else CATEGORY
        return found

    def encode(self, table: Rows) -> Any:
        """Return one example per row, without looking at the target, which may be absent.

        Returns:
            x as in `dataset`. Rows cannot be left out here: what is missing is refused, or filled.

        Raises:
            DataError: If a value is missing, or a category is not known; names line and column.
            OptionError: If a column is not there.
        """
        numbers = [self._scaled(table, name, scale) for name, scale in self._numbers()]
        codes = [self._coded(table, name, known) for name, known in self._categories()]
        parts: list[Any] = [np.stack(numbers, axis=1)] if numbers else []
        if not self.one_hot and codes:
            parts.append(np.stack(codes, axis=1))
            if numbers:
                parts[0] = cast("x[0]", parts[0], self.dtype)
            return tuple(parts) if numbers else parts[0]
        for each, (_, known) in zip(codes, self._categories(), strict=True):
            rows = np.zeros((len(each), len(known)), self.dtype)
            there = np.flatnonzero(each < len(known))
            rows[there, each[there]] = 1.0
            parts.append(rows)
        return cast("x", np.concatenate(parts, axis=1), self.dtype)

    def dataset(self, table: Rows, *, weight: Any = None) -> Dataset:
        """Return the examples of a table with their targets.

        Args:
            table: The table; its columns may be in any order, and more of them be there.
            weight: How much each row counts, numbers of 0 or more (n,); None if all count alike.

        Returns:
            x of shape (n, len(names)); y is int64 (n,), the codes of `classes`, or numbers (n, 1).

        Raises:
            DataError: If a value is missing, or a category is not known; names line and column.
            OptionError: If there is no target, or a column is not there.
        """
        if self.target is None:
            raise OptionError("target: expected a column, got None", path=("TableCodec.dataset",))
        if self.missing == "drop":
            names = [self.target, *(name for name, _ in self.features)]
            if weight is not None and np.shape(weight) == (len(table),):
                weight = np.asarray(weight)[_there(table, names)]
            table = _complete(table, names)
        if self.classes is None:
            self._check_type(table, self.target, None)
            self._check_there(table, self.target, "'drop'")
            y = table[self.target].values[:, None]
            if self.target_scale is not None:
                with np.errstate(all="ignore"):  # As in x.
                    y = (y - self.target_scale.mean) / self.target_scale.std
        else:
            self._check_there(table, self.target, "'drop'")
            y = self._coded(table, self.target, self.classes)
        return Dataset(self.encode(table), cast("y", y, self.dtype), weight=weight)

    def decode(self, y: Any) -> Array:
        """Return targets, or predictions of them, as the table has them.

        Args:
            y: Numbers as in `dataset`, of any shape; or integers (n,), such as
                `predict(net, now, x).argmax(axis=1)` of a classifier.

        Returns:
            Numbers in their unit, float64, of the shape of y; or the names of the classes, texts (n,).

        Raises:
            OptionError: If there is no target.
            DTypeError, ShapeError, DataError: If y is not as above, or no class has such a code.
        """
        who = "TableCodec.decode"
        if self.target is None:
            raise OptionError("target: expected a column, got None", path=(who,))
        if self.classes is not None:
            return np.array(self.classes)[checked_indices(who, y, len(self.classes))]
        values = as_array("y", y, (who,))
        if values.dtype.kind not in "fiu":
            raise DTypeError(f"y: expected real numbers, got {values.dtype}", path=(who,))
        scale = Scale(0.0) if self.target_scale is None else self.target_scale
        decoded: Array = values.astype(np.float64) * scale.std + scale.mean
        return decoded

    def __repr__(self) -> str:
        n = len(self.names)
        to = "" if self.target is None else f" to predict {self.target!r}"
        return f"TableCodec({len(self.features)} columns as {n} numbers{to})"

    def _numbers(self) -> list[tuple[str, Scale]]:
        return [(name, of) for name, of in self.features if isinstance(of, Scale)]

    def _categories(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(name, of) for name, of in self.features if isinstance(of, tuple)]

    def _check_type(self, table: Rows, name: str, known: tuple[str, ...] | None) -> None:
        if (table[name].categories is None) != (known is None):
            wanted = NUMBER if known is None else CATEGORY
            hint = "types=codec.types reads them so"
            message = f"expected a {wanted}, got a {table[name].type} ({hint})"
            raise DataError(f"{table.place(0, name)}: {message}")

    def _check_there(self, table: Rows, name: str, policies: str = "'drop' or 'fill'") -> None:
        if (gone := table[name].missing).any():
            place = table.place(int(np.argmax(gone)), name)
            raise DataError(f"{place}: expected a value, got none (missing={policies})")

    def _scaled(self, table: Rows, name: str, scale: Scale) -> Array:
        self._check_type(table, name, None)
        if self.missing != "fill":
            self._check_there(table, name)
        column = table[name]
        filled = np.where(column.missing, scale.fill, column.values)
        with np.errstate(all="ignore"):  # What is beyond the dtype is refused by its place in x.
            scaled: Array = (filled - scale.mean) / scale.std
        return scaled

    def _coded(self, table: Rows, name: str, known: tuple[str, ...]) -> Array:
        """Return codes by the categories that were learnt, len(known) for what is missing."""
        self._check_type(table, name, known)
        if self.missing != "fill":
            self._check_there(table, name)
        column = table[name]
        own = column.categories or ()
        codes = {each: i for i, each in enumerate(known)}
        # One place more, to which the code -1 of what is missing points.
        new = np.array([*(codes.get(each, -1) for each in own), len(known)])[column.values]
        if (bad := new < 0).any():
            row = int(np.argmax(bad))
            got = own[int(column.values[row])]
            expected = f"expected one of {list(known)!r:.200}"
            raise DataError(f"{table.place(row, name)}: {expected}, got {got!r:.80}")
        return new


def _there(table: Rows, names: Sequence[str]) -> Array:
    """Return the rows in which nothing is missing, booleans (n,)."""
    there = np.ones(len(table), bool)
    for name in names:
        there &= ~table[name].missing
    return there


def _complete(table: Rows, names: Sequence[str]) -> Any:
    """Return the rows in which nothing is missing.

    Raises:
        DataError: If there are none.
    """
    there = _there(table, names)
    if not there.any():
        raise DataError("expected a row in which nothing is missing, got none", path=("TableCodec",))
    return table if there.all() else table.select(np.flatnonzero(there))


def _learnt(who: str, name: str, column: Column, standardize: bool) -> Scale | tuple[str, ...]:
    """Return what is kept of a column.

    Raises:
        DataError: If all of it is missing, or its numbers are too far apart for float64.
    """
    gone = column.missing
    if gone.all():
        raise DataError(f"expected values in column {name!r}, got none", path=(who,))
    if column.categories is not None:
        return column.categories
    scale = Scale.of(column.values[~gone], standardize)
    if not all(map(math.isfinite, (scale.fill, scale.mean, scale.std))):
        message = f"expected numbers within float64 of each other in column {name!r}"
        raise DataError(message, path=(who,))
    return scale
