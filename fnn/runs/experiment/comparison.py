"""Train a run again and say whether it came out the same, and if not, what differs first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from fnn.errors import DataError
from fnn.files import PathLike
from fnn.runs.config import C
from fnn.runs.experiment.claims import compare_files, compare_records, same
from fnn.runs.experiment.conditions import CODE, changes
from fnn.runs.experiment.execution import Train, begin, recorded
from fnn.runs.experiment.folders import read_metrics, read_run
from fnn.runs.experiment.program import history, last_program


@attrs.frozen
class Replay:
    """What a replay came to.

    Attributes:
        folder: The folder of the replay.
        identical: Whether all that was compared is the same, bit for bit: metrics, model, what was
            said of the test set, and what run.json says of data, network, parameters and result.
        lines: What there is to say about it: what differs, what was not compared, and what changed.
    """

    folder: Path
    identical: bool
    lines: tuple[str, ...]


def replay(
    train: Train[C], config_class: type[C], folder: PathLike, out: PathLike | None = None
) -> Replay:
    """Train from a run's config into a fresh folder and compare.

    Args:
        train: The function that trains.
        config_class: The class of its config.
        folder: The finished run.
        out: Where the replay goes; by default beside the run, under its name and "-replay".

    Raises:
        DataError: If the folder holds no finished run of this script, or `out` holds a run.
    """
    folder = Path(folder)
    config, about = recorded(train, config_class, folder)
    if about.get("status") != "finished":
        raise DataError(f"{folder}: expected a finished run, got {about.get('status')!r}; resume it")
    # The name as it is spelt may be "." or end in "..".
    beside = folder.resolve()
    target = beside.with_name(f"{beside.name}-replay") if out is None else Path(out)
    if not folder.is_absolute() and target.is_relative_to(Path.cwd()):
        target = target.relative_to(Path.cwd())
    fresh, _ = begin(train, config, target, numbered=out is None)
    return compare(folder, fresh)


def compare(folder: Path, fresh: Path) -> Replay:
    """Compare all that the folders of two finished runs claim."""
    before, after = read_run(folder), read_run(fresh)
    old, new = read_metrics(folder), read_metrics(fresh)
    found = compare_records(before, after)
    files = compare_files(folder, fresh, is_current="fnn" in before)
    lines = [*_metric_lines(old, new), *files.differences, *found.differences]
    aside = [*found.unchecked, *files.unchecked]
    notes = [f"unchecked: {', '.join(aside)}"] if aside else []
    notes += [f"program: {line}" for line in history(before)]
    changed = changes({**before, **last_program(before)}, after)
    if not lines:
        digest = f"digest {after['digest']}" if after.get("digest") else "no parameters"
        # Other code that comes to the same bits is no difference, but no secret either.
        notes += [line for line in changed if line.startswith(CODE)]
        return Replay(fresh, True, (*notes, f"identical: {len(new)} records, {digest}"))
    reasons = ["conditions that changed:", *changed] if changed else ["no recorded condition changed"]
    return Replay(fresh, False, ("different", *lines, *notes, *reasons))


def _metric_lines(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[str]:
    lines = []
    for number, (a, b) in enumerate(zip(old, new, strict=False), 1):
        columns = [
            name
            for name in {**a, **b}
            if (name in a) != (name in b) or not same(a.get(name), b.get(name))
        ]
        if columns:
            name = columns[0]
            place = ", ".join(f"{key} {a[key]}" for key in ("epoch", "step") if key in a)
            where = f"record {number}" + (f" ({place})" if place else "")
            values = " -> ".join(f"{each.get(name, 'absent')!s:.80}" for each in (a, b))
            lines.append(f"first at {where}: {name:.80} {values}")
            lines.append(f"largest relative difference of {name:.80}: {_largest(name, old, new):.2g}")
            break
    if len(old) != len(new):
        lines.append(f"records: {len(old)} -> {len(new)}")
    return lines


def _largest(name: str, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> float:
    """Return the largest difference of a column, relative to the first run's number."""
    largest = 0.0
    for a, b in zip(old, new, strict=False):
        x, y = a.get(name), b.get(name)
        if isinstance(x, int | float) and isinstance(y, int | float):
            try:
                largest = max(largest, abs(x - y) / (abs(x) or 1.0))
            except OverflowError:  # Whole numbers beyond all floats.
                largest = float("inf")
        elif x != y:  # NaN is a text in a record.
            largest = float("inf")
    return largest
