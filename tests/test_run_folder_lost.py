"""A run whose folder is deleted, moved or another's stops, and writes into nobody else's."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import experiment_cases
import pytest
import sweep_cases
from experiment_cases import Config, train

import fnn
from fnn.errors import DataError
from fnn.experiment import execute, main, read_run, resume
from fnn.runs.checkpoint import Checkpoints
from fnn.runs.experiment import lock
from fnn.runs.experiment.lock import locked
from fnn.runs.sweep import grid, sweep

SMALL = {"epochs": 3, "examples": 44}


def delete(folder):
    shutil.rmtree(folder)


def rename(folder):
    folder.rename(folder.with_name("moved"))


def start_anew(folder):
    """Put another run in its place, as one does who believes the first to be dead."""
    shutil.rmtree(folder)
    execute(train, Config(out=folder, seed=7, **SMALL))


def take_over(folder):
    """Delete the lock, as its message says, and go on with the run elsewhere."""
    (folder / "lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "token": "another"}))


def unlock(folder):
    (folder / "lock").unlink()


def swap_for_a_copy(folder):
    """Replace the folder by a copy of itself, lock and all."""
    shutil.copytree(folder, folder.with_name("copy"))
    folder.rename(folder.with_name("moved"))
    folder.with_name("copy").rename(folder)


LOSSES = [delete, rename, start_anew, take_over, unlock, swap_for_a_copy]
WRITES = {
    "say": lambda run: run.say("a line"),
    "record": lambda run: run.record(loss=1.0),
    "note": lambda run: run.note(more=1),
    "data": lambda run: run.data(train=fnn.digits("train")),
    "path": lambda run: run.path("pictures/a.png"),
    "keep": lambda run: run.keep(fnn.Dense(1), fnn.TrainState(0, fnn.Key.of(0), {}, {}, {}), (1,)),
    "evaluated": lambda run: run.evaluated([0.0], [1], [1]),
    "nothing": lambda run: None,
}


def files(folder):
    """Return every file below a folder with its content and the time it was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_nothing_is_written_once_the_folder_is_gone_or_anothers(tmp_path, lose, write):
    folder, seen = tmp_path / "run", []

    def losing(config, run):
        run.say("begun")
        run.record(loss=2.0)
        lose(folder)
        seen.append(files(tmp_path))
        write(run)

    with pytest.raises(DataError, match=r"run: .*it was deleted, moved or started anew"):
        execute(losing, Config(out=folder))
    assert files(tmp_path) == seen[0]
    assert folder.exists() == (lose not in (delete, rename))


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
@pytest.mark.parametrize("save_seconds", [0.0, 1000.0], ids=["saving", "not saving"])
def test_a_training_stops_at_its_next_record_or_checkpoint(tmp_path, monkeypatch, lose, save_seconds):
    folder, seen, draws = tmp_path / "run", [], []
    original = fnn.Key.generator

    def losing(key):
        draws.append(1)
        # Draws come before every step; this one in the second epoch.
        if len(draws) == 14:
            draws.extend([1] * 1000)
            lose(folder)
            seen.append(files(tmp_path))
        return original(key)

    monkeypatch.setattr(fnn.Key, "generator", losing)
    with pytest.raises(DataError, match="it was deleted, moved or started anew"):
        execute(train, Config(out=folder, save_seconds=save_seconds, **SMALL))
    assert files(tmp_path) == seen[0]


