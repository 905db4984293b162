"""A run that is killed at any moment and resumed ends as if nothing had happened."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time

import kill_cases
import pytest
from kill_cases import ENVIRONMENT, SCRIPT, ending, killed_until

from fnn.runs.checkpoint import Checkpoints
from fnn.runs.experiment import read_run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills and forks as POSIX has them")


@pytest.fixture
def server(tmp_path):
    with kill_cases.serving(tmp_path) as server:
        yield server


def test_runs_killed_at_twenty_moments_end_with_the_bits_of_one_that_was_not(server, tmp_path):
    assert killed_until(20, server, tmp_path, seed=5) == 20


# 500 kills in all: 200 of the small experiment, whose steps are short, and 50 of each script.
@pytest.mark.slow
def test_runs_killed_at_two_hundred_moments_end_with_the_bits_of_one_that_was_not(server, tmp_path):
    assert killed_until(200, server, tmp_path, seed=6) == 200


@pytest.mark.slow
@pytest.mark.parametrize("name", kill_cases.EXPERIMENTS)
def test_an_experiment_killed_at_fifty_moments_ends_with_the_bits_of_one_that_was_not(
    server, tmp_path, name
):
    pytest.importorskip("matplotlib")
    script = kill_cases.REPOSITORY / "experiments" / f"{name}.py"
    flags = kill_cases.EXPERIMENTS[name]
    assert killed_until(50, server, tmp_path, seed=7, script=script, flags=flags) == 50


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
