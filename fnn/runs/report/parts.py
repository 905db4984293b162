"""What a report says, apart from how it looks: sections of cards, tables, charts and pictures.

All text is as it came from the files; whoever renders it escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, TypeAlias

import attrs

Cell: TypeAlias = str | int | float
MAX_TEXT = 400
"""Longer text from a file is cut, so that nobody's file makes a page of any size."""
MAX_ROWS, MAX_COLUMNS, MAX_CARDS, MAX_NOTES = 200, 24, 8, 20
"""So are longer lists; what is left out is counted."""
# More rows than this are scrolled within a frame: what comes after a table should be found.
_TALL = 40


def clip(text: str, most: int = MAX_TEXT) -> str:
    """Return text of a bearable length."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _cards(cards: Iterable[Card]) -> tuple[Card, ...]:
    return tuple(islice(cards, MAX_CARDS))


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(clip, names))


def _bearable(cell: Cell) -> Cell:
    return clip(cell) if isinstance(cell, str) else cell


@attrs.frozen
class Card:
    """A key number: what it is, how it is shown, and what exactly it is."""

    label: str = attrs.field(converter=clip)
    text: str = attrs.field(converter=clip)
    exact: Cell = attrs.field(converter=_bearable)


@attrs.frozen
class Cards:
    """Key numbers side by side, `MAX_CARDS` of them."""

    cards: tuple[Card, ...] = attrs.field(converter=_cards)


@attrs.frozen(init=False)
class Table:
    """A table with a head; the first cell of a row names it.

    It holds `MAX_ROWS` rows and `MAX_COLUMNS` columns of what it is given, and says how many it left
    out, so that no file makes a page of any size.

    Attributes:
        head: Names of the columns.
        rows: Their cells; numbers are aligned as such.
        caption: What it shows, for those who do not see the section's title.
        code: Columns that hold code and keep their blanks.
        has_total: Whether the last row is the sum of the others; it is never left out.
        is_tall: Whether it is scrolled within a frame, for what is looked up rather than read.
        left_out: What it does not show, in words; empty if that is nothing.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str
    code: tuple[int, ...]
    has_total: bool
    is_tall: bool
    left_out: str

    def __init__(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        caption: str,
        *,
        code: tuple[int, ...] = (),
        has_total: bool = False,
        is_tall: bool = False,
        most: int | None = None,
    ) -> None:
        """Take the first rows and columns, `most` rows or `MAX_ROWS`."""
        most = MAX_ROWS if most is None else most
        kept = [*rows[: most - has_total], *(rows[-1:] if has_total else ())]
        kept = kept if len(rows) > most else list(rows)
        parts = [
            f"{total - shown:,} more {what}{'s' * (total - shown > 1)}"
            for what, total, shown in (
                ("row", len(rows), len(kept)),
                ("column", len(head), min(len(head), MAX_COLUMNS)),
            )
            if total > shown
        ]
        self.__attrs_init__(
            tuple(map(clip, head[:MAX_COLUMNS])),
            tuple(tuple(map(_bearable, row[:MAX_COLUMNS])) for row in kept),
            caption,
            code,
            has_total,
            is_tall or len(kept) > _TALL,
            f"Left out: {' and '.join(parts)}." if parts else "",
        )


@attrs.frozen
class Drawing:
    """An SVG made here, with its title above it.

    Attributes:
        title: What it shows.
        svg: The drawing.
        is_natural: Whether it is as large as it says, and scrolled where it is long, rather than as
            wide as its place.
    """

    title: str
    svg: str
    is_natural: bool = False


@attrs.frozen
class Drawings:
    """Drawings side by side.

    Attributes:
        drawings: What to show.
        legend: Names of the colours 0, 1, …, if the drawings do not name their lines themselves.
        files: Names of PNGs in the run's folder that show the same, for Markdown.
        table: The same as numbers, for Markdown.
    """

    drawings: tuple[Drawing, ...]
    legend: tuple[str, ...] = attrs.field(default=(), converter=_names)
    files: tuple[str, ...] = ()
    table: Table | None = None


@attrs.frozen
class Picture:
    """A small image as the bytes of a PNG, with words below it."""

    png: bytes
    alt: str
    words: str = ""


@attrs.frozen
class Gallery:
    """Small images in rows.

    Attributes:
        title: What they are.
        pictures: The images.
        tone: What they are for the style sheet: "right", "wrong" or "weights".
        is_ink: Whether they are dark on light, and turn over on a dark page.
        scale: The two numbers at the ends of the colours, if there are any.
        files: As in `Drawings`.
    """

    title: str
    pictures: tuple[Picture, ...]
    tone: str
    is_ink: bool = False
    scale: tuple[float, float] | None = None
    files: tuple[str, ...] = ()


@attrs.frozen
class Text:
    """A paragraph."""

    text: str


Block: TypeAlias = Cards | Table | Drawings | Gallery | Text


@attrs.frozen
class Section:
    """Blocks under a title; half as wide as the page where there is room, if `half`."""

    title: str
    blocks: tuple[Block, ...]
    half: bool = False


def _notes(notes: Sequence[str]) -> tuple[str, ...]:
    shown = tuple(clip(note, 2 * MAX_TEXT) for note in notes[:MAX_NOTES])
    more = len(notes) - len(shown)
    return (*shown, f"… and {more:,} more notes, left out here.") if more else shown


@attrs.frozen
class Page:
    """A report.

    Attributes:
        title: What was run.
        subtitle: When and how it ended.
        notes: What a reader should know before the rest: what is damaged, missing or left out.
        sections: The report; none is empty.
        source: Which data it is about, empty if the run does not say.
    """

    title: str = attrs.field(converter=clip)
    subtitle: str = attrs.field(converter=clip)
    notes: tuple[str, ...] = attrs.field(converter=_notes)
    sections: tuple[Section, ...]
    source: str = attrs.field(default="", converter=clip)


def number(value: float) -> str:
    """Return a number as it is shown: six digits, separators in whole numbers."""
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**18 else clip(str(value))
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "NaN")
    return f"{value:.6g}".replace("-", "−")


def words(name: str) -> str:
    """Return a name as words: "test_accuracy" becomes "test accuracy"."""
    return clip(name.replace("_", " ").strip())


def plain_text(value: Any, depth: int = 8) -> str:
    """Return a value of JSON as text: lists with commas, None as a dash, "…" for what is too deep."""
    if depth == 0:
        return "…"
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return clip(", ".join(plain_text(entry, depth - 1) for entry in value[:MAX_TEXT])) or "none"
    if isinstance(value, dict):
        some = islice(value.items(), MAX_TEXT)
        entries = (f"{clip(name)}: {plain_text(entry, depth - 1)}" for name, entry in some)
        return clip(", ".join(entries)) or "none"
    # Shortest form that reads back as the same number.
    return clip(str(value))


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number, which True is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_number(value: Any) -> float | int | None:
    """Return a number of a record, "nan" and "inf" among them; None if it is none."""
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    return value if is_number(value) else None
