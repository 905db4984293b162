"""A run that is killed at any moment and resumed ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fnn.checkpoint import Checkpoints
from fnn.errors import DataError
from fnn.experiment import read_metrics, read_run

SCRIPT = Path(__file__).with_name("experiment_cases.py")
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills and forks as POSIX has them")


def ending(folder):
    """Return what has to be equal in the end, byte for byte."""
    about = read_run(folder)
    assert about["status"] == "finished"
    metrics = (folder / "metrics.jsonl").read_bytes()
    return about["digest"], about["result"], metrics, (folder / "model.npz").read_bytes()


class Server:
    """The process that forks runs."""

    def __init__(self, cwd):
        command = [sys.executable, str(SCRIPT), "serve"]
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=ENVIRONMENT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(self, *argv, kill_after=None):
        """Run a command line, killing it after a time; return how it ended, as os.wait says it."""
        self.process.stdin.write(json.dumps([argv, kill_after]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.process.stdin.close()
    server.process.wait(20)
    server.process.stdout.close()


def check_what_is_left(folder):
    """Everything that a killed run leaves can be read; return whether it can be resumed."""
    for record in read_metrics(folder):
        assert set(record) in ({"examples", "nothing"}, {"best"}) or {"epoch", "loss"} <= set(record)
    Checkpoints(folder / "checkpoints").latest()
    if not (folder / "run.json").exists():
        with pytest.raises(DataError, match="no run can be read here"):
            read_run(folder)
        return False
    return read_run(folder)["config"]["epochs"] == 8


def killed_until(kills, server, tmp_path, seed):
    """Kill runs and resumed runs at random moments, each of which has to end as an undisturbed one.

    Return how many were killed.
    """
    draw = random.Random(seed)
    assert server.run("--out", "whole") == 0
    began = time.monotonic()
    assert server.run("--out", "again") == 0
    took = time.monotonic() - began
    expected = ending(tmp_path / "whole")
    assert ending(tmp_path / "again") == expected
    done = steps = number = 0
    while done < kills:
        number += 1
        folder, words = tmp_path / f"run-{number}", ["--out", f"run-{number}"]
        while True:
            status = server.run(*words, kill_after=draw.uniform(0, took) if done < kills else None)
            if status == 0:
                break
            assert status == signal.SIGKILL
            done += 1
            if folder.exists() and check_what_is_left(folder):
                words = ["resume", f"run-{number}"]
            progress = Checkpoints(folder / "checkpoints").latest()
            steps += progress is not None
        assert ending(folder) == expected
        assert not (folder / "lock").exists()
        assert not list(folder.rglob(".*.tmp"))
    # Otherwise nothing was tried but starting anew.
    assert steps > kills / 3
    return done


def test_runs_killed_at_twenty_moments_end_with_the_bits_of_one_that_was_not(server, tmp_path):
    assert killed_until(20, server, tmp_path, seed=5) == 20


@pytest.mark.slow
def test_runs_killed_at_two_hundred_moments_end_with_the_bits_of_one_that_was_not(server, tmp_path):
    assert killed_until(200, server, tmp_path, seed=6) == 200


@pytest.fixture
def begin(tmp_path):
    """Start the script as a program; none is left when the test is over."""
    started = []

    def begin(*argv):
        command = [sys.executable, "-W", "error", str(SCRIPT), *argv]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for_lines(path, count, process):
    """Wait until a file has that many lines."""
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_ends_a_run_with_a_line_that_says_how_to_go_on(tmp_path, begin, number, code):
    # Checkpoints by the clock never come due here: what is saved is what the signal saved.
    flags = ["--epochs", "60", "--save-seconds", "1000"]
    whole = begin(*flags, "--out", "whole")
    run = begin(*flags, "--out", "run")
    wait_for_lines(tmp_path / "run" / "metrics.jsonl", 4, run)
    run.send_signal(number)
    _, error = run.communicate(timeout=60)
    assert run.returncode == code, error
    assert error == f"interrupted; resume with: python {SCRIPT} resume run\n"
    about = read_run(tmp_path / "run")
    assert about["status"] == "interrupted"
    assert "result" not in about
    assert not (tmp_path / "run" / "lock").exists()
    progress = Checkpoints(tmp_path / "run" / "checkpoints").latest()
    assert progress.now.step >= 3 * 19
    command = shlex.split(error.strip().split("resume with: python ")[1])
    resumed = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed at step {progress.now.step}\n" in resumed.stdout
    whole.communicate(timeout=60)
    assert whole.returncode == 0
    assert ending(tmp_path / "run") == ending(tmp_path / "whole")


def test_two_runs_at_once_get_folders_of_their_own_and_equal_bits(tmp_path, begin):
    runs = [begin("--epochs", "2") for _ in range(3)]
    for run in runs:
        _, error = run.communicate(timeout=60)
        assert run.returncode == 0, error
    folders = [tmp_path / "out" / name for name in ("small", "small-2", "small-3")]
    assert sorted((tmp_path / "out").iterdir()) == folders
    assert len({ending(folder)[2] for folder in folders}) == 1


def test_a_second_writer_is_refused_while_the_first_lives_and_not_after(tmp_path, begin):
    run = begin("--epochs", "1000", "--out", "run")
    wait_for_lines(tmp_path / "run" / "metrics.jsonl", 2, run)
    for words in (["resume", "run"], ["--out", "run"]):
        other = begin(*words)
        _, error = other.communicate(timeout=60)
        assert other.returncode == 1
        assert error.startswith(f"error: run: process {run.pid} on ")
        assert error.count("\n") == 1
    run.kill()
    run.communicate(timeout=60)
    assert (tmp_path / "run" / "lock").exists()
    other = begin("resume", "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_bytes().count(b"\n")
    wait_for_lines(tmp_path / "run" / "metrics.jsonl", lines + 2, other)
    other.terminate()
    other.communicate(timeout=60)
    assert other.returncode == 143
