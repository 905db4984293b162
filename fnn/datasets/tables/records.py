"""The records of a CSV file, as RFC 4180 has them, each with the line on which it begins."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from fnn.errors import DataError, OptionError
from fnn.files import PathLike, content, limit, shown

Record = tuple[int, list[str]]
"""The line, from 1, on which a record begins, and its fields."""


def decoded(path: PathLike, encoding: str, most: int | None, within: PathLike | None) -> str:
    """Return the text of a file, without a byte order mark.

    Raises:
        DataError: If the file is missing, too large, or not in that encoding; names the line.
        OptionError: If there is no such encoding of texts.
    """
    name = shown(path)
    try:
        found = codecs.lookup(encoding)
        if not found._is_text_encoding:
            raise LookupError
    except (LookupError, TypeError, ValueError):
        message = f"encoding: expected the name of a text encoding, got {encoding!r:.80}"
        raise OptionError(message, path=("read_csv",)) from None
    try:
        data = content(path, most=limit("csv", most), within=within)
    except OSError as error:
        more = " (max_bytes or $FNN_LIMITS allows more)" if "Larger" in str(error) else ""
        reason = f"{error.strerror or error}{more}"
        raise DataError(f"{name}: cannot be read ({reason})") from None
    try:
        text = found.decode(data, "strict")[0]
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = data.count(b"\n", 0, start) + 1
        reason = getattr(error, "reason", str(error))
        expected = f"{name}: line {line}: expected text in {encoding}"
        raise DataError(f"{expected}, got byte {start} ({reason}); encoding= names another") from None
    return text.removeprefix("\ufeff")


def records(name: str, text: str, delimiter: str) -> Iterator[Record]:
    """Yield the records of a text; a line end after the last one begins no other.

    Fields are separated by the delimiter, records by CRLF or LF. A field in double quotes may hold all
    of these, and two double quotes for one; spaces are parts of fields.

    Raises:
        DataError: If there is a NUL, a field of too many characters, a quote where none may be or that
            is not closed, or a lone carriage return outside of quotes; names line and column.
    """
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        column = text.count(delimiter, text.rfind("\n", 0, at) + 1, at) + 1
        raise DataError(f"{name}: line {line}, column {column}: expected text, got a NUL character")
    longest = limit("field")
    if '"' not in text and text.count("\r") == text.count("\r\n"):
        # Without quotes all is said by line ends and delimiters, and read at once.
        lines = text.replace("\r\n", "\n").split("\n")
        if not lines[-1]:
            lines.pop()
        for number, each in enumerate(lines, 1):
            fields = each.split(delimiter)
            if len(each) > longest:
                _check_lengths(name, number, fields, longest)
            yield number, fields
        return
    yield from _quoted(name, text, delimiter, longest)


def _quoted(name: str, text: str, delimiter: str, longest: int) -> Iterator[Record]:
    sign = re.escape(delimiter)
    # Possessive: what was read once is not tried another way, however large a damaged file is.
    field = re.compile(f'(?:"([^"]*+(?:""[^"]*+)*+)"|([^"\r\n{sign}]*+))({sign}|\r\n|\n|\\Z)')
    at, line, size = 0, 1, len(text)
    while at < size:
        begins, end = line, delimiter
        fields: list[str] = []
        while end == delimiter:
            found = field.match(text, at)
            if found is None:
                place = f"{name}: line {line}, column {len(fields) + 1}"
                raise DataError(f"{place}: {_fault(text, at, delimiter)}")
            quoted, plain, end = found.groups()
            fields.append(plain if quoted is None else quoted.replace('""', '"'))
            line, at = line + text.count("\n", at, found.end()), found.end()
        _check_lengths(name, begins, fields, longest)
        yield begins, fields


def _fault(text: str, at: int, delimiter: str) -> str:
    """Return what is wrong with the field that begins there."""
    sign = re.escape(delimiter)
    if text[at] == '"':
        closed = re.compile('"[^"]*+(?:""[^"]*+)*+"').match(text, at)
        if closed is None:
            return "expected a closing quote, got the end of the file"
        got = text[closed.end()]
        return f"expected the field to end after its closing quote, got {got!r}"
    stop = re.compile(f'[^"\r\n{sign}]*+').match(text, at)
    assert stop is not None  # It matches nothing too.
    if text[stop.end()] == "\r":
        return "expected CRLF or LF at the end of a line, got a lone carriage return"
    return "expected quotes around a whole field, its own doubled, got one inside"


def _check_lengths(name: str, line: int, fields: list[str], longest: int) -> None:
    for column, each in enumerate(fields, 1):
        if len(each) > longest:
            expected = f"expected at most {longest:,} characters, got {len(each):,}"
            more = "$FNN_LIMITS allows more"
            raise DataError(f"{name}: line {line}, column {column}: {expected} ({more})")
