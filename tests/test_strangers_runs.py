"""A run's folder that a stranger made: nothing in it is followed, and what is too large is refused."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from experiment_cases import Config, train
from stranger_cases import Canary, memory_of

import fnn.runs.report.writing as report
from fnn.errors import DataError, FnnError, OptionError
from fnn.runs.checkpoint import Checkpoints, load_checkpoint
from fnn.runs.experiment import Run, execute, read_metrics, read_run, resume
from fnn.runs.experiment.folders import each_record
from fnn.runs.experiment.lock import locked

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes as POSIX has them")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run that was stopped half way."""
    folder, said, say = tmp_path_factory.mktemp("made") / "run", [], Run.say

    def say_and_stop(run, text):
        say(run, text)
        said.append(text)
        if len(said) == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "say", say_and_stop)
        with pytest.raises(KeyboardInterrupt):
            execute(train, Config(out=folder, epochs=5, examples=40))
    assert read_run(folder)["status"] == "interrupted"
    return folder


@pytest.fixture
def run(interrupted, tmp_path):
    shutil.copytree(interrupted, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def canary(tmp_path):
    made = Canary(tmp_path / "home")
    yield made
    made.check()


def test_the_log_of_a_resumed_run_is_no_line_of_somebodys_profile(run, canary):
    (run / "log.txt").unlink()
    (run / "log.txt").symlink_to(canary.folder / ".profile")
    with pytest.raises(DataError, match=r"log\.txt: cannot be written \(Is a link"):
        resume(train, Config, run)


NAMES = ["run.json", "log.txt", "metrics.jsonl", "model.npz", "lock", "checkpoints", "evaluation.npz"]
TARGETS = [".profile", "new", "checkpoints", "no/such"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_a_run_folder_is_not_followed_by_any_command(run, canary, name, target):
    path = run / name
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    path.symlink_to(canary.folder / target)
    for command in (
        lambda: resume(train, Config, run),
        lambda: execute(train, Config(out=run, epochs=1, examples=40)),
        lambda: report.write([run]),
        lambda: read_metrics(run),
        lambda: Checkpoints(run / "checkpoints", within=run).latest(),
    ):
        # Only typed errors, if any: with some of the files a command has nothing to do.
        with contextlib.suppress(FnnError):
            command()
        canary.check()


def test_a_checkpoint_that_is_a_link_is_passed_over_and_stays_where_it_leads(run, tmp_path):
    target = tmp_path / "mine.npz"
    shutil.copy(next((run / "checkpoints").iterdir()), target)
    (run / "checkpoints" / "step-999999999.npz").symlink_to(target)
    checkpoints = Checkpoints(run / "checkpoints", within=run)
    progress = checkpoints.latest()
    assert progress is not None
    assert "a link, which is not followed" in checkpoints.skipped[0]
    checkpoints.save(progress)
    assert load_checkpoint(target) is not None
    assert not (run / "checkpoints" / "step-999999999.npz").is_symlink()


@pytest.mark.parametrize("name", ["report.html", "report.md"])
@pytest.mark.parametrize("kind", ["pipe", "link", "dangling", "folder"])
def test_what_has_the_name_of_a_report_is_left_alone_and_keeps_nobody_waiting(run, canary, name, kind):
    path = run / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(canary.folder / (".profile" if kind == "link" else "new"))
    before = path.lstat()
    done = threading.Event()

    def write():
        if kind == "folder":
            with pytest.raises(DataError, match=rf"{name}: cannot be written"):
                report.write([run])
        else:
            written = report.write([run])
            assert path not in written
            assert all(each.is_file() for each in written)
        done.set()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(20)
    assert done.is_set()
    assert path.lstat().st_ino == before.st_ino


def test_no_run_gives_a_path_through_a_link(tmp_path, canary):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "out").symlink_to(canary.folder)
    (folder / "picture.png").symlink_to(canary.folder / ".profile")
    (folder / "self").symlink_to(".")
    os.mkfifo(folder / "pipe")
    for name in ("out/x.png", "picture.png", "out", "self/x.png", "pipe"):
        with pytest.raises(DataError, match="cannot be written"):
            Run(folder).path(name)
    (tmp_path / "mine").symlink_to(folder)
    assert Run(tmp_path / "mine").path("a/b.png").parent.is_dir()


def test_control_characters_in_what_a_run_says_are_shown_escaped_in_its_report(tmp_path):
    wild = "cat\x1b[2J\u202egpj\udcff|x"
    small_run(
        tmp_path, config={"name": wild, wild: 1}, result={"accuracy": 0.5, wild: wild}, error=wild
    )
    for written in report.write([tmp_path]):
        text = written.read_text("utf-8")
        assert not [mark for mark in "\x1b\u202e\ufffd" if mark in text]
        assert "cat" in text
        assert "u202e" in text


# --- beside a writer


def test_the_newest_checkpoint_is_found_beside_a_writer_that_replaces_them_all(run, monkeypatch):
    checkpoints = Checkpoints(run / "checkpoints", within=run)
    progress = checkpoints.latest()
    files = sorted((run / "checkpoints").iterdir(), reverse=True)
    calls = []

    def load(path, *more, **words):
        # Whenever one is looked for, the writer has made another and removed those before.
        if len(calls) < 4:
            calls.append(path)
            newer = files[0].with_name(f"step-{10_000_000 + len(calls):09d}.npz")
            shutil.copy(files[0], newer)
            for old in files:
                old.unlink(missing_ok=True)
            files[:] = [newer]
        return load_checkpoint(path, *more, **words)

    monkeypatch.setattr("fnn.runs.checkpoint.folder.load_checkpoint", load)
    assert checkpoints.latest() == progress
    assert checkpoints.skipped == []
    assert len(calls) == 4


def test_what_ended_a_run_is_told_though_its_lock_cannot_be_read_any_more(tmp_path, monkeypatch):
    def deny():
        # Whatever way the lock is looked at, as where a network file system has gone away.
        for name in ("stat", "open", "unlink"):
            real = getattr(os, name)

            def denied(path, *more, _real=real, **words):
                if Path(str(path)).name == "lock":
                    raise PermissionError(13, "Permission denied", str(path))
                return _real(path, *more, **words)

            monkeypatch.setattr(os, name, denied)

    def lose_the_folder():
        with locked(tmp_path):
            deny()
            raise DataError("the fault that matters")

    with pytest.raises(DataError, match="the fault that matters"):
        lose_the_folder()
    monkeypatch.undo()


# --- sizes


def small_run(folder, **more):
    folder.mkdir(exist_ok=True)
    about = {"format": 2, "experiment": "x", "status": "finished", "config": {}, **more}
    (folder / "run.json").write_text(json.dumps(about))
    return folder


def test_run_json_has_a_limit_that_is_said_and_can_be_set(tmp_path, monkeypatch):
    small_run(tmp_path, result={"x": "y" * 5_000_000})
    with (
        pytest.raises(DataError, match=r"run\.json: .*Larger than 4,194,304 bytes"),
        memory_of(1 << 20),
    ):
        read_run(tmp_path)
    assert read_run(tmp_path, most=6_000_000)["experiment"] == "x"
    monkeypatch.setenv("FNN_LIMITS", "run=6000000")
    assert read_run(tmp_path)["experiment"] == "x"


def test_no_run_writes_what_could_not_be_read_again(tmp_path):
    run = Run(tmp_path, about={"format": 2, "config": {}})
    with pytest.raises(OptionError, match=r"at most 4,194,304 bytes in run\.json"):
        run.note(result="y" * 5_000_000)
    assert not (tmp_path / "run.json").exists()
    with pytest.raises(OptionError, match="at most 1,048,576 bytes"):
        run.record(text="y" * 2_000_000)
    run.record(text="y")
    assert read_metrics(tmp_path) == [{"text": "y"}]


def test_metrics_are_read_line_by_line(tmp_path):
    small_run(tmp_path)
    line = json.dumps({"epoch": 1, "loss": 0.25, "validation_accuracy": 0.5}).encode() + b"\n"
    (tmp_path / "metrics.jsonl").write_bytes(line * 30_000)
    with memory_of(1 << 20):
        assert sum(1 for _ in each_record(tmp_path)) == 30_000
    # Of each record its dict and its numbers, of the names one copy.
    with memory_of(30_000 * 480):
        read_metrics(tmp_path)
    # Three columns of a row and a number, and copies of those.
    with memory_of(30_000 * 3 * 16 * 8):
        assert len(report.read(tmp_path).columns["loss"].y) == 30_000


def test_metrics_and_their_lines_have_limits(tmp_path, monkeypatch):
    small_run(tmp_path)
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"loss": 1}\n' * 10)
    with pytest.raises(DataError, match=r"metrics\.jsonl: expected at most 100 bytes, got more"):
        read_metrics(tmp_path, most=100)
    file.write_bytes(b'{"a": "' + b"x" * 2_000_000 + b'"}\n')
    with pytest.raises(DataError, match="at most 1,048,576 bytes in a line, got more at 1"):
        read_metrics(tmp_path)
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    for reading in (read_metrics, report.read):
        with memory_of(6 << 20), pytest.raises(DataError, match=r"metrics\.jsonl"):
            reading(tmp_path)
    monkeypatch.setenv("FNN_LIMITS", "metrics=100")
    file.write_bytes(b'{"loss": 1}\n' * 10)
    assert "only the first 8 records are shown" in " ".join(report.read(tmp_path).notes)
    with pytest.raises(DataError, match="at most 100 bytes"):
        read_metrics(tmp_path)
