"""Text from and for strangers: JSON that is read strictly, names and lines that any screen can show."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


def parse_json(text: bytes) -> Any:
    """Return what JSON says, or raise ValueError; NaN, infinities and deep nesting are none."""
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"expected finite numbers, got {text:.80}")
    return number


def shown(text: object, *, lines: bool = False) -> str:
    r"""Return a text as it may be shown, with what is no printable character escaped: "a\nb".

    Line breaks, escape sequences of terminals, marks that turn the direction of writing and halves of
    surrogate pairs all are. The text of a name is one line.

    Args:
        text: Anything; `str` of it is shown.
        lines: Whether line breaks stay what they are, as in a text of several lines.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or (lines and each in "\n\t") else _escaped(each) for each in text
    )


def _escaped(character: str) -> str:
    # Some other spaces than the usual one count as not printable, and are harmless.
    if character.isspace() and ord(character) in _SPACES:
        return character
    return character.encode("unicode_escape").decode("ascii")


_SPACES = {0x00A0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000}


def write_line(text: object, to: TextIO | None = None) -> None:
    """Print a line at once, or lines, on standard output or where `to` says; never fails.

    What cannot be shown is escaped, by `shown` and where the stream's encoding lacks it. That a stream
    is closed or full is no fault of the work of which it was to tell.

    Args:
        text: The line, without its end.
        to: A stream of text.
    """
    stream = sys.stdout if to is None else to
    if stream is None:  # A program without a console has none.
        return
    try:
        line = shown(text, lines=True) + "\n"
        encoding = getattr(stream, "encoding", None) or "utf-8"
        with contextlib.suppress(LookupError):
            line = line.encode(encoding, "backslashreplace").decode(encoding)
        stream.write(line)
        stream.flush()
    except BrokenPipeError:
        # Nobody will ever read it. What is left would fail again when Python flushes it at its end.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    except (
        OSError,
        ValueError,
        AttributeError,
    ):  # Closed, or one of somebody's own that lacks a method.
        pass


@contextlib.contextmanager
def lenient_output() -> Iterator[None]:
    """While a command runs, have whatever is printed escaped where a stream's encoding lacks it.

    So that neither help nor what a script prints itself ends it; it decorates a command's `main`.
    """
    changed = []
    for stream in (sys.stdout, sys.stderr):
        # What is lenient already is so on purpose, and in its own way.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")
                changed.append(stream)
    try:
        yield
    finally:
        for stream in changed:
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="strict")
