"""What a field of a config may be: how each kind of value is recorded, spelt and read again.

    kind          in run.json                       on a command line
    int, bool     3, true                           3, --flag or --no-flag
    float         0.1, "inf", "-inf", "nan"         0.1, inf, -inf, nan
    str, Path     "a b"                             a b
    None          null                              none
    Enum          "RED", its name                   RED
    Literal       the choice                        the choice
    tuple, list   [1, 2]                            1,2 and within others [1,2]
    dict          {"a": 1}                          a=1
    int | str     as whichever it is                as whichever it is

Within others a text may stand in double quotes, as JSON writes it, and does where it would be read as
something else: `"a,b",c`, or `"none"` for the text in a field `str | None`. In run.json such a text is
{"text": "inf"}, for one in a field `float | str`.
"""

from __future__ import annotations

import contextlib
import enum
import math
import numbers
import os
from pathlib import Path
from typing import Any

import numpy as np

from fnn.runs.config.spelling import shielded, unwrapped

_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class Kind:
    """How values of a type are written and read; each method raises ValueError for another value.

    Attributes:
        spelling: How help and errors write it, such as "INT,...".
        any_text: Whether it reads (almost) any text, so that not two such can share a field.
        compound: Whether it holds others, and stands in brackets within them.
    """

    spelling: str
    any_text = False
    compound = False

    def encode(self, value: Any) -> Any:
        """Return what JSON holds for a value."""
        raise NotImplementedError

    def decode(self, entry: Any) -> Any:
        """Return the value for which JSON holds `entry`."""
        raise NotImplementedError

    def spell(self, value: Any) -> str:
        """Return the text of a flag for a value that `decode` returned."""
        raise NotImplementedError

    def read(self, text: str) -> Any:
        """Return the value that the text of a flag stands for."""
        raise NotImplementedError

    def item(self, value: Any) -> str:
        """Return how the value is spelt within others."""
        return f"[{self.spell(value)}]" if self.compound else shielded(self.spell(value))

    def read_item(self, piece: str) -> Any:
        """Return the value that is spelt `piece` within others."""
        form, text = unwrapped(piece)
        if (form == "bracket") != self.compound or (form == "quoted" and not self.quotable):
            raise self.refusal(piece)
        return self.read(text)

    @property
    def quotable(self) -> bool:
        """Whether a text in quotes can be one."""
        return self.any_text

    def canonical(self, value: Any) -> Any:
        """Return the value as it will be when a record of it is read."""
        return self.decode(self.encode(value))

    def refusal(self, got: Any) -> ValueError:
        """Return the error that says what is expected."""
        return ValueError(f"expected {self.spelling}, got {got!r:.80}")


def same(a: Any, b: Any) -> bool:
    """Return whether two values are equal and of one type."""
    return type(a) is type(b) and bool(a == b)


class Int(Kind):
    """Whole numbers within the range of floats."""

    spelling = "INT"

    def encode(self, value: Any) -> Any:
        """Return the int; a bool is none, nor is 64.0."""
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            raise self.refusal(value)
        with contextlib.suppress(OverflowError):
            float(value)  # Of a whole number beyond all floats nothing here could make use.
            return int(value)
        raise self.refusal(value)

    def decode(self, entry: Any) -> Any:
        """Return the int."""
        return self.encode(entry)

    def spell(self, value: Any) -> str:
        """Return its digits."""
        return str(value)

    def read(self, text: str) -> Any:
        """Return the number of a text."""
        with contextlib.suppress(ValueError):
            return self.encode(int(text))
        raise self.refusal(text)


class Float(Kind):
    """Real numbers, infinities and NaN."""

    spelling = "FLOAT"

    def encode(self, value: Any) -> Any:
        """Return a float, or the name of one that is not finite; whole numbers become floats."""
        number = self._number(value)
        if math.isfinite(number):
            return number
        return next(name for name, each in _NOT_FINITE.items() if each == number or name == "nan")

    def decode(self, entry: Any) -> Any:
        """Return the float."""
        if isinstance(entry, str):
            if entry in _NOT_FINITE:
                return _NOT_FINITE[entry]
            raise self.refusal(entry)
        return self._number(entry)

    def _number(self, value: Any) -> float:
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):
                number = float(value)
                # A third or a long double would not be the same number.
                if number == value or (math.isnan(number) and value != value):
                    return number
        raise self.refusal(value)

    def spell(self, value: Any) -> str:
        """Return its shortest digits."""
        return repr(float(value))

    def read(self, text: str) -> Any:
        """Return the number of a text."""
        with contextlib.suppress(ValueError):
            number = float(text)
            # 1e999 is a slip rather than a way to say inf.
            if math.isfinite(number) or not any(letter.isdigit() for letter in text):
                return number
        raise self.refusal(text)


class Text(Kind):
    """Text or a path: in either case a path may be given for a text, and a text for a path."""

    any_text = True

    def __init__(self, type_: type[str] | type[Path]) -> None:
        """Keep which of the two it is."""
        self.type = type_
        self.spelling = "TEXT" if type_ is str else "PATH"

    def encode(self, value: Any) -> Any:
        """Return the text; of a path with slashes, whatever the system."""
        if isinstance(value, os.PathLike):
            value = Path(value).as_posix()
        if not isinstance(value, str) or (isinstance(value, enum.Enum)):
            raise self.refusal(value)
        # NumPy's texts and other subclasses are written as plain ones.
        text = str.__str__(value)
        return text if self.type is str else Path(text).as_posix()

    def decode(self, entry: Any) -> Any:
        """Return the text or the path."""
        return self.type(self.encode(entry))

    def spell(self, value: Any) -> str:
        """Return the text as it is."""
        return str(value)

    def read(self, text: str) -> Any:
        """Return the text or the path of it."""
        return self.type(text)


class Words(Kind):
    """A choice among a few values, each with a word: of bool, None, a Literal or an Enum."""

    def __init__(self, choices: dict[str, Any], *, by_name: bool = False) -> None:
        """Keep the value of every word; `by_name` if JSON holds the word in place of the value."""
        self.choices, self.by_name = choices, by_name
        self.spelling = "|".join(
            word for word, value in choices.items() if not by_name or value.name == word
        )

    @property
    def quotable(self) -> bool:
        """Whether a text in quotes can be one: words may have commas."""
        return True

    def _word(self, value: Any) -> str:
        if isinstance(value, np.bool_):
            value = bool(value)
        for word, choice in self.choices.items():
            if value is choice or same(value, choice):
                return word
        raise self.refusal(value)

    def encode(self, value: Any) -> Any:
        """Return the choice, or the name of the enum's member."""
        word = self._word(value)
        return word if self.by_name else self.choices[word]

    def decode(self, entry: Any) -> Any:
        """Return the choice that JSON holds."""
        if not self.by_name:
            return self.choices[self._word(entry)]
        if isinstance(entry, str):
            return self.read(entry)
        raise self.refusal(entry)

    def spell(self, value: Any) -> str:
        """Return its word."""
        return self._word(value)

    def read(self, text: str) -> Any:
        """Return the choice of a word; true, false and none in capitals too."""
        word = text
        if text not in self.choices:
            word = next((each for each in ("true", "false", "none") if text.lower() == each), text)
        if word in self.choices:
            return self.choices[word]
        raise self.refusal(text)


INT, FLOAT, TEXT, PATH = Int(), Float(), Text(str), Text(Path)
BOOL, NONE = Words({"true": True, "false": False}), Words({"none": None})
