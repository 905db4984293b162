"""What a run's folder claims, compared entry by entry and leaf by leaf with what a replay came to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.errors import DataError
from fnn.files import is_temporary, opened
from fnn.runs.checkpoint import load_tree
from fnn.runs.experiment.conditions import LATER, RECORDED
from fnn.runs.experiment.folders import METRICS, RUN
from fnn.runs.experiment.lock import LOCK
from fnn.runs.experiment.runs import EVALUATION, MODEL

LOG = "log.txt"
# When and how it was done, which no replay repeats.
_CIRCUMSTANCES = ("command", "started", "ended", "seconds", "resumed", "error")
_ASIDE = ("format", "experiment", "status", "config", *_CIRCUMSTANCES)
# What is made of other files, or says what a program did on its way.
_DERIVED = ("report.html", "report.md", LOG)
# Entries that every run with such content has had from the beginning: where one is missing, somebody
# took it away. Others may be missing because the run is older than they are.
_ALWAYS = ("seed", "network", "data", "parameters", "digest", "result")
_RECIPE = "recipe"
_MOST_LINES, _MOST_FILES, _CHUNK = 8, 10_000, 1 << 20
_ABSENT = object()


@attrs.frozen
class Compared:
    """What two folders differ in, and what nobody compared."""

    differences: list[str] = attrs.field(factory=list)
    unchecked: list[str] = attrs.field(factory=list)


def compare_records(before: Mapping[str, Any], after: Mapping[str, Any]) -> Compared:
    """Compare all that run.json says of two runs, but what `changes` compares and when they were."""
    found = Compared()
    # Written by every fnn that writes all the entries there are now.
    is_current = "fnn" in before
    named = [name for name in {**before, **after} if name not in (*_ASIDE, *_conditions())]
    for name in sorted(named, key=lambda name: (name not in _ALWAYS, name)):
        if name not in before and name not in _ALWAYS and not is_current:
            found.unchecked.append(name)
        else:
            found.differences.extend(
                _few(_unlike(name, before.get(name, _ABSENT), after.get(name, _ABSENT)))
            )
    for name, value in after["config"].items():
        if name != "out" and name not in before["config"]:
            found.unchecked.append(f"config.{name} (absent, taken as {_shown(value)})")
        elif name != "out":
            found.differences.extend(_few(_unlike(f"config.{name}", before["config"][name], value)))
    found.unchecked.extend(name for name in LATER if name not in before)
    found.unchecked.extend(name for name in ("script",) if before.get(name) is None)
    found.unchecked.extend(name for name in _CIRCUMSTANCES if before.get(name) is not None)
    return found


def _conditions() -> tuple[str, ...]:
    return tuple(name for name in (*RECORDED, *LATER) if name not in _ALWAYS)


def same(a: Any, b: Any) -> bool:
    """Return whether two values of JSON are the same, 1 and 1.0 or 0.0 and -0.0 not being so."""
    return _text(a) == _text(b)


def _text(value: Any) -> str | object:
    return value if value is _ABSENT else json.dumps(value, sort_keys=True)


def _unlike(name: str, a: Any, b: Any) -> Iterator[str]:
    """Give a line for every entry in which two values differ, branch by branch."""
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a and b:
        for key in sorted({**a, **b}):
            yield from _unlike(f"{name}.{key:.80}", a.get(key, _ABSENT), b.get(key, _ABSENT))
    elif not same(a, b):
        yield f"{name}: {_shown(a)} -> {_shown(b)}"


def _shown(value: Any) -> str:
    return "absent" if value is _ABSENT else f"{value!s:.80}"


def _few(lines: Iterator[str]) -> list[str]:
    found = list(lines)
    rest = len(found) - _MOST_LINES
    return found if rest <= 0 else [*found[:_MOST_LINES], f"and {rest} more"]


def compare_files(folder: Path, fresh: Path, *, is_current: bool) -> Compared:
    """Compare the files of two runs: saved trees leaf by leaf, others byte by byte.

    Args:
        folder: The run.
        fresh: Its replay.
        is_current: Whether the run was made by an fnn that writes all that is written now.
    """
    found = Compared()
    names = [set(_names(each)) for each in (folder, fresh)]
    for name in sorted(names[0] | names[1] | {MODEL, EVALUATION}):
        there = [name in each for each in names]
        if name in (MODEL, EVALUATION):
            if there[0] != there[1]:
                states = ("there" if each else "absent" for each in there)
                found.differences.append(f"{name}: {' -> '.join(states)}")
            elif all(there):
                _compare_trees(found, name, folder, fresh, is_current=is_current)
        elif name in _DERIVED or not all(there):
            if there[0] or name not in _DERIVED:
                found.unchecked.append(name if there[0] else f"{name} (absent)")
        elif not _equal_bytes(name, folder, fresh) and not (
            name.endswith(".npz")
            and _compare_trees(found, name, folder, fresh, is_current=is_current, foreign=True)
        ):
            found.unchecked.append(f"{name} (has other bytes)")
    if any(name.startswith("checkpoints") for name in _top(folder)):
        found.unchecked.append("checkpoints")
    return found


def _top(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from None


def _names(folder: Path) -> Iterator[str]:
    """Give the files of a run by their paths below it, but those that are compared otherwise."""
    count = 0
    for place, folders, files in os.walk(folder):
        if Path(place) == folder:
            folders[:] = [name for name in folders if not name.startswith("checkpoints")]
            files = [name for name in files if name not in (RUN, METRICS, LOCK)]
        for name in files:
            path = Path(place, name)
            if is_temporary(name) or path.is_symlink():
                continue
            count += 1
            if count > _MOST_FILES:
                return
            yield path.relative_to(folder).as_posix()


def _equal_bytes(name: str, folder: Path, fresh: Path) -> bool:
    try:
        with (
            opened(folder / name, within=folder) as one,
            opened(fresh / name, within=fresh) as other,
        ):
            if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
                return False
            while chunk := one.read(_CHUNK):
                if chunk != other.read(_CHUNK):
                    return False
    except OSError:
        return False
    return True


def _compare_trees(
    found: Compared, name: str, folder: Path, fresh: Path, *, is_current: bool, foreign: bool = False
) -> bool:
    """Compare two saved trees; return False if they are none, which a `foreign` file may be."""
    try:
        old, new = (dict(tree.items(load_tree(each / name, within=each))) for each in (folder, fresh))
    except DataError as error:
        if not foreign:
            found.differences.append(f"{name}: {error}")
        return False
    if name == MODEL and _RECIPE in new and _RECIPE not in old and not is_current:
        found.unchecked.append(f"{name}: {_RECIPE}")
        del new[_RECIPE]
    for path in sorted(old.keys() | new.keys()):
        line = _leaf_line(old.get(path), new.get(path))
        if line:
            found.differences.append(f"{name}: first leaf: {path}: {line}")
            break
    return True


def _leaf_line(a: Any, b: Any) -> str:
    """Return how two leaves differ, "" if they do not; NaN equals itself, and 0 is not -0."""
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        return " -> ".join("absent" if x is None else f"{x.dtype}{list(x.shape)}" for x in (a, b))
    if a.tobytes() == b.tobytes():
        return ""
    if a.dtype.kind not in "fc":
        return f"{np.count_nonzero(a != b)} of {a.size} entries differ"
    with np.errstate(all="ignore"):
        gap, peak = (float(np.max(np.abs(x), initial=0.0)) for x in (a - b, a))
    return f"differs by up to {gap:.3g}, its largest entry is {peak:.3g}"
