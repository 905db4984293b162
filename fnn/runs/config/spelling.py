"""Values within values on a command line: `1,2`, `[1,2],[3,4]`, `"a,b",c`, `k=1,l=2`."""

from __future__ import annotations

import json
from typing import Literal, TypeAlias

Form: TypeAlias = Literal["bare", "quoted", "bracket"]
_DECODER = json.JSONDecoder(strict=False)


def quoted(text: str) -> str:
    """Return `text` in double quotes, as JSON writes it."""
    return json.dumps(text, ensure_ascii=False)


def shielded(text: str) -> str:
    """Return `text` as it stands among others: in quotes where part of it could be a mark."""
    marked = not text or text[0] in '"[' or any(mark in text for mark in ",;]=")
    return quoted(text) if marked else text


def split(text: str, mark: str = ",", *, keyed: bool = False) -> list[str]:
    """Return what stands between the marks that are neither in quotes nor in brackets.

    Args:
        text: What to split; of an empty one nothing comes.
        mark: What parts two entries.
        keyed: Whether entries have names, `k="a,b"`, so that quotes may begin behind "=".

    Raises:
        ValueError: If quotes or brackets do not end.
    """
    if not text:
        return []
    pieces: list[str] = []
    start = at = depth = 0
    # Quotes and brackets count where an entry begins; within a text they are letters like others.
    begins = True
    while at < len(text):
        letter = text[at]
        if begins and letter == '"':
            at = _after_quotes(text, at)
            begins = False
            continue
        if begins and letter == "[":
            depth += 1
        elif letter == "]" and depth:
            depth, begins = depth - 1, False
        elif letter == mark and not depth:
            pieces.append(text[start:at])
            start, begins = at + 1, True
        else:
            begins = letter == "," or (letter == "=" and (keyed or depth > 0))
        at += 1
    if depth:
        raise ValueError(f"expected a ] for every [, got {text!r:.80}")
    return [*pieces, text[start:]]


def _after_quotes(text: str, at: int) -> int:
    try:
        return _DECODER.raw_decode(text, at)[1]
    except ValueError:
        raise ValueError(f"expected quotes that end, got {text[at:]!r:.80}") from None


def unwrapped(piece: str) -> tuple[Form, str]:
    """Return how a piece is written, and the text without its quotes or its outer brackets.

    Raises:
        ValueError: If letters follow the end of its quotes or brackets.
    """
    if piece.startswith('"'):
        if _after_quotes(piece, 0) != len(piece):
            raise ValueError(f"expected nothing after the quotes, got {piece!r:.80}")
        return "quoted", _DECODER.decode(piece)
    if piece.startswith("["):
        # A piece holds no comma outside, but "[1]2" or "[1][2]" may come.
        if not piece.endswith("]") or len(_groups(piece)) != 1:
            raise ValueError(f"expected nothing after the brackets, got {piece!r:.80}")
        return "bracket", piece[1:-1]
    return "bare", piece


def _groups(piece: str) -> list[int]:
    """Return where the brackets that stand in no others end."""
    ends = []
    depth = at = 0
    begins = True
    while at < len(piece):
        letter = piece[at]
        if begins and letter == '"':
            at, begins = _after_quotes(piece, at), False
            continue
        if begins and letter == "[":
            depth += 1
        elif letter == "]" and depth:
            depth, begins = depth - 1, False
            if not depth:
                ends.append(at)
        else:
            begins = letter in ",=" and depth > 0
        if not depth and at + 1 < len(piece):
            return [*ends, len(piece)]
        at += 1
    return ends
