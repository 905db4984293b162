"""`python -m fnn` says what is here: versions, optional packages, data, commands, experiments."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata

import pytest

import fnn
import fnn.__main__ as command
from fnn.datasets import digits


def said(folder, **environment):
    """Return the lines that the command prints into a pipe, in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "fnn"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return done.stdout.decode("ascii").splitlines()


def row(lines, name):
    """Return what stands beside a name, in one line."""
    at = next(n for n, line in enumerate(lines) if f"{line} ".startswith(f"  {name} "))
    more = []
    for line in lines[at + 1 :]:
        if not line.startswith("     "):
            break
        more.append(line.strip())
    return " ".join([lines[at].strip().removeprefix(name).strip(), *more])


def test_it_says_what_is_here_in_lines_of_80_columns_through_a_pipe_of_ascii(tmp_path):
    (tmp_path / "experiments").mkdir()
    about = "Two moons, by a network of three layers which is small enough for a pipe."
    for name, text in {
        "moons.py": f'"""{about}\n\nMore."""\nimport fnn',
        "unfinished.py": "import fnn\nif:",
        "other.py": '"""Nothing of ours."""',
        "notes.txt": "fnn",
        "löwen.py": '"""Löwen."""\nimport fnn',
    }.items():
        (tmp_path / "experiments" / name).write_text(text, "utf-8")
    lines = said(tmp_path, PYTHONIOENCODING="ascii", FNN_DATA="")
    assert max(map(len, lines)) <= 80
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert [title.split(",")[0].split(" by")[0] for title in titles[1:]] == [
        "Versions",
        "Optional packages",
        "Data",
        "Commands",
        "Experiments",
    ]
    assert row(lines, "fnn").startswith(fnn.__version__)
    assert row(lines, "Python").startswith(sys.version.split()[0])
    assert row(lines, "NumPy") == metadata.version("numpy")
    assert row(lines, "digits") == f"{len(digits()):,} images of 8 by 8 pixels, bundled"
    assert row(lines, "coriolanus") == "154,469 characters of a play, bundled"
    assert row(lines, "flats") == "2,000 rows with a price, bundled"
    assert row(lines, "moons.py") == about
    assert row(lines, r"l\xf6wen.py") == r"L\xf6wen."
    assert not [line for line in lines if "unfinished" in line or "other" in line or "notes" in line]


def test_it_names_the_threads_of_linear_algebra_where_they_can_be_told(tmp_path):
    pytest.importorskip("threadpoolctl")
    if not (kernel := command.conditions(None)["blas"]["kernel"]):
        pytest.skip("NumPy's linear algebra is of a kind that cannot be asked")
    blas = row(said(tmp_path, OPENBLAS_NUM_THREADS="1"), "BLAS")
    assert f"{kernel}, 1 thread of " in blas


def test_it_says_what_installs_what_is_missing(monkeypatch):
    def version(name):
        if name in ("pooch", "tqdm"):
            raise metadata.PackageNotFoundError(name)
        return "1.2"

    needs = [
        "attrs>=23",
        *(
            f"{name}>=1; extra == '{extra}'"
            for name, extra in [
                ("tqdm", "progress"),
                ("pooch", "data"),
                ("pillow", "data"),
                ("tqdm", "all"),
                ("fnn", "all"),
                ("pillow", "all"),
                ("pooch", "all"),
                ("ruff", "all"),
            ]
        ),
    ]
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda name: needs)
    assert list(command.optional_packages()) == [
        ("progress", 'no tqdm: pip install "fnn[progress]"'),
        ("data", "pillow 1.2"),
        ("", 'no pooch: pip install "fnn[data]"'),
        ("all", "ruff 1.2"),
    ]


def test_it_does_without_what_is_not_there(tmp_path, monkeypatch, capsys):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    monkeypatch.setattr("fnn.datasets.bundled._FOLDERS", ())
    monkeypatch.setenv("FNN_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if line.startswith(("Optional", "Experiments"))]
    assert "expected one of the folders" in row(lines, "digits")
    assert "(named by $FNN_DATA): expected the files of MNIST" in row(lines, "MNIST")


def test_it_finds_mnist_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "find_mnist", lambda: tmp_path / "mnist")
    monkeypatch.chdir(tmp_path)
    assert dict(command.data())["MNIST"] == os.path.join(".", "mnist")
    monkeypatch.setattr(command, "find_mnist", lambda: None)
    assert dict(command.data())["MNIST"].startswith("not here")


def test_help_is_there_and_arguments_are_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert stopped.value.code == 0
    assert "say what is here" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        command.main(["mnist"])
    assert stopped.value.code == 2
