"""What a page says: of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence

from fnn.report import sections
from fnn.report.comparing import Group, differing, grouped, results, with_error
from fnn.report.parts import Cell, Drawings, Page, Section, Table, clip, plain_text, words
from fnn.report.reading import RunRecord
from fnn.report.sections import conditions, draw
from fnn.report.series import by_measure, label_of, line, one_axis

_MOST_ROWS = 500


def page_of(runs: Sequence[RunRecord]) -> Page:
    """Return the page of one run, or the comparison of several."""
    return _single(runs[0]) if len(runs) == 1 else _several(runs)


def _single(run: RunRecord) -> Page:
    notes = list(run.notes)
    network = sections.network_table(run, notes)
    found = [
        sections.cards(run),
        sections.curves(run),
        *sections.confusion_sections(run),
        sections.examples(run),
        sections.filters(run),
        network,
        sections.result_table(run),
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
    return Page(run.name, subtitle, tuple(notes), tuple(each for each in found if each))


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
    kinds = f"{len(groups)} configs" if len(groups) > 1 else "one config, different seeds"
    title = clip(", ".join(names))
    subtitle = f"{len(runs)} runs · {kinds}"
    return Page(title, subtitle, tuple(notes + network), tuple(each for each in found if each))


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
    table = Table(head, tuple(rows), "Mean ± standard error over the runs of a config")
    return Section("Mean ± standard error", (table,))


def _curves(groups: Sequence[Group]) -> Section | None:
    if len(groups) == 1:
        return _curves_of_seeds(groups[0])
    drawings = []
    names = list(dict.fromkeys(name for group in groups for run in group.runs for name in run.columns))
    for name in [name for measure in by_measure(names).values() for name in measure]:
        members = [[run.columns[name] for run in group.runs if name in run.columns] for group in groups]
        axis = next(columns[0].axis for columns in members if columns)
        lines = [
            line(group.label, i, same)
            for i, (group, columns) in enumerate(zip(groups, members, strict=True))
            if (same := [column for column in columns if column.axis == axis])
        ]
        title = name if name not in ("loss", "accuracy") else f"training_{name}"
        if drawn := draw(lines, title.replace("validation_", "test_"), axis, direct=False):
            drawings.append(drawn)
    labels = tuple(group.label for group in groups)
    spread = any(len(group.runs) > 1 for group in groups)
    title = "Curves: mean ± standard deviation" if spread else "Curves"
    return Section(title, (Drawings(tuple(drawings), labels),)) if drawings else None


def _curves_of_seeds(group: Group) -> Section | None:
    drawings = []
    names = list(dict.fromkeys(name for run in group.runs for name in run.columns))
    for measure, members in by_measure(names).items():
        lines = []
        axis = ""
        for i, name in enumerate(members):
            columns = one_axis([run.columns[name] for run in group.runs if name in run.columns])
            axis = axis or columns[0].axis
            if columns[0].axis == axis:
                lines.append(line(label_of(name, measure, len(members)), i, columns))
        if drawn := draw(lines, measure, axis):
            drawings.append(drawn)
    title = "Curves: mean ± standard deviation over seeds"
    return Section(title, (Drawings(tuple(drawings)),)) if drawings else None


def _run_table(runs: Sequence[RunRecord]) -> Section:
    """Return a row per run with the options and the results that are not the same everywhere."""
    configs = [run.config for run in runs]
    reached = [results(run) for run in runs]
    options = [name for name in differing(configs) if name != "out"]
    ends = differing(reached)
    status = len({run.about.get("status") for run in runs}) > 1
    rows: list[tuple[Cell, ...]] = []
    for run, config, end in zip(runs[:_MOST_ROWS], configs, reached, strict=False):
        row: list[Cell] = [clip(str(run.folder))]
        row += [plain_text(run.about.get("status"))] if status else []
        row += [plain_text(config.get(name)) for name in options]
        row += [end.get(name, "–") for name in ends]
        rows.append(tuple(row))
    head = ("run", *(["status"] if status else []), *map(words, [*options, *ends]))
    return Section("What differs", (Table(head, tuple(rows), "Options and results that differ"),))


def _same_config(runs: Sequence[RunRecord]) -> Section | None:
    """Return the options that all runs share."""
    different = {*differing([run.config for run in runs]), "out"}
    rows = tuple(
        (words(name), plain_text(value))
        for name, value in runs[0].config.items()
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
    table = Table(("condition", "value"), tuple(rows[:200]), "Conditions of the runs")
    return Section("Conditions", (table,), half=True) if rows else None
