"""Codecs between texts and tokens, the integers that stand for their characters or bytes."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.files import shown
from fnn.kernels.conversion import as_array
from fnn.tree import Array

# Characters that no encoding has on its own, halves of surrogate pairs, pass as what they are.
_CODE, _ODD = "utf-32-le", "surrogatepass"


def _text(who: str, text: Any) -> str:
    if not isinstance(text, str):
        raise DTypeError(f"expected a text, got {type(text).__name__}", path=(who,))
    return text


def _code_points(text: str) -> Array:
    return np.frombuffer(text.encode(_CODE, _ODD), "<u4")


def _place(text: str, at: int) -> str:
    """Return where a character stands, counted from 1."""
    line = text.count("\n", 0, at) + 1
    return f"line {line}, column {at - text.rfind(chr(10), 0, at)}"


def _tokens(who: str, tokens: Any, n: int) -> Array:
    """Return tokens on one axis in [0, n)."""
    path = (who,)
    array = as_array("tokens", tokens, path)
    if array.ndim != 1:
        raise ShapeError(f"expected tokens on one axis, got shape {array.shape}", path=path)
    if array.size and array.dtype.kind not in "iu":
        raise DTypeError(f"expected tokens of an integer dtype, got {array.dtype}", path=path)
    if (bad := (array < 0) | (array >= n)).any():
        at = int(np.argmax(bad))
        raise DataError(f"tokens[{at}] = {array[at]} is not in [0, {n})", path=path)
    return array.astype(np.int64, copy=False)


@attrs.frozen(repr=False)
class Characters:
    """A codec between texts and tokens; token i stands for `characters[i]`.

    Made by `Characters.fit(text)`. Characters are sorted by their code points, and distinct. Its
    length is their number, which is how many tokens an `Embedding` or a `OneHot` row has.
    """

    characters: str = attrs.field()

    @characters.validator
    def _check(self, _: object, value: object) -> None:
        if not isinstance(value, str) or not value or list(value) != sorted(set(value)):
            expected = "distinct characters in the order of their code points"
            raise OptionError(f"expected {expected}, got {value!r:.80}", path=("Characters",))

    @classmethod
    def fit(cls, text: str) -> Characters:
        """Learn the characters of a text.

        Raises:
            DataError: If the text is empty.
            DTypeError: If it is no text.
        """
        who = "Characters.fit"
        if not _text(who, text):
            raise DataError("expected at least one character, got an empty text", path=(who,))
        return cls("".join(sorted(set(text))))

    def encode(self, text: str) -> Array:
        """Return one token per character, int64 (n,).

        Raises:
            DataError: If a character is not among those that it knows; names it and its place.
            DTypeError: If it is no text.
        """
        who = "Characters.encode"
        points, known = _code_points(_text(who, text)), _code_points(self.characters)
        tokens = np.searchsorted(known, points).clip(max=len(known) - 1).astype(np.int64)
        if (odd := known[tokens] != points).any():
            at = int(np.argmax(odd))
            got = f"text[{at}] = {text[at]!r} ({_place(text, at)})"
            raise DataError(f"expected one of {len(self)} known characters, got {got}", path=(who,))
        return tokens

    def decode(self, tokens: Any) -> str:
        """Return the text of tokens.

        Raises:
            DataError: If one stands for no character; names its index and value.
            DTypeError, ShapeError: If they are not integers on one axis.
        """
        tokens = _tokens("Characters.decode", tokens, len(self))
        return _code_points(self.characters)[tokens].tobytes().decode(_CODE, _ODD)

    def __len__(self) -> int:
        return len(self.characters)

    def __repr__(self) -> str:
        return f"Characters({shown(repr(self.characters))})"


@attrs.frozen
class Bytes:
    """A codec between texts and the bytes of their UTF-8, 256 tokens that every text has."""

    def encode(self, text: str | bytes) -> Array:
        """Return one token per byte, int64 (n,).

        Raises:
            DataError: If a text has half a surrogate pair, which has no bytes; names its place.
            DTypeError: If it is neither text nor bytes.
        """
        who = "Bytes.encode"
        if not isinstance(text, bytes):
            try:
                text = _text(who, text).encode()
            except UnicodeEncodeError as error:
                at = error.start
                got = f"text[{at}] = {error.object[at]!r} ({_place(error.object, at)})"
                raise DataError(f"expected characters that UTF-8 has, got {got}", path=(who,)) from None
        return np.frombuffer(text, np.uint8).astype(np.int64)

    def decode(self, tokens: Any) -> str:
        """Return the text of tokens; bytes that are no UTF-8, as samples may have, become U+FFFD.

        Raises:
            DataError: If one is not in [0, 256); names its index and value.
            DTypeError, ShapeError: If they are not integers on one axis.
        """
        return _tokens("Bytes.decode", tokens, 256).astype(np.uint8).tobytes().decode(errors="replace")

    def __len__(self) -> int:
        return 256
