"""The house: imports go strictly down the ranks, and files are of a size to read."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fnn.registry import listed

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fnn"
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


LAZY = {module_of(path) for path in FILES if "= lazy_names(__name__)" in path.read_text("utf-8")} - {
    "fnn"
}
"""Packages whose names are imported on first use."""

# --- ranks

RANKS = """
errors recipe
tree keys options registry files
kernels
compile
layers.calls layers.initializers
layers.contract
layers.leaves layers.chains
layers.making
layers
layers.combinators layers.branching layers.repetition layers.wrapping layers.reparametrization
layers.attention.blocks layers.assemblies layers.recurrent.both_ways
layers.wiring
layers.describing
layers.summaries
losses optimizers datasets
metrics
training.state training.display training.plans training.penalties
training.outputs
training.evaluation training.history
training.progress training.plateau
training.step
training.findings
training.health
training.replay training.derivatives
training.course
training.jitted
ensemble
training.arguments training.epochs
training.loop
training
runs.config runs.tables
runs.checkpoint runs.pictures
runs.experiment
runs.sweep runs.report
runs.command_line
runs
experiment sweep report checkpoint testing
interop.rules
interop demo
testing.laws
testing.strategies testing.mutation
testing.pytest_plugin
"""
"""What may import what: a line those above it, and what is in a room its own. Where a room and a part
of it both have a rank, the part has its own, and the room's is that of all its other files."""
RANK = {name: rank for rank, line in enumerate(RANKS.split("\n")) for name in line.split()}


