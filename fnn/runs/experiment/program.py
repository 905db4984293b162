"""The program of a run: its script, the modules beside and below it, and this library.

What a run did depends on every line that it executed. run.json holds a digest of the script, of every
module below the script's folder that was imported, and of this library, so that neither a resumed run
nor a replay takes another program for the same.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from fnn.errors import DataError
from fnn.files import opened
from fnn.runs.experiment.origin import described, digest_of_code, module_of, script_of

ENTRIES = ("train", "script", "modules", "fnn")
"""What run.json says of a program."""
_LIBRARY = Path(__file__).resolve().parents[2]
# Packages that were installed are told by their versions, wherever they are.
_INSTALLED = frozenset(("site-packages", "dist-packages"))
_CHUNK = 1 << 20
# By path: what was imported from it, and the digest it had when that was first seen. What is edited
# after it was imported is not what runs.
_seen: dict[str, tuple[object, str]] = {}


@attrs.frozen
class Program:
    """The program that trains now.

    Attributes:
        train: What is called, in a line.
        script: Digest of the file that holds it, or of its code where there is none.
        modules: Digest of every module below the script's folder, by its path from there.
        fnn: Digest of this library.
    """

    train: str
    script: str | None
    modules: dict[str, str]
    fnn: str
    _file: Path | None = attrs.field(repr=False)
    _root: Path | None = attrs.field(repr=False)

    def look(self) -> None:
        """Add the modules that were imported since."""
        for name, digest in _imported(self._root, self._file).items():
            self.modules.setdefault(name, digest)

    def entries(self) -> dict[str, Any]:
        """Return what run.json says of it; `look` adds to the modules there, too."""
        return {name: getattr(self, name) for name in ENTRIES}

    def changed_since(self, before: Mapping[str, Any]) -> list[str]:
        """Return a line for everything in which this is another program than run.json tells.

        A module that is not imported yet is looked at where it was. This library is left out, as
        versions do that everybody installs anew.

        Args:
            before: What a run says of its program: `last_program(about)`.
        """
        lines = []
        for name, now in (("train", self.train), ("script", self.script)):
            if before.get(name) is not None and before[name] != now:
                lines.append(f"{name}: {_short(before[name])} -> {_short(now)}")
        for name, was in sorted((before.get("modules") or {}).items()):
            now = self.modules.get(name) or self._on_disk(name)
            if now != was:
                lines.append(f"{name}: {_short(was)} -> {_short(now)}")
        return lines

    def _on_disk(self, name: str) -> str | None:
        return None if self._root is None else _digest(self._root / name)


def program_of(train: Callable[..., Any]) -> Program:
    """Return the program that would train now.

    Raises:
        OptionError: If `train` is nothing that could be told again; see `described`.
    """
    _, file, _ = script_of(train)
    root = None if file is None else _root(train, file)
    script = digest_of_code(train) if file is None else _digest_at_import(str(file), module_of(train))
    return Program(described(train), script, _imported(root, file), _library(), file, root)


def last_program(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what run.json says of the program that ran last: a resumed run may have changed it."""
    entries = {name: about[name] for name in ENTRIES if name in about}
    for again in about.get("resumed") or []:
        entries = again.get("program") or entries
    return entries


def history(about: Mapping[str, Any]) -> list[str]:
    """Return from which step on a run was another program's, and what had changed; a line for each.

    Whatever stands in run.json, what is no such entry is passed over.
    """
    lines: list[str] = []
    before = _flat(about)
    entries = about.get("resumed")
    for again in entries if isinstance(entries, list) else []:
        if not isinstance(again, dict) or not isinstance(again.get("program"), dict):
            continue
        after, steps = _flat(again["program"]), again.get("steps")
        changed = [name for name in sorted({**before, **after}) if before.get(name) != after.get(name)]
        # One number per fit that was taken up.
        numbers = steps if isinstance(steps, list) and steps else ["?"]
        where = ", ".join(f"{number!s:.20}" for number in numbers[:8])
        lines.append(f"changed from step {where} on: {', '.join(changed):.400}")
        before = after
    return lines


def _flat(entries: Mapping[str, Any]) -> dict[str, Any]:
    modules = entries.get("modules")
    own = {name: entries.get(name) for name in ("train", "script")}
    return {**own, **(modules if isinstance(modules, dict) else {})}


