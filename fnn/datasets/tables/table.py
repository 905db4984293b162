"""A table as a value, and how it comes from a CSV file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np

from fnn.datasets.cutting import checked_indices
from fnn.datasets.dataset import Dataset
from fnn.datasets.tables.columns import TYPES, Column, column_of, column_of_values, frozen
from fnn.datasets.tables.encoding import TableCodec
from fnn.datasets.tables.records import decoded, records
from fnn.errors import DataError, OptionError
from fnn.files import PathLike, shown
from fnn.kernels.conversion import read_only
from fnn.options import integer
from fnn.tree import Array


def _unchangeable(columns: Mapping[str, Column]) -> Mapping[str, Column]:
    return MappingProxyType(dict(columns))


@attrs.frozen(eq=False, repr=False)
class Table:
    """Columns of equal length by name; made by `read_csv`, or by `Table.of` of columns that are there.

    `table["age"]` is a `Column`, `len(table)` its number of rows.

    Attributes:
        columns: Every `Column` by its name, in their order.
        lines: On which line of the file each row begins, int64 (n,), None if it is of no file.
        source: The file's name.
    """

    columns: Mapping[str, Column] = attrs.field(converter=_unchangeable)
    lines: Array | None = attrs.field(default=None, converter=attrs.converters.optional(read_only))
    source: str = ""

    @classmethod
    def of(cls, columns: Any, *, types: Mapping[str, str] | None = None) -> Table:
        """Return the table of a mapping {name: values}, or of a data frame.

        Numbers become float64, texts categories; None, nan and a frame's own marks are missing.

        Args:
            columns: Values by name, each an array, a list, or a column of a frame.
            types: "number" or "category" by name, where a column is not to be what its values are.

        Raises:
            DataError: If lengths differ, there are no rows, or values are neither numbers nor texts;
                names row and column.
            OptionError: If `types` names no column or no type.
        """
        who = ("Table.of",)
        found_names = getattr(columns, "columns", columns)
        names = list(found_names) if isinstance(found_names, Iterable) else []
        if not names or not all(isinstance(name, str) for name in names):
            raise DataError(f"expected columns that have texts as names, got {names!r:.80}", path=who)
        if len(set(names)) < len(names):
            raise DataError(f"expected distinct names of columns, got {names!r:.80}", path=who)
        wanted = _checked_types("Table.of", types, names)
        found = {}
        for number, name in enumerate(names, 1):

            def place(row: int, number: int = number, name: str = name) -> str:
                return f"Table.of: row {row}, column {number} ({name!r})"

            found[name] = column_of_values(columns[name], wanted.get(name), place)
        lengths = {len(each) for each in found.values()}
        if len(lengths) > 1 or not lengths or 0 in lengths:
            shown_lengths = {name: len(each) for name, each in found.items()}
            raise DataError(f"expected rows, as many in all columns, got {shown_lengths}", path=who)
        return cls(found)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> Column:
        """Return a column.

        Raises:
            OptionError: If there is none of that name; lists those that there are.
        """
        if name not in self.columns:
            raise OptionError(f"expected one of {list(self.columns)}, got {name!r}", path=("Table",))
        return self.columns[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return Table, (dict(self.columns), self.lines, self.source)

    def __repr__(self) -> str:
        each = (
            f"{shown(name)}: {'number' if column.categories is None else len(column.categories)}"
            for name, column in self.columns.items()
        )
        kinds = ", ".join(text if text.endswith("number") else f"{text} categories" for text in each)
        return f"Table({len(self)} rows; {kinds})"

    def place(self, row: int, name: str) -> str:
        """Return where a value stands, for messages: "flats.csv: line 3, column 2 ('rooms')"."""
        column = f"column {list(self.columns).index(name) + 1} ({shown(repr(name))})"
        if self.lines is None:
            return f"row {row}, {column}"
        return f"{self.source}: line {self.lines[row]}, {column}"

    def select(self, indices: Any) -> Table:
        """Return the rows at some indices, in their order; categories keep their codes.

        Raises:
            DataError, ShapeError: If they are not integers in [0, n).
        """
        at = checked_indices("Table.select", indices, len(self))
        columns = {name: column.select(at) for name, column in self.columns.items()}
        return Table(columns, None if self.lines is None else frozen(self.lines[at]), self.source)

    def dataset(self, *, target: str, **options: Any) -> Dataset:
        """Return examples of all other columns, with `target` as what is to be predicted.

        What is learnt from the table for it, such as means, is not kept. For new data, or for a test
        set, keep the codec: `TableCodec.fit(train, target=...)`, of which this is a use.

        Args:
            target: The column to predict.
            **options: Those of `TableCodec.fit`.

        Raises:
            As `TableCodec.fit` and `TableCodec.dataset`.
        """
        return TableCodec.fit(self, target=target, **options).dataset(self)


def _checked_types(who: str, types: Any, names: Collection[str]) -> dict[str, str]:
    if types is not None and not isinstance(types, Mapping):
        raise OptionError(f"types: expected {{name: type}}, got {types!r:.80}", path=(who,))
    for name, kind in (types or {}).items():
        if name not in names:
            expected = f"types: expected names among {list(names)!r:.200}"
            raise OptionError(f"{expected}, got {name!r:.80}", path=(who,))
        if kind not in TYPES:
            expected = f"types[{name!r}]: expected one of {TYPES}"
            raise OptionError(f"{expected}, got {kind!r:.80}", path=(who,))
    return dict(types or {})


def _header(place: str, names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise DataError(f"{place}, column {number}: expected a name, got an empty one")
        if name in seen:
            got = f"{name!r:.80} again, as in column {seen[name]}"
            raise DataError(f"{place}, column {number}: expected distinct names, got {got}")
        seen[name] = number
    return list(names)


def read_csv(
    path: PathLike,
    *,
    types: Mapping[str, str] | None = None,
    missing: Collection[str] = ("",),
    names: Sequence[str] | None = None,
    delimiter: str = ",",
    encoding: str = "utf-8",
    max_bytes: int | None = None,
    within: PathLike | None = None,
) -> Table:
    """Return the table in a CSV file as RFC 4180 describes it, with LF as well as CRLF.

    The first line names the columns. A column is of numbers if the first field in it that is not
    missing is one, and of categories otherwise; what does not fit that is refused, so that one misspelt
    number does not make categories of all. Blank lines are passed over, but in a file of one column,
    where they are missing fields.

    Args:
        path: The file.
        types: "number" or "category" by name, for columns that are not to be told by their first field.
            `codec.types` has those of a table that a codec was fitted to.
        missing: Fields that stand for nothing, such as ("", "NA").
        names: The names of the columns, of a file whose first line is a row.
        delimiter: The character between fields.
        encoding: Of the file; a byte order mark is passed over.
        max_bytes: Refuse larger files; by default 64 MiB ($FNN_LIMITS).
        within: The folder that the caller chose, below which no link is followed; without, `path` is
            the caller's own and may be a link.

    Raises:
        DataError: If the file is missing, too large, not in the encoding, or no such table; names line
            and column of the first ragged row, unparsable number, stray quote, or name that is there
            twice.
        OptionError: If an option is none.
    """
    who = "read_csv"
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n\0':
        message = f"delimiter: expected a character, no quote or line end, got {delimiter!r:.80}"
        raise OptionError(message, path=(who,))
    if isinstance(missing, str) or not all(isinstance(each, str) for each in missing):
        raise OptionError(f"missing: expected a tuple of texts, got {missing!r:.80}", path=(who,))
    if max_bytes is not None:
        max_bytes = integer(who, "max_bytes", max_bytes)
    source = shown(path)
    rows = records(source, decoded(path, encoding, max_bytes, within), delimiter)
    if names is None:
        line, first = next(rows, (1, []))
        if not first or first == [""]:
            raise DataError(f"{source}: line 1: expected a line of names, got none")
        header = _header(f"{source}: line {line}", first)
    else:
        header = _header("read_csv: names", names)
    wanted = _checked_types(who, types, header)
    lines, fields = [], []
    for line, row in rows:
        if len(row) != len(header):
            if row == [""]:
                continue
            column = min(len(row), len(header)) + 1
            name = f" ({shown(repr(header[column - 1]))})" if column <= len(header) else ""
            expected = f"expected {len(header)} fields, one per column, got {len(row)}"
            raise DataError(f"{source}: line {line}, column {column}{name}: {expected}")
        lines.append(line)
        fields.append(row)
    if not fields:
        raise DataError(f"{source}: expected at least one row, got none")
    absent, columns = frozenset(missing), {}
    columns_of_fields = zip(header, zip(*fields, strict=True), strict=True)
    for number, (name, texts) in enumerate(columns_of_fields, 1):

        def place(row: int, number: int = number, name: str = name) -> str:
            return f"{source}: line {lines[row]}, column {number} ({shown(repr(name))})"

        columns[name] = column_of(texts, absent, wanted.get(name), place)
    return Table(columns, frozen(np.array(lines, np.int64)), source)
