"""The command `python -m fnn`: what is here, in versions, optional packages, data and experiments."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence, Sized
from importlib import metadata

from fnn import __version__
from fnn.datasets.bundled import coriolanus, digits, flats, machines
from fnn.datasets.mnist_files import find_mnist
from fnn.errors import DataError
from fnn.files import PathLike, content, lenient_output, names, write_line
from fnn.runs.experiment.conditions import conditions

_WIDTH, _INDENT = 80, 17
_LARGEST_SCRIPT = 1 << 20
_COMMANDS = {
    "python -m fnn.datasets fetch mnist": "download MNIST, checked against its sha256",
    "python -m fnn.report RUN [RUN ...]": "write one page about runs or a sweep",
    "python -m fnn.demo RUN": "serve a page to try a network: draw, type, set numbers",
}
Rows = Iterator[tuple[str, str]]


def versions() -> Rows:
    """Yield what computes: fnn, Python, NumPy and the linear algebra under it."""
    about = conditions(None)
    yield "fnn", f"{__version__}, {_short(os.path.dirname(__file__))}"
    yield "Python", f"{about['versions']['python']}, {_short(sys.executable)}"
    for name, shown in (("numpy", "NumPy"), ("attrs", "attrs")):
        yield shown, about["versions"][name]
    blas = about["blas"]
    library = " ".join(str(blas[part]) for part in ("name", "version") if blas[part]) or "not known"
    # Without the package that asks it, the number would be a guess.
    n = f"{blas['threads']} thread{'' if blas['threads'] == 1 else 's'} of {about['cores']} cores"
    known = f"{blas['kernel']}, {n}" if blas["kernel"] else "threads not known without threadpoolctl"
    yield "BLAS", f"{library}, {known}"


def optional_packages() -> Rows:
    """Yield each extra of the package with the versions it brought, and what installs the rest."""
    extras: dict[str, list[str]] = {}
    with contextlib.suppress(metadata.PackageNotFoundError):  # A checkout that nobody installed.
        for line in metadata.requires("fnn") or ():
            if found := re.match(r"([\w.-]+).*; extra == ['\"](\w+)['\"]", line):
                extras.setdefault(found[2], []).append(found[1])
    seen = {"fnn"}
    # The smallest extra that brings a package comes first and has it.
    for extra, packages in sorted(extras.items(), key=lambda each: (len(each[1]), each[0])):
        there, missing = [], []
        for package in sorted({*packages} - seen):
            try:
                there.append(f"{package} {metadata.version(package)}")
            except metadata.PackageNotFoundError:
                missing.append(package)
        seen |= {*packages}
        if there:
            yield extra, ", ".join(there)
        if missing:
            yield "" if there else extra, f'no {", ".join(missing)}: pip install "fnn[{extra}]"'


def data() -> Rows:
    """Yield the data sets and where they are."""
    bundled: dict[str, tuple[Callable[[], Sized], str]] = {
        "digits": (digits, "images of 8 by 8 pixels"),
        "coriolanus": (coriolanus, "characters of a play"),
        "flats": (flats, "rows with a price"),
        "machines": (machines, "rows, of which few are failures"),
    }
    for name, (load, what) in bundled.items():
        try:
            yield name, f"{len(load()):,} {what}, bundled"
        except DataError as error:
            yield name, str(error)
    try:
        folder = find_mnist()
        missing = "not here: fetch it, or name its folder by $FNN_DATA"
        yield "MNIST", missing if folder is None else _short(folder)
    except DataError as error:
        yield "MNIST", str(error)


def experiments(folder: str = "experiments") -> Rows:
    """Yield the scripts of a folder that are experiments, with the first line of their docstrings."""
    with contextlib.suppress(OSError):
        for name in names(folder):
            if not name.endswith(".py"):
                continue
            with contextlib.suppress(OSError, SyntaxError, ValueError, RecursionError, MemoryError):
                text = content(os.path.join(folder, name), most=_LARGEST_SCRIPT)
                if b"fnn" in text:
                    yield name, (ast.get_docstring(ast.parse(text)) or "").split("\n", 1)[0]


def _short(path: PathLike) -> str:
    """Return a path as seen from the working directory or from home, if it is inside, or whole."""
    path = os.path.abspath(path)
    for folder, sign in ((os.getcwd(), os.curdir), (os.path.expanduser("~"), "~")):
        if path.startswith(os.path.join(folder, "")):
            return os.path.join(sign, os.path.relpath(path, folder))
    return path


def _section(title: str, rows: Rows | Sequence[tuple[str, str]], indent: int = _INDENT) -> list[str]:
    """Return the lines of a titled table of two columns, none if it has no rows."""
    lines = []
    for name, text in rows:
        head = f"  {name}".ljust(indent)
        head += " " if len(head) > indent else ""
        wrapped = textwrap.wrap(
            head + text,
            _WIDTH,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += wrapped or [head.rstrip()]
    return ["", title, *lines] if lines else []


@lenient_output()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    # Here, because only a command line needs it.
    import argparse

    about = "A functional, stateless neural-network toolkit on NumPy"
    argparse.ArgumentParser("python -m fnn", description=f"{about}: say what is here.").parse_args(
        arguments
    )
    lines = [about]
    lines += _section("Versions", versions())
    lines += _section("Optional packages, by extra", optional_packages())
    lines += _section("Data", data())
    lines += _section("Commands", list(_COMMANDS.items()), 2 + max(map(len, _COMMANDS)) + 2)
    lines += _section(
        "Experiments, in ./experiments (python experiments/NAME --help)", experiments(), 24
    )
    for line in lines:
        write_line(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
