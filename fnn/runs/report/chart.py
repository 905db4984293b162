"""Line charts: hairlines behind, lines with bands, their names at their ends."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fnn.runs.pictures.axes import limits
from fnn.runs.report import svg
from fnn.runs.report.parts import number
from fnn.runs.report.series import Line
from fnn.runs.report.ticks import decades, labels, tick_label, ticks, whole_ticks
from fnn.tree import Array

WIDTH, HEIGHT = 420.0, 262.0
COLORS = 6
"""How many colours there are; further lines take them again, dashed."""
_TOP, _BOTTOM = 12.0, 34.0
_CHARACTER = 6.7
_LONGEST_NAME = 20
_LABEL_GAP = 15.0
# Above this many points marks would hide the line.
_MARKED = 32
# From this ratio on a falling loss is a wall and a floor unless the axis is logarithmic.
_LOGARITHMIC = 50.0


class _Frame:
    """Where values are on the drawing."""

    def __init__(self, lines: Sequence[Line], *, can_be_log: bool, ceiling: float | None, right: float):
        x = np.concatenate([line.x for line in lines])
        self.x_low, self.x_high = float(x.min()), float(x.max())
        drawn = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
        least, greatest = float(drawn.min()), float(drawn.max())
        self.is_log = can_be_log and least > 0 and greatest >= _LOGARITHMIC * least
        values = [line.y for line in lines] + [y for line in lines for _, y in line.members]
        values += [edge for line in lines for edge in (line.low, line.high) if edge is not None]
        y = np.concatenate(values)
        y = y[np.isfinite(y)]
        low, high = float(y.min()), float(y.max())
        if self.is_log:
            # The band of a mean may reach below zero, which this axis has not.
            low = max(min(float(y[y > 0].min()), least), least / 10)
            self.y_ticks = decades(low, high)
            self.y_labels = [tick_label(tick) for tick in self.y_ticks]
        else:
            if ceiling is not None and greatest <= ceiling:
                high = min(high, ceiling)
            # What is never negative needs no axis below zero.
            low, high = limits(low, high, floor=0.0 if least >= 0 else None, ceiling=ceiling)
            self.y_ticks = ticks(low, high, 5)
            self.y_labels = labels(self.y_ticks)
        self.low, self.high = self.y_ticks[0], self.y_ticks[-1]
        self.left, self.right = 12 + _CHARACTER * max(map(len, self.y_labels)), WIDTH - right

    def x(self, x: Array) -> Array:
        span = self.x_high - self.x_low
        if span == 0:
            return np.full(len(x), (self.left + self.right) / 2)
        # A little air, so that marks do not stand on the axis.
        left, right = self.left + 6, self.right - 4
        return left + (np.asarray(x) - self.x_low) / span * (right - left)

    def y(self, y: Array) -> Array:
        y = np.asarray(y, np.float64)
        with np.errstate(invalid="ignore"):
            y = np.clip(y, self.low, self.high)
        if self.is_log:
            low, high = math.log10(self.low), math.log10(self.high)
            share = (np.log10(y) - low) / (high - low)
        else:
            share = (y - self.low) / (self.high - self.low)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _BOTTOM - _TOP)


def is_drawable(line: Line) -> bool:
    """Whether there is a value to draw."""
    return bool(np.isfinite(line.y).any())


def chart(lines: Sequence[Line], *, title: str, axis: str, direct: bool = True) -> tuple[str, bool]:
    """Draw lines over an axis; return the drawing and whether its values stand on a log scale.

    Args:
        lines: What to draw; each has a finite value.
        title: What the values are.
        axis: What x is.
        direct: Whether to name the lines at their ends; a legend does otherwise.
    """
    longest = max(len(_short(line.label)) for line in lines) if direct else 0
    right = 20 + _CHARACTER * longest if direct else 14.0
    frame = _Frame(
        lines,
        can_be_log=any(word in title.lower() for word in ("loss", "entropy", "error")),
        ceiling=1.0 if "accuracy" in title.lower() else None,
        right=right,
    )
    content = [_grid(frame, axis)]
    content += [_band(frame, line) for line in lines]
    content += [_strokes(frame, line) for line in lines]
    if direct:
        content.append(_names(frame, lines))
    described = "; ".join(_described(line, axis) for line in lines[:12])
    scale = " on a logarithmic scale" if frame.is_log else ""
    description = f"Lines over {axis}{scale}: {described}"
    return svg.drawing(
        WIDTH, HEIGHT, "".join(content), title=title, description=description
    ), frame.is_log


def _short(label: str) -> str:
    """Return a name that leaves room for the lines."""
    return label if len(label) <= _LONGEST_NAME else label[: _LONGEST_NAME - 1] + "…"


def _described(line: Line, axis: str) -> str:
    finite = np.flatnonzero(np.isfinite(line.y))
    first, last = finite[0], finite[-1]
    start, end = number(float(line.y[first])), number(float(line.y[last]))
    return (
        f"{line.label} from {start} at {axis} {tick_label(float(line.x[first]))} "
        f"to {end} at {axis} {tick_label(float(line.x[last]))}"
    )


def _grid(frame: _Frame, axis: str) -> str:
    content = []
    places = frame.y(np.array(frame.y_ticks)).tolist()
    for label, y in zip(frame.y_labels, places, strict=True):
        content.append(svg.tag("line", x1=frame.left, x2=frame.right, y1=y, y2=y, klass="grid"))
        content.append(svg.text(frame.left - 6, y + 4, label, text_anchor="end", klass="tick"))
    floor = HEIGHT - _BOTTOM
    content.append(svg.tag("line", x1=frame.left, x2=frame.right, y1=floor, y2=floor, klass="axis"))
    x_ticks = whole_ticks(frame.x_low, frame.x_high, 6)
    places = frame.x(np.array(x_ticks)).tolist()
    for label, x in zip(labels(x_ticks), places, strict=True):
        content.append(svg.text(x, floor + 16, label, text_anchor="middle", klass="tick"))
    middle = (frame.left + frame.right) / 2
    content.append(svg.text(middle, HEIGHT - 3, axis, text_anchor="middle", klass="tick"))
    return "".join(content)


def _style(line: Line) -> dict[str, str]:
    dashed = " dashed" if line.color >= COLORS else ""
    return {"klass": f"c{line.color % COLORS}{dashed}"}


def _band(frame: _Frame, line: Line) -> str:
    if line.low is None or line.high is None:
        return ""
    kind = f"band c{line.color % COLORS}"
    band = svg.area(frame.x(line.x), frame.y(line.low), frame.y(line.high), klass=kind)
    members = "".join(svg.path(frame.x(x), frame.y(y), klass="member") for x, y in line.members)
    return band + svg.tag("g", members, klass=f"c{line.color % COLORS}")


def _strokes(frame: _Frame, line: Line) -> str:
    x, y = frame.x(line.x), frame.y(line.y)
    finite = np.isfinite(y)
    last = int(np.flatnonzero(finite)[-1])
    before, after = np.r_[False, finite[:-1]], np.r_[finite[1:], False]
    # A point between two gaps is no line; without a mark it would not be seen.
    marked = finite & (~(before | after) | (len(y) <= _MARKED))
    content = svg.path(x, y, klass="line")
    for i in np.flatnonzero(marked):
        words = f"{line.label}, {tick_label(float(line.x[i]))}: {number(float(line.y[i]))}"
        radius = 3.4 if i == last else 2.2
        content += svg.tag("circle", svg.hint(words), cx=float(x[i]), cy=float(y[i]), r=radius)
    if not marked[last]:
        content += svg.tag("circle", cx=float(x[last]), cy=float(y[last]), r=3.4)
    return svg.tag("g", content, **_style(line))


def _names(frame: _Frame, lines: Sequence[Line]) -> str:
    """Write each line's name beside its end, moved apart where they would overlap."""
    ends = []
    for line in lines:
        last = np.flatnonzero(np.isfinite(line.y))[-1]
        ends.append((float(frame.y(line.y[last : last + 1])[0]), line))
    ends.sort(key=lambda end: end[0])
    places: list[float] = []
    for y, _ in ends:
        places.append(max(y, places[-1] + _LABEL_GAP) if places else max(y, _TOP))
    # Labels below the frame move up to its edge, and push up those above them.
    limit = HEIGHT - _BOTTOM
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], limit)
        limit = places[i] - _LABEL_GAP
    content = []
    for place, (_, line) in zip(places, ends, strict=True):
        # Lines may end in one place: the mark says which name is whose.
        mark = svg.tag("circle", cx=frame.right + 9, cy=place, r=3.4)
        name = svg.text(frame.right + 16, place + 4, _short(line.label), klass="name")
        content.append(svg.tag("g", mark + name, **_style(line)))
    return "".join(content)
