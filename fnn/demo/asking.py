"""What the page asks, as JSON from anybody: checked before anything is computed."""

from __future__ import annotations

import math
from typing import Any

from fnn.errors import DataError
from fnn.files import parse_json

MOST_BYTES = 256 << 10
"""How many bytes a question may have."""
MOST_STROKES, MOST_POINTS = 200, 4000
MOST_CHARACTERS = 4000
MOST_STEPS = 64
"""How many characters are added at once."""


class QuestionError(DataError):
    """What was asked is not what the page would ask."""


class Question:
    """An object of JSON whose entries are asked for one by one, and of which none may be left over."""

    def __init__(self, content: bytes) -> None:
        """Read it.

        Raises:
            QuestionError: If it is no JSON, which NaN and infinities are not, or no object.
        """
        try:
            # Digits without end take long to become a number, and texts may hold half characters.
            entries = parse_json(content.decode().encode())
        except (ValueError, OverflowError):
            raise QuestionError("expected JSON in UTF-8, with finite numbers") from None
        if not isinstance(entries, dict):
            raise QuestionError(f"expected an object, got {_kind(entries)}")
        self._entries: dict[str, Any] = entries

    def strokes(self) -> list[list[tuple[float, float]]]:
        """Take "strokes": lists of points [x, y] between 0 and 1."""
        strokes = self._list("strokes", MOST_STROKES)
        left, found = MOST_POINTS, []
        for i, stroke in enumerate(strokes):
            if not isinstance(stroke, list) or not stroke:
                raise QuestionError(f"strokes[{i}]: expected a list of points, got {_kind(stroke)}")
            left -= len(stroke)
            if left < 0:
                raise QuestionError(f"strokes: expected at most {MOST_POINTS} points together")
            found.append([_point(f"strokes[{i}][{j}]", each) for j, each in enumerate(stroke)])
        return found

    def numbers(self, n: int) -> list[float]:
        """Take "x": n numbers of at most 1e6 either way."""
        values = self._list("x", n)
        if len(values) != n:
            raise QuestionError(f"x: expected {n} numbers, got {len(values)}")
        return [_number(f"x[{i}]", each, -1e6, 1e6) for i, each in enumerate(values)]

    def text(self) -> str:
        """Take "text"."""
        text = self._entries.pop("text", None)
        if not isinstance(text, str):
            raise QuestionError(f"text: expected a text, got {_kind(text)}")
        if len(text) > MOST_CHARACTERS:
            raise QuestionError(f"text: expected at most {MOST_CHARACTERS} characters, got {len(text)}")
        return text

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Take a number between two others."""
        return _number(name, self._entries.pop(name, default), low, high)

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Take an integer between two others."""
        value = self._entries.pop(name, default)
        if type(value) is not int or not low <= value <= high:
            raise QuestionError(f"{name}: expected an integer from {low} to {high}, got {_kind(value)}")
        return value

    def end(self) -> None:
        """Refuse entries that nobody has asked for: a misspelt one would pass for one left out."""
        if self._entries:
            raise QuestionError(f"expected no further entries, got {sorted(self._entries)[0]!r:.60}")

    def _list(self, name: str, most: int) -> list[Any]:
        values = self._entries.pop(name, None)
        if not isinstance(values, list):
            raise QuestionError(f"{name}: expected a list, got {_kind(values)}")
        if len(values) > most:
            raise QuestionError(f"{name}: expected at most {most} entries, got {len(values)}")
        return values


def _point(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise QuestionError(f"{name}: expected a point [x, y], got {_kind(value)}")
    return _number(f"{name}[0]", value[0], 0, 1), _number(f"{name}[1]", value[1], 0, 1)


def _number(name: str, value: Any, low: float, high: float) -> float:
    # Compared before it becomes a float, which the largest integers cannot.
    if type(value) not in (int, float) or not low <= value <= high or not math.isfinite(value):
        raise QuestionError(f"{name}: expected a number from {low:g} to {high:g}, got {_kind(value)}")
    return float(value)


def _kind(value: Any) -> str:
    """Return a value as an error shows it, whatever its size."""
    if value is None:
        return "nothing"
    if isinstance(value, list | dict):
        return f"a{'n object' if isinstance(value, dict) else ' list'} of {len(value)}"
    return f"{value!r:.40}" if not isinstance(value, int) or abs(value) < 1e15 else "a huge number"