def imported(source, module):
    """Yield (line, module) for every module of fnn that the source imports, wherever it does so.

    A name is imported from where it is defined, whichever package shows it; a package whose names are
    imported on first use stands for all of its modules (`fnn.layers.*`).
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [whole(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # Seen from a module, not from a package's __init__.
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])])
            found = [origin(base, alias.name) for alias in node.names]
        elif isinstance(node, ast.Call) and called_by_name(node):
            # Past the statement: `importlib.import_module("fnn.runs.sweep")`.
            found = [whole(each.value) for each in node.args[:1] if isinstance(each, ast.Constant)]
        else:
            continue
        for name in found:
            if isinstance(name, str) and name.split(".")[0] == "fnn":
                yield node.lineno, name


def called_by_name(node):
    """Return whether a call imports the module that its first argument names."""
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    return name in ("import_module", "__import__")


def whole(module):
    return f"{module}.*" if module in LAZY else module


def origin(base, name):
    """Return the module that `from base import name` imports from, or imports."""
    if base in LAZY:
        return next((module for each, module, _ in listed() if each == name), whole(f"{base}.{name}"))
    # `from fnn import tree` imports fnn.tree; a name of fnn's own would be its __init__.
    return whole(f"fnn.{name}") if base == "fnn" else base


def ranked(module):
    """Return the longest name with a rank that the module is, or is inside."""
    parts = module.split(".")[1:]
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in RANK), None)


def violations(source, module):
    """Return what in the source of a module breaks the rule of the ranks."""
    own = ranked(module)
    if own is None:
        return [f"{module}: give it a rank"]
    found = []
    for line, name in imported(source, module):
        other = ranked(name)
        rank = RANK.get(other, 99)
        if name.endswith(".*"):
            rank = max(r for part, r in RANK.items() if f"{part}.".startswith(f"{other}."))
        if rank > RANK[own] or (rank == RANK[own] and other != own):
            found.append(f"{module}:{line} imports {name}, which is not below it")
    return found


RANKED = [
    path
    for path in FILES
    if path.relative_to(PACKAGE).as_posix()
    not in ("__init__.py", "__main__.py", "datasets/__main__.py")
]


@pytest.mark.parametrize("path", RANKED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_strictly_down_the_ranks(path):
    module = module_of(path) + (".__init__" if path.name == "__init__.py" else "")
    assert violations(path.read_text("utf-8"), module) == []


def test_recipes_and_errors_import_nothing_of_ours():
    for name in ("errors", "recipe"):
        assert not list(imported((PACKAGE / f"{name}.py").read_text("utf-8"), f"fnn.{name}"))


def test_every_rank_is_of_something_that_is_there():
    there = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert there - {"__init__", "__main__"} <= RANK.keys()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fnn.kernels.affine", "from fnn.layers.contract import Layer"),
        ("fnn.kernels.affine", "import fnn.layers.contract"),
        ("fnn.kernels.affine", "import numpy, fnn.layers.dense as d"),
        ("fnn.kernels.affine", "from fnn import layer"),
        ("fnn.kernels.affine", "from fnn import Layer"),
        ("fnn.kernels.affine", "import fnn"),
        ("fnn.kernels.affine", "from .. import layer"),
        ("fnn.kernels.affine", "from ..layers.dense import Dense"),
        ("fnn.kernels.affine", "def f():\n    from fnn.training.step import scan"),
        ("fnn.kernels.affine", "importlib.import_module('fnn.layers.dense')"),
        ("fnn.kernels.affine", "def f():\n    return __import__('fnn.training.step')"),
        ("fnn.runs.experiment.runs", "import_module('fnn.runs.sweep').command()"),
        ("fnn.runs.experiment.runs", "from fnn.runs.sweep import sweep"),
        ("fnn.runs.sweep.sweeps", "from fnn.runs.command_line import main"),
        ("fnn.kernels.affine", "if TYPE_CHECKING:\n    from fnn.layers.contract import Layer"),
        ("fnn.kernels.affine", "try:\n    import fnn.training.loop\nexcept ImportError: pass"),
        ("fnn.tree", "from fnn.keys import Key"),
        ("fnn.layer", "from fnn.layers.initializers import draw"),
        ("fnn.losses.sums", "from fnn.optimizers.compose import chain"),
        ("fnn.losses.__init__", "from fnn.metrics import accuracy"),
        ("fnn.layers.__init__", "from ..combinators import serial"),
        ("fnn.layers.dense", "from fnn.layers import serial"),
        ("fnn.layers.dense", "from fnn import layers"),
        ("fnn.layers.dense", "import fnn.layers as room"),
        ("fnn.training.state", "from fnn.training import jit"),
        ("fnn.training", "from fnn.brand_new import x"),
        ("fnn.brand_new", "import numpy"),
    ],
)
def test_the_rule_of_the_ranks_sees_every_way_up(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "fnn.layers.dense",
            "from fnn.kernels.affine import affine\nfrom fnn.errors import ShapeError",
        ),
        ("fnn.layers.dense", "from fnn.layers.convolution import lay\nfrom .shape import Flatten"),
        ("fnn.layers.dense", "from fnn import tree\nfrom .. import errors"),
        ("fnn.layers.__init__", "from .dense import Dense\nfrom fnn.layers import shape"),
        ("fnn.losses.sums", "from fnn.losses import LOSSES, nll\nfrom fnn import losses"),
        ("fnn.training", "import numpy as np\nimport fnnx"),
    ],
)
def test_the_rule_of_the_ranks_allows_what_is_below_and_beside_in_the_package(module, source):
    assert violations(source, module) == []


# --- files

DOORS = [PACKAGE / f"{name}.py" for name in ("checkpoint", "experiment", "report", "sweep")]
"""Names of rooms further in, at the places from which scripts import them."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_has_a_size_to_read_and_says_what_it_is_for(path):
    text = path.read_text("utf-8")
    lines = len(text.splitlines())
    assert lines <= 400
    if not path.name.startswith("__") and path.parent.name != "kernels" and path not in DOORS:
        assert lines >= 30
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("folder", ["tests", "experiments"])
def test_the_other_files_are_short_enough_to_read_too(folder):
    long = {
        path.name: lines
        for path in (ROOT / folder).glob("*.py")
        if (lines := len(path.read_text("utf-8").splitlines())) > 400
    }
    assert not long


def test_the_package_shows_at_its_top_no_more_than_one_can_take_in():
    top = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert sum(path.is_file() for path in top) <= 14
    assert sum(path.is_dir() for path in top) <= 15


def test_no_name_says_that_nobody_knew_where_to_put_it():
    banned = {"utils", "util", "common", "helpers", "misc", "_src", "base", "core"}
    names = {part.removesuffix(".py") for path in FILES for part in path.relative_to(PACKAGE).parts}
    assert not names & banned


