"""Public names: `fnn/__init__.pyi` is the one list; packages, registries and type checkers read it."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fnn
import fnn.testing
from fnn.registry import listed

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fnn"
STUBS = {"fnn": fnn, "fnn.testing": fnn.testing}
LAZY = {
    ".".join(path.parent.relative_to(ROOT).parts): path
    for path in sorted(PACKAGE.rglob("__init__.py"))
    if "lazy_names(__name__" in path.read_text("utf-8")
}
"""Packages whose names are imported on first use, with their files."""


def stub_of(package):
    return Path(package.__file__).with_suffix(".pyi").read_text("utf-8")


def defined(module):
    """Return the names that a module binds itself, with its submodules if it is a package."""
    path = Path(importlib.import_module(module).__file__)
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    if path.name == "__init__.py":
        names |= {each.name.removesuffix(".py") for each in path.parent.iterdir()}
    return names


# --- the list


@pytest.mark.parametrize("package", STUBS.values(), ids=STUBS)
def test_what_is_read_from_the_stub_is_what_type_checkers_read(package):
    found = []
    for node in ast.parse(stub_of(package)).body[1:]:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found += [(alias.name, node.module, alias.asname) for alias in node.names]
        else:
            assert isinstance(node, ast.AnnAssign)
            found.append((node.target.id, package.__name__, node.target.id))
    assert {alias for _, _, alias in found} <= {None, *(name for name, _, _ in found)}
    assert list(listed(package.__name__)) == [
        (name, module, bool(alias)) for name, module, alias in found
    ]
    assert all(name == alias for name, _, alias in found if alias)


@pytest.mark.parametrize("package", STUBS)
def test_every_listed_name_is_defined_where_the_list_says(package):
    for name, module, _ in listed(package):
        assert name in defined(module), f"{package}/__init__.pyi: {module} defines no {name}"


@pytest.mark.parametrize("package", LAZY)
def test_a_package_shows_the_names_that_the_list_has_for_it(package):
    here = importlib.import_module(package)
    stub = package if package in STUBS else "fnn"
    expected = {
        name: module
        for name, module, shown in listed(stub)
        if (shown if package == stub else f"{module}.".startswith(f"{package}."))
    }
    assert here.__all__ == sorted(expected)
    assert len(here.__all__) == sum(
        shown if package == stub else f"{module}.".startswith(f"{package}.")
        for _, module, shown in listed(stub)
    )
    assert set(here.__all__) <= set(dir(here))
    for name, module in expected.items():
        if module != package:
            vars(here).pop(name, None)  # As at its first use.
            value = getattr(here, name)
            assert value is vars(here)[name]
            source = importlib.import_module(module)
            assert value is getattr(source, name)


WORD = re.compile(r"\w+")
REGISTRIES = {name for name in fnn.__all__ if name.isupper()}


@pytest.mark.parametrize("path", LAZY.values(), ids=LAZY)
def test_a_package_has_no_list_of_names_beside_the_stub_and_imports_nothing(path):
    tree = ast.parse(path.read_text("utf-8"))
    checked_only = [node for node in tree.body if isinstance(node, ast.If)]
    for node in tree.body[1:]:
        if isinstance(node, ast.ImportFrom):
            assert node.module in ("__future__", "typing", "collections.abc", "fnn.registry")
        assert not isinstance(node, ast.Import)
    for node in checked_only:
        assert ast.unparse(node.test) == "TYPE_CHECKING"
    # Docstrings may speak of names; code may not, but for the registry and its type.
    code = ast.unparse([node for node in tree.body[1:] if node not in checked_only])
    names = {name for stub in STUBS for name, _, _ in listed(stub)}
    types = {"Loss", "Metric", "Transform", "Registry", "__version__"}
    assert set(WORD.findall(code)) & names <= REGISTRIES | types


def test_names_that_are_not_there_are_said_to_be_missing():
    for package in (fnn, fnn.layers, fnn.testing):
        for name in ("Dens", "_tree", "datasets_of_mine"):
            with pytest.raises(AttributeError, match=f"'{package.__name__}' has no attribute '{name}'"):
                getattr(package, name)
    assert {*fnn.__all__, "losses", "layers", "__doc__"} <= set(dir(fnn))
    assert {*fnn.layers.__all__, "dense", "__doc__"} <= set(dir(fnn.layers))


def test_a_name_without_as_is_public_in_its_room_alone():
    for name, module, shown in listed():
        if not shown:
            assert not hasattr(fnn, name)
            room = importlib.import_module(".".join(module.split(".")[:2]))
            assert name in room.__all__
            assert getattr(room, name) is getattr(importlib.import_module(module), name)


def documented(name):
    value = getattr(fnn, name)
    if isinstance(value, str | fnn.Registry):
        return True
    return bool(inspect.getdoc(value)) and inspect.getdoc(value) != inspect.getdoc(type(value))


@pytest.mark.parametrize("name", fnn.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert documented(name)


def test_no_public_name_hides_a_module():
    """`fnn.freeze` may not be a function where `fnn/freeze.py` is a module, at any level."""
    for path in sorted(PACKAGE.rglob("*.py")):
        *parents, name = path.relative_to(ROOT).with_suffix("").parts
        if name == "__init__":
            *parents, name = parents
        if not parents or name == "__main__":
            continue
        if "interop" in parents and name != "rules":  # Its peer may be missing.
            continue
        package = importlib.import_module(".".join(parents))
        module = importlib.import_module(".".join([*parents, name]))
        assert getattr(package, name) is module
        if len(parents) > 1:
            assert not hasattr(fnn, name) or inspect.ismodule(getattr(fnn, name)), name


# --- type checkers

USES = """\
import fnn
from fnn import Dense, config
from fnn.testing import check_layer

