"""The README's examples run as they stand, in the order in which they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_examples_run_as_they_are_pasted(capsys, check_layer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # One of them saves a model.
    namespace: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    check_layer(namespace["Scale"](), (2, 3))
    printed = capsys.readouterr().out.splitlines()
    accuracy, digest = printed[0].split()
    assert float(accuracy) > 0.95
    assert re.fullmatch("[0-9a-f]{8}", digest)
    shown = re.search(r"prints `(\S+) ([0-9a-f]{8})`", README)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(float(accuracy), abs=0.01)  # Other machines, other bits.
    assert printed[1] == str({"accuracy": float(accuracy)})  # The model that was saved.
    assert printed[2].startswith("Fit(3 epochs, 87 steps")
    assert any(line.startswith("87 ") for line in printed)


def test_a_runnable_example_starts_by_the_tenth_line():
    assert README.splitlines().index("```python") < 10


def test_the_commands_are_those_that_ci_runs():
    command = re.search(r"<!-- tests -->\n```sh\n(.*)\n```\n<!-- end -->", README)
    assert command is not None
    assert command[1].startswith("python3 -m venv .venv && ")
    assert command[1].endswith("pytest -q -n 3 --dist worksteal")


def test_the_run_that_is_shown_is_the_one_that_is_replayed():
    out = re.search(r"--epochs 12 --out (\S+)\n", README)
    assert out is not None
    for command in (rf"mnist_cnn\.py replay {out[1]}\n", rf"-m fnn\.report {out[1]}`"):
        assert re.search(command, README)
    ran, replayed = re.findall(r"digest +([0-9a-f]{64})", README)
    assert ran == replayed
