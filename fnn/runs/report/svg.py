"""The few words of SVG that the drawings are made of; all text is escaped here."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import Any

from fnn.files import shown
from fnn.tree import Array


def style_sheet(*names: str) -> str:
    """Return style sheets that lie beside this file, one after the other."""
    return "".join(Path(__file__).with_name(name).read_text("utf-8") for name in names)


def escape(words: str) -> str:
    """Return words as HTML and SVG show them, control characters and marks of direction escaped."""
    return html.escape(shown(words, lines=True))


def tag(name: str, content: str = "", **attributes: Any) -> str:
    """Return an element; `content` is markup, attributes are escaped, "_" in their names is "-".

    `klass` stands for "class", numbers are rounded to tenths, None leaves an attribute out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            words_of = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
            key = "class" if key == "klass" else key.replace("_", "-")
            words.append(f'{key}="{escape(words_of)}"')
    head = " ".join(words)
    return f"<{head}>{content}</{name}>" if content else f"<{head}/>"


def text(x: float, y: float, words: str, **attributes: Any) -> str:
    """Return words at a place."""
    return tag("text", escape(words), x=float(x), y=float(y), **attributes)


def hint(words: str) -> str:
    """Return words that show where the pointer rests on what holds them."""
    return tag("title", escape(words))


def drawing(
    width: float, height: float, content: str, *, title: str, description: str, **attributes: Any
) -> str:
    """Return a whole drawing that scales with its place and says in words what it shows.

    `attributes` are those of the root beside its size and its words.
    """
    # A title of the root would pop up over every point; the label says it to those who listen.
    return tag(
        "svg",
        tag("desc", escape(description)) + content,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=f"{title}. {description}",
        # Without style sheet it would be as large as the window.
        width=f"{width:g}",
        height=f"{height:g}",
        **attributes,
    )


def path(x: Array, y: Array, **attributes: Any) -> str:
    """Return a line through the points, in pieces where y is not finite."""
    pieces, is_open = [], False
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        if math.isfinite(b):
            pieces.append(f"{'L' if is_open else 'M'}{a:.1f} {b:.1f}")
        is_open = math.isfinite(b)
    return tag("path", d="".join(pieces), **attributes) if pieces else ""


def area(x: Array, low: Array, high: Array, **attributes: Any) -> str:
    """Return the area between two lines, in pieces where one of them is not finite."""
    pieces, run = [], []
    for point in [
        *zip(x.tolist(), low.tolist(), high.tolist(), strict=True),
        (0.0, math.nan, math.nan),
    ]:
        if all(map(math.isfinite, point)):
            run.append(point)
            continue
        if len(run) > 1:
            there = "L".join(f"{a:.1f} {b:.1f}" for a, b, _ in run)
            back = "L".join(f"{a:.1f} {c:.1f}" for a, _, c in reversed(run))
            pieces.append(f"M{there}L{back}Z")
        run = []
    return tag("path", d="".join(pieces), **attributes) if pieces else ""
