"""Train a run again and say whether it came out the same, and if not, what differs first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.checkpoint import load_tree
from fnn.config import C
from fnn.errors import DataError
from fnn.experiment.conditions import changes
from fnn.experiment.execution import Train, begin, recorded
from fnn.experiment.folders import read_metrics, read_run
from fnn.experiment.runs import MODEL
from fnn.files import PathLike


@attrs.frozen
class Replay:
    """What a replay came to.

    Attributes:
        folder: The folder of the replay.
        identical: Whether digest and metrics are the same, bit for bit.
        lines: What there is to say about it.
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
    """Compare the digests and the metrics of two finished runs."""
    before, after = read_run(folder), read_run(fresh)
    old, new = read_metrics(folder), read_metrics(fresh)
    lines = _metric_lines(old, new)
    digests = [run.get("digest") for run in (before, after)]
    if digests[0] != digests[1]:
        lines += [f"digest: {digests[0]} -> {digests[1]}", *_leaf_lines(folder, fresh)]
    if not lines:
        digest = f"digest {digests[0]}" if digests[0] else "no parameters"
        return Replay(fresh, True, (f"identical: {len(new)} records, {digest}",))
    changed = changes(before, after)
    reasons = ["conditions that changed:", *changed] if changed else ["no recorded condition changed"]
    return Replay(fresh, False, ("different", *lines, *reasons))


def _metric_lines(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[str]:
    lines = []
    for number, (a, b) in enumerate(zip(old, new, strict=False), 1):
        columns = [name for name in {**a, **b} if a.get(name) != b.get(name)]
        if columns:
            name = columns[0]
            place = ", ".join(f"{key} {a[key]}" for key in ("epoch", "step") if key in a)
            where = f"record {number}" + (f" ({place})" if place else "")
            values = " -> ".join(f"{each.get(name)!s:.80}" for each in (a, b))
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
            largest = max(largest, abs(x - y) / (abs(x) or 1.0))
        elif x != y:  # NaN is a text in a record.
            largest = float("inf")
    return largest


def _leaf_lines(folder: Path, fresh: Path) -> list[str]:
    if not all((run / MODEL).is_file() for run in (folder, fresh)):
        return []
    old, new = (_leaves(load_tree(run / MODEL).get("params")) for run in (folder, fresh))
    for path in sorted(old.keys() | new.keys()):
        a, b = old.get(path), new.get(path)
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            got = " -> ".join("absent" if x is None else f"{x.dtype}{list(x.shape)}" for x in (a, b))
            return [f"first leaf: {path}: {got}"]
        if a.tobytes() != b.tobytes():
            with np.errstate(all="ignore"):
                gap = np.max(np.abs(a - b), initial=0.0)
            return [
                f"first leaf: {path}: differs by up to {gap:.3g}, its largest entry is {_peak(a):.3g}"
            ]
    return []


def _leaves(params: Any) -> dict[str, Any]:
    return dict(tree.items(params)) if isinstance(params, Mapping) else {}


def _peak(a: Any) -> float:
    return float(np.max(np.abs(a), initial=0.0))
