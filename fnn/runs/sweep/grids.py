"""The members of a sweep: their configs, and the names of their folders."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fnn.errors import OptionError
from fnn.options import integer
from fnn.runs.config import C, changed, entries, flat, leaves, nested, settled

MOST_SEEDS = 1_000_000
"""How many seeds a combination may have; every one becomes a run."""

LONGEST = 100
"""How many characters a member's name may have; some file systems take 143 bytes."""


def grid(base: C, axes: Mapping[str, Iterable[Any]], *, seeds: int | None = None) -> dict[str, C]:
    """Return the configs of all combinations by name, such as "learning_rate=0.1,seed=3".

    Defaults that follow from a field that varies follow it, unless `base` holds another value.

    Args:
        base: The config that holds for all members where nothing else is said.
        axes: The values of every field that varies, "optimizer.rate" for one of a config within; the
            last field varies fastest.
        seeds: How many seeds every combination gets: base.seed, base.seed + 1 and so on.

    Raises:
        OptionError: If there is no such field, a value is ill-typed, out of range or there twice, a
            field has no values, or nothing varies; or if the config could not be recorded and read
            again. Names the field.
    """
    base, _ = settled(base)
    known = [name for name in leaves(type(base)) if name != "out"]
    for name in axes:
        if name not in known:
            raise _error(f"expected fields among {known}, got {name!r}")
    varying = {name: tuple(values) for name, values in axes.items()}
    return combined(varying, lambda point: changed(base, nested(point)), base, seeds)


def combined(
    axes: Mapping[str, Sequence[Any]],
    make: Callable[[dict[str, Any]], C],
    base: C,
    seeds: int | None,
) -> dict[str, C]:
    """Return the configs of all combinations by name.

    Args:
        axes: The values of every field that varies, by full name.
        make: Returns the config of a combination.
        base: One of the configs; its seed is the first.
        seeds: As for `grid`.

    Raises:
        OptionError: As `grid`.
    """
    fields = leaves(type(base))
    varying: dict[str, Sequence[Any]] = {}
    for name, values in axes.items():
        if not values:
            raise _error(f"{name}: expected one value or more, got none")
        try:
            # With its type at once: 1 in a field of floats is 1.0, by name too.
            varying[name] = [fields[name].kind.canonical(value) for value in values]  # type: ignore[union-attr]
        except ValueError as error:
            raise OptionError(f"{name}: {error}") from None
    if seeds is not None:
        varying["seed"] = _seeds(base, varying, seeds)
    if not varying:
        raise _error("expected a grid or seeds, got neither")
    configs: dict[str, C] = {}
    records: dict[str, dict[str, Any]] = {}
    for point in itertools.product(*varying.values()):
        config, record = settled(make(dict(zip(varying, point, strict=True))))
        whole = flat(record, type(config))
        told = {name: whole[name] for name in varying}
        name = _name(told)
        if name in configs and json.dumps(records[name]) != json.dumps(told):
            # The number inf and the text "inf" are spelt alike.
            name = f"{name}~{_digest(json.dumps(told))}"
        if name in configs:
            raise _error(f"expected every value once, got {name} twice")
        configs[name], records[name] = config, told
    return configs


def _seeds(base: Any, axes: Mapping[str, Any], seeds: int) -> tuple[int, ...]:
    if integer("grid", "seeds", seeds) > MOST_SEEDS:
        raise _error(f"seeds: expected at most {MOST_SEEDS:,}, got {seeds}")
    first = getattr(base, "seed", None)
    if type(first) is not int:
        raise _error(f"seeds: expected a config with an integer field 'seed', got seed={first!r}")
    if "seed" in axes:
        raise _error("expected seeds or values of the field 'seed', got both")
    return tuple(range(first, first + seeds))


def _error(message: str) -> OptionError:
    return OptionError(message, path=("grid",))


def _name(point: Mapping[str, Any]) -> str:
    whole = ",".join(f"{field}={_spelt(value)}" for field, value in point.items())
    # Case counts for nothing on some file systems, and so it must not in what tells names apart.
    safe = re.sub(r"[^A-Za-z0-9._=,+-]", "_", whole)
    if safe == whole.lower() and len(safe) <= LONGEST:
        return safe
    return f"{safe[: LONGEST - 9]}~{_digest(whole)}"


def _digest(text: str) -> str:
    # A path may hold what is no letter.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _spelt(entry: Any) -> str:
    """Return how a value that JSON holds stands in a name."""
    if isinstance(entry, list):
        parts = (f"({_spelt(each)})" if isinstance(each, list) else _spelt(each) for each in entry)
        return "x".join(parts)
    if isinstance(entry, dict):
        return json.dumps(entry)
    return str(entry).lower() if entry is None or isinstance(entry, bool) else str(entry)


def varied(configs: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the plain values of every field in which configs differ; what varies fastest is last."""
    seen: dict[str, list[Any]] = {}
    changes: dict[str, int] = {}
    before: dict[str, Any] = {}
    for config in configs.values():
        now = about(config)
        for field, value in now.items():
            values = seen.setdefault(field, [])
            if value not in values:
                values.append(value)
            changes[field] = changes.get(field, 0) + (before.get(field) != value)
        before = now
    differ = [field for field, values in seen.items() if len(values) > 1]
    return {field: seen[field] for field in sorted(differ, key=changes.__getitem__)}


def about(config: Any) -> dict[str, Any]:
    """Return what a config says, but for the folder, by the full names of the fields."""
    whole = flat(entries(config), type(config))
    return {field: value for field, value in whole.items() if field != "out"}