net: fnn.Layer = fnn.serial(Dense(3), fnn.Relu())
check_layer(net, (2,))
fnn.tree.digest({})
config.option(1, "what it is")
Dense("three")
fnn.Dens(3)
fnn.stack
from fnn import Relux
"""


def test_type_checkers_know_the_public_names_and_no_others(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "uses.py").write_text(USES, "utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml"]
    done = subprocess.run(
        [*command, tmp_path / "uses.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line]
    assert lines == [9, 10, 11, 12], done.stdout + done.stderr


# --- importing

OPTIONAL = [
    "matplotlib",
    "tqdm",
    "pooch",
    "PIL",
    "torch",
    "jax",
    "sklearn",
    "scipy",
    "pytest",
    "hypothesis",
]
BUDGET = 0.4


def run_python(code, folder):
    # Bytecode is kept beside nobody's files: the first run writes it, the others read it.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, cwd=ROOT
    )
    return done.stdout


def test_importing_the_library_imports_no_optional_package(tmp_path):
    code = f"import sys, fnn; sys.stdout.write(' '.join(m for m in {OPTIONAL} if m in sys.modules))"
    assert run_python(code, tmp_path) == ""


@pytest.mark.alone
def test_importing_the_library_adds_at_most_two_fifths_of_numpys_own_time(tmp_path):
    code = (
        "import sys; from time import perf_counter as now; a = now(); import numpy; b = now(); "
        "import fnn; c = now(); sys.stdout.write(f'{b - a} {c - b}')"
    )
    run_python(code, tmp_path)
    ratios = []
    for _ in range(11):
        numpy_took, fnn_took = map(float, run_python(code, tmp_path).split())
        ratios.append(fnn_took / numpy_took)
    assert statistics.median(ratios) <= BUDGET, sorted(round(ratio, 2) for ratio in ratios)


def test_a_package_in_a_zip_file_has_its_names_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "fnn.zip", "w") as archive:
        for path in (*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")):
            archive.write(path, path.relative_to(ROOT))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'fnn.zip')!r}); import fnn, fnn.testing; "
        "from fnn.layers import Dense; assert fnn.Dense is Dense and 'fnn.zip' in fnn.__file__; "
        "sys.stdout.write(f'{fnn.Dense(3)!r} {fnn.testing.check_layer.__name__} {len(fnn.LOSSES)}')"
    )
    assert run_python(code, tmp_path) == f"Dense(3) check_layer {len(fnn.LOSSES)}"


def test_the_version_is_written_once_and_read_without_numpy(tmp_path):
    code = "import sys, fnn; sys.stdout.write(f'{fnn.__version__} {\"numpy\" in sys.modules}')"
    assert run_python(code, tmp_path) == f"{fnn.__version__} False"
    about = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'dynamic = ["version"]' in about
    assert fnn.__version__ not in about
