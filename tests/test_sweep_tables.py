"""Grids are checked before anything runs, and tables hold what NumPy computes."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import numpy as np
import pytest
import sweep_cases
from sweep_cases import Config, score, slow, train

from fnn.errors import OptionError
from fnn.experiment import main
from fnn.runs.sweep import command, grid
from fnn.runs.sweep.grids import varied
from fnn.runs.sweep.tables import markdown, rows_of
from fnn.runs.tables import mean_and_error

# --- grids


def test_a_grid_holds_every_combination_with_every_seed():
    base = Config(widths=(7,), seed=5)
    configs = grid(base, {"learning_rate": (1, 0.01), "n": (2, 3)}, seeds=2)
    assert list(configs)[:3] == [
        "learning_rate=1.0,n=2,seed=5",
        "learning_rate=1.0,n=2,seed=6",
        "learning_rate=1.0,n=3,seed=5",
    ]
    assert len(configs) == 8
    for config in configs.values():
        assert config == attrs.evolve(
            base, learning_rate=config.learning_rate, n=config.n, seed=config.seed
        )
    assert list(grid(base, {}, seeds=1)) == ["seed=5"]


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        ({"widths": ((20, 10), (), (5,))}, ["widths=20x10", "widths=", "widths=5"]),
        ({"learning_rate": (1e-5, 2e10)}, ["learning_rate=1e-05", "learning_rate=20000000000.0"]),
        ({"shuffle": (True, False)}, ["shuffle=true", "shuffle=false"]),
        ({"model": ("A/B",)}, ["model=A_B~" + "cb200365"]),
    ],
)
def test_names_are_readable_and_safe(axes, names):
    assert list(grid(Config(), axes)) == names


def test_names_are_short_and_differ_where_case_counts_for_nothing():
    long = list(grid(Config(), {"widths": (tuple(range(1, 60)), tuple(range(1, 61)))}))
    assert len({*long}) == 2
    assert all(len(name) == 100 for name in long)

    @attrs.frozen
    class Texts:
        note: str = ""
        out: Path = Path("out")

    names = list(grid(Texts(), {"note": ("a", "A", "a b", "a_b")}))
    assert len({name.casefold() for name in names}) == 4


@pytest.mark.parametrize(
    ("axes", "seeds", "says"),
    [
        ({"rate": (1,)}, None, "expected fields among ['learning_rate', 'n', 'widths', 'model',"),
        ({"out": ("a",)}, None, "'seed'], got 'out'"),
        ({"n": ()}, None, "n: expected one value or more, got none"),
        ({"n": (2.5,)}, None, "n: expected INT, got 2.5"),
        ({"n": (2, 0)}, None, "n: expected a value in [1, inf), got 0"),
        ({"learning_rate": (1, 1.0)}, None, "expected every value once, got learning_rate=1.0 twice"),
        ({}, None, "expected a grid or seeds, got neither"),
        ({"seed": (1,)}, 2, "expected seeds or values of the field 'seed', got both"),
        ({}, 0, "seeds: expected 1 or more, got 0"),
    ],
)
def test_a_wrong_grid_is_refused(axes, seeds, says):
    with pytest.raises(OptionError) as caught:
        grid(Config(), axes, seeds=seeds)
    assert says in str(caught.value)


def test_seeds_need_a_field_for_them():
    @attrs.frozen
    class Bare:
        out: Path = Path("out")

    with pytest.raises(
        OptionError, match="expected a config with an integer field 'seed', got seed=None"
    ):
        grid(Bare(), {}, seeds=2)


def test_the_columns_of_a_table_stand_in_the_order_of_the_grid():
    configs = grid(Config(), {"n": (2, 3), "learning_rate": (0.1, 0.2)}, seeds=2)
    values = {"n": [2, 3], "learning_rate": [0.1, 0.2], "seed": [0, 1]}
    assert list(varied(configs).items()) == list(values.items())


# --- tables


def test_rows_hold_mean_and_standard_error_over_seeds():
    rng = np.random.default_rng(0)
    values = {0.1: rng.normal(size=5), 0.01: rng.normal(size=5) + 3}
    members = [
        ({"rate": rate}, {"score": value, "steps": 3, "ok": True, "note": "fine", "why": None})
        for rate, given in values.items()
        for value in given
    ]
    rows, best_by = rows_of(members, None, None)
    assert best_by == "largest score"
    assert [row.best for row in rows] == [False, True]
    for row, given in zip(rows, values.values(), strict=True):
        mean, error = row.results["score"]
        assert row.n == 5
        assert mean == pytest.approx(np.mean(given), rel=1e-15)
        assert error == pytest.approx(np.std(given, ddof=1) / np.sqrt(5), rel=1e-15)
        assert row.results["steps"] == (3, 0)
        assert row.results.keys() == {"score", "steps"}
        assert row.plain()["results"]["score"] == {"mean": mean, "standard_error": error}


@pytest.mark.parametrize(
    ("monitor", "mode", "best", "best_by"),
    [
        (None, None, 1, "largest score"),
        ("score", "min", 0, "smallest score"),
        ("test_loss", None, 0, "smallest test_loss"),
        ("test_loss", "max", 1, "largest test_loss"),
        ("absent", None, None, ""),
    ],
)
def test_the_best_row_is_marked(monitor, mode, best, best_by):
    members = [({"n": i}, {"score": i, "test_loss": i}) for i in range(2)]
    rows, by = rows_of(members, monitor, mode)
    assert [row.best for row in rows] == [i == best for i in range(2)]
    assert by == best_by


def test_members_that_did_not_finish_or_came_to_no_number_do_not_disturb_the_rest():
    members = [({"n": 1}, None), ({"n": 2}, {"loss": "nan"}), ({"n": 3}, {"loss": 2.0})]
    rows, best_by = rows_of(members, None, None)
    assert [row.n for row in rows] == [0, 1, 1]
    assert [row.best for row in rows] == [False, False, True]
    assert best_by == "smallest loss"
    assert math.isnan(rows[1].results["loss"][0])
    assert math.isnan(mean_and_error([1.0])[1])
    assert rows_of([({}, None)], None, None)[1] == ""


def test_a_table_is_aligned_markdown():
    members = [({"rate": rate}, {"score": rate + i}) for rate in (0.5, 10.25) for i in range(2)]
    lines = markdown(*rows_of(members, None, None)).splitlines()
    assert lines == [
        "|   | rate  | runs | score       |",
        "|---|-------|------|-------------|",
        "|   | 0.5   | 2    | 1 ± 0.5     |",
        "| * | 10.25 | 2    | 10.75 ± 0.5 |",
        "",
        "mean ± standard error over the runs; * largest score",
    ]


# --- the command line


def refusal(capsys, *argv):
    with pytest.raises(SystemExit) as stopped:
        command(train, Config, argv)
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "expected a grid or seeds, got neither"),
        (
            ["--grid", "rate=1"],
            "--grid: expected a field among learning_rate, n, widths, model, shuffle",
        ),
        (["--grid", "out=a"], "got 'out'"),
        (["--grid", "n=2,x"], "argument --n: expected INT, got 'x'"),
        (["--grid", "n=2,0"], "n: expected a value in [1, inf), got 0"),
        (["--grid", "n="], "--grid n: expected values, got ''"),
        (["--grid", "n=2,,3"], "--grid n: expected values, got '2,,3'"),
        (["--grid", "n"], "--grid: expected FIELD=A,B,..., got 'n'"),
        (["--grid", "n=2,2"], "expected every value once, got n=2 twice"),
        (["--grid", "n=2", "--grid", "n=3"], "--grid n: expected the field once, got it twice"),
        (
            ["--grid", "learning_rate=1", "--learning_rate=2"],
            "--grid learning_rate: expected the field once, got it twice",
        ),
        (
            ["--grid", "seed=1", "--seeds", "2"],
            "expected seeds or values of the field 'seed', got both",
        ),
        (["--seeds", "0"], "error: seeds: expected 1 or more, got 0"),
        (["--seeds", "two"], "argument --seeds: invalid int value: 'two'"),
        (["--seeds", "2", "--workers", "0"], "--workers: expected 1 or more, got 0"),
        (["--seeds", "2", "--m", "3"], "unrecognized arguments: --m 3"),
        (
            ["--seeds", "2", "--max", "a", "--min", "b"],
            "argument --min: not allowed with argument --max",
        ),
    ],
)
def test_a_wrong_command_line_ends_with_one_line_before_anything_runs(
    argv, says, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    line = refusal(capsys, *argv)
    assert line.startswith("sweep_cases.py sweep: error: ")
    assert says in line
    assert not list(tmp_path.iterdir())


def test_the_verb_trains_all_prints_the_table_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["sweep", "--grid", "widths=20,10;5", "--grid", "shuffle=false,true", "--seeds", "2"]
    argv += ["--workers", "2", "--learning-rate", "0.5", "--min", "loss"]
    members = main(train, Config, argv)
    assert len(members) == 8
    folder = tmp_path / "out" / "cases-sweep"
    assert {path.name for path in folder.iterdir()} == {*members, "sweep.json", "sweep.md"}
    for seed in (0, 1):
        config = Config(learning_rate=0.5, seed=seed)
        assert members[f"widths=20x10,shuffle=true,seed={seed}"]["score"] == score(config)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("[1/8] widths=")
    assert said[-1] == f"folder  {Path('out/cases-sweep')}"
    mean, error = mean_and_error([score(Config(learning_rate=0.5, seed=i)) for i in (0, 1)])
    row = f"20,10  | False   | 2    | {mean:.5g} ± {error:.2g}"
    assert any(row in line for line in said)
    assert "mean ± standard error over the runs; * smallest loss" in said
    about = json.loads((folder / "sweep.json").read_text("utf-8"))
    assert about["grid"] == {"widths": [[20, 10], [5]], "shuffle": [False, True]}
    assert main(train, Config, argv) == members
    assert capsys.readouterr().out.startswith("8 of 8 members are finished already\n")


def test_the_exit_code_tells_whether_all_finished(tmp_path, capsys):
    argv = ["sweep", "--grid", "n=2,3", "--workers", "1", "--out", str(tmp_path / "sweep")]
    with pytest.raises(SystemExit) as stopped:
        main(sweep_cases.failing, Config, argv)
    assert stopped.value.code == 1
    assert "failed: n=3: OddError: no such luck" in capsys.readouterr().out
    (tmp_path / "mended").touch()
    assert main(sweep_cases.failing, Config, argv).keys() == {"n=2", "n=3"}


def test_help_says_it_all(capsys):
    with pytest.raises(SystemExit) as stopped:
        command(train, Config, ["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert all(flag in said for flag in ("--grid", "--seeds", "--workers", "--out", "--max", "--min"))


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux for processes")
def test_no_member_outlives_a_sweep_that_is_killed_and_the_same_command_goes_on(tmp_path):
    folder = tmp_path / "sweep"
    words = [sys.executable, sweep_cases.__file__, "sweep", "--grid", "n=3", "--workers", "1", "--out"]
    with subprocess.Popen([*words, str(folder)]) as running:
        deadline = time.monotonic() + 30
        while not (folder / "n=3" / "began").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pid = json.loads((folder / "n=3" / "lock").read_text())["pid"]
        assert pid != running.pid
        assert is_running(pid)
        os.kill(running.pid, signal.SIGKILL)
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    argv = ["--grid", "n=3", "--workers", "1", "--out", str(folder)]
    assert command(slow, Config, argv)["n=3"]["score"] == score(Config(n=3))
