"""A page as one HTML file: no scripts, no links, nothing to load; everything from files is escaped."""

from __future__ import annotations

import base64
import re

from fnn.runs.report.chart import COLORS
from fnn.runs.report.parts import (
    Block,
    Cards,
    Cell,
    Drawing,
    Drawings,
    Gallery,
    Page,
    Section,
    Table,
    Text,
    number,
)
from fnn.runs.report.svg import escape, style_sheet

MARK = '<meta name="generator" content="fnn.report">'
"""What tells a report that was written here from somebody's own file of that name."""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_NUMERIC = re.compile(
    r"(≥ )?−?[\d,]+(\.\d+)?(e[+−-]?\d+)?( ± [\d.e−+-]+)?( \(n = \d+\))?( %)?|–|NaN|−?∞"
)


def to_html(page: Page) -> str:
    """Return the page as a document that needs no other file."""
    css = style_sheet("page.css", "network.css")
    notes = "".join(f"<p>{escape(note)}</p>\n" for note in page.notes)
    sections = "\n".join(map(_section, page.sections))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
{MARK}
<title>{escape(page.title)}</title>
<style>
{css}</style>
</head>
<body>
<header>
<h1>{escape(page.title)}</h1>
<p>{escape(page.subtitle)}</p>
{f'<p class="source">{escape(page.source)}</p>' if page.source else ""}
</header>
{f'<aside class="notes" aria-label="Notes">{notes}</aside>' if notes else ""}
<main>
{sections}
</main>
<footer>Made by <code>python -m fnn.report</code>.</footer>
</body>
</html>
"""


def _section(section: Section) -> str:
    kind = ' class="half"' if section.half else ""
    heading = f"<h2>{escape(section.title)}</h2>\n" if section.title else ""
    label = "" if section.title else ' aria-label="Key numbers"'
    return f"<section{kind}{label}>\n{heading}{''.join(map(_block, section.blocks))}</section>"


def _block(block: Block) -> str:
    if isinstance(block, Cards):
        return _cards(block)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Drawings):
        return _drawings(block)
    if isinstance(block, Gallery):
        return _gallery(block)
    return _text(block)


def _text(block: Text) -> str:
    return f'<p class="text">{escape(block.text)}</p>\n'


def _cards(block: Cards) -> str:
    cards = "".join(
        f"<div><dt>{escape(card.label)}</dt>"
        f'<dd><data value="{escape(str(card.exact))}">{escape(card.text)}</data></dd></div>\n'
        for card in block.cards
    )
    return f'<dl class="cards">\n{cards}</dl>\n'


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    # What is shown is rounded, what stands in the run's file is kept.
    return f'<data value="{escape(str(cell))}">{escape(number(cell))}</data>'


def _is_numeric(cell: Cell, can_be_text: bool) -> bool:
    return not isinstance(cell, str) or (can_be_text and _NUMERIC.fullmatch(cell) is not None)


def _kind(*names: str | bool) -> str:
    """Return the attribute that gives an element its classes, nothing if there are none."""
    words = " ".join(name for name in names if isinstance(name, str) and name)
    return f' class="{words}"' if words else ""


def _table(block: Table) -> str:
    columns = range(len(block.head))
    body = block.rows[:-1] if block.has_total else block.rows
    # The first column names the row, even if all its names happen to be numbers, and so with options.
    can_be_text = len(columns) > 2
    numeric = {i for i in columns if i and all(_is_numeric(row[i], can_be_text) for row in body)}
    kinds = [_kind(i in numeric and "num", i in block.code and "code") for i in columns]
    head = "".join(
        f'<th scope="col"{_kind(i in numeric and "num")}>{escape(name)}</th>'
        for i, name in enumerate(block.head)
    )
    rows = []
    for at, row in enumerate(block.rows):
        first = f'<th scope="row"{kinds[0]}>{_cell(row[0])}</th>'
        rest = "".join(f"<td{kinds[i]}>{_cell(row[i])}</td>" for i in columns[1:])
        is_total = block.has_total and at == len(block.rows) - 1
        rows.append(f"<tr{_kind(is_total and 'total')}>{first}{rest}</tr>\n")
    caption = escape(block.caption)
    # Reached by the keyboard too, where it has to be scrolled.
    return (
        f'<div{_kind("scroll", block.is_tall and "tall")} tabindex="0" role="region" '
        f'aria-label="{caption}">'
        f"<table{_kind(len(columns) == 2 and 'pairs')}><caption>{caption}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table></div>\n"
        f"{_text(Text(block.left_out)) if block.left_out else ''}"
    )


def _drawings(block: Drawings) -> str:
    entries = "".join(
        f"<li><span{_kind(f'c{i % COLORS}', i >= COLORS and 'dashed')}></span>{escape(name)}</li>"
        for i, name in enumerate(block.legend)
    )
    legend = f'<ul class="legend">{entries}</ul>\n' if entries else ""
    figures = "".join(map(_drawing, block.drawings))
    return f'{legend}<div class="drawings">\n{figures}</div>\n'


def _drawing(drawing: Drawing) -> str:
    title = escape(drawing.title)
    # Reached by the keyboard too, where it has to be scrolled.
    kind = f' class="natural scroll" tabindex="0" role="region" aria-label="{title}"'
    return f"<figure{kind if drawing.is_natural else ''}><h3>{title}</h3>{drawing.svg}</figure>\n"


def _gallery(block: Gallery) -> str:
    figures = []
    for picture in block.pictures:
        data = base64.b64encode(picture.png).decode()
        words = f"<figcaption>{escape(picture.words)}</figcaption>" if picture.words else ""
        image = f'<img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}">'
        figures.append(f"<figure>{image}{words}</figure>\n")
    scale = ""
    if block.scale is not None:
        low, high = (escape(f"{end:.3g}".replace("-", "−")) for end in block.scale)
        scale = f'<div class="scale"><span>{low}</span><i></i><span>{high}</span></div>\n'
    kind = _kind("gallery", block.tone, block.is_ink and "ink")
    return f"<h3>{escape(block.title)}</h3>\n<div{kind}>\n{''.join(figures)}</div>\n{scale}"