FORBIDDEN = [
    (
        re.compile(
            r"\bimport (pickle|marshal|shelve|random)\b|\bfrom (pickle|marshal|shelve|random) import"
        ),
        "unpickling, random",
    ),
    (re.compile(r"np\.random\.(?!Generator|Philox)"), "NumPy's global random state"),
    (re.compile(r"(?<![.\w])(print|eval|exec)\("), "print, eval"),
    (re.compile(r"allow_pickle=True"), "pickles in files"),
    # Equal dtypes may be two objects: those of arrays that were pickled are. Identity may be asked
    # before a comparison by value alone.
    (
        re.compile(r"\.dtype is (?!not |None\b)(\S+)(?! or \S+\.dtype == \1)(?=[\s:)]|$)"),
        "dtypes by identity",
    ),
    (
        re.compile(r"\.dtype is not (?!None\b)(\S+)(?! and \S+\.dtype != \1)(?=[\s:)]|$)"),
        "dtypes by identity",
    ),
]


@pytest.mark.parametrize(
    "code", ["x.dtype is y.dtype", "if x.dtype is not y.dtype:", "(a.dtype is dtype)"]
)
def test_the_rule_of_dtypes_sees_identity_alone(code):
    assert [what for pattern, what in FORBIDDEN if pattern.search(code)] == ["dtypes by identity"]


@pytest.mark.parametrize(
    "code",
    [
        "x.dtype is y.dtype or x.dtype == y.dtype",
        "if x.dtype is not y.dtype and x.dtype != y.dtype:",
        "x.dtype is None",
        "x.dtype is not None",
    ],
)
def test_the_rule_of_dtypes_lets_identity_be_asked_first(code):
    assert [what for pattern, what in FORBIDDEN if pattern.search(code)] == []


REFERENCES_ARE_COUNTED_IN = "kernels/memory.py"
SOURCE_IS_WRITTEN_IN = "compile/listing.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_printed_unpickled_or_drawn_from_global_state(path):
    if path.name == "__main__.py":
        pytest.skip("a command, which prints")
    code = path.read_text("utf-8")
    found = [what for pattern, what in FORBIDDEN if pattern.search(code)]
    if path.relative_to(PACKAGE).as_posix() == SOURCE_IS_WRITTEN_IN:
        assert code.count("exec(") == 1
        found.remove("print, eval")
    assert found == []
    if path.relative_to(PACKAGE).as_posix() != REFERENCES_ARE_COUNTED_IN:
        assert "getrefcount" not in code


def tracked():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_top_level_holds_what_it_may_and_nothing_else():
    allowed = {"pyproject.toml", "README.md", "LICENSE", "fnn", "experiments", "tests", "data"}
    top = {name.split("/")[0] for name in tracked()}
    assert {name for name in top if not name.startswith(".")} <= allowed


def test_the_classifiers_claim_what_the_suite_runs_on():
    about = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    claimed = [each.removeprefix("Programming Language :: Python :: ") for each in about["classifiers"]]
    versions = [each for each in claimed if re.fullmatch(r"3\.\d+", each)]
    assert "{}.{}".format(*sys.version_info) in versions
    assert about["requires-python"] == f">={min(versions, key=lambda each: int(each[2:]))}"
    assert sys.implementation.name == "cpython"
    assert "Implementation :: CPython" in claimed
    systems = [each for each in claimed if each.startswith("Operating System")]
    assert [each.rsplit(" ", 1)[-1].lower() for each in systems] == [sys.platform]


def test_no_tracked_file_names_a_package_registry():
    # Put together here, so that this file does not name one either.
    hosts = ["pypi" + ".org", "python" + "hosted.org", "anaconda" + ".org", "conda" + "-forge.org"]
    for name in tracked():
        text = (ROOT / name).read_bytes().decode("utf-8", "ignore").lower()
        assert [host for host in hosts if host in text] == [], name


# --- tools


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["lint", "format", "types"],
)
def test_the_tools_have_nothing_to_say(command):
    tool = Path(sys.executable).with_name(command[0])
    found = str(tool) if tool.exists() else shutil.which(command[0])
    if found is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([found, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
