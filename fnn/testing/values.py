"""Values that laws meet, arrays, trees and tuples of them, taken apart into lists of named arrays."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.errors import FnnError
from fnn.tree import Array, Tree

Arrays: TypeAlias = list[Array]


class BrokenError(Exception):
    """What came can be checked no further; `law` is the one it breaks."""

    def __init__(self, law: str, message: str, leaf: str = "") -> None:
        """Keep the parts of a violation."""
        super().__init__(message)
        self.law, self.message, self.leaf = law, message, leaf


def described(error: BaseException) -> str:
    """Return an error as one line, without the path that the report gives anyway."""
    text = error.message if isinstance(error, FnnError) else str(error)
    return f"{type(error).__name__}: {text.splitlines()[0][:200] if text else ''}".rstrip(": ")


def line_of(error: BaseException) -> str:
    """Return the last line of somebody's own code that an error came through ("mine.py:12: a += b")."""
    library = str(Path(__file__).parents[1])
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((library, "<")) and "site-packages" not in frame.filename:
            return f"{Path(frame.filename).name}:{frame.lineno}: {(frame.line or '')[:80]}".rstrip(": ")
    return ""


def shown(value: Any) -> str:
    """Say in a few words what a value is."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, Mapping):
        return f"dict of {sorted(map(str, value))}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    return "None" if value is None else type(value).__name__


def named_leaves(value: Any, name: str, law: str = "contract") -> list[tuple[str, Array]]:
    """Return (name, array) for every array of a value, dicts sorted by key.

    Raises:
        BrokenError: If there is anything but arrays of numbers at the leaves.
    """
    if isinstance(value, Mapping):
        found = []
        for key in sorted(value, key=str):
            found += named_leaves(value[key], f"{name}/{key}", law)
        return found
    if isinstance(value, tuple | list):
        found = []
        for i, each in enumerate(value):
            found += named_leaves(each, f"{name}/{i}", law)
        return found
    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "fciub":
        raise BrokenError(law, f"expected an array of numbers, got {shown(value)}", name)
    return [(name, np.asarray(value))]


def arrays_of(value: Any, name: str = "") -> Arrays:
    """Return the arrays of a value in the order of `named_leaves`."""
    return [leaf for _, leaf in named_leaves(value, name)]


def rebuilt(value: Any, arrays: Sequence[Array]) -> Any:
    """Return a value like `value` that holds `arrays`; dicts become Trees, which own the arrays."""
    rest = iter(arrays)

    def build(node: Any) -> Any:
        if isinstance(node, Mapping):
            made = {key: build(node[key]) for key in sorted(node, key=str)}
            return Tree.own({key: made[key] for key in node})
        if isinstance(node, tuple | list):
            return tuple(build(each) for each in node)
        return np.asarray(next(rest))  # Arithmetic makes numbers of arrays without axes.

    return build(value)


def loose(value: Any) -> Any:
    """Return a copy as plain dicts of arrays that can be written to."""
    if isinstance(value, Mapping):
        return {key: loose(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return tuple(map(loose, value))
    return np.array(value)


def sealed(value: Any) -> Any:
    """Return a copy as Trees and read-only arrays."""
    copy = rebuilt(value, [leaf.copy() for leaf in arrays_of(value)])
    for leaf in arrays_of(copy):
        leaf.setflags(write=False)
    return copy


def skeleton(value: Any) -> Any:
    """Return the structure of a value: nested keys, with None where arrays are."""
    if isinstance(value, Mapping):
        return {key: skeleton(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return tuple(map(skeleton, value))
    return None


def like(value: Any, model: Any, name: str, law: str = "shapes") -> list[tuple[str, Array]]:
    """Return the named leaves of a value that must have the structure and shapes of `model`.

    Raises:
        BrokenError: If it has not; says which leaf is missing, beside the others or of another shape.
    """
    got = dict(named_leaves(value, name, law))
    want = dict(named_leaves(model, name, law))
    if skeleton(value) != skeleton(model):
        missing, extra = sorted(want.keys() - got.keys()), sorted(got.keys() - want.keys())
        both = (("lacks", missing), ("has", extra))
        parts = " and ".join(f"{word} {', '.join(paths)}" for word, paths in both if paths)
        message = f"expected {shown(model)}, got {shown(value)}" + (f"; it {parts}" if parts else "")
        raise BrokenError(law, message, name)
    for path, leaf in want.items():
        if got[path].shape != leaf.shape:
            raise BrokenError(law, f"expected shape {leaf.shape}, got {got[path].shape}", path)
    return list(got.items())


def without_integers(dy: Any, y: Any) -> Any:
    """Return a cotangent of y as layers take it: None in the place of integers."""
    if isinstance(y, tuple):
        return tuple(without_integers(each, part) for each, part in zip(dy, y, strict=True))
    has_none = isinstance(y, np.ndarray) and y.dtype.kind in "iub"
    return None if has_none else dy


def with_integers(dx: Any, x: Any, name: str) -> Any:
    """Return a derivative in x with zeros in the place of integers, where None must have come.

    Raises:
        BrokenError: If something else came there.
    """
    if isinstance(x, tuple) and isinstance(dx, tuple | list) and len(x) == len(dx):
        pairs = enumerate(zip(dx, x, strict=True))
        return tuple(with_integers(each, part, f"{name}/{i}") for i, (each, part) in pairs)
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iub":
        return dx
    if dx is not None:
        message = f"integers have no derivative: expected None in their place, got {shown(dx)}"
        raise BrokenError("shapes", message, name)
    return np.zeros_like(x)


def inner(a: Sequence[Array], b: Sequence[Array]) -> float:
    """Return ⟨a, b⟩ in float64."""
    return math.fsum(
        float(np.multiply(x, y, dtype="float64").sum()) for x, y in zip(a, b, strict=True) if x.size
    )


def norm(a: Sequence[Array]) -> float:
    """Return ‖a‖ in float64."""
    return math.sqrt(max(inner(a, a), 0.0)) if a else 0.0


@attrs.frozen
class Difference:
    """The worst place at which two lists of named arrays differ."""

    leaf: str
    message: str
    index: tuple[int, ...] | None = None
    got: Any = None
    want: Any = None

    def parts(self) -> dict[str, Any]:
        """Return the fields as those of a violation, but for the message."""
        return {"leaf": self.leaf, "index": self.index, "got": self.got, "want": self.want}


def worst(name: str, got: Array, want: Array, message: str) -> Difference:
    """Return the place where two arrays of one shape differ most."""
    with np.errstate(all="ignore"):
        gap = np.abs(np.subtract(got, want, dtype=np.result_type(got, want, "float64")))
    gap = np.where(np.isnan(gap), np.inf, gap)
    flat = int(gap.argmax()) if gap.size else 0
    index = tuple(map(int, np.unravel_index(flat, gap.shape))) if gap.size else None
    at = (got[index], want[index]) if index is not None else (None, None)
    return Difference(name, message, index, *(each.item() if each is not None else None for each in at))


def bits_differ(
    got: Sequence[tuple[str, Array]], want: Sequence[tuple[str, Array]]
) -> Difference | None:
    """Return where two lists of arrays are not equal bit for bit, None if they are."""
    if [name for name, _ in got] != [name for name, _ in want]:
        return Difference("", f"the leaves are {[n for n, _ in got]}, not {[n for n, _ in want]}")
    for (name, a), (_, b) in zip(got, want, strict=True):
        if a.dtype != b.dtype or a.shape != b.shape:
            return Difference(name, f"{shown(a)} is not {shown(b)}")
        if a.tobytes() != b.tobytes():
            return worst(name, a, b, "the bits differ")
    return None


def values_differ(
    got: Sequence[tuple[str, Array]],
    want: Sequence[tuple[str, Array]],
    bound: float,
    slack: Callable[[str, Array], float] | None = None,
) -> Difference | None:
    """Return where two lists of arrays differ by more than `bound` times the largest of a leaf.

    Where they do, `slack(name, gap)` says how far the leaf may be off besides.
    """
    for (name, a), (_, b) in zip(got, want, strict=True):
        if not a.size or np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
            continue
        scale = max(float(np.abs(a).max()), float(np.abs(b).max()))
        off = float(np.abs(a - b).max())
        if not off <= bound * scale:
            if slack is not None and off <= bound * scale + slack(name, a - b):
                continue
            return worst(name, a, b, "the values differ by more than rounding")
    return None


def copies(leaves: Sequence[tuple[str, Array]]) -> list[tuple[str, Array]]:
    """Return copies of named leaves."""
    return [(name, leaf.copy()) for name, leaf in leaves]


def is_immutable(value: Any) -> bool:
    """Say whether nobody can write to a tree: neither to its dicts nor, by any view, to its leaves."""
    if isinstance(value, Mapping):
        return type(value) is Tree and all(map(is_immutable, value.values()))
    base = value
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return True


Forward: TypeAlias = Callable[[Arrays], Arrays]
"""From the arrays of a point to those of y."""
