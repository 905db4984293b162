"""What it takes to add a layer, an activation, a loss, an optimizer: three files each.

Its own module, the list of public names, and its row in the table of cases. Here one of each is added
to a copy of the tree, and the laws are run there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import attrs

ROOT = Path(__file__).resolve().parents[1]
STUB = "fnn/__init__.pyi"


@attrs.frozen
class Addition:
    """What is written to add a name, and the laws that must then be run for it.

    Attributes:
        module: Where it is defined; a new file, or one to whose end it is added.
        code: Its definition.
        row: What is added to the table of cases.
        table: The file of the table, and the line after which the row comes.
        wrong: A part of the code, and what makes the gradient or the step wrong.
        laws: Tests that run over the table.
        said: The law of which the wrong one is convicted.
    """

    module: str
    code: str
    row: str
    table: tuple[str, str]
    wrong: tuple[str, str]
    laws: tuple[str, ...]
    said: str


LAYER = '''"""Gains: a number per feature."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.initializers import ones
from fnn.layers.making import Leaf, make_layer
from fnn.recipe import constructor


@constructor
def Stretch() -> Layer:
    """Multiply every feature by a gain of its own: y = g x.

    Params:
        g: Gains, shape in_shape, first 1.
    """

    def shapes(in_shape: Shape) -> Any:
        return in_shape, {"g": Leaf(in_shape, ones)}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        def pullback(dy: Any) -> Any:
            return {"g": np.add.reduce(x * dy, axis=0)}, params["g"] * dy

        return params["g"] * x, state, pullback

    return make_layer("stretch", shapes, fwd)
'''
ACTIVATION = '''

@ACTIVATIONS.builtin("half_tanh")
@constructor
def HalfTanh() -> Layer:
    """Squash to (-½, ½): y = tanh(x) / 2, dy/dx = ½ - 2 y²."""
    return elementwise(
        "half_tanh", lambda x: activation.tanh(x) / 2, lambda x, y, dy: (0.5 - 2 * y * y) * dy
    )
'''
LOSS = '''

@LOSSES.builtin("quartic_error")
@pointwise
def quartic_error(pred: Array, target: Array) -> tuple[Array, Array]:
    """Return the mean of (pred - target)⁴ and its gradient in pred."""
    d = pred - target
    return d * d * d * d, 4 * d * d * d
'''
OPTIMIZER = '''

