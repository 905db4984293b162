"""What a report says, apart from how it looks: sections of cards, tables, charts and pictures.

All text is as it came from the files; whoever renders it escapes it.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import attrs

Cell: TypeAlias = "str | int | float"
MAX_TEXT = 400
"""Longer text from a file is cut, so that nobody's file makes a page of any size."""


@attrs.frozen
class Card:
    """A key number: what it is, how it is shown, and what exactly it is."""

    label: str
    text: str
    exact: Cell


@attrs.frozen
class Cards:
    """Key numbers side by side."""

    cards: tuple[Card, ...]


@attrs.frozen
class Table:
    """A table with a head; the first cell of a row names it.

    Attributes:
        head: Names of the columns.
        rows: Their cells; numbers are aligned as such.
        caption: What it shows, for those who do not see the section's title.
        code: Columns that hold code and keep their blanks.
        has_total: Whether the last row is the sum of the others.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str
    code: tuple[int, ...] = ()
    has_total: bool = False


@attrs.frozen
class Drawing:
    """An SVG made here, with its title above it."""

    title: str
    svg: str


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
    legend: tuple[str, ...] = ()
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


@attrs.frozen
class Page:
    """A report.

    Attributes:
        title: What was run.
        subtitle: When and how it ended.
        notes: What a reader should know before the rest: what is damaged, missing or left out.
        sections: The report; none is empty.
    """

    title: str
    subtitle: str
    notes: tuple[str, ...]
    sections: tuple[Section, ...]


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


def clip(text: str) -> str:
    """Return text of a bearable length."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


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
        entries = (f"{name}: {plain_text(entry, depth - 1)}" for name, entry in value.items())
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
