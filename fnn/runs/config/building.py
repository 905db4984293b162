"""Configs from what JSON or a command line says, and back: what is recorded can be read again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import attrs

from fnn.errors import OptionError
from fnn.runs.config.fields import Field, fields_of, flags_of, leaves

C = TypeVar("C")


def entries(config: Any) -> dict[str, Any]:
    """Return a config as JSON holds it: `config_from` makes an equal one of it again.

    Infinities and NaN are the texts "inf", "-inf" and "nan", members of an Enum their names, and a
    config within the config is a dict.

    Raises:
        OptionError: If a field cannot be recorded, or holds what its type does not say; names it.
    """
    found = {}
    for field in fields_of(type(config)):
        try:
            value = getattr(config, field.attribute)
        except AttributeError:
            raise OptionError(f"{field.name}: expected a value, got none") from None
        if field.inner is not None:
            if type(value) is not field.inner:
                expected = f"{field.inner.__name__}, got {type(value).__name__}"
                raise OptionError(f"{field.name}: expected {expected}")
            with _inside(field.name):
                found[field.name] = entries(value)
        elif field.kind is not None:
            try:
                found[field.name] = field.kind.encode(value)
            except ValueError as error:
                raise OptionError(f"{field.name}: {error}") from None
    return found


def flat(found: Mapping[str, Any], config_class: type, before: str = "") -> dict[str, Any]:
    """Return the entries of a config by their full names, such as "optimizer.rate"."""
    plain: dict[str, Any] = {}
    for field in fields_of(config_class):
        if field.inner is not None:
            plain |= flat(found[field.name], field.inner, f"{before}{field.name}.")
        elif field.kind is not None:
            plain[before + field.name] = found[field.name]
    return plain


def config_from(config_class: type[C], values: Mapping[str, Any]) -> C:
    """Make a config of plain values, as `run.json` holds them; absent ones take their defaults.

    Raises:
        OptionError: If a name is unknown, or a value ill-typed or out of range; names it.
    """
    given, derived = _decoded(config_class, values)
    config = built(config_class, given)
    _check_derived(config, derived)
    return config


def _decoded(config_class: type, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what to give to the constructor, and what must follow from it."""
    fields = fields_of(config_class)
    # Earlier versions wrote the names of the attributes.
    table = {field.attribute: field for field in fields} | {field.name: field for field in fields}
    unknown = sorted(map(str, values.keys() - table.keys()))
    if unknown:
        names = [field.name for field in fields]
        raise OptionError(f"{config_class.__name__}: unknown {unknown}, expected among {names}")
    given: dict[str, Any] = {}
    derived: dict[str, Any] = {}
    for name, entry in values.items():
        field = table[name]
        if field.inner is not None:
            if not isinstance(entry, Mapping):
                raise OptionError(f"{name}: expected the fields of a config, got {entry!r:.80}")
            with _inside(name):
                given[field.name], derived[field.name] = _decoded(field.inner, entry)
        elif field.derived:
            derived[field.name] = entry
        else:
            try:
                given[field.name] = field.kind.decode(entry)  # type: ignore[union-attr]
            except ValueError as error:
                raise OptionError(f"{name}: {error}") from None
    return given, derived


def _check_derived(config: Any, derived: Mapping[str, Any]) -> None:
    got = entries(config) if derived else {}
    for field in fields_of(type(config)):
        if field.inner is not None and derived.get(field.name):
            with _inside(field.name):
                _check_derived(getattr(config, field.attribute), derived[field.name])
        elif field.derived and field.name in derived and derived[field.name] != got[field.name]:
            was = derived[field.name]
            raise OptionError(
                f"{field.name}: expected {was!r:.80}, but {got[field.name]!r:.80} follows"
            )


def built(config_class: type[C], given: Mapping[str, Any]) -> C:
    """Make a config of values by name; for a config within, a dict of what is not its default.

    Raises:
        OptionError: If the class refuses; names what it names.
    """
    table = {field.name: field for field in fields_of(config_class)}
    values = {name: value for name, value in given.items() if table[name].inner is None}
    for name, part in given.items():
        inner = table[name].inner
        if inner is not None:
            with _inside(name):
                values[name] = _within(config_class, table[name], inner, part, values)
    return _made(config_class, values)


def _within(
    config_class: type, field: Field, inner: type, part: Mapping[str, Any], values: dict[str, Any]
) -> Any:
    """Return the config of a field: its default, but for what is given."""
    if field.make is inner or part.keys() >= {
        each.name for each in fields_of(inner) if not each.derived
    }:
        return built(inner, part)
    if field.follow is not None:
        start = getattr(_made(config_class, values), field.attribute)
    else:
        start = field.standard()
    return built(inner, part) if start is attrs.NOTHING else changed(start, part)


def changed(config: C, given: Mapping[str, Any]) -> C:
    """Return a config with other values for some fields; what follows from them follows again.

    Raises:
        OptionError: As `built`.
    """
    values = {}
    for field in fields_of(type(config)):
        now = getattr(config, field.attribute)
        if field.derived:
            continue
        if field.name not in given:
            # A default that was made of other fields is left to be made anew.
            if field.follow is None or field.follow(config) != now:
                values[field.name] = now
        elif field.inner is None:
            values[field.name] = given[field.name]
        else:
            with _inside(field.name):
                values[field.name] = changed(now, given[field.name])
    return _made(type(config), values)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by full name, such as "optimizer.rate", as dicts within dicts."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *outer, last = name.split(".")
        place = found
        for each in outer:
            place = place.setdefault(each, {})
        place[last] = value
    return found


def _made(config_class: type[C], values: dict[str, Any]) -> C:
    try:
        return config_class(**values)
    except OptionError:
        raise
    except Exception as error:  # Of the class's own validators, converters and defaults.
        kind = "" if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: "
        raise OptionError(f"{kind}{error.args[0] if error.args else error}") from error


def settled(config: C) -> tuple[C, dict[str, Any]]:
    """Return a config as a record of it will be read, and the record.

    A run is given the former, so that one that goes on or is repeated gets the very same values: 3 in
    a field of floats is 3.0 from the start.

    Raises:
        OptionError: If a record of it could not be read again, or not as the same; names the field.
    """
    config_class = type(config)
    flags_of(config_class)
    record = entries(config)
    again = config_from(config_class, record)
    other = entries(again)
    if other != record:
        was, now = flat(record, config_class), flat(other, config_class)
        name = next(name for name in was if was[name] != now[name])
        raise OptionError(f"{name}: {was[name]!r:.80} would be read from a record as {now[name]!r:.80}")
    return again, record


def placed(config: C, folder: Any) -> C:
    """Return the settled config with `folder` in its field `out`, if it has one.

    Raises:
        OptionError: As `changed` and `settled`.
    """
    if "out" in leaves(type(config)):
        config = changed(config, {"out": folder})
    return settled(config)[0]


def is_default(config: Any, name: str) -> bool:
    """Return whether a config has no such field or its default in it."""
    field = leaves(type(config)).get(name)
    if field is None:
        return True
    default = field.standard() if field.follow is None else field.follow(config)
    return bool(getattr(config, field.attribute) == default)


@contextlib.contextmanager
def _inside(name: str) -> Iterator[None]:
    """Put the name of a config within before the message of an error that comes from it."""
    try:
        yield
    except OptionError as error:
        raise OptionError(f"{name}.{error.message}") from error.__cause__
