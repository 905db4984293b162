"""HTML for notebooks: tables, nested lists and curves, escaped, readable in light and dark."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fnn.files.text import shown

COLOURS = ("#3b82c4", "#d9822b", "#2f9e6e", "#b4559f", "#8a7a2c", "#7a6ad8")
"""Of curves; each stands out on white and on black."""

WIDTH, HEIGHT, LEFT, BELOW = 340, 120, 46, 16
"""Size of a curve's picture, and the room for its numbers."""


def escaped(text: object) -> str:
    """Return a text as HTML, with what is no printable character escaped."""
    return html.escape(shown(text))


def table(head: Sequence[object], rows: Sequence[Sequence[object]], *, texts: int = 1) -> str:
    """Return an HTML table; the first `texts` columns are aligned to the left."""

    def cells(kind: str, row: Sequence[object]) -> str:
        sides = ("left" if i < texts else "right" for i in range(len(row)))
        style = "padding:2px 10px;white-space:pre;text-align:"
        return "".join(
            f'<{kind} style="{style}{side}">{escaped(cell)}</{kind}>'
            for cell, side in zip(row, sides, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    style = "color:inherit;font-size:inherit;border-collapse:collapse"
    return (
        f'<table style="{style}">'
        + f"<thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"
    )


def nested(name: object, text: object, children: Sequence[str] = ()) -> str:
    """Return a name with a text, and what is inside it below, to be opened and closed."""
    line = f"<code>{escaped(text)}</code>"
    line = f"{escaped(name)}: {line}" if name else line
    if not children:
        return f'<div style="padding-left:1.2em">{line}</div>'
    inside = "".join(children)
    return f'<details open style="padding-left:1.2em"><summary>{line}</summary>{inside}</details>'


def curves(columns: Mapping[str, Sequence[float]]) -> str:
    """Return a picture of columns of numbers, over 1, 2, 3 …; what is not finite is left out."""
    series = {
        name: [(i, v) for i, v in enumerate(values, 1) if math.isfinite(v)]
        for name, values in columns.items()
    }
    values = [value for points in series.values() for _, value in points]
    if not values:
        return ""
    low, high = min(values), max(values)
    last = max(len(each) for each in columns.values())

    def place(i: int, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - 8) * (i - 1) / max(last - 1, 1)
        y = 8 + (HEIGHT - BELOW - 16) * (1 - (value - low) / ((high - low) or 1))
        return f"{x:.1f},{y:.1f}"

    lines = [
        _line(colour, [place(*point) for point in points])
        for colour, points in zip(_colours(len(series)), series.values(), strict=True)
        if points
    ]
    side = f'x="{LEFT - 6}" text-anchor="end"'
    texts = [
        f'<text {side} y="14">{high:.3g}</text>',
        f'<text {side} y="{HEIGHT - BELOW - 4}">{low:.3g}</text>',
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 4}" text-anchor="end">{last}</text>',
    ]
    legend = "".join(
        f'<span style="color:{colour};padding-right:1em">— {escaped(name.replace("_", " "))}</span>'
        for colour, name in zip(_colours(len(series)), series, strict=True)
    )
    font = 'font-size="11" font-family="sans-serif" fill="currentColor"'
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" {font}>'
    return f"<div><div>{legend}</div>{picture}{''.join([*lines, *texts])}</svg></div>"


def _line(colour: str, places: list[str]) -> str:
    if len(places) > 1:
        points = " ".join(places)
        return f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{points}"/>'
    x, y = places[0].split(",")
    return f'<circle fill="{colour}" r="2.5" cx="{x}" cy="{y}"/>'


def _colours(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def history(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return the curves of a history: a picture for each measure, training and validation in one."""
    plain = [name for name in columns if name not in ("epoch", "step")]
    roots = dict.fromkeys(name.removeprefix("validation_") for name in plain)
    pictures = []
    for root in roots:
        both = [name for name in (root, f"validation_{root}") if name in plain]
        pictures.append(curves({name: [float(v) for v in columns[name]] for name in both}))
    return f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(pictures)}</div>'
