"""Axes of charts: readable ticks whatever the series, and a flat line for what only rounds."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from report_cases import Parsed, make_run

from fnn.runs.pictures.axes import FLAT, drawable, limits
from fnn.runs.report import write
from fnn.runs.report.chart import HEIGHT, WIDTH, chart, is_drawable
from fnn.runs.report.reading import Column
from fnn.runs.report.series import line
from fnn.runs.report.ticks import labels, tick_label, ticks, whole_ticks

HARD = [0.0, -0.0, 5e-324, 1e-310, 1e-300, 1e-200, 1.0, math.nextafter(1, 2), -3.0, 1e16, 1e300]
HARD += [1.7e308, -1.7e308, math.inf, -math.inf, math.nan, 0.69314718, 0.6931472]
VALUES = st.lists(st.sampled_from(HARD) | st.floats(), max_size=30)


def labels_of(drawing):
    """Return the labels of y, those of x and the places of the lines of the grid."""
    tick = r'<text x="[-\d.]+" y="([-\d.]+)" text-anchor="(end|middle)" class="tick">([^<]*)</text>'
    found = re.findall(tick, drawing)
    rows = [text for _, anchor, text in found if anchor == "end"]
    return rows, [text for _, anchor, text in found if anchor == "middle"][:-1]


def points_of(drawing):
    paths = re.findall(r'<path d="([^"]*)" class="line"', drawing)
    pairs = [point.split() for path in paths for point in re.split("[ML]", path)[1:]]
    circles = re.findall(r'<circle cx="([^"]*)" cy="([^"]*)"', drawing)
    return np.array([*pairs, *circles], float)


@given(VALUES, st.sampled_from(["Loss", "Accuracy", "Rate"]), st.booleans())
@example([0.6931472, 0.69314724] * 9, "Loss", True)
@example([1.0] * 3, "Accuracy", True)
@example([1.0, math.nextafter(1, 2)], "Rate", False)
@example([5e-324, 0.0], "Loss", True)
@example([1e-300, 1e300], "Loss", True)
@example([-1.7e308, 1.7e308], "Rate", True)
@pytest.mark.filterwarnings("error")
def test_any_series_has_an_axis_of_two_distinct_readable_ticks_or_is_not_drawn(values, title, direct):
    column = Column("epoch", np.arange(len(values)) + 1.0, np.array(values, float))
    drawn = line("training", 0, [column])
    finite = [value for value in values if abs(value) <= 1e300]
    assert is_drawable(drawn) == bool(finite)
    if not finite:
        return
    drawing, _ = chart([drawn], title=title, axis="epoch", direct=direct)
    rows, columns = labels_of(drawing)
    assert 2 <= len(rows) <= 12
    assert len(set(rows)) == len(rows)
    assert max(map(len, rows)) <= 14
    assert len(columns) >= min(2, len(values))
    places = points_of(drawing)
    assert np.isfinite(places).all()
    assert places.min() >= 0
    assert places[:, 0].max() <= WIDTH
    assert places[:, 1].max() <= HEIGHT


@given(st.floats(1e-290, 1e290), st.lists(st.floats(-1, 1), min_size=2, max_size=20), st.booleans())
def test_what_only_rounds_is_a_flat_line(size, noise, negative):
    y = size * (1 + 2e-7 * np.array(noise)) * (-1 if negative else 1)
    column = Column("epoch", np.arange(len(y)) + 1.0, y)
    drawing, _ = chart([line("training", 0, [column])], title="Loss", axis="epoch")
    heights = points_of(drawing)[:, 1]
    assert np.ptp(heights[: len(y)]) <= 0.11  # A tenth of a unit is how finely places are written.


@given(st.lists(VALUES, min_size=2, max_size=4))
@pytest.mark.filterwarnings("error")
def test_the_mean_of_any_runs_is_drawn_with_its_band(runs):
    columns = [Column("epoch", np.arange(len(y)) + 1.0, np.array(y, float)) for y in runs]
    drawn = line("training", 0, columns)
    for edge in (drawn.y, drawn.low, drawn.high):
        assert not np.isinf(edge).any()
    if is_drawable(drawn):
        rows, _ = labels_of(chart([drawn], title="Loss", axis="epoch")[0])
        assert len(set(rows)) == len(rows) >= 2


def test_a_spread_of_huge_and_of_tiny_numbers_is_neither_infinite_nor_nothing():
    for size in (1e-250, 1e250):
        columns = [Column("epoch", np.array([1.0]), np.array([size * k])) for k in (1.0, 3.0)]
        drawn = line("training", 0, columns)
        np.testing.assert_allclose(drawn.y, 2 * size)
        np.testing.assert_allclose(drawn.high - drawn.y, math.sqrt(2) * size)


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_limits_hold_the_values_and_are_wide_enough_to_be_told_apart(a, b):
    a, b = (float(each) for each in drawable([a, b]))
    low, high = limits(min(a, b), max(a, b))
    assert low <= min(a, b) <= max(a, b) <= high
    assert high - low > FLAT * max(abs(low), abs(high))


def test_limits_respect_a_floor_and_a_ceiling_where_the_values_do():
    assert limits(0, 0, floor=0.0) == (0.0, 1.0)
    assert limits(1, 1, ceiling=1.0) == (0.8, 1.0)
    assert limits(2, 2, ceiling=1.0) == (1.8, 2.2)
    assert limits(-1, -1, floor=0.0) == (-1.1, -0.9)
    assert limits(0.25, 0.75, floor=0.0, ceiling=1.0) == (0.25, 0.75)


@given(st.floats(-1e290, 1e290), st.floats(0, 1e290), st.integers(2, 8))
def test_labels_tell_ticks_apart_and_say_what_they_are(low, span, most):
    low, high = (float(each) for each in drawable([low, low + span]))
    found = ticks(low, high, most)
    shown = labels(found)
    step = found[1] - found[0]
    units = {"k": 1e3, "M": 1e6}
    for label, tick in zip(shown, found, strict=True):
        plain = label.replace("−", "-").replace(",", "")
        value = float(plain.rstrip("kM")) * units.get(plain[-1], 1)
        assert abs(value - tick) <= step / 500
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], ["0.0", "0.5", "1.0"]),
        ([0.0, 20_000.0, 40_000.0], ["0", "20k", "40k"]),
        ([1_234_500.0, 1_234_600.0], ["1,234,500", "1,234,600"]),
        ([0.693140, 0.693142], ["0.693140", "0.693142"]),
        ([-2e-9, 0.0, 2e-9], ["−2e−9", "0", "2e−9"]),
        ([1e300, 2e300], ["1e300", "2e300"]),
        ([7.0], ["7"]),
    ],
)
def test_labels_are_written_as_a_reader_would(values, expected):
    assert labels(values) == expected


def test_single_ticks_are_short():
    assert list(map(tick_label, (0.0005, 2e4, 3e6, 1e-9, -4.0))) == [
        "0.0005",
        "20k",
        "3M",
        "1e−9",
        "−4",
    ]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1, 6, [1, 2, 3, 4, 5, 6]), (1, 1, [1]), (0.5, 1.2, [0.6, 0.8, 1.0]), (5, 6, [5, 6])],
)
def test_places_are_whole_where_two_whole_numbers_fit(low, high, expected):
    assert whole_ticks(low, high, 6) == pytest.approx(expected)


@pytest.mark.parametrize(
    "epochs",
    [[1], [0, 0.1], [1e16, 1e16 + 2, 1e16 + 4], [-1e300, 1e300], [5, 5, 5], [2, 1], [1e-310, 1]],
    ids=range(7),
)
def test_whatever_the_epochs_are_the_page_has_an_axis(tmp_path, epochs):
    lines = [json.dumps({"epoch": epoch, "loss": 1 + i}) + "\n" for i, epoch in enumerate(epochs)]
    folder = make_run(tmp_path / "run", lines=lines, model=False, seen=False)
    html_file, _ = write([folder])
    text = html_file.read_text("utf-8")
    assert Parsed(text).faults == []
    rows, columns = labels_of(text)
    assert len(rows) >= 2
    assert len(set(columns)) == len(columns) >= min(2, len(epochs))
    assert max(map(len, columns)) <= 14


def test_a_metric_with_a_long_name_leaves_room_for_its_line(tmp_path):
    lines = [json.dumps({"epoch": i, "a" * 300: i}) + "\n" for i in range(4)]
    html_file, _ = write([make_run(tmp_path / "run", lines=lines, model=False, seen=False)])
    places = points_of(html_file.read_text("utf-8"))
    assert np.ptp(places[:, 0]) > 60
