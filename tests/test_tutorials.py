"""The tutorials: scripts with cells that run, say what they should, and become notebooks."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "experiments/tutorials"
SCRIPTS = sorted(FOLDER.glob("*.py"))
NEEDS = {"from_scikit_learn": "sklearn"}
SAYS = {
    "compose_a_network": "of the test set after twelve epochs",
    "from_scikit_learn": "'learning_rate': 0.01",
    "prove_a_gradient": "breaks 2 of 15 laws",
    "replay_an_experiment": "identical: 3 records",
}


def cells(text):
    """Return the cells of a script: whether each is a text, and its lines."""
    found = []
    for line in text.splitlines():
        if line.startswith("# %%"):
            found.append((line == "# %% [markdown]", []))
        else:
            found[-1][1].append(line)
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_tutorial_runs_and_says_what_it_should(script, tmp_path):
    if script.stem in NEEDS:
        pytest.importorskip(NEEDS[script.stem])
    env = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[script.stem] in done.stdout
    assert not list(tmp_path.iterdir())


def test_there_are_four_and_each_is_tried():
    assert [path.stem for path in SCRIPTS] == sorted(SAYS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_tutorial_is_cells_of_text_and_of_code_that_parse(script):
    text = script.read_text("utf-8")
    found = cells(text)
    assert found[0][0]
    assert found[0][1][0].startswith("# # ")
    assert len(found) > 8
    for is_text, lines in found:
        if is_text:
            assert all(line.startswith("#") for line in lines if line)
        else:
            ast.parse("\n".join(lines))
    assert sum(len(lines) for _, lines in found) < 120


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_tutorial_becomes_a_notebook(script):
    jupytext = pytest.importorskip("jupytext")
    nbformat = pytest.importorskip("nbformat")
    notebook = jupytext.read(script)
    nbformat.validate(notebook)
    expected = ["markdown" if is_text else "code" for is_text, _ in cells(script.read_text("utf-8"))]
    assert [cell.cell_type for cell in notebook.cells] == expected
