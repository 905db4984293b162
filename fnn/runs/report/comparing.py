"""Several runs: which belong together, what differs in what they were told and what they reached."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from fnn.runs.report.parts import as_number, number, plain_text, words
from fnn.runs.report.reading import RunRecord
from fnn.runs.tables import mean_and_error

_NOT_GROUPED = ("seed", "out")
"""Options in which the runs of one group may differ: they are repetitions of one experiment."""


@attrs.frozen(eq=False)
class Group:
    """Runs of one config but for the seed.

    Attributes:
        label: The options in which it differs from the other groups, empty for the only group.
        runs: Its runs.
    """

    label: str
    runs: tuple[RunRecord, ...]


def _options(run: RunRecord) -> dict[str, str]:
    options = {
        name: json.dumps(value) for name, value in run.effective.items() if name not in _NOT_GROUPED
    }
    return {"experiment": run.name, **options}


def differing(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names whose values are not the same everywhere, in the order of their first use."""
    names = list(dict.fromkeys(name for each in entries for name in each))
    missing = object()
    first = entries[0] if entries else {}
    return [
        name
        for name in names
        # As text, so that NaN equals itself and 1 is not True.
        if any(repr(each.get(name, missing)) != repr(first.get(name, missing)) for each in entries[1:])
    ]


def grouped(runs: Sequence[RunRecord]) -> list[Group]:
    """Return the runs in groups of equal config but for the seed, in the order in which they came."""
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(json.dumps(_options(run), sort_keys=True), []).append(run)
    names = differing([_options(members[0]) for members in found.values()])
    groups = []
    for members in found.values():
        config = {"experiment": members[0].name, **members[0].effective}
        parts = [
            plain_text(config[name])
            if name == "experiment"
            else f"{words(name)} {plain_text(config[name])}"
            for name in names
            if name in config
        ]
        groups.append(Group(", ".join(parts), tuple(members)))
    return groups


def results(run: RunRecord) -> dict[str, float | int]:
    """Return what a run reached, numbers only."""
    found = {name: as_number(value) for name, value in run.result.items()}
    return {name: value for name, value in found.items() if value is not None}


def with_error(values: Sequence[float]) -> str:
    """Return "0.9243 ± 0.0012": the mean to the place of the error's second digit."""
    if len(set(values)) == 1:
        return number(values[0])
    mean, error = mean_and_error(values)
    # An error below the smallest number is none that could be said.
    if not math.isfinite(error) or not error:
        return number(mean)
    places = max(0, 1 - math.floor(math.log10(error)))
    if places > 12 or error > 1e12 or not math.isfinite(mean):
        return f"{number(mean)} ± {error:.2g}".replace("-", "−")
    return f"{mean:.{places}f} ± {error:.{places}f}".replace("-", "−")
