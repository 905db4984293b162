"""Kinds made of others: tuples, lists, dicts and unions; and the kind that a type hint asks for."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import types
import typing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs

from fnn.errors import OptionError
from fnn.runs.config.kinds import BOOL, FLOAT, INT, NONE, PATH, TEXT, Kind, Words, same
from fnn.runs.config.spelling import quoted, shielded, split, unwrapped

_SIMPLE: dict[Any, Kind] = {
    int: INT,
    float: FLOAT,
    str: TEXT,
    Path: PATH,
    bool: BOOL,
    type(None): NONE,
    None: NONE,
}


def _spelt(kind: Kind) -> str:
    return f"[{kind.spelling}]" if kind.compound else kind.spelling


class Sequence(Kind):
    """A tuple or a list: of any length with one kind of entry, or with a kind for every place."""

    compound = True

    def __init__(self, type_: type, kinds: tuple[Kind, ...], *, repeated: bool) -> None:
        """Keep what it is and what it holds."""
        self.type, self.kinds, self.repeated = type_, kinds, repeated
        self.any_text = any(kind.any_text for kind in kinds)
        self.spelling = ",".join([*map(_spelt, kinds), *(["..."] if repeated else [])])

    def _paired(self, entries: Any, got: Any) -> list[tuple[Kind, Any]]:
        if isinstance(entries, list | tuple):
            kinds = self.kinds * len(entries) if self.repeated else self.kinds
            if len(kinds) == len(entries):
                return list(zip(kinds, entries, strict=True))
        raise self.refusal(got)

    def encode(self, value: Any) -> Any:
        """Return the entries; a list may be given for a tuple and the other way round."""
        return [kind.encode(entry) for kind, entry in self._paired(value, value)]

    def decode(self, entry: Any) -> Any:
        """Return the tuple or the list."""
        return self.type(kind.decode(each) for kind, each in self._paired(entry, entry))

    def spell(self, value: Any) -> str:
        """Return the entries between commas."""
        return ",".join(kind.item(entry) for kind, entry in self._paired(value, value))

    def read(self, text: str) -> Any:
        """Return what stands between the commas; an empty text is no entry."""
        return self.type(kind.read_item(piece) for kind, piece in self._paired(split(text), text))


class Table(Kind):
    """A dict with texts for keys and one kind of value."""

    compound = any_text = True

    def __init__(self, kind: Kind) -> None:
        """Keep what it holds."""
        self.kind = kind
        self.spelling = f"TEXT={_spelt(kind)},..."

    def encode(self, value: Any) -> Any:
        """Return the entries by key."""
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.refusal(value)
        return {TEXT.encode(key): self.kind.encode(entry) for key, entry in value.items()}

    def decode(self, entry: Any) -> Any:
        """Return the dict."""
        if not isinstance(entry, dict):
            raise self.refusal(entry)
        return {TEXT.decode(key): self.kind.decode(each) for key, each in entry.items()}

    def spell(self, value: Any) -> str:
        """Return key=value between commas."""
        return ",".join(f"{shielded(key)}={self.kind.item(entry)}" for key, entry in value.items())

    def read(self, text: str) -> Any:
        """Return the dict; a key stands in it once."""
        entries: dict[str, Any] = {}
        for piece in split(text, keyed=True):
            start = split(piece, "=")[0] if piece else ""
            form, key = unwrapped(start)
            if form == "bracket" or len(start) == len(piece) or key in entries:
                raise self.refusal(text)
            entries[key] = self.kind.read_item(piece[len(start) + 1 :])
        return entries


class Either(Kind):
    """A union: a value is the first kind that it fits, in an order that loses nothing."""

    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        """Keep the kinds, texts last, as they would take all; refuse those nobody could tell apart."""
        self.spelling = "|".join(kind.spelling for kind in kinds)
        order = [Words, type(INT), type(FLOAT), Sequence, Table, type(TEXT)]
        self.kinds = tuple(sorted(kinds, key=lambda kind: order.index(type(kind))))
        self.any_text = any(kind.any_text for kind in kinds)
        self._text = next((kind for kind in kinds if isinstance(kind, type(TEXT))), None)
        compounds = [kind for kind in kinds if kind.compound]
        self._compound = compounds[0] if compounds else None
        tables = [kind for kind in kinds if isinstance(kind, Table)]
        unclear = len(compounds) > 1 or sum(kind.any_text for kind in kinds) > 1
        if unclear or (tables and any(kind is not NONE and kind not in tables for kind in kinds)):
            raise OptionError(f"{self.spelling}: expected kinds that differ in how they are written")
        for kind in kinds:
            for word, value in kind.choices.items() if isinstance(kind, Words) else ():
                others = [each for each in kinds if each is not kind and not each.any_text]
                if any(read != value for read in _all_read(others, word)):
                    raise OptionError(f"{self.spelling}: expected kinds that differ, got {word} twice")

    @property
    def quotable(self) -> bool:
        """Whether a text in quotes can be one."""
        return any(kind.quotable for kind in self.kinds)

    def _of(self, value: Any) -> Kind:
        for kind in self.kinds:
            with contextlib.suppress(ValueError):
                kind.encode(value)
                return kind
        raise self.refusal(value)

    def encode(self, value: Any) -> Any:
        """Return what the kind of the value returns; {"text": ...} where another would read it."""
        kind = self._of(value)
        entry = kind.encode(value)
        if kind is self._text and not same(self.decode(entry), kind.decode(entry)):
            return {"text": entry}
        return entry

    def decode(self, entry: Any) -> Any:
        """Return the value of the first kind that takes what JSON holds."""
        if self._text is not None and isinstance(entry, dict) and entry.keys() == {"text"}:
            return self._text.decode(entry["text"])
        for kind in self.kinds:
            with contextlib.suppress(ValueError):
                return kind.decode(entry)
        raise self.refusal(entry)

    def _taken(self, kind: Kind, value: Any, text: str) -> bool:
        """Return whether another kind would read the text of a value, as something else."""
        others = self.kinds[: self.kinds.index(kind)]
        return any(not same(read, value) for read in _all_read(others, text))

    def spell(self, value: Any) -> str:
        """Return what the kind of the value returns; in quotes or brackets where others read it."""
        kind = self._of(value)
        text = kind.spell(value)
        if kind.compound:
            clear = not text.startswith(('"', "[")) and not self._taken(kind, value, text)
            return text if clear else f"[{text}]"
        clear = not text.startswith(('"', "[")) and not self._taken(kind, value, text)
        return text if clear or not kind.quotable else quoted(text)

    def item(self, value: Any) -> str:
        """Return how the value is spelt within others."""
        kind = self._of(value)
        text = kind.spell(value)
        if kind.compound or not self._taken(kind, value, text) or not kind.quotable:
            return kind.item(value)
        return quoted(text)

    def read(self, text: str) -> Any:
        """Return the value of a text: what stands in quotes is a text, in brackets a tuple or so."""
        if text.startswith(('"', "[")):
            with contextlib.suppress(ValueError):
                return self.read_item(text)
        for kind in self.kinds:
            with contextlib.suppress(ValueError):
                return kind.read(text)
        raise self.refusal(text)

    def read_item(self, piece: str) -> Any:
        """Return the value that is spelt `piece` within others."""
        form, text = unwrapped(piece)
        for kind in reversed(self.kinds) if form == "quoted" else self.kinds:
            if kind.compound == (form == "bracket") and (form != "quoted" or kind.quotable):
                with contextlib.suppress(ValueError):
                    return kind.read(text)
        raise self.refusal(piece)


def _all_read(kinds: typing.Sequence[Kind], text: str) -> list[Any]:
    found = []
    for kind in kinds:
        with contextlib.suppress(ValueError):
            found.append(kind.read(text))
    return found


def kind_of(hint: Any) -> Kind:
    """Return the kind of the values of a type.

    Raises:
        OptionError: If a config's field cannot be that.
    """
    # Names for types stand for what they name.
    while not isinstance(hint, type) and (
        named := getattr(hint, "__supertype__", getattr(hint, "__value__", None))
    ):
        hint = named
    origin, args = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        return kind_of(args[0])
    if origin in (typing.Union, types.UnionType):
        members = [each for arg in args for each in _members(kind_of(arg))]
        unique = tuple(dict.fromkeys(members))
        return unique[0] if len(unique) == 1 else Either(unique)
    if origin is Literal:
        return _literal(args)
    if origin is tuple and hint is not tuple:
        repeated = len(args) == 2 and args[1] is ...
        kinds = tuple(kind_of(arg) for arg in (args[:1] if repeated else args))
        return Sequence(tuple, kinds, repeated=repeated)
    if origin is list and args:
        return Sequence(list, (kind_of(args[0]),), repeated=True)
    if origin is dict and args and args[0] is str:
        return Table(kind_of(args[1]))
    if isinstance(hint, type) and issubclass(hint, enum.Enum) and not issubclass(hint, enum.Flag):
        if hint.__members__:
            return Words(dict(hint.__members__), by_name=True)
    elif isinstance(hint, typing.Hashable) and hint in _SIMPLE:
        return _SIMPLE[hint]
    if attrs.has(hint) or dataclasses.is_dataclass(hint):
        name = getattr(hint, "__name__", "")
        raise OptionError(f"{name}: a config within a config is a field of its own")
    name = hint.__name__ if isinstance(hint, type) and origin is None else hint
    may = "int, float, str, bool, Path, None, an Enum, a Literal, list[...], tuple[...], dict[str, ...]"
    raise OptionError(f"a config's field cannot be {name}; expected {may} or a union of those")


def _members(kind: Kind) -> tuple[Kind, ...]:
    return kind.kinds if isinstance(kind, Either) else (kind,)


def _literal(choices: tuple[Any, ...]) -> Kind:
    words: dict[str, Any] = {}
    for choice in choices:
        if isinstance(choice, enum.Enum):
            word = choice.name
        elif choice is None or isinstance(choice, bool | int | str):
            word = choice if isinstance(choice, str) else str(choice)
            word = word.lower() if choice is None or isinstance(choice, bool) else word
        else:
            raise OptionError(f"a config's field cannot be Literal[{choice!r}]")
        if word in words:
            raise OptionError(f"expected choices that are written differently, got {word} twice")
        words[word] = choice
    if all(isinstance(choice, enum.Enum) for choice in choices):
        return Words(words, by_name=True)
    if any(isinstance(choice, enum.Enum) for choice in choices):
        raise OptionError("a config's field cannot be a Literal of an Enum's members and others")
    return Words(words)
