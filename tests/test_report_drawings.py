"""What reports are drawn with: ticks, thinning, spreads, paths with gaps, PNGs."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnn.runs.report import svg
from fnn.runs.report.chart import HEIGHT, WIDTH, chart
from fnn.runs.report.images import as_images, greys, weights
from fnn.runs.report.reading import Column
from fnn.runs.report.series import MOST_POINTS, by_measure, line, role, thinned
from fnn.runs.report.ticks import decades, ticks


def decoded(png):
    """Return the pixels of a PNG that has no filters."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data = 8, b""
    while at < len(png):
        (n,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + n]
        assert zlib.crc32(kind + body) == struct.unpack(">I", png[at + 8 + n : at + 12 + n])[0]
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", body[:10])
        data += body if kind == b"IDAT" else b""
        at += 12 + n
    assert depth == 8
    channels = {0: 1, 2: 3, 6: 4}[color]
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * channels)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, channels)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 10))
def test_ticks_are_few_round_and_hold_the_range(low, span, most):
    found = ticks(low, low + span, most)
    assert 2 <= len(found) <= most + 3
    slack = 1e-6 * (found[1] - found[0]) + 1e-9 * abs(low)
    assert found[0] <= low + slack
    assert found[-1] >= low + span - slack
    # Beside large numbers a small step is known as well as floats lie there.
    known = 2 * np.spacing(abs(low) + span)
    step = found[1] - found[0]
    near = [n * 10.0 ** np.floor(np.log10(step)) for n in (1, 2, 5, 10)]
    assert min(abs(step - round_one) for round_one in near) <= 1e-9 * step + known


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.2, 30, [0.1, 1, 10, 100]),
        (0.3, 0.6, [0.2, 0.5, 1.0]),
        (2, 40, [2, 5, 10, 20, 50]),
        (1e-9, 1e3, [1e-9, 1e-7, 1e-5, 1e-3, 1e-1, 1e1, 1e3]),
    ],
)
def test_decades_hold_the_range(low, high, expected):
    assert decades(low, high) == pytest.approx(expected)


def test_a_range_of_one_value_has_ticks_about_it():
    for value in (0.0, 5.0, -2.0):
        found = ticks(value, value, 5)
        assert found[0] < value < found[-1]


@given(st.lists(st.one_of(st.floats(-9, 9), st.just(float("nan"))), min_size=1, max_size=3000))
def test_thinning_keeps_the_ends_the_extremes_and_a_gap(values):
    y = np.array(values)
    at = thinned(y)
    assert len(at) <= MOST_POINTS
    assert (at[0], at[-1]) == (0, len(y) - 1)
    assert np.all(np.diff(at) > 0)
    if np.isfinite(y).any():
        assert (np.nanmin(y[at]), np.nanmax(y[at])) == (np.nanmin(y), np.nanmax(y))
    assert np.isnan(y[at]).any() == np.isnan(y).any()


def test_the_mean_of_several_is_over_those_that_have_a_value():
    a = Column("epoch", np.array([1.0, 2, 3]), np.array([1.0, 2, np.nan]))
    b = Column("epoch", np.array([1.0, 2, 3, 4]), np.array([3.0, 6, 5, 7]))
    drawn = line("x", 0, [a, b])
    assert list(drawn.x) == [1, 2, 3, 4]
    assert list(drawn.y) == [2, 4, 5, 7]
    spread = [np.sqrt(2), np.sqrt(8), np.nan, np.nan]
    np.testing.assert_allclose(drawn.high - drawn.y, spread)
    np.testing.assert_allclose(drawn.y - drawn.low, spread)


def test_metrics_are_grouped_by_what_they_measure():
    assert role("validation_loss") == ("loss", "validation")
    assert role("train_loss") == ("loss", "training")
    names = ["rate", "accuracy", "loss", "validation_accuracy"]
    assert list(by_measure(names).items()) == [
        ("loss", ["loss"]),
        ("accuracy", ["accuracy", "validation_accuracy"]),
        ("rate", ["rate"]),
    ]


def test_paths_and_areas_are_in_pieces_where_there_is_nothing():
    x, nan = np.arange(5.0), np.nan
    assert 'd="M0.0 1.0L1.0 2.0M3.0 3.0L4.0 4.0"' in svg.path(x, np.array([1, 2, nan, 3, 4]))
    low, high = np.array([0, 0, nan, 0, 0]), np.array([1.0, 1, 1, 1, 1])
    assert svg.area(x, low, high).count("Z") == 2
    assert svg.path(x, np.full(5, nan)) == ""


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40), st.booleans())
def test_a_chart_stays_within_its_frame(values, direct):
    column = Column("step", np.arange(len(values), dtype=float), np.array(values))
    drawing, is_log = chart([line("training", 0, [column])], title="Loss", axis="step", direct=direct)
    assert is_log == (max(values) / min(values) >= 50)
    data = drawing.split('d="M')[1].split('"')[0]
    points = np.array([point.split() for point in data.split("L")], float)
    assert points.min() >= 0
    assert points[:, 0].max() <= WIDTH
    assert points[:, 1].max() <= HEIGHT


def test_names_at_the_ends_of_lines_never_overlap():
    columns = [Column("epoch", np.array([1.0, 2]), np.array([5.0, 1 + i / 1000])) for i in range(6)]
    lines = [line(f"name {i}", i, [column]) for i, column in enumerate(columns)]
    drawing, _ = chart(lines, title="Rate", axis="epoch")
    names = [part for part in drawing.split("<text ") if 'class="name"' in part]
    heights = [float(part.split('y="')[1].split('"')[0]) for part in names]
    assert len(heights) == 6
    assert np.diff(sorted(heights)).min() >= 14.9


def test_images_become_pngs_with_high_values_dark():
    images = np.array([[[0.0, 1.0], [0.5, np.nan]]])
    assert decoded(greys(images)[0])[:, :, 0].tolist() == [[255, 0], [128, 255]]
    colors = as_images(np.array([0, 0, 255], np.uint8).reshape(1, 3, 1, 1))
    assert decoded(greys(colors)[0]).tolist() == [[[0, 0, 255]]]
    assert decoded(greys(np.full((1, 2, 2), 7.0))[0]).shape == (2, 2, 1)
    assert len(greys(np.array([[[1e308, -1e308]]]))) == 1


def test_weights_are_blue_above_red_below_and_white_at_zero():
    pngs, largest = weights(np.array([[[2.0, -2.0, 0.0, np.inf]]]))
    assert largest == 2
    assert decoded(pngs[0]).tolist() == [[[0, 114, 178], [213, 94, 0], [255] * 3, [255] * 3]]
    assert weights(np.zeros((1, 2, 2)))[1] == 1


def test_large_images_are_shown_small():
    assert as_images(np.zeros((2, 1, 1000, 500), np.float32)).shape == (2, 125, 63)
    assert as_images(np.zeros((2, 784))).shape == (2, 28, 28)
    assert as_images(np.array([["a"]])) is None
