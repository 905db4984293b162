"""Run folders: what they say, under which names, who may write, and what a fault leaves."""

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import attrs
import pytest
from experiment_cases import Config, train

import fnn
from fnn.errors import DataError, OptionError
from fnn.experiment import Run, execute, main, read_metrics, read_run, resume
from fnn.runs.experiment.conditions import changes, conditions
from fnn.runs.experiment.folders import Lines, new_folder
from fnn.runs.experiment.lock import locked

SMALL = {"epochs": 2, "examples": 40}


def nothing(config, run):
    return {}


# --- run.json


def test_run_json_says_on_what_data_code_and_machine_a_run_was_trained(tmp_path):
    execute(train, Config(out=tmp_path, **SMALL))
    about = read_run(tmp_path)
    assert about["format"] == 2
    assert about["experiment"] == "experiment_cases"
    assert about["status"] == "finished"
    assert about["config"]["examples"] == 40
    assert about["versions"].keys() == {"python", "numpy", "fnn", "attrs"}
    assert about["blas"].keys() == {"name", "version", "config", "kernel", "threads"}
    assert about["blas"]["threads"] >= 1
    assert about["cores"] >= 1
    assert about["cpu"]
    assert about["platform"]
    assert about["git"] is None or re.fullmatch("[0-9a-f]{40}", about["git"]["commit"])
    assert about["data"].keys() == {"train", "test"}
    assert about["network"].startswith("serial(Dense(12), BatchNorm()")
    assert about["parameters"] == 64 * 12 + 12 + 24 + 130
    assert about["digest"] == about["result"]["digest"]
    assert about["started"] <= about["ended"]
    assert about["seconds"] > 0
    assert "python" in about["command"] or "pytest" in about["command"]


def test_what_is_known_stands_in_run_json_while_a_run_lasts(tmp_path):
    seen = []

    def spying(config, run):
        run.data(train=fnn.digits("train"))
        seen.append(read_run(tmp_path))
        return {}

    execute(spying, Config(out=tmp_path))
    assert seen[0]["status"] == "running"
    assert seen[0]["ended"] is None
    assert seen[0]["data"]["train"] == read_run(tmp_path)["data"]["train"]


def test_conditions_need_no_git_and_no_optional_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "threadpoolctl", None)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    found = conditions(tmp_path / "script.py")
    assert found["git"] is None
    assert (found["blas"]["kernel"], found["blas"]["threads"]) == (None, 3)
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert conditions(None)["blas"]["threads"] == found["cores"]


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_script_that_no_commit_has_makes_its_repository_dirty(tmp_path):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    script = tmp_path / "script.py"
    git("init")
    git("commit", "--allow-empty", "-m", "begin")
    script.write_text("1\n")
    assert conditions(script)["git"]["dirty"]
    git("add", "script.py")
    git("commit", "-m", "add")
    (tmp_path / "notes.txt").write_text("no part of the code")
    assert not conditions(script)["git"]["dirty"]
    script.write_text("2\n")
    assert conditions(script)["git"]["dirty"]


def test_changed_conditions_are_listed_by_name():
    before = {"versions": {"numpy": "2.0"}, "blas": {"threads": 1}, "cpu": "a", "seed": 1}
    after = {"versions": {"numpy": "2.1"}, "blas": {"threads": 1}, "cpu": "b", "seed": 2}
    assert changes(before, after) == ["cpu: a -> b", "versions.numpy: 2.0 -> 2.1"]


def test_runs_of_the_first_format_can_be_read_but_not_gone_on_with(tmp_path):
    (tmp_path / "run.json").write_text('{"format": 1, "experiment": "experiment_cases", "config": {}}')
    assert read_run(tmp_path)["format"] == 1
    with pytest.raises(DataError, match=r"run\.json: expected format 2, got 1, .* neither resumed nor"):
        resume(train, Config, tmp_path)


# --- names of folders


def test_a_folder_that_holds_a_run_is_never_written_to_again(tmp_path, capsys):
    config = Config(out=tmp_path / "run")
    execute(nothing, config)
    before = (tmp_path / "run" / "run.json").read_bytes()
    expected = r"run: holds a run already; resume it \(`resume .*run`\) or name another folder"
    with pytest.raises(DataError, match=expected):
        execute(nothing, config)
    with pytest.raises(SystemExit):
        main(nothing, Config, ["--out", str(tmp_path / "run")])
    assert "holds a run already" in capsys.readouterr().err
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_the_default_folder_is_numbered_and_a_spelt_one_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        main(nothing, Config, [])
    execute(nothing, Config())
    assert {path.name for path in Path("out").iterdir()} == {"small", "small-2", "small-3", "small-4"}
    assert read_run("out/small-3")["config"]["out"] == "out/small-3"
    assert "folder   out/small-3" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(nothing, Config, ["--out", "out/small"])


def test_a_config_without_a_folder_gets_one_by_the_name_of_the_script(tmp_path, monkeypatch):
    @attrs.frozen
    class Bare:
        pass

    monkeypatch.chdir(tmp_path)
    for name in ("test_experiment_folders", "test_experiment_folders-2"):
        execute(nothing, Bare())
        assert read_run(Path("out", name))["config"] == {}


def test_runs_that_start_at_once_never_share_a_folder(tmp_path):
    made, barrier = [], threading.Barrier(8)

    def start():
        barrier.wait()
        made.extend(new_folder(tmp_path / "run") for _ in range(5))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 40


