"""What a stranger's run.json holds: of any type, of any length; the page stays a page."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_cases import Parsed, make_run

from fnn.errors import FnnError
from fnn.runs.report import write
from fnn.runs.report.comparing import with_error
from fnn.runs.report.parts import MAX_COLUMNS, MAX_NOTES, MAX_ROWS, Page, Table
from fnn.runs.tables import mean_and_error

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "nan", "inf", "\ud800", "<b>", "_", "x" * 900])
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ENTRIES = [
    "experiment", "status", "error", "config", "result", "seed", "started", "seconds", "minutes",
    "network", "layers", "fits", "used", "source", "data", "git", "versions", "blas", "resumed",
    "digest", "parameters", "command",
]  # fmt: skip


def rewritten(folder, **entries):
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, **entries}))
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    base = tmp_path_factory.mktemp("pair")
    return [make_run(base / name, seed=i) for i, name in enumerate("ab")]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(ENTRIES), JSON, min_size=1, max_size=4), st.data())
def test_whatever_stands_in_run_json_becomes_a_page_or_a_typed_error(pair, tmp_path, entries, data):
    rewritten(pair[0], **entries)
    inner = data.draw(
        st.dictionaries(st.sampled_from(["epochs", "loss", "validation"]), JSON, max_size=2)
    )
    rewritten(pair[1], **{name: [inner, value] for name, value in entries.items()})
    for chosen in (pair[:1], pair):
        try:
            html_file, _ = write(chosen, tmp_path / "out")
        except FnnError:
            continue
        assert Parsed(html_file.read_text("utf-8")).faults == []


@pytest.mark.parametrize("status", [["a"], {"a": 1}, None, 3, "finished"])
def test_a_status_of_any_type_can_be_compared(tmp_path, status):
    folders = [make_run(tmp_path / "a"), rewritten(make_run(tmp_path / "b"), status=status)]
    html_file, _ = write(folders, tmp_path / "out")
    assert "What differs" in html_file.read_text("utf-8")


MANY = 30_000


@pytest.mark.parametrize(
    "entries",
    [
        {"config": {f"option_{i}": i for i in range(150_000)}},
        {"config": {f"option_{i}": f"{'long' * 50}{i}" for i in range(MANY // 3)}},
        {"result": {f"result_{i}": i / 7 for i in range(MANY)}},
        {"versions": {f"package_{i}": "1" for i in range(MANY)}},
        {"fits": [{f"option_{i}": 1 for i in range(100)} for _ in range(MANY // 100)]},
        {"config": {"deep": {f"{i}": ["x" * 300] * 3 for i in range(MANY // 10)}}},
        {"source": "x" * 1_000_000, "experiment": "y" * 1_000_000, "status": "z" * 1_000_000},
        {"network": "Dense(1)" * 100_000, "error": "w" * 1_000_000},
    ],
    ids=range(8),
)
def test_a_long_list_is_cut_and_what_is_left_out_is_counted(tmp_path, entries):
    folder = rewritten(make_run(tmp_path / "run", seen=False), **entries)
    html_file, markdown_file = write([folder])
    assert html_file.stat().st_size < 300_000
    assert markdown_file.stat().st_size < 200_000
    for name in ("config", "result"):
        if (n := len(entries.get(name, ()))) > 1:
            left = f"Left out: {n - MAX_ROWS:,} more rows."
            assert left in html_file.read_text("utf-8")
            assert left in markdown_file.read_text("utf-8")


def test_a_long_table_of_layers_keeps_its_total(tmp_path):
    row = {
        "path": "a",
        "depth": 0,
        "kind": "A()",
        "out_shape": [2],
        "parameters": 1,
        "flops": 2,
        "state": 0,
    }
    rows = [{**row, "path": f"a_{i}"} for i in range(5000)]
    folder = make_run(tmp_path / "run", model=False, seen=False)
    rewritten(folder, layers={"in_shape": [4], "rows": rows})
    _, markdown_file = write([folder])
    text = markdown_file.read_text("utf-8")
    assert "| total |  |  | 5,000 | 10,000 | 0 |" in text
    assert "Left out: 4,801 more rows." in text


def test_a_comparison_of_many_runs_is_bounded_in_every_direction(tmp_path):
    folders = []
    for i in range(260):
        folder = make_run(tmp_path / f"{i}", rate=i / 10, model=False, seen=False, epochs=3)
        config = {f"option_{j}": i * j for j in range(40)}
        folders.append(rewritten(folder, config=config, status="failed", source=f"{i}"))
    html_file, markdown_file = write(folders, tmp_path / "out")
    text = html_file.read_text("utf-8")
    assert Parsed(text).faults == []
    assert len(text) < 1_000_000
    assert "Drawn are the first 12 of 260 configs." in text
    assert "more notes, left out here." in text
    # A run, its options but the first, which is 0 everywhere, and its accuracy.
    columns = 1 + 39 + 1 - MAX_COLUMNS
    assert f"Left out: {260 - MAX_ROWS} more rows and {columns} more columns." in text
    assert markdown_file.stat().st_size < 1_000_000


def test_no_table_and_no_page_can_be_made_of_any_length():
    table = Table(("x",) * 1000, [("y" * 5000,) * 1000] * 1000, "c", has_total=True)
    assert (len(table.rows), {len(row) for row in table.rows}) == (MAX_ROWS, {MAX_COLUMNS})
    assert max(len(cell) for row in table.rows for cell in row) <= 400
    assert table.left_out == "Left out: 800 more rows and 976 more columns."
    assert Table(("a",), [("b",)], "c").left_out == ""
    assert len(Page("t", "s", ["n"] * 1000, ()).notes) == MAX_NOTES + 1


# --- means and errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1e-170], "5e−171 ± 5e−171"),
        ([1e160, 2e160], "1.5e+160 ± 5e+159"),
        ([1e-180, 3e-190], "5e−181 ± 5e−181"),
        ([0.0, 1e-200], "5e−201 ± 5e−201"),
        ([-1.7e308, 1.7e308], "0 ± 1.7e+308"),
        ([1e308, 1.5e308], "1.25e+308 ± 2.5e+307"),
        ([5e-324, 5e-324], "4.94066e−324"),
        ([10**400, 1], "∞"),
        ([float("inf"), float("-inf")], "NaN"),
        ([float("nan")] * 3, "NaN"),
        ([3, 5], "4.0 ± 1.0"),
    ],
)
def test_means_of_numbers_at_the_ends_of_their_range_are_said(values, expected):
    assert with_error(values) == expected


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(), min_size=2, max_size=9)
)
def test_mean_and_error_are_those_of_exact_arithmetic(values):
    exact = [Fraction(value) for value in values]
    middle = sum(exact) / len(exact)
    square = sum((value - middle) ** 2 for value in exact) / (len(exact) - 1) / len(exact)
    mean, error = mean_and_error(values)
    assert mean == float(middle)
    # The error is within a rounding of the root: compared squared, in whole numbers.
    ulp = Fraction(math.ulp(error))
    assert max(Fraction(0), Fraction(error) - ulp) ** 2 <= square <= (Fraction(error) + ulp) ** 2


def test_tiny_results_of_several_runs_are_compared(tmp_path):
    folders = [
        make_run(tmp_path / f"{i}", seed=i, result={"p_value": value}, model=False, seen=False)
        for i, value in enumerate((1e-180, 3e-190, 0.0))
    ]
    html_file, _ = write(folders, tmp_path / "out")
    assert "±" in html_file.read_text("utf-8")