def check_record(about: Mapping[str, Any], path: Path) -> None:
    """Raise DataError, which names `path`, unless what run.json says of programs can be read."""
    for again in about.get("resumed") or []:
        if not isinstance(again, dict) or not isinstance(again.get("program", {}), dict):
            raise DataError(f"{path}: resumed: expected objects with a program, got {again!r:.80}")
        _check(again.get("program", {}), path)
    _check(about, path)


def _check(entries: Mapping[str, Any], path: Path) -> None:
    for name in ("train", "script", "fnn"):
        if not isinstance(entries.get(name), str | None):
            raise DataError(f"{path}: {name}: expected text, got {entries[name]!r:.80}")
    modules = entries.get("modules")
    if not isinstance(modules, dict | None):
        raise DataError(f"{path}: modules: expected digests by path, got {modules!r:.80}")
    for name, digest in (modules or {}).items():
        # They are looked for below the script's folder, and nowhere else.
        parts = PurePosixPath(name).parts
        inside = parts and ".." not in parts and not Path(name).is_absolute() and name.isprintable()
        if not inside or ":" in name or "\\" in name or not isinstance(digest, str):
            got = f"{name!r:.80}: {digest!r:.80}"
            raise DataError(f"{path}: modules: expected digests by paths below the script, got {got}")


def _root(train: Callable[..., Any], file: Path) -> Path:
    """Return the folder below which modules belong to the program: the script's, or its package's."""
    package = getattr(module_of(train), "__package__", None) or ""
    root = Path(os.path.abspath(file)).parent
    for _ in package.split(".")[1:]:
        root = root.parent
    return root


def _imported(root: Path | None, script: Path | None) -> dict[str, str]:
    """Return the digests of all modules below a folder that are imported now, but the script."""
    if root is None or script is None:
        return {}
    # A folder has two names where a link leads to it, and Python itself resolves that of a script.
    starts = {os.path.join(os.path.abspath(root), ""), os.path.join(os.path.realpath(root), "")}
    library = os.path.join(_LIBRARY, "")
    # A virtual environment may lie below the script, or the script in one.
    environment = os.path.join(os.path.realpath(sys.prefix), "")
    found = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str):
            continue
        path = os.path.abspath(file)
        start = next((start for start in starts if path.startswith(start)), None)
        if start is None or path.startswith(library):
            continue
        if environment.startswith(start) and path.startswith(environment):
            continue
        if not _INSTALLED.isdisjoint(path[len(start) :].split(os.sep)):
            continue
        name = path[len(start) :].replace(os.sep, "/")
        if not _same_file(path, script):
            digest = _digest_at_import(path, module)
            if digest is not None:
                found[name] = digest
    return dict(sorted(found.items()))


def _same_file(path: str, script: Path) -> bool:
    if os.path.basename(path) != script.name:
        return False
    with contextlib.suppress(OSError):
        return os.path.samefile(path, script)
    return False


def _digest_at_import(path: str, module: Any) -> str | None:
    # Reloading gives a module a new spec; a script has none.
    origin = getattr(module, "__spec__", None) or module
    known = _seen.get(path)
    if known is not None and known[0] is origin:
        return known[1]
    digest = _digest(Path(path), module)
    if digest is not None:
        _seen[path] = (origin, digest)
    return digest


def _digest(path: Path, module: Any = None) -> str | None:
    total = hashlib.sha256()
    try:
        with opened(path) as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
    except OSError:
        # In an archive, of which the loader knows the way.
        with contextlib.suppress(Exception):
            total.update(module.__loader__.get_data(str(path)))
            return total.hexdigest()
        return None
    return total.hexdigest()


@functools.cache
def _library() -> str:
    """Return a digest of the code of this library, as it was when first asked for."""
    total = hashlib.sha256()
    for path in sorted(_LIBRARY.rglob("*.py")):
        digest = _digest(path)
        total.update(f"{path.relative_to(_LIBRARY).as_posix()}\n{digest}\n".encode())
    return total.hexdigest()


def _short(value: str | None) -> str:
    if value is None:
        return "gone"
    is_digest = len(value) == 64 and set(value) <= set("0123456789abcdef")
    return value[:12] if is_digest else f"{value:.80}"
