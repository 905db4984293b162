"""Trees of parameters as safetensors files, which PyTorch, JAX and others read and write.

    save_tree("model.safetensors", {"params": params, "state": state})
    tree = load_tree("model.safetensors")

Needs the extra `safetensors`. An array is stored by its path, the names joined by a separator, its
bytes as they are. Equal trees give equal bytes of file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn.errors import DataError, OptionError, TreeError
from fnn.files import PathLike, content, limit, replacing
from fnn.interop.rules import needed
from fnn.tree import Array, Tree, TreeLike, items

_format: Any = needed("safetensors.numpy", "safetensors")
_failure: Any = needed("safetensors", "safetensors").SafetensorError

_MOST_HEADER = 16 << 20
"""Bytes of a header, which take some ten times as many once they are Python's."""

_KEPT = ("F64", "F32", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
_HALVES = ("F16", "BF16")


def save_tree(
    path: PathLike, tree: TreeLike, *, metadata: Mapping[str, str] = {}, separator: str = "/"
) -> None:
    """Write a tree to a file, all or nothing; a file of that name is replaced at once.

    Args:
        path: The file.
        tree: A dict of arrays and of such dicts, of any dtype that the format has.
        metadata: Texts by name that go with it.
        separator: Between the names of a path: "/", or "." as in a `state_dict` of PyTorch.

    Raises:
        OptionError: If metadata are no texts, or the separator no text or part of a name.
        TreeError: If the tree is none, or empty dicts are in it, which the format cannot say.
        DataError: If an array has a dtype that the format lacks, or the file system refuses.
    """
    who = ("save_tree",)
    _check_separator(who, separator)
    if not all(isinstance(each, str) for pair in metadata.items() for each in pair):
        raise OptionError(f"metadata: expected texts by name, got {metadata!r:.80}", path=who)
    if not isinstance(tree, Mapping):
        raise TreeError(f"expected a dict of arrays, got {type(tree).__name__}", path=who)
    arrays = {}
    for name, array in items(tree):
        if separator != "/" and separator in name:
            raise OptionError(f"separator: expected one that is in no name, got {name!r}", path=who)
        arrays[name.replace("/", separator)] = np.asarray(array, order="C")
    _refuse_empty(tree, who)
    try:
        data = _canonical(_format.save(arrays, dict(metadata)))
    except (_failure, KeyError, ValueError) as error:
        dtypes = sorted({str(each.dtype) for each in arrays.values()})
        raise DataError(f"expected dtypes of safetensors, got {dtypes}", path=who) from error
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise DataError(f"{path}: expected a file to write, got: {error}", path=who) from error


def _refuse_empty(tree: TreeLike, who: tuple[str, ...], path: str = "") -> None:
    if isinstance(tree, Mapping):
        if path and not tree:
            raise TreeError(f"expected no empty dict, got one at {path!r}", path=who)
        for name, each in tree.items():
            _refuse_empty(each, who, f"{path}/{name}" if path else name)


def _canonical(data: bytes) -> bytes:
    """Return the file with its header in order: the metadata first, then arrays as they lie."""
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    metadata = header.pop("__metadata__", {})
    ordered = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    ordered |= dict(sorted(header.items(), key=lambda each: (each[1]["data_offsets"], each[0])))
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def load_tree(
    path: PathLike, *, separator: str = "/", widen: bool = False, most: int | None = None
) -> Tree:
    """Return the tree that a file holds; nothing in it is executed.

    Args:
        path: The file.
        separator: Between the names of a path: "/", or "." for a `state_dict` of PyTorch.
        widen: Whether arrays of float16 and bfloat16 are read as float32; otherwise they are refused.
        most: Bytes of the largest file that is read; `$FNN_LIMITS` and its kind "tree" by default.

    Raises:
        OptionError: If the separator is no text.
        DataError: If the file is missing, larger than allowed, or no safetensors file; if a name stands
            twice, or for an array and for a dict; if a dtype is none that is taken. Names the file.
    """
    who = ("load_tree",)
    _check_separator(who, separator)
    header, data = _read(path, who, most)
    header.pop("__metadata__", None)
    found: dict[str, Any] = {}
    for name, about in header.items():
        _put(found, name.split(separator), _array(name, about, data, path, widen), path)
    return Tree(found)


def load_metadata(path: PathLike, *, most: int | None = None) -> dict[str, str]:
    """Return the texts that go with the arrays of a file.

    Raises:
        DataError: As in `load_tree`.
    """
    header, _ = _read(path, ("load_metadata",), most)
    return dict(header.get("__metadata__", {}))


def _check_separator(who: tuple[str, ...], separator: Any) -> None:
    if not isinstance(separator, str) or not separator:
        raise OptionError(f"separator: expected a text, got {separator!r:.80}", path=who)


def _read(path: PathLike, who: tuple[str, ...], most: int | None) -> tuple[dict[str, Any], memoryview]:
    """Return the header and the bytes after it, once safetensors itself has taken the file."""

    def refused(what: str) -> DataError:
        return DataError(f"{path}: expected a safetensors file, got {what}", path=who)

    try:
        data = content(path, most=limit("tree", most))
    except OSError as error:
        raise refused(str(error)) from error
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, _MOST_HEADER):
        raise refused(f"{len(data)} bytes and a header of {size}")
    try:
        # What this takes is a header that says where arrays lie, one after the other, without gaps.
        _format.load(data) if b'"BF16"' not in data[: 8 + size] else _format.deserialize(data)
        header = json.loads(data[8 : 8 + size], object_pairs_hook=_unique)
    except RecursionError as error:
        raise refused("a header that is nested too deep") from error
    except Exception as error:
        raise refused(f"{str(error) or type(error).__name__:.200}") from error
    return header, memoryview(data)[8 + size :]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the entries of an object; of two of one name one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _array(name: str, about: dict[str, Any], data: memoryview, path: PathLike, widen: bool) -> Array:
    kind, shape, (start, stop) = about["dtype"], tuple(about["shape"]), about["data_offsets"]
    part = data[start:stop]
    if kind in _HALVES and widen:
        if kind == "F16":
            return np.frombuffer(part, "<f2").astype(np.float32).reshape(shape)
        # Half of a float32: what is cut off is zero.
        return (np.frombuffer(part, "<u2").astype("<u4") << 16).view(np.float32).reshape(shape)
    if kind not in _KEPT:
        hint = "; widen=True reads it as float32" if kind in _HALVES else ""
        message = f"{path}: {name}: expected a dtype of {', '.join(_KEPT)}, got {kind}{hint}"
        raise DataError(message, path=("load_tree",))
    code = "?" if kind == "BOOL" else f"<{kind[0].lower()}{int(kind[1:]) // 8}"
    return np.frombuffer(part, code).reshape(shape)


def _put(tree: dict[str, Any], names: list[str], array: Array, path: PathLike) -> None:
    """Put an array at a path."""
    clash = DataError(
        f"{path}: expected names of a tree, got {names!r:.200}, of which a part is an array or no name",
        path=("load_tree",),
    )
    if not all(names) or any("/" in name for name in names):
        raise clash
    for name in names[:-1]:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise clash
    if names[-1] in tree:
        raise clash
    tree[names[-1]] = array
