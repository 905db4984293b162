"""What a page says: of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence

from fnn.runs.report import sections
from fnn.runs.report.classes import class_sections
from fnn.runs.report.comparing import Group, differing, grouped, results, with_error
from fnn.runs.report.parts import (
    Block,
    Cell,
    Drawings,
    Page,
    Section,
    Table,
    Text,
    clip,
    plain_text,
    words,
)
from fnn.runs.report.reading import RunRecord
from fnn.runs.report.sections import MOST_CHARTS, conditions, draw
from fnn.runs.report.series import MOST_POINTS, by_measure, labels_of, line, measured_on, one_axis

_MOST_LINES = 12
# Beyond so many runs a line keeps fewer points, that the page stays of a size to be sent around.
_POINTS_IN_ALL = 6000


def page_of(runs: Sequence[RunRecord]) -> Page:
    """Return the page of one run, or the comparison of several."""
    return _single(runs[0]) if len(runs) == 1 else _several(runs)


def _single(run: RunRecord) -> Page:
    notes = list(run.notes)
    network = sections.network_table(run, notes)
    found = [
        sections.cards(run),
        sections.curves(run),
        *class_sections(run),
        sections.examples(run),
        sections.filters(run),
        network,
        sections.result_table(run),
        sections.training_table(run),
        sections.config_table(run),
        sections.conditions_table(run),
    ]
    about = run.about
    facts = [
        plain_text(about.get("status", "")),
        plain_text(about.get("started", "")).replace("T", " ")[:16],
        f"seed {plain_text(about['seed'])}" if about.get("seed") is not None else "",
        clip(str(run.folder)),
    ]
    subtitle = " · ".join(filter(None, facts))
    shown = tuple(each for each in found if each)
    return Page(run.name, subtitle, notes, shown, run.source)


def _several(runs: Sequence[RunRecord]) -> Page:
    groups = grouped(runs)
    notes = [f"{run.folder}: {note}" for run in runs for note in run.notes]
    network: list[str] = []
    found = [
        _group_table(groups),
        _curves(groups),
        _run_table(runs),
        _same_config(runs),
        _conditions(runs),
        # One table will do where all have the same.
        sections.network_table(runs[0], network) if len({run.recipe for run in runs}) == 1 else None,
    ]
    names = list(dict.fromkeys(run.name for run in runs))
    kinds = f"{len(groups):,} configs" if len(groups) > 1 else "one config, different seeds"
    sources = list(dict.fromkeys(run.source for run in runs if run.source))
    if len(sources) > 1:
        notes.insert(0, f"These runs were not on the same data: {'; '.join(sources)}")
    subtitle = f"{len(runs):,} runs · {kinds}"
    shown = tuple(each for each in found if each)
    source = sources[0] if len(sources) == 1 else ""
    return Page(", ".join(names), subtitle, notes + network, shown, source)


def _group_table(groups: Sequence[Group]) -> Section | None:
    """Return what each group reached: mean and standard error over its runs."""
    names = list(dict.fromkeys(name for group in groups for run in group.runs for name in results(run)))
    if not names:
        return None
    rows: list[tuple[Cell, ...]] = []
    for group in groups:
        cells: list[Cell] = [group.label or "all", len(group.runs)]
        for name in names:
            values = [results(run)[name] for run in group.runs if name in results(run)]
            # Where some failed the mean is of the others, which has to be said.
            few = f" (n = {len(values)})" if 0 < len(values) < len(group.runs) else ""
            cells.append(with_error(values) + few if values else "–")
        rows.append(tuple(cells))
    head = ("config", "runs", *map(words, names))
    table = Table(head, rows, "Mean ± standard error over the runs of a config")
    return Section("Mean ± standard error", (table,))


def _validation(runs: Sequence[RunRecord]) -> str:
    """Return what all the runs call their validation set."""
    names = {run.validation for run in runs}
    return min(names) if len(names) == 1 else "validation"


def _curves(groups: Sequence[Group]) -> Section | None:
    if len(groups) == 1:
        return _curves_of_seeds(groups[0])
    drawings, shown = [], groups[:_MOST_LINES]
    runs = [run for group in shown for run in group.runs]
    names = list(dict.fromkeys(name for run in runs for name in run.columns))
    called = _validation(runs)
    most = min(MOST_POINTS, max(40, _POINTS_IN_ALL // len(runs)))
    ordered = [name for measure in by_measure(names).values() for name in measure]
    for name in ordered[:MOST_CHARTS]:
        members = [[run.columns[name] for run in group.runs if name in run.columns] for group in shown]
        axis = next(columns[0].axis for columns in members if columns)
        lines = [
            line(group.label, i, same, most=most)
            for i, (group, columns) in enumerate(zip(shown, members, strict=True))
            if (same := [column for column in columns if column.axis == axis])
        ]
        if drawn := draw(lines, measured_on(name, called), axis, direct=False):
            drawings.append(drawn)
    if not drawings:
        return None
    labels = tuple(group.label for group in shown)
    spread = any(len(group.runs) > 1 for group in shown)
    title = "Curves: mean ± standard deviation" if spread else "Curves"
    blocks: list[Block] = [Drawings(tuple(drawings), labels)]
    left = [
        f"the first {number} of {total:,} {what}"
        for what, number, total in (
            ("configs", len(shown), len(groups)),
            ("metrics", MOST_CHARTS, len(ordered)),
        )
        if number < total
    ]
    if left:
        blocks.append(Text(f"Drawn are {' and '.join(left)}."))
    return Section(title, tuple(blocks))


def _curves_of_seeds(group: Group) -> Section | None:
    drawings = []
    names = list(dict.fromkeys(name for run in group.runs for name in run.columns))
    called = _validation(group.runs)
    measures = by_measure(names)
    for measure, members in list(measures.items())[:MOST_CHARTS]:
        lines = []
        axis = ""
        labels = labels_of(members, measure, called)
        for i, (name, label) in enumerate(zip(members, labels, strict=True)):
            columns = one_axis([run.columns[name] for run in group.runs if name in run.columns])
            axis = axis or columns[0].axis
            if columns[0].axis == axis:
                lines.append(line(label, i, columns))
        if drawn := draw(lines, measure, axis):
            drawings.append(drawn)
    if not drawings:
        return None
    blocks: list[Block] = [Drawings(tuple(drawings))]
    if len(measures) > MOST_CHARTS:
        blocks.append(Text(f"Drawn are the first {MOST_CHARTS} of {len(measures):,} measures."))
    return Section("Curves: mean ± standard deviation over seeds", tuple(blocks))


def _run_table(runs: Sequence[RunRecord]) -> Section:
    """Return a row per run with the options and the results that are not the same everywhere."""
    configs = [run.effective for run in runs]
    reached = [results(run) for run in runs]
    options = [name for name in differing(configs) if name != "out"]
    ends = differing(reached)
    states = [plain_text(run.about.get("status")) for run in runs]
    status = len(set(states)) > 1
    rows: list[tuple[Cell, ...]] = []
    for run, state, config, end in zip(runs, states, configs, reached, strict=True):
        row: list[Cell] = [clip(str(run.folder))]
        row += [state] if status else []
        row += [plain_text(config.get(name)) for name in options]
        row += [end.get(name, "–") for name in ends]
        rows.append(tuple(row))
    head = ("run", *(["status"] if status else []), *map(words, [*options, *ends]))
    return Section("What differs", (Table(head, rows, "Options and results that differ"),))


def _same_config(runs: Sequence[RunRecord]) -> Section | None:
    """Return the options that all runs share."""
    different = {*differing([run.effective for run in runs]), "out"}
    rows = tuple(
        (words(name), plain_text(value))
        for name, value in runs[0].effective.items()
        if name not in different
    )
    table = Table(("option", "value"), rows, "Options that are the same in all runs")
    return Section("Config of all runs", (table,), half=True) if rows else None


def _conditions(runs: Sequence[RunRecord]) -> Section | None:
    """Return the conditions of all runs; where they differ, how many runs had which."""
    found = [conditions(run) for run in runs]
    different = differing(found)
    rows: list[tuple[Cell, ...]] = []
    for name in dict.fromkeys(name for each in found for name in each):
        if name not in different:
            rows.append((name, found[0][name]))
            continue
        counts: dict[str, int] = {}
        for each in found:
            value = each.get(name, "–")
            counts[value] = counts.get(value, 0) + 1
        # What is different in every run, as times and digests are, explains nothing here.
        if len(counts) < len(runs) or len(runs) == 2:
            rows.append((name, clip("; ".join(f"{value} ({n} runs)" for value, n in counts.items()))))
    table = Table(("condition", "value"), rows, "Conditions of the runs")
    return Section("Conditions", (table,), half=True) if rows else None
