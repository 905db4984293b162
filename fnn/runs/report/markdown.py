"""A page as Markdown: the same numbers in tables, pictures as files of the run's folder."""

from __future__ import annotations

from collections.abc import Set
from html import escape

from fnn.files import shown
from fnn.runs.report.parts import (
    Block,
    Cards,
    Cell,
    Drawings,
    Gallery,
    Page,
    Section,
    Table,
    Text,
    number,
)
from fnn.runs.tables import markdown_table

MARK = "<!-- fnn.report -->"
"""The first line, which tells a report that was written here from somebody's own file."""
_SPECIAL = str.maketrans({mark: f"\\{mark}" for mark in "\\`*[]|"})


def to_markdown(page: Page, pictures: Set[str] = frozenset()) -> str:
    """Return the page as Markdown.

    Args:
        page: What to say.
        pictures: Names of the PNGs that lie beside the file; others are not referred to.
    """
    parts = [MARK, f"# {_plain(page.title)}", _plain(page.subtitle), _plain(page.source)]
    parts += [f"> {_plain(note)}" for note in page.notes]
    for section in page.sections:
        blocks = _blocks(section, pictures)
        if blocks:
            parts += [f"## {_plain(section.title or 'Key numbers')}", *blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _plain(text: str) -> str:
    """Return text from a file without what Markdown or HTML would take for their own."""
    return escape(shown(" ".join(text.split())), quote=False).translate(_SPECIAL)


def _blocks(section: Section, pictures: Set[str]) -> list[str]:
    found: list[str] = []
    for block in section.blocks:
        # One picture may show what several blocks do.
        found += [each for each in _block(block, pictures) if each not in found]
    return found


def _block(block: Block, pictures: Set[str]) -> list[str]:
    if isinstance(block, Cards):
        rows = tuple((card.label, card.text) for card in block.cards)
        return [_table(Table(("", ""), rows, ""))]
    if isinstance(block, Table):
        return [_table(block)]
    if isinstance(block, Text):
        return [_plain(block.text)]
    assert isinstance(block, Drawings | Gallery)
    table = block.table if isinstance(block, Drawings) else None
    pictured = [
        f"![{name.removesuffix('.png').replace('_', ' ')}]({name})"
        for name in block.files
        if name in pictures
    ]
    return [*pictured, *([_table(table)] if table else [])]


def _cell(cell: Cell) -> str:
    return _plain(cell) if isinstance(cell, str) else number(cell)


def _table(block: Table) -> str:
    rows = ([_cell(each) for each in line] for line in block.rows)
    table = markdown_table([_cell(each) for each in block.head], rows)
    return table + (f"\n\n{_plain(block.left_out)}" if block.left_out else "")