# --- the lock


def write_lock(folder, **changed):
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "start": None, **changed}
    (folder / "lock").write_text(json.dumps(holder))


def test_a_lock_refuses_a_second_writer_and_goes_with_the_first(tmp_path):
    with locked(tmp_path):
        holder = json.loads((tmp_path / "lock").read_text())
        assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
        expected = rf"process {os.getpid()} on .* is writing here; if it is gone, delete .*lock"
        with pytest.raises(DataError, match=expected), locked(tmp_path):
            pass
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks the kernel of Linux")
@pytest.mark.parametrize("changed", [{"pid": 2**22 + 1}, {"start": "1"}], ids=["gone", "used again"])
def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path, changed):
    write_lock(tmp_path, **changed)
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_lock_that_was_cut_short_is_nobodys(tmp_path):
    (tmp_path / "lock").write_text('{"pid": 1')
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_the_lock_of_another_host_is_never_taken_over(tmp_path):
    write_lock(tmp_path, pid=2**22 + 1, host="elsewhere")
    with pytest.raises(DataError, match="on elsewhere is writing here"), locked(tmp_path):
        pass
    assert json.loads((tmp_path / "lock").read_text())["host"] == "elsewhere"


def test_a_lock_that_changed_hands_is_left_to_the_other(tmp_path):
    with locked(tmp_path):
        write_lock(tmp_path, host="elsewhere")
    assert (tmp_path / "lock").exists()


# --- lines


def test_lines_that_stand_there_are_kept_and_the_first_other_one_cuts_the_rest(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"a\nb\nc\nhal")
    lines = Lines(path, again=True)
    lines.add("a")
    lines.add("b")
    assert path.read_bytes() == b"a\nb\nc\nhal"
    lines.add("x")
    lines.add("c")
    lines.cut()
    assert path.read_bytes() == b"a\nb\nx\nc\n"
    assert Lines(tmp_path / "none", again=True).cut() is None


def test_a_last_line_that_is_not_complete_is_cut(tmp_path):
    (tmp_path / "m").write_bytes(b"a\nb")
    lines = Lines(tmp_path / "m", again=True)
    lines.add("a")
    lines.add("b")
    assert (tmp_path / "m").read_bytes() == b"a\nb\n"


def test_metrics_are_read_up_to_a_line_that_was_cut_short(tmp_path):
    assert read_metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_bytes(b'{"loss": "nan"}\n{"lo')
    assert read_metrics(tmp_path) == [{"loss": "nan"}]
    (tmp_path / "metrics.jsonl").write_bytes(b'{"loss": 1}\n[2]\n{}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: expected an object of JSON"):
        read_metrics(tmp_path)


# --- faults


def full_disk(monkeypatch, name):
    """Let nothing more be written to files of that name."""
    true_open, true_write, handles = os.open, os.write, set()

    def opened(path, *more, **words):
        handle = true_open(path, *more, **words)
        handles.add(handle) if Path(path).name == name else handles.discard(handle)
        return handle

    def write(handle, content):
        if handle in handles:
            raise OSError(errno.ENOSPC, "No space left on device")
        return true_write(handle, content)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("name", ["metrics.jsonl", "log.txt"])
def test_a_full_disk_is_an_error_that_names_the_file_and_costs_no_checkpoint(
    tmp_path, monkeypatch, name
):
    whole, run = (Config(out=tmp_path / name, epochs=3, examples=40) for name in ("whole", "run"))
    execute(train, whole)

    def until_full(config, run):
        original = Run.say
        monkeypatch.setattr(
            Run, "say", lambda run, text: (original(run, text), full_disk(monkeypatch, name))[0]
        )
        return train(config, run)

    with pytest.raises(DataError, match=rf"{name}: cannot be written \(No space left on device\)"):
        execute(until_full, run)
    monkeypatch.undo()
    about = read_run(run.out)
    assert about["status"] == "failed"
    assert about["error"].startswith("DataError: ")
    (run.out / "run.json").write_text(json.dumps({**about, "experiment": "experiment_cases"}))
    resume(train, Config, run.out, changed_code=True)  # Of a function that fills no disk.
    for file in ("metrics.jsonl", "model.npz"):
        assert (run.out / file).read_bytes() == (whole.out / file).read_bytes()


def test_a_folder_that_cannot_be_written_to_is_an_error_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(DataError, match=r"file.*cannot be written"):
            execute(nothing, Config(out=out))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=r"out.small: cannot be written"):
        execute(nothing, Config())
    with pytest.raises(DataError, match=r"pictures.*cannot be written"):
        Run(tmp_path / "file").path("pictures/a.png")


def test_lines_are_not_recorded_from_within_a_fit(tmp_path):
    def nosy(config, run):
        return run.fit(
            fnn.Dense(10),
            fnn.softmax_cross_entropy,
            fnn.sgd(0.1),
            fnn.digits("train").take(20),
            epochs=1,
            batch_size=20,
            key=fnn.Key.of(0),
            callbacks=lambda now, history: run.record(more=1),
        )

    with pytest.raises(OptionError, match=r"Run\.record: expected before or after Run\.fit"):
        execute(nosy, Config(out=tmp_path))
    assert [set(record) for record in read_metrics(tmp_path)] == [{"epoch", "step", "loss"}]
