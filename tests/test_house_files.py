"""The house: files are opened at one door (`fnn.files`), and links in run folders are not followed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fnn

PACKAGE = Path(fnn.__file__).parent
FILES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in ("files", "testing")
]
# Where run folders and saved trees are handled.
ROOMS = ("experiment", "checkpoint", "sweep", "report")

# What opens, makes, lists, moves or removes files past the door, however it is spelt.
PAST_THE_DOOR = {
    *("open", "fdopen", "read_text", "write_text", "read_bytes", "write_bytes", "touch"),
    *("mkdir", "makedirs", "rmdir", "unlink", "rename", "symlink_to", "hardlink_to", "rmtree"),
    *("listdir", "scandir", "iterdir", "glob", "rglob", "copyfile", "copy2", "copytree"),
    *("savez", "savez_compressed", "fromfile", "tofile", "loadtxt", "savetxt"),
    *("genfromtxt", "memmap", "open_memmap", "FileIO", "mkfifo", "truncate", "fromregex"),
}
# As attributes of these only; `x.replace`, `x.remove` are texts' and lists' otherwise.
OF_MODULES = {
    *(("os", name) for name in ("replace", "remove", "walk", "link", "renames")),
    *((numpy, name) for numpy in ("np", "numpy") for name in ("load", "save")),
    *(("shutil", name) for name in ("move", "copy")),
}
# What follows links to say whether there is something.
LOOKS = {"exists", "is_file", "is_dir", "is_symlink", "isfile", "isdir", "lexists", "samefile"}
TAKES_WITHIN = {
    *("opened", "content", "append_bytes", "appending", "create", "present", "remove", "replacing"),
    *("load_tree", "save_tree", "load_checkpoint", "save_checkpoint", "Checkpoints", "make_folder"),
    *("load_model", "save_model"),
}
ALLOWED = {
    # The folder that the caller named, which may be anywhere and a link.
    ("runs/experiment/execution.py", "mkdir"),
    ("runs/experiment/folders.py", "mkdir"),
    ("runs/sweep/sweeps.py", "mkdir"),
    ("runs/experiment/lock.py", "open"),  # The same, for its lock.
    ("runs/experiment/claims.py", "listdir"),
    # Links are not followed by os.walk, and passed by.
    ("runs/experiment/claims.py", "walk"),
    ("runs/experiment/claims.py", "is_symlink"),
    # What the system says, and what comes with this library.
    ("runs/experiment/lock.py", "read_text"),  # /proc/PID/stat
    ("runs/experiment/conditions.py", "read_text"),  # /proc/cpuinfo
    ("runs/report/svg.py", "read_text"),  # page.css and network.css
    ("runs/sweep/workers.py", "open"),  # os.devnull
    # A stream that came through the door.
    ("runs/checkpoint/trees.py", "open"),  # zipfile, to write
    ("datasets/idx.py", "open"),  # gzip
    ("datasets/image_files.py", "open"),  # Pillow, with the list of formats
    ("datasets/fetch.py", "mkdir"),  # The folder that the caller named.
    ("datasets/fetch.py", "rmdir"),
    ("datasets/fetch.py", "iterdir"),
    ("datasets/image_files.py", "isdir"),
    ("runs/experiment/program.py", "samefile"),  # The script, which is the caller's.
    ("runs/sweep/processes.py", "is_file"),
    ("runs/experiment/program.py", "rglob"),  # This library, for its digest.
}
# Files that are the caller's own.
NAMED = {
    ("runs/experiment/program.py", "opened"),  # The script and its modules.
    ("runs/checkpoint/runs.py", "load_tree"),  # `read_about`, of a file that the caller names.
}


def called(source):
    """Yield (line, base, name, keywords) for every call in a source: os.open is ("os", "open")."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            keywords = {each.arg for each in node.keywords}
            if isinstance(node.func, ast.Name):
                yield node.lineno, "", node.func.id, keywords
            elif isinstance(node.func, ast.Attribute):
                base = node.func.value.id if isinstance(node.func.value, ast.Name) else "?"
                yield node.lineno, base, node.func.attr, keywords


def violations(source, place):
    """Return what in a source goes past the door, or through it without saying `within`."""
    in_room = place.split("/")[:1] == ["runs"] and place.split("/")[1] in ROOMS
    found = []
    for line, base, name, keywords in called(source):
        past = name in PAST_THE_DOOR or (base, name) in OF_MODULES or (in_room and name in LOOKS)
        # The methods of our own that are called like those of files.
        if past and base in ("self", "checkpoints", "going", "saver", "run"):
            continue
        if past and (place, name) not in ALLOWED:
            found.append(f"{place}:{line} calls {base}.{name}: go through fnn.files")
        if in_room and name in TAKES_WITHIN and "within" not in keywords and (place, name) not in NAMED:
            found.append(f"{place}:{line} calls {name} without within=")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_are_opened_at_one_door(path):
    place = path.relative_to(PACKAGE).as_posix()
    assert violations(path.read_text("utf-8"), place) == []


@pytest.mark.parametrize(
    "line",
    [
        "open(folder / 'log.txt', 'a')",
        "(folder / 'log.txt').open('a')",
        "os.open(path, os.O_APPEND)",
        "io.open(path)",
        "path.write_text('x')",
        "np.load(folder / 'model.npz')",
        "numpy.memmap(path)",
        "folder.iterdir()",
        "os.replace(a, b)",
        "shutil.rmtree(folder)",
        "path.exists()",
        "os.path.isfile(path)",
        "opened(path)",
        "files.opened(path)",
        "replacing(path)",
        "load_tree(folder / 'model.npz', like=like)",
        "Checkpoints(folder / 'checkpoints')",
    ],
)
def test_the_rule_of_the_door_sees_every_way_around(line):
    assert violations(line, "runs/experiment/new.py")


def test_every_exception_to_the_rule_of_the_door_is_needed():
    needed = set()
    for path in FILES:
        place = path.relative_to(PACKAGE).as_posix()
        needed |= {(place, name) for _, _, name, _ in called(path.read_text("utf-8"))}
    assert {each for each in (ALLOWED | NAMED) if each not in needed} == set()