@OPTIMIZERS.builtin("sign_descent")
@constructor
@documented
def sign_descent(learning_rate: Number) -> Transform:
    """Step against the sign of the gradient: u = -lr sign(g)."""

    def formula(now: Now, g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        np.multiply(np.sign(g), -now["learning_rate"], u)

    return make_transform("sign_descent", formula, numbers={"learning_rate": learning_rate})
'''
ROW = """    TransformCase(
        "sign_descent",
        fnn.sign_descent(0.1),
        steps_of(lambda p, g, memory, step: -0.1 * np.sign(g)),
    ),
"""
OF_LAYERS = (
    "test_every_public_layer_and_combinator_obeys_all_laws_in_both_modes",
    "test_no_wrong_version_of_a_layer_passes",
)
ADDED = {
    "Stretch": Addition(
        "fnn/layers/stretch.py",
        LAYER,
        "    (fnn.Stretch(), (3,)),\n    (fnn.Stretch(), (2, 3)),\n",
        ("tests/layer_cases.py", r"CASES\b.* = \["),
        ('params["g"] * dy', "dy"),
        OF_LAYERS,
        "adjoint",
    ),
    "HalfTanh": Addition(
        "fnn/layers/activation.py",
        ACTIVATION,
        "    (fnn.HalfTanh(), (4,)),\n",
        ("tests/layer_cases.py", r"CASES\b.* = \["),
        ("0.5 - 2 * y * y", "0.5 - y * y"),
        OF_LAYERS,
        "adjoint",
    ),
    "quartic_error": Addition(
        "fnn/losses/regression.py",
        LOSS,
        '    "quartic_error": Definition(lambda x, t: (x - t) ** 4),\n',
        ("tests/loss_cases.py", r"DEFINITIONS = \{"),
        ("4 * d * d * d", "3 * d * d * d"),
        (
            "test_every_public_loss_obeys_every_law",
            "test_what_a_public_loss_takes_is_found_out",
            "test_the_value_is_its_definition_computed_by_loops",
            "test_no_wrong_version_of_a_loss_passes",
        ),
        "gradient",
    ),
    "sign_descent": Addition(
        "fnn/optimizers/gradient.py",
        OPTIMIZER,
        ROW,
        ("tests/law_cases.py", r"TRANSFORM_CASES = \["),
        ('-now["learning_rate"]', '-2 * now["learning_rate"]'),
        (
            "test_every_public_transform_obeys_every_law",
            "test_no_closed_form_is_that_of_a_slightly_other_transform",
        ),
        "first_steps",
    ),
}
FILES = (
    "test_testing_laws.py",
    "test_testing_layouts.py",
    "test_testing_losses.py",
    "test_testing_transforms.py",
    "test_layer_laws.py",
    "test_losses.py",
    "test_mutation_score.py",
    "test_house.py",
    "test_names.py",
    "test_registry.py",
    "test_strategies.py",
)
"""Files with tests over the tables, and with those that hold the tables and the names together."""
TABLES = ("test_the_table", "registry", "alphabet", "can_be_drawn", "where_the_list_says")


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).digest()
        for top in ("fnn", "tests")
        for path in (folder / top).rglob("*")
        if path.is_file()
    }


def copied(folder):
    """Copy what a checkout has of the library and its tests."""
    for name in ("fnn", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def add(folder, name, *, wrong=False):
    """Add one name to a copy of the tree; return the files that are new or changed."""
    addition, before = ADDED[name], digests(folder)
    module = folder / addition.module
    code = addition.code.replace(*addition.wrong) if wrong else addition.code
    module.write_text((module.read_text("utf-8") if module.exists() else "") + code, "utf-8")
    put(
        folder / STUB,
        r"from fnn import tree as tree",
        "from {} import {} as {}\n".format(
            addition.module.removesuffix(".py").replace("/", "."), name, name
        ),
    )
    table, line = addition.table
    put(folder / table, line, addition.row)
    after = digests(folder)
    return {path for path in after if after[path] != before.get(path)}


def put(path, line, text):
    """Write a text after the one line of a file that matches."""
    old = path.read_text("utf-8")
    new, n = re.subn(rf"^{line}\n", lambda found: found[0] + text, old, flags=re.MULTILINE)
    assert n == 1, f"{path}: {n} lines {line}"
    path.write_text(new, "utf-8")


def run(folder, choice, files=FILES):
    """Run tests of the copy by the copy; return (test, its case, what went wrong) of each that ran."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", choice]
    done = subprocess.run(
        [*command, f"--junitxml={report}", *(f"tests/{name}" for name in files)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout[-2000:] + done.stderr[-2000:]
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        test, _, rest = case.attrib["name"].partition("[")
        if case.find("skipped") is None:
            wrong = [child.text or "" for child in case if child.tag in ("failure", "error")]
            found.append((test, rest.removesuffix("]"), "\n".join(wrong)))
    return found


def ran(found, law, name):
    """Return what went wrong in every case of a name in a law."""
    return [wrong for test, case, wrong in found if test == law and name in case]


def test_one_more_of_each_kind_takes_three_files_and_is_held_to_the_laws(tmp_path):
    copied(tmp_path)
    for name, addition in ADDED.items():
        assert add(tmp_path, name) == {addition.module, STUB, addition.table[0]}
    found = run(tmp_path, " or ".join([*ADDED, *TABLES]))
    assert [(test, case, wrong) for test, case, wrong in found if wrong] == []
    for name, addition in ADDED.items():
        for law in addition.laws:
            assert ran(found, law, name), f"{law} was not run for {name}"
    for table in TABLES:
        assert any(table in test for test, _, _ in found)


def test_the_laws_convict_wrong_ones_that_were_added_so(tmp_path):
    copied(tmp_path)
    for name in ADDED:
        add(tmp_path, name, wrong=True)
    laws = {name: addition.laws[0] for name, addition in ADDED.items()}
    found = run(tmp_path, f"({' or '.join(ADDED)}) and ({' or '.join({*laws.values()})})", FILES[:4])
    for name, law in laws.items():
        verdicts = ran(found, law, name)
        assert verdicts
        assert all("LawError" in each and ADDED[name].said in each for each in verdicts), name
