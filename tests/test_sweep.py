"""A sweep trains every member once, outlives those that fail, and goes on where it stopped."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
import sweep_cases
from sweep_cases import Config, failing, killed, killed_at_once, score, train

from fnn.errors import DataError, OptionError
from fnn.runs.experiment import read_run
from fnn.runs.sweep import grid, sweep

POINTS = {"learning_rate": (0.1, 0.01), "n": (2, 3)}


@pytest.fixture
def swept(tmp_path):
    """Return a function that sweeps in threads, and all that it says."""

    def swept(train=train, configs=None, **options):
        said = []
        configs = grid(Config(), POINTS, seeds=2) if configs is None else configs
        with ThreadPoolExecutor(2) as pool:
            out = tmp_path / "sweep"
            done = sweep(train, configs, out=out, executor=pool, say=said.append, **options)
        return done, said

    return swept


def entries(folder):
    return json.loads((folder / "sweep.json").read_text("utf-8"))


def calls(folder):
    return {path.parent.name: path.read_text() for path in folder.glob("*/calls")}


def test_every_member_is_an_ordinary_run_in_a_folder_of_its_own(swept):
    done, said = swept()
    assert done.finished
    assert len(done.members) == 8
    for name, member in done.members.items():
        run = read_run(done.folder / name)
        assert run["status"] == member.status == "finished"
        assert run["result"] == member.result
        assert member.result["score"] == score(member.config)
        assert member.config.out == done.folder / name
    assert [line[:5] for line in said] == [f"[{i}/8]" for i in range(1, 9)]
    assert all(" score " in line and " loss " in line for line in said)
    assert all(line.endswith(" s left)") for line in said[:-1])
    assert not said[-1].endswith("left)")


def test_sweep_json_says_grid_seeds_members_and_table(swept):
    done, _ = swept()
    about = entries(done.folder)
    assert about["grid"] == {"learning_rate": [0.1, 0.01], "n": [2, 3]}
    assert about["seeds"] == [0, 1]
    assert about["experiment"] == "sweep_cases"
    assert {name: member["status"] for name, member in about["members"].items()} == dict.fromkeys(
        done.members, "finished"
    )
    assert about["table"] == json.loads(json.dumps([row.plain() for row in done.rows]))
    assert done.table in (done.folder / "sweep.md").read_text("utf-8")


def test_a_finished_sweep_runs_nothing_again(swept):
    first, _ = swept()
    again, said = swept()
    assert said == ["8 of 8 members are finished already"]
    assert calls(first.folder) == dict.fromkeys(first.members, "x")
    assert again.table == first.table


def test_failed_members_are_told_and_tried_again_and_others_are_not(swept, tmp_path):
    done, said = swept(failing)
    assert not done.finished
    bad = [name for name in done.members if "n=3" in name]
    assert {name for name, member in done.members.items() if member.status == "failed"} == {*bad}
    assert {done.members[name].error for name in bad} == {"OddError: no such luck"}
    assert sum("failed: OddError: no such luck" in line for line in said) == 4
    assert f"failed: {bad[0]}: OddError: no such luck" in done.table
    assert entries(done.folder)["members"][bad[0]]["error"] == "OddError: no such luck"
    assert [row.n for row in done.rows] == [2, 0, 2, 0]
    (tmp_path / "mended").touch()
    again, said = swept(failing)
    assert again.finished
    assert said[0] == "4 of 8 members are finished already"
    assert len(said) == 5
    assert calls(done.folder) == dict.fromkeys(done.members, "x")


def test_a_stop_at_any_member_is_gone_on_from(swept, tmp_path):
    names = list(grid(Config(), POINTS, seeds=2))

    def say(text):
        raise KeyboardInterrupt

    configs = grid(Config(), POINTS, seeds=2)
    out = tmp_path / "sweep"
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt) as stopped:
        sweep(train, configs, out=out, executor=pool, workers=1, say=say)
    assert "the same command goes on with the sweep" in stopped.value.__notes__
    statuses = [member["status"] for member in entries(tmp_path / "sweep")["members"].values()]
    assert statuses[0] == "finished"
    assert "waiting" in statuses
    done, _ = swept()
    assert done.finished
    assert calls(done.folder) == dict.fromkeys(names, "x")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seeds": 3}, "holds another sweep, without the member learning_rate=0.01,n=2,seed=2; name"),
        ({"base": Config(widths=(7,))}, "learning_rate=0.01,n=2,seed=0: expected widths=[5], got [7]"),
        ({"axes": {"n": (2, 3)}}, "holds another sweep, with the member learning_rate=0.01,n=2,seed=0"),
    ],
)
def test_a_folder_of_another_sweep_is_refused(swept, change, says):
    done, _ = swept()
    given = {"base": Config(), "axes": POINTS, "seeds": 2, **change}
    configs = grid(given["base"], given["axes"], seeds=given["seeds"])
    with pytest.raises(DataError, match=r"sweep\.json: holds another sweep") as caught:
        swept(configs=configs)
    assert says in str(caught.value)
    assert "name another folder (`--out`)" in str(caught.value)
    assert calls(done.folder) == dict.fromkeys(done.members, "x")


def test_other_folders_and_damaged_files_are_refused(swept, tmp_path):
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "mine.txt").touch()
    with pytest.raises(DataError, match="sweep: expected a sweep or nothing, got other files"):
        swept()
    (folder / "mine.txt").unlink()
    for content, says in (("{", "damaged"), ('{"members": 3}', "damaged")):
        (folder / "sweep.json").write_text(content)
        with pytest.raises(DataError, match=says):
            swept()
    (folder / "sweep.json").unlink()
    done, _ = swept()
    about = entries(done.folder)
    (folder / "sweep.json").write_text(json.dumps({**about, "format": 2}))
    with pytest.raises(DataError, match="expected a sweep of format 1, got 2"):
        swept()
    (folder / "sweep.json").write_text(json.dumps({**about, "experiment": "other"}))
    with pytest.raises(DataError, match="holds a sweep of 'other', not sweep_cases"):
        swept()


def test_what_cannot_be_swept_is_refused(tmp_path):
    @attrs.frozen
    class Bare:
        seed: int = 0

    for configs in ({}, {"a": Bare()}):
        with pytest.raises(
            OptionError, match="sweep: configs: expected one or more with a field 'out'"
        ):
            sweep(train, configs, out=tmp_path / "a")
    configs = grid(Config(), {}, seeds=1)
    with pytest.raises(OptionError, match="workers: expected 1 or more, got 0"):
        sweep(train, configs, out=tmp_path / "a", workers=0)
    with pytest.raises(OptionError, match="mode: expected 'min' or 'max', got 'best'"):
        sweep(train, configs, out=tmp_path / "a", mode="best")
    assert not (tmp_path / "a").exists()


# --- processes


@pytest.mark.alone
def test_processes_have_one_thread_each_print_nothing_and_outlive_the_killed(
    tmp_path, capfd, monkeypatch
):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    environment = dict(os.environ)
    configs = grid(Config(), {"n": (2, 3, 4)})
    said = []
    done = sweep(killed, configs, out=tmp_path / "sweep", workers=2, say=said.append)
    assert {name: member.status for name, member in done.members.items()} == {
        "n=2": "finished",
        "n=3": "finished",
        "n=4": "killed",
    }
    error = "its process ended, and again when it ran alone"
    assert done.members["n=4"].error == error
    assert f"killed: n=4: {error}" in done.table
    assert "pid" in (done.folder / "n=2" / "log.txt").read_text()
    assert capfd.readouterr().out == ""
    assert os.environ == environment
    again = sweep(sweep_cases.threads, grid(Config(), {"n": (5,)}), out=tmp_path / "more", workers=1)
    assert again.members["n=5"].result["threads"] == 1


def test_any_executor_runs_members_and_stays_open(tmp_path):
    configs = grid(Config(), {"n": (2, 3)})
    # Not forked: libraries that other tests have loaded warn of that.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        done = sweep(train, configs, out=tmp_path / "sweep", executor=pool, say=lambda text: None)
        assert done.finished
        assert os.getpid() not in {member.result["pid"] for member in done.members.values()}
        assert pool.submit(int, "3").result() == 3


@pytest.mark.skipif(os.name == "nt", reason="asks for signals")
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(tmp_path):
    script = Path(sweep_cases.__file__)
    words = [sys.executable, str(script), "sweep", "--grid", "n=2,3", "--workers", "2", "--out"]
    running = subprocess.Popen(
        [*words, str(tmp_path / "sweep")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not ((tmp_path / "sweep/n=3/began").exists() and (tmp_path / "sweep/n=2/calls").exists()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        os.killpg(running.pid, signal.SIGINT)  # As a terminal does: to the workers as well.
        _, errors = running.communicate(timeout=20)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 130
    assert errors.splitlines() == ["interrupted; the same command goes on with the sweep"]
    assert read_run(tmp_path / "sweep/n=3")["status"] == "interrupted"
    members = entries(tmp_path / "sweep")["members"]
    assert [members[name]["status"] for name in ("n=2", "n=3")] == ["finished", "interrupted"]
    with ThreadPoolExecutor(1) as pool:
        configs = grid(Config(), {"n": (2, 3)})
        done = sweep(
            sweep_cases.slow, configs, out=tmp_path / "sweep", executor=pool, say=lambda text: None
        )
    assert done.finished
    assert calls(done.folder) == {"n=2": "x", "n=3": "x"}


def test_a_pool_that_breaks_keeps_what_it_had_not_begun_waiting(tmp_path):
    configs = grid(Config(), {"n": (4, 2, 3, 5, 6, 7)})
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        done = sweep(
            killed_at_once, configs, out=tmp_path / "sweep", executor=pool, say=lambda text: None
        )
    status = {name: member.status for name, member in done.members.items()}
    assert status.pop("n=4") == "killed"
    assert set(status.values()) == {"waiting"}
    assert sweep(train, grid(Config(), {"n": (8,)}), out=tmp_path / "other", workers=1).finished
