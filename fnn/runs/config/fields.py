"""The fields of a config: of an attrs class or a dataclass, and of those that are its fields."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from fnn.errors import OptionError
from fnn.runs.config.compounds import Either, kind_of
from fnn.runs.config.kinds import BOOL, Kind


@attrs.frozen(eq=False)
class Field:
    """A field of a config.

    Attributes:
        name: Its name for the constructor, in run.json and as a flag; attrs calls it the alias.
        attribute: Its name on the config.
        kind: What its values are; None for a config within the config, and for what is not recorded.
        inner: The class of the config within, None for all others.
        help: What it means.
        derived: Whether it follows from the other fields and cannot be given (`init=False`).
        default: Its default, `attrs.NOTHING` without one.
        make: Makes the default, None where `default` is it.
        follow: Makes the default from the config as far as it is made: attrs' `@field.default`.
    """

    name: str
    attribute: str
    kind: Kind | None
    inner: type | None
    help: str
    derived: bool
    default: Any
    make: Callable[[], Any] | None = None
    follow: Callable[[Any], Any] | None = None

    @property
    def has_commas(self) -> bool:
        """Whether its values may be tuples, lists or dicts, which have commas on a command line."""
        kinds = self.kind.kinds if isinstance(self.kind, Either) else (self.kind,)
        return any(kind is not None and kind.compound for kind in kinds)

    def standard(self) -> Any:
        """Return the default where it follows from nothing, else `attrs.NOTHING`."""
        return self.make() if self.make is not None else self.default


def is_config(type_: Any) -> bool:
    """Return whether a type is a class that a config may be."""
    return isinstance(type_, type) and (attrs.has(type_) or dataclasses.is_dataclass(type_))


def fields_of(config_class: type) -> tuple[Field, ...]:
    """Return the fields of a config's class, each of a kind that can be recorded and read again.

    Raises:
        OptionError: If the class is no config, or a field is of no kind; names both.
    """
    return _fields_of(config_class)


# The classes of a program are few, and a sweep asks for the fields of one a million times.
@functools.lru_cache(maxsize=128)
def _fields_of(config_class: Any, within: tuple[type, ...] = ()) -> tuple[Field, ...]:
    who = getattr(config_class, "__name__", repr(config_class))
    if not is_config(config_class):
        raise OptionError(f"{who}: expected an attrs class or a dataclass as the config")
    if config_class in within:
        raise OptionError(f"{who}: a config cannot hold itself")
    try:
        hints = typing.get_type_hints(config_class)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise OptionError(
            f"{who}: its types cannot be told ({error}); define them in a module"
        ) from None
    found: list[Field] = []
    for field in _declared(config_class, hints):
        place = f"{who}.{field.attribute}"
        hint = hints.get(field.attribute, Any)
        if isinstance(hint, dataclasses.InitVar):
            raise OptionError(f"{place}: an InitVar is not kept and cannot be recorded")
        if is_config(hint) and not field.derived:
            _fields_of(hint, (*within, config_class))
            found.append(attrs.evolve(field, inner=hint))
            continue
        try:
            found.append(attrs.evolve(field, kind=kind_of(hint)))
        except OptionError as error:
            # What follows from the others needs no record.
            if not field.derived:
                raise OptionError(f"{place}: {error.message}") from None
    names = [field.name for field in found]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"{who}: expected a name of its own for every field, got {name} twice")
    return tuple(found)


def _declared(config_class: type, hints: dict[str, Any]) -> Iterator[Field]:
    """Yield the fields as attrs or dataclasses have them, without their kinds."""
    if attrs.has(config_class):
        for each in attrs.fields(config_class):
            default, make, follow = each.default, None, None
            if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
                make, follow = (
                    (None, default.factory) if default.takes_self else (default.factory, None)
                )
                default = attrs.NOTHING
            yield Field(
                each.name if not each.init else each.alias or each.name,
                each.name,
                None,
                None,
                each.metadata.get("help", ""),
                not each.init,
                default,
                make,
                follow,
            )
        return
    of_dataclass = {each.name: each for each in dataclasses.fields(config_class)}
    for name, hint in hints.items():
        if name not in of_dataclass and isinstance(hint, dataclasses.InitVar):
            yield Field(name, name, None, None, "", False, attrs.NOTHING)
    for name, given in of_dataclass.items():
        default = attrs.NOTHING if given.default is dataclasses.MISSING else given.default
        make = None if given.default_factory is dataclasses.MISSING else given.default_factory
        if type(default) is type(attrs.field()):
            raise OptionError(
                f"{config_class.__name__}.{name}: `option` is for attrs classes; in a dataclass write "
                "dataclasses.field(default=..., metadata={'help': ...})"
            )
        help = given.metadata.get("help", "")
        yield Field(name, name, None, None, help, not given.init, default, make)


def leaves(config_class: type, before: str = "") -> dict[str, Field]:
    """Return all fields that can be given by name: "seed", and "optimizer.rate" of one within.

    Raises:
        OptionError: As `fields_of`.
    """
    found: dict[str, Field] = {}
    for field in fields_of(config_class):
        if field.inner is not None:
            found |= leaves(field.inner, f"{before}{field.name}.")
        elif not field.derived:
            found[before + field.name] = field
    return found


def flag_of(name: str) -> str:
    """Return the flag of a field: "--learning-rate", "--optimizer.rate"."""
    return "--" + name.lstrip("_").replace("_", "-")


def flags_of(config_class: type) -> dict[str, str]:
    """Return the flag of every field that can be given.

    Raises:
        OptionError: If two flags would be one, or one is taken; names the fields. As `fields_of`.
    """
    flags: dict[str, str] = {}
    taken = {"--help": "the flag that shows all others", "-h": "the flag that shows all others"}
    who = config_class.__name__
    for name, field in leaves(config_class).items():
        flag = flag_of(name)
        if flag == "--":
            raise OptionError(f"{who}.{name}: a field needs a name with letters to be a flag")
        for word in [flag, "--no-" + flag[2:]] if field.kind is BOOL else [flag]:
            if word in taken:
                raise OptionError(f"{who}.{name}: its flag {word} is that of {taken[word]}; rename it")
            taken[word] = f"the field {name}"
        flags[name] = flag
    return flags
