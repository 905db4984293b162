"""A process that forks runs and kills them, and what a killed run has to end with."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fnn.errors import DataError
from fnn.runs.checkpoint import Checkpoints
from fnn.runs.experiment import read_metrics, read_run

SCRIPT = Path(__file__).with_name("experiment_cases.py")
REPOSITORY = Path(__file__).resolve().parents[1]
# Without MNIST on the machine, so that a run takes a second or two on the bundled digits.
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
ENVIRONMENT.pop("FNN_DATA", None)
EXPERIMENTS = {
    "mnist_mlp": ["--epochs", "4", "--batch-size", "50"],
    "mnist_cnn": ["--epochs", "3"],
    "sigmoid_overfit": ["--steps", "200"],
    "parity": ["--n", "3", "--epochs", "300"],
    "mnist_dense": ["--epochs", "4", "--batch-size", "50"],
    "mnist_best": ["--epochs", "2"],
    "autoencoder": ["--epochs", "8", "--width", "64"],
    "vae": ["--epochs", "8", "--width", "64", "--draws", "1"],
    "resnet": ["--epochs", "2", "--width", "4"],
    "tabular": ["--table", "flats"],
    "char_lstm": ["--steps", "40", "--units", "16", "--sample", "20"],
    "char_transformer": [
        "--blocks",
        "1",
        "--heads",
        "1",
        "--width",
        "8",
        "--steps",
        "30",
        "--sample",
        "9",
    ],
}


def ending(folder):
    """Return what has to be equal in the end, byte for byte."""
    about = read_run(folder)
    assert about["status"] == "finished"
    files = ("metrics.jsonl", "model.npz", "evaluation.npz")
    content = [(folder / name).read_bytes() for name in files if (folder / name).exists()]
    return about["digest"], about["result"], *content


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

    def run(self, *argv, script=SCRIPT, kill_after=None):
        """Run a command line, killing it after a time; return how it ended, as os.wait says it."""
        self.process.stdin.write(json.dumps([str(script), argv, kill_after]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextlib.contextmanager
def serving(cwd):
    """Give a server; none is left afterwards."""
    server = Server(cwd)
    yield server
    server.process.stdin.close()
    server.process.wait(20)
    server.process.stdout.close()


def check_what_is_left(folder, out):
    """Everything that a killed run leaves can be read; return whether it can be resumed."""
    for record in read_metrics(folder):
        assert set(record) in ({"examples", "nothing"}, {"best"}) or {"epoch", "loss"} <= set(record)
    Checkpoints(folder / "checkpoints").latest()
    if not (folder / "run.json").exists():
        with pytest.raises(DataError, match="no run can be read here"):
            read_run(folder)
        return False
    return read_run(folder)["config"]["out"] == out


def killed_until(kills, server, tmp_path, seed, *, script=SCRIPT, flags=()):
    """Kill runs and resumed runs at random moments, each of which has to end as an undisturbed one.

    Return how many were killed.
    """
    draw = random.Random(seed)
    assert server.run(*flags, "--out", "whole", script=script) == 0
    began = time.monotonic()
    assert server.run(*flags, "--out", "again", script=script) == 0
    took = time.monotonic() - began
    expected = ending(tmp_path / "whole")
    assert ending(tmp_path / "again") == expected
    done = steps = number = 0
    while done < kills:
        number += 1
        out = f"run-{number}"
        folder, words = tmp_path / out, [*flags, "--out", out]
        while True:
            moment = draw.uniform(0, took) if done < kills else None
            status = server.run(*words, script=script, kill_after=moment)
            if status == 0:
                break
            assert status == signal.SIGKILL
            done += 1
            if folder.exists() and check_what_is_left(folder, out):
                words = ["resume", out]
            progress = Checkpoints(folder / "checkpoints").latest()
            steps += progress is not None
        assert ending(folder) == expected
        assert not (folder / "lock").exists()
        assert not list(folder.rglob(".*.tmp"))
    # Otherwise nothing was tried but starting anew.
    assert steps > kills / 3
    return done
