"""Whole programs as users write them, of at most 60 lines each, from their command lines."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fnn.runs.experiment import read_run

PROGRAMS = Path(__file__).with_name("programs")
LINES = {path.name: len(path.read_text("utf-8").splitlines()) for path in PROGRAMS.glob("*.py")}


@pytest.fixture
def program(tmp_path):
    """Run a program in a folder of its own, with what lies beside it; return how it ended."""
    shutil.copytree(
        PROGRAMS, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )

    def run(name, *flags, code=0):
        command = [sys.executable, "-W", "error", f"{name}.py", *flags]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    run.folder = tmp_path
    return run


@pytest.mark.parametrize("name", sorted(LINES))
def test_a_program_has_at_most_sixty_lines(name):
    assert LINES[name] <= 60


def interrupted(program, name, *flags, out):
    """Send Ctrl-C to a program when it has recorded five epochs."""
    command = [sys.executable, "-W", "error", f"{name}.py", *flags, "--out", out]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=program.folder, **quiet)
    metrics, deadline = program.folder / out / "metrics.jsonl", time.monotonic() + 60
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


@pytest.mark.skipif(os.name == "nt", reason="sends Ctrl-C")
def test_a_program_whose_helper_is_edited_is_refused_on_resume_and_named_on_replay(program):
    interrupted(program, "edited_helper", "--epochs", "300", out="run")
    helper = program.folder / "features.py"
    text = helper.read_text("utf-8")
    helper.write_text(text.replace("RATE = 0.003", "RATE = 0.03"), "utf-8")
    refused = program("edited_helper", "resume", "run", code=1).stderr
    assert refused.startswith("error: run: the program changed since it ran: features.py: ")
    assert "`--changed-code`" in refused
    assert read_run(program.folder / "run")["status"] == "interrupted"
    program("edited_helper", "resume", "run", "--changed-code")
    (again,) = read_run(program.folder / "run")["resumed"]
    assert again["steps"][0] >= 4 * 29
    assert again["program"]["modules"].keys() == {"features.py"}
    said = program("edited_helper", "replay", "run", code=1).stdout
    assert f"program: changed from step {again['steps'][0]} on: features.py\n" in said

    program("edited_helper", "--epochs", "3", "--out", "whole")
    helper.write_text(text, "utf-8")
    said = program("edited_helper", "replay", "whole", code=1).stdout
    assert re.search(r"conditions that changed:\nmodules\.features\.py: \w{64} -> \w{64}\n", said)


def test_an_embedding_of_ones_own_learns_from_integer_tokens(program):
    program("own_embedding", "--out", "run")
    about = read_run(program.folder / "run")
    assert about["result"]["accuracy"] > 0.9
    assert about["network"].startswith("serial(Embedding(10, 8), Flatten(), ")
    first = about["layers"]["rows"][0]
    assert (first["kind"], first["out_shape"], first["parameters"]) == ("Embedding(10, 8)", [6, 8], 80)
    assert "identical: 40 records" in program("own_embedding", "replay", "run").stdout


def test_a_network_with_two_inputs_learns_from_both(program):
    said = program("two_inputs").stdout
    assert "input 1×8×8, 3" in said
    assert "Both(serial(Conv(4, 3), Relu(), GlobalAvgPool()), serial(Dense(8), Tanh()))" in said
    assert float(re.search(r"([\d.]+)% unexplained", said)[1]) < 15


def test_a_head_is_trained_on_a_frozen_trunk_from_loaded_weights(program):
    said = program("frozen_trunk").stdout
    assert "the trunk is what it was: True" in said
    assert float(re.search(r"100 examples: \{'accuracy': ([\d.]+)", said)[1]) > 0.8


def test_a_table_of_weighted_rows_is_fitted_in_float64(program):
    rng = np.random.default_rng(0)
    area, rooms, age = rng.uniform(20, 200, 300), rng.integers(1, 7, 300), rng.uniform(0, 90, 300)
    price = 1000.0 * area + 5000 * rooms - 300 * age + 2e6  # A mean that float32 would round to 0.1.
    weight = rng.choice([0.0, 0.5, 1.0, 3.0], 300)
    # What counts for nothing may be anything.
    price[weight == 0] = 1e12
    columns = zip(area, rooms, age, price, weight, strict=True)
    lines = ["area,rooms,age,price,weight", *(",".join(map(repr, map(float, row))) for row in columns)]
    lines.insert(5, "50,2,10,,1")  # A row without a price.
    (program.folder / "houses.csv").write_text("\n".join(lines) + "\n", "utf-8")
    said = program("weighted_table", "houses.csv").stdout
    found = re.search(r"weights of ([\d.]+); float64\nerror ([\d.]+) of a spread of ([\d.]+)\n", said)
    total, error, spread = map(float, found.groups())
    assert total == pytest.approx(weight[:210].sum(), abs=0.06)
    assert 40_000 < spread < 80_000
    assert error < 0.1 * spread
