"""What members came to: a row per grid point, mean and standard error over its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from fnn.files import shown
from fnn.runs.tables import markdown_table, mean_and_error
from fnn.training.history import Mode

_SMALL_IS_GOOD = ("loss", "error", "wrong", "perplexity", "seconds", "minutes")
_TEXTS = ("nan", "inf", "-inf")


@attrs.frozen
class Row:
    """A grid point.

    Attributes:
        point: The fields that tell it from others, with their plain values.
        n: How many of its members finished.
        results: Mean and standard error of every number; the latter is NaN for a single member.
        best: Whether no other row has a better mean of what is monitored.
    """

    point: dict[str, Any]
    n: int
    results: dict[str, tuple[float, float]]
    best: bool = False

    def plain(self) -> dict[str, Any]:
        """Return the row for a file."""
        results = {
            name: {"mean": mean, "standard_error": error}
            for name, (mean, error) in self.results.items()
        }
        return {"point": self.point, "n": self.n, "results": results, "best": self.best}


def numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the numeric entries of a result; NaN and infinities may be texts, as in run.json."""
    return {
        name: _float(value)
        for name, value in result.items()
        if (isinstance(value, int | float) and not isinstance(value, bool)) or value in _TEXTS
    }


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def rows_of(
    members: Iterable[tuple[dict[str, Any], Mapping[str, Any] | None]],
    monitor: str | None,
    mode: Mode | None,
) -> tuple[list[Row], str]:
    """Return a row per point and what the best one is best by, "" if nothing tells.

    Args:
        members: Point and result of each, None for one that did not finish.
        monitor: The result to compare; the first number by default.
        mode: Whether a small or a large one is good; by default its name decides.
    """
    points: dict[str, tuple[dict[str, Any], list[dict[str, float]]]] = {}
    for point, result in members:
        _, found = points.setdefault(repr(point), (point, []))
        if result is not None:
            found.append(numbers(result))
    rows = []
    for point, found in points.values():
        names = dict.fromkeys(name for each in found for name in each)
        results = {
            name: mean_and_error([each[name] for each in found if name in each]) for name in names
        }
        rows.append(Row(point, len(found), results))
    monitor = monitor or next((name for row in rows for name in row.results), None)
    if monitor is None:
        return rows, ""
    if mode is None:
        mode = "min" if any(word in monitor for word in _SMALL_IS_GOOD) else "max"
    means = [row.results.get(monitor, (math.nan, 0.0))[0] for row in rows]
    right = [mean for mean in means if not math.isnan(mean)]
    if not right:
        return rows, ""
    best = min(right) if mode == "min" else max(right)
    rows = [attrs.evolve(row, best=mean == best) for row, mean in zip(rows, means, strict=True)]
    return rows, f"{'smallest' if mode == 'min' else 'largest'} {monitor}"


def markdown(rows: Sequence[Row], best_by: str) -> str:
    """Return the table as aligned Markdown, the best row marked with "*"."""
    fields = list(dict.fromkeys(name for row in rows for name in row.point))
    names = list(dict.fromkeys(name for row in rows for name in row.results))
    head, table = ["", *map(shown, fields), "runs", *map(shown, names)], []
    for row in rows:
        cells = [_cell(row.point.get(field)) for field in fields]
        means = [_spread(*row.results[name]) if name in row.results else "–" for name in names]
        table.append(["*" if row.best else "", *cells, str(row.n), *means])
    note = "mean ± standard error over the runs" + (f"; * {best_by}" if best_by else "")
    return f"{markdown_table(head, table, aligned=True)}\n\n{note}"


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return shown(",".join(map(str, value)))
    return shown(value).replace("|", "\\|")


def _spread(mean: float, error: float) -> str:
    return f"{mean:.5g}" if math.isnan(error) else f"{mean:.5g} ± {error:.2g}"
