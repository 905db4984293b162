"""The members of a sweep: their configs, and the names of their folders."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from fnn.config import C, config_from, plain
from fnn.errors import OptionError
from fnn.options import integer

MOST_SEEDS = 1_000_000
"""How many seeds a combination may have; every one becomes a run."""

LONGEST = 100
"""How many characters a member's name may have; some file systems take 143 bytes."""


def grid(base: C, axes: Mapping[str, Iterable[Any]], *, seeds: int | None = None) -> dict[str, C]:
    """Return the configs of all combinations by name, such as "learning_rate=0.1,seed=3".

    Args:
        base: The config that holds for all members where nothing else is said.
        axes: The values of every field that varies; the last field varies fastest.
        seeds: How many seeds every combination gets: base.seed, base.seed + 1 and so on.

    Raises:
        OptionError: If there is no such field, a value is ill-typed, out of range or there twice, a
            field has no values, or nothing varies; names the field.
    """
    axes = {name: tuple(values) for name, values in axes.items()}
    if seeds is not None:
        axes |= {"seed": _seeds(base, axes, seeds)}
    known = [field.name for field in attrs.fields(type(base)) if field.name != "out"]  # type: ignore[arg-type]
    for name, values in axes.items():
        if name not in known:
            raise _error(f"expected fields among {known}, got {name!r}")
        if not values:
            raise _error(f"{name}: expected one value or more, got none")
    if not axes:
        raise _error("expected a grid or seeds, got neither")
    whole = plain(base)
    configs: dict[str, C] = {}
    for point in itertools.product(*axes.values()):
        changes = dict(zip(axes, point, strict=True))
        config = config_from(type(base), {**whole, **plain(changes)})
        name = _name({field: getattr(config, field) for field in axes})
        if name in configs:
            raise _error(f"expected every value once, got {name} twice")
        configs[name] = config
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
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{safe[: LONGEST - 9]}~{digest}"


def _spelt(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(_spelt, value))
    return str(plain(value)).lower() if value is None or isinstance(value, bool) else str(plain(value))


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
    """Return what a config says, but for the folder."""
    return {field: value for field, value in plain(config).items() if field != "out"}