def test_a_run_that_was_moved_goes_on_from_where_it_is_now(tmp_path, monkeypatch):
    execute(train, Config(out=tmp_path / "whole", **SMALL))
    with monkeypatch.context() as patch:
        original = Checkpoints.save

        def losing(checkpoints, progress):
            original(checkpoints, progress)
            if progress.now.step == 6:
                rename(tmp_path / "run")

        patch.setattr(Checkpoints, "save", losing)
        with pytest.raises(DataError, match="the folder is gone"):
            execute(train, Config(out=tmp_path / "run", **SMALL))
    # Its writer still lives, as far as the lock can tell.
    (tmp_path / "moved" / "lock").unlink()
    resume(train, Config, tmp_path / "moved")
    for name in ("metrics.jsonl", "model.npz"):
        assert (tmp_path / "moved" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    "lose", [delete, rename, start_anew, swap_for_a_copy], ids=lambda f: f.__name__
)
def test_a_folder_lost_in_the_middle_of_a_write_gets_nothing_of_it(tmp_path, monkeypatch, lose):
    folder, seen = tmp_path / "run", []
    original = lock.Held.check

    def just_too_late(held):
        original(held)
        if not seen and (folder / "metrics.jsonl").exists():
            seen.append(None)
            lose(folder)
            seen[0] = files(tmp_path)

    monkeypatch.setattr(lock.Held, "check", just_too_late)
    with pytest.raises(DataError, match=r"run.*(cannot be written|is gone|started anew)"):
        execute(train, Config(out=folder, **SMALL))
    assert files(tmp_path) == seen[0]
    assert folder.exists() == (lose not in (delete, rename))


def test_a_working_directory_that_changes_takes_no_run_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    def wandering(config, run):
        monkeypatch.chdir(tmp_path / "elsewhere")
        run.say("lost")

    with pytest.raises(DataError, match=r"run: the folder is gone .*changed its working directory"):
        execute(wandering, Config(out=Path("run")))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_lock_that_was_only_touched_is_still_ours(tmp_path):
    def touched(config, run):
        (tmp_path / "lock").chmod(0o600)
        run.say("one")
        os.utime(tmp_path / "lock", (1, 1))
        run.record(loss=1.0)
        os.link(tmp_path / "lock", tmp_path / "backup")

    execute(touched, Config(out=tmp_path))
    assert read_run(tmp_path)["status"] == "finished"
    assert not (tmp_path / "lock").exists()


@pytest.mark.alone
def test_looking_at_the_lock_costs_a_few_microseconds(tmp_path):
    with locked(tmp_path) as held:
        took = []
        for _ in range(200):
            began = time.perf_counter()
            held.check()
            took.append(time.perf_counter() - began)
    # A line of metrics takes 10 to 20.
    assert sorted(took)[100] < 20e-6


def test_a_sweep_whose_folder_is_gone_stops_too(tmp_path):
    configs = grid(sweep_cases.Config(), {"n": (2, 3, 4)}, seeds=1)
    trained = []

    def losing(config, run):
        trained.append(config.n)
        rename(tmp_path / "sweep")
        return {"score": 1.0}

    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(DataError, match="sweep: the folder is gone"),
    ):
        sweep(losing, configs, out=tmp_path / "sweep", executor=executor, say=lambda line: None)
    assert trained == [2]
    assert not (tmp_path / "sweep").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="renames what is open")
@pytest.mark.parametrize("save_seconds", ["0", "1000"], ids=["saving", "not saving"])
@pytest.mark.parametrize("lose", [delete, rename], ids=["deleted", "renamed"])
def test_a_program_that_lost_its_folder_ends_with_status_1_and_a_line(tmp_path, lose, save_seconds):
    command = [sys.executable, experiment_cases.__file__, "--epochs", "100000", "--out", "run"]
    # The one that saves all the time is likely to be writing just then.
    command += ["--save-seconds", save_seconds]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 60
        while not metrics.exists() or metrics.read_bytes().count(b"\n") < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (tmp_path / "run").rename(tmp_path / "gone")
        if lose is delete:
            # A write that was under way may still end there.
            shutil.rmtree(tmp_path / "gone", ignore_errors=True)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 1
    # Between two writes, or in the middle of one.
    assert re.match(r"error: run(/[\w./-]+)?: (the folder is gone|cannot be written) \(", error)
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_two_runs_that_claim_one_folder_leave_the_lines_of_one(tmp_path, capsys):
    def interrupted(config, run):
        run.record(epoch=1, by="first")
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(KeyboardInterrupt):
            execute(second, Config(out=tmp_path / "run"))
        run.record(epoch=2, by="first")

    def second(config, run):
        run.record(epoch=1, by="second")
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        main(interrupted, Config, ["--out", str(tmp_path / "run")])
    assert ended.value.code == 1
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == '{"epoch": 1, "by": "second"}\n'
    assert read_run(tmp_path / "run")["status"] == "interrupted"
    assert " is gone (No such file or directory)" in capsys.readouterr().err
