"""Configs as command lines: a flag for every field."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Sequence
from typing import Any

import attrs

from fnn.errors import OptionError
from fnn.runs.config.building import C, built, entries, flat, nested
from fnn.runs.config.fields import Field, fields_of, flags_of, leaves
from fnn.runs.config.kinds import BOOL


def parse(
    config_class: type[C], argv: Sequence[str], *, prog: str, description: str, epilog: str = ""
) -> C:
    """Return the config that the flags in `argv` ask for; `epilog` ends the help.

    Raises:
        OptionError: If the class has a field that cannot be a flag; names it.
        SystemExit: After `--help`, and with code 2 and one line if a flag is unknown or a value
            ill-typed or out of range.
    """
    parser = _parser(config_class, prog, description, epilog)
    given = vars(parser.parse_args(_normal(argv)))
    try:
        return built(config_class, nested(given))
    except OptionError as error:
        parser.error(str(error))


def given_by(
    config_class: type, argv: Sequence[str], *, prog: str, besides: Collection[str] = ()
) -> dict[str, Any]:
    """Return the values that the flags in `argv` give, by the full names of the fields.

    Args:
        config_class: The class of the config.
        argv: The flags.
        prog: What errors call the program.
        besides: Fields that come from elsewhere, whose flags nobody has to give.

    Raises:
        OptionError, SystemExit: As `parse`.
    """
    return vars(_parser(config_class, prog, "", "", besides).parse_args(_normal(argv)))


def words(config: Any) -> list[str]:
    """Return a command line that `parse` makes an equal config of.

    Raises:
        OptionError: If a field cannot be recorded, or holds what its type does not say; names it.
    """
    config_class = type(config)
    flags, record = flags_of(config_class), flat(entries(config), config_class)
    found = []
    for name, field in leaves(config_class).items():
        value = field.kind.decode(record[name])  # type: ignore[union-attr]
        if field.kind is BOOL:
            found.append(flags[name] if value else f"--no-{flags[name][2:]}")
        else:
            found.append(f"{flags[name]}={field.kind.spell(value)}")  # type: ignore[union-attr]
    return found


def _parser(
    config_class: type, prog: str, description: str, epilog: str, besides: Collection[str] = ()
) -> argparse.ArgumentParser:
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
    flags = flags_of(config_class)
    for name, (field, default) in _defaults(config_class).items():
        _add_flag(parser, name, flags[name], field, default, required=name not in besides)
    return parser


_FOLLOWS = object()
# Before the text "--", which argparse drops wherever it stands.
_KEPT = "\0"


def _defaults(config_class: type, start: Any = None, before: str = "") -> dict[str, tuple[Field, Any]]:
    """Return every field that can be given with its default, `_FOLLOWS` if other fields tell.

    A config within that has a default, `start`, has the values of that as its defaults.
    """
    found: dict[str, tuple[Field, Any]] = {}
    for field in fields_of(config_class):
        if field.derived:
            continue
        if field.follow is not None:
            default = _FOLLOWS
        elif start is None or start is _FOLLOWS:
            default = start or field.standard()
        else:
            default = getattr(start, field.attribute)
        if field.inner is None:
            found[before + field.name] = field, default
        else:
            inner = None if default is attrs.NOTHING else default
            found |= _defaults(field.inner, inner, f"{before}{field.name}.")
    return found


def _shown(field: Field, default: Any) -> str:
    if default is _FOLLOWS:
        return "follows from other options"
    try:
        return field.kind.spell(field.kind.canonical(default))  # type: ignore[union-attr]
    except ValueError:  # The mistake of the script is told when a run begins.
        return str(default)


def _add_flag(
    parser: argparse.ArgumentParser, name: str, flag: str, field: Field, default: Any, *, required: bool
) -> None:
    kind = field.kind
    assert kind is not None

    def read(text: str) -> Any:
        try:
            return kind.read(text.removeprefix(_KEPT))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    help = field.help
    if default is not attrs.NOTHING:
        help += f" (default: {_shown(field, default)})"
    # argparse reads % as the start of a format.
    more: dict[str, Any] = {"help": help.strip().replace("%", "%%"), "dest": name}
    more["required"] = required and default is attrs.NOTHING
    if kind is BOOL:
        more["action"] = argparse.BooleanOptionalAction
    else:
        more.update(type=read, metavar=kind.spelling)
    parser.add_argument(flag, **more)


def _normal(argv: Sequence[str]) -> list[str]:
    """Spell flags with dashes, and tie negative values to their flags: argparse takes -1e-3 for one."""
    tokens: list[str] = []
    for token in argv:
        if tokens and re.fullmatch(r"--[^=]+", tokens[-1]) and re.match(r"-(\d|\.\d|inf|nan)", token):
            tokens[-1] += "=" + token
        elif token.startswith("--"):
            flag, *value = token.split("=", 1)
            if value and (value[0] == "--" or value[0].startswith(_KEPT)):
                value = [_KEPT + value[0]]
            tokens.append("=".join([flag.replace("_", "-"), *value]))
        else:
            tokens.append(token)
    return tokens
