"""Configs: a frozen attrs class whose fields are flags of a command line and entries of run.json."""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs

from fnn.errors import OptionError

C = TypeVar("C")
_SPELLING = {
    int: "INT",
    float: "FLOAT",
    str: "TEXT",
    Path: "PATH",
    bool: "true|false",
    type(None): "none",
}


def option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    below: float | None = None,
    among: Collection[str] | None = None,
) -> Any:
    """Declare a field of a config: its default, what it means, and what it may be.

    Numbers lie in [least, below), names are among those given, for one a registry. Either holds for
    every entry of a tuple; None passes. `attrs.NOTHING` as the default makes the flag required.

    Raises:
        OptionError: When a config is made with a value out of range; names the field.
    """

    def check(_: Any, field: Any, value: Any) -> None:
        for entry in value if isinstance(value, tuple) else (value,):
            if entry is None:
                continue
            if among is not None and entry not in among:
                raise OptionError(f"{field.name}: expected one of {', '.join(among)}, got {entry!r}")
            # Asked this way round, NaN is outside too.
            inside = (least is None or entry >= least) and (below is None or entry < below)
            if not inside:
                low, high = "(-inf" if least is None else f"[{least}", "inf" if below is None else below
                raise OptionError(f"{field.name}: expected a value in {low}, {high}), got {value!r}")

    return attrs.field(default=default, validator=check, metadata={"help": help})


def config_from(config_class: type[C], values: Mapping[str, Any]) -> C:
    """Make a config of plain values, as `run.json` holds them; absent ones take their defaults.

    Raises:
        OptionError: If a name is unknown, or a value ill-typed or out of range; names it.
    """
    hints = typing.get_type_hints(config_class)
    fields = [field.name for field in attrs.fields(config_class)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise OptionError(f"{config_class.__name__}: unknown {unknown}, expected among {fields}")
    read = {}
    for name, value in values.items():
        try:
            read[name] = _read(hints[name], value)
        except ValueError as error:
            raise OptionError(f"{name}: {error}") from None
    return _made(config_class, read)


def _made(config_class: type[C], values: dict[str, Any]) -> C:
    try:
        return config_class(**values)
    except OptionError:
        raise
    except (TypeError, ValueError) as error:  # Of attrs' own validators and converters.
        raise OptionError(str(error.args[0] if error.args else error)) from None


def _spell(hint: Any) -> str:
    """Return how a value of type `hint` is written on the command line."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return "|".join(_spell(member) for member in args)
    if origin is Literal:
        return "|".join(map(str, args))
    if origin is tuple:
        return ",".join("..." if member is ... else _spell(member) for member in args)
    if hint not in _SPELLING:
        raise TypeError(f"a config's field cannot be {hint}; use int, float, str, bool, Path or so")
    return _SPELLING[hint]


def _read(hint: Any, value: Any, *, text: bool = False) -> Any:
    """Return `value`, a plain one or the text of a flag, as what `hint` says, or raise ValueError."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        # None first: "none" is a text as well.
        for member in sorted(args, key=lambda member: member is not type(None)):
            try:
                return _read(member, value, text=text)
            except ValueError:
                continue
    elif origin is Literal:
        for choice in args:
            if value == str(choice) if text else value == choice and type(value) is type(choice):
                return choice
    elif origin is tuple:
        parts = (value.split(",") if value else []) if text else value
        if isinstance(parts, list | tuple):
            if args[-1] is ...:
                args = (args[0],) * len(parts)
            if len(args) == len(parts):
                return tuple(_read(a, part, text=text) for a, part in zip(args, parts, strict=True))
    elif hint is type(None) or hint is bool:
        words: dict[Any, Any] = {"none": None} if hint is type(None) else {"true": True, "false": False}
        if text and value.lower() in words:
            return words[value.lower()]
        if any(value is word for word in words.values()):
            return value
    elif hint in (str, Path) and isinstance(value, str | hint):
        return hint(value)
    elif (
        hint in (int, float) and (text or isinstance(value, int | hint)) and not isinstance(value, bool)
    ):
        with contextlib.suppress(ValueError, OverflowError):
            number = hint(value)
            # Of a whole number beyond all floats nothing here could make use.
            if math.isfinite(number):
                return number
    raise ValueError(f"expected {_spell(hint)}, got {value!r:.80}")


def parse(
    config_class: type[C], argv: Sequence[str], *, prog: str, description: str, epilog: str = ""
) -> C:
    """Return the config that the flags in `argv` ask for; `epilog` ends the help.

    Raises:
        SystemExit: After `--help`, and with code 2 and one line if a flag is unknown or a value
            ill-typed or out of range.
    """
    parser = argparse.ArgumentParser(
        prog,
        usage="%(prog)s [options]",
        description=description.strip(),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        # Only what was given: defaults are the config's own.
        argument_default=argparse.SUPPRESS,
    )
    hints = typing.get_type_hints(config_class)
    for field in attrs.fields(config_class):  # type: ignore[arg-type]
        _add_flag(parser, field, hints[field.name])
    given = parser.parse_args(_normal(argv))
    try:
        return _made(config_class, vars(given))
    except OptionError as error:
        parser.error(str(error))


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_show, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _add_flag(parser: argparse.ArgumentParser, field: Any, hint: Any) -> None:
    def read(text: str) -> Any:
        try:
            return _read(hint, text, text=True)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
    help = field.metadata.get("help", "")
    if default is not attrs.NOTHING:
        help += f" (default: {_show(default)})"
    # argparse reads % as the start of a format.
    words: dict[str, Any] = {"help": help.strip().replace("%", "%%"), "dest": field.name}
    words["required"] = default is attrs.NOTHING
    if hint is bool:
        words["action"] = argparse.BooleanOptionalAction
    else:
        words.update(type=read, metavar=_spell(hint))
    parser.add_argument("--" + field.name.replace("_", "-"), **words)


def _normal(argv: Sequence[str]) -> list[str]:
    """Spell flags with dashes, and tie negative values to their flags: argparse takes -1e-3 for one."""
    tokens: list[str] = []
    for token in argv:
        if tokens and re.fullmatch(r"--[^=]+", tokens[-1]) and re.match(r"-(\d|\.\d|inf|nan)", token):
            tokens[-1] += "=" + token
        elif token.startswith("--"):
            flag, *value = token.split("=", 1)
            tokens.append("=".join([flag.replace("_", "-"), *value]))
        else:
            tokens.append(token)
    return tokens
