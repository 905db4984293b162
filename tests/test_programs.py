"""Whole programs as users write them, of at most 60 lines each, from their command lines."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fnn.experiment import read_run

PROGRAMS = Path(__file__).with_name("programs")
LINES = {path.name: len(path.read_text("utf-8").splitlines()) for path in PROGRAMS.glob("*.py")}


@pytest.fixture
def program(tmp_path):
    """Run a program in a folder of its own, with what lies beside it; return how it ended."""
    shutil.copytree(PROGRAMS, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))

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


def test_a_program_whose_helper_is_edited_is_refused_on_resume_and_named_on_replay(program):
    flags = ("--epochs", "3", "--stop-after", "1", "--out")
    program("edited_helper", *flags, "whole", code=130)
    assert "accuracy" in program("edited_helper", "resume", "whole").stdout
    assert program("edited_helper", "replay", "whole", code=130)
    program("edited_helper", *flags, "run", code=130)
    helper = program.folder / "features.py"
    helper.write_text(helper.read_text("utf-8").replace("RATE = 0.003", "RATE = 0.03"), "utf-8")
    refused = program("edited_helper", "resume", "run", code=1).stderr
    assert refused.startswith("error: run: the program changed since it ran: features.py: ")
    assert "`--changed-code`" in refused
    program("edited_helper", "resume", "run", "--changed-code")
    (again,) = read_run(program.folder / "run")["resumed"]
    assert again["steps"] == [29]
    assert again["program"]["modules"].keys() == {"features.py"}
