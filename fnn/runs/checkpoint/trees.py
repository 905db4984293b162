"""Trees of arrays in files that a crash cannot destroy and a stranger cannot misuse.

A file is an npz (stored, not compressed, nothing pickled) with one member per leaf, named by its
path; `numpy.load` reads it too. An empty branch is a member whose name ends in "/". The archive's
comment holds the format's version and the sha256 of every byte before it, so that a single flipped
bit is noticed. Equal trees give equal bytes.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import IO, Any, Literal

import numpy as np

from fnn.errors import DataError, FnnError, TreeError
from fnn.files import PathLike, limit, opened, replacing
from fnn.training.progress import differences
from fnn.tree import Array, Tree, TreeLike, freeze

_VERSION = 1
_MARK = b"fnn-tree %d sha256 "
_HEX = 64
_SEAL = len(_MARK % _VERSION) + _HEX
_CHUNK = 1 << 20
_LOCAL = struct.Struct("<4s5H3L2H")
_END = struct.Struct("<4s4H2LH")
# NumPy's own reader parses headers as Python literals, which can warn and exhaust the stack.
_HEADER = re.compile(
    rb"\{'descr': '([<>|][fciub]\d{1,2})', 'fortran_order': (True|False), "
    rb"'shape': \(([\d, ]*)\), \} *\n"
)
_MAX_DEPTH = 64
_MAX_AXES = 64
# Beyond 2 GiB a member needs the wider headers of zip64, which the strict reader does not know.
_MAX_LEAF = (1 << 31) - (1 << 16)
# What the objects of a leaf, of each of its axes and of a branch take at most, its numbers aside: a
# file may not ask for more of them than a few times its size.
_LEAF, _AXIS, _BRANCH = 256, 16, 384
SLACK = 1 << 20
"""How many bytes reading may take beyond 4 times the size of a file, however small it is."""


def save_tree(path: PathLike, tree: Mapping[str, TreeLike], *, within: PathLike | None = None) -> None:
    """Write `tree` to one file, all or nothing; equal trees give equal bytes.

    Args:
        path: The file.
        tree: What to write.
        within: The folder that the caller chose, below which no link is followed.

    Raises:
        TreeError: If it is no mapping, or a key cannot stand in a file (control characters,
            backslashes), or a leaf is larger than 2 GiB.
        DataError: If the file system refuses; an older file at `path` is then untouched.
    """
    if not isinstance(tree, Mapping):
        raise TreeError(f"save_tree: expected a dict of arrays, got {type(tree).__name__}")
    members = list(_members(freeze(tree)))
    for name, leaf in members:
        _check_member(name, leaf)
    with replacing(path, within=within) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, leaf in members:
                info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                # Left alone it would say on which system the file was written.
                info.create_system = 3
                with archive.open(info, "w") as member:
                    if leaf is not None:
                        np.lib.format.write_array(member, leaf, version=(1, 0), allow_pickle=False)
            archive.comment = _MARK % _VERSION + b"0" * _HEX
        end = file.seek(0, os.SEEK_END)
        digest = _sha256(file, end - _HEX)
        file.seek(end - _HEX)
        file.write(digest)


def _members(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Array | None]]:
    for name in sorted(tree):
        value = tree[name]
        if not isinstance(value, Mapping):
            yield f"{prefix}{name}.npy", value
        elif value:
            yield from _members(value, f"{prefix}{name}/")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{name}/", None


def _check_member(name: str, leaf: Array | None) -> None:
    # The zip format ends a name at a zero byte, and Windows takes a backslash for a slash.
    if not name.isprintable() or "\\" in name or len(name.encode()) >= 1 << 15:
        raise TreeError(f"save_tree: expected printable keys without backslashes, got {name!r}")
    if name.count("/") > _MAX_DEPTH:
        raise TreeError(f"save_tree: expected at most {_MAX_DEPTH} levels, got {name[:80]!r}")
    if leaf is not None and leaf.nbytes > _MAX_LEAF:
        raise TreeError(f"save_tree: expected leaves below 2 GiB, got {leaf.nbytes} bytes at {name!r}")


def load_tree(
    path: PathLike,
    *,
    like: Mapping[str, TreeLike] | None = None,
    within: PathLike | None = None,
    most: int | None = None,
) -> Tree:
    """Read back exactly what `save_tree` wrote, as an immutable Tree.

    Nothing in the file is ever executed, and memory stays within a few times the file's size,
    whoever wrote it. Archives from elsewhere (`numpy.savez`) lack the digest and are refused.

    Args:
        path: The file.
        like: A tree that the loaded one has to match in paths, shapes and dtypes.
        within: The folder that the caller chose, below which no link is followed; without, `path` is
            the caller's own and may be a link.
        most: How many bytes the file may have; `fnn.files.LIMITS` says without.

    Raises:
        DataError: If the file is missing, cut, changed, newer than this library, or not such a
            file; or if it differs from `like`: lists every difference. Names the file.
    """
    try:
        with opened(path, within=within) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit("tree", most):
                most_bytes = f"at most {limit('tree', most):,} bytes"
                raise DataError(f"expected {most_bytes}, got {size:,}; $FNN_LIMITS allows more")
            tree = _read(file, size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    # Beside our own: names that are no UTF-8, sizes and dtypes that NumPy refuses.
    except (FnnError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: {error}") from None
    if like is not None:
        lines = differences(tree, freeze(like))
        if lines:
            raise DataError(f"{path}: does not fit:\n  " + "\n  ".join(lines))
    return tree


def _sha256(file: IO[bytes], length: int) -> bytes:
    file.seek(0)
    total = hashlib.sha256()
    while length > 0 and (chunk := file.read(min(length, _CHUNK))):
        total.update(chunk)
        length -= len(chunk)
    return total.hexdigest().encode()


def _read(file: BufferedReader, size: int) -> Tree:
    if size < _END.size + _SEAL:
        raise DataError(f"expected a saved tree, got {size} bytes")
    file.seek(size - _SEAL)
    mark, digest = file.read(_SEAL - _HEX), file.read(_HEX)
    if mark != _MARK % _VERSION:
        if mark.startswith(b"fnn-tree "):
            raise DataError(f"expected format {_VERSION}, got {mark!r}; written by another fnn?")
        raise DataError("expected a tree written by save_tree; cut short, or another kind of file")
    if _sha256(file, size - _HEX) != digest:
        raise DataError("content differs from its sha256; damaged or changed since it was written")
    file.seek(0)
    root: dict[str, Any] = {}
    left = 3 * size + SLACK
    while (member := _read_member(file, size - _SEAL)) is not None:
        name, leaf = member
        *branches, last = (
            name.removesuffix("/").removesuffix(".npy" if leaf is not None else "").split("/")
        )
        if len(branches) > _MAX_DEPTH or not all((*branches, last)):
            raise DataError(f"expected a path of up to {_MAX_DEPTH} names, got {name[:80]!r}")
        node = root
        left -= _BRANCH if leaf is None else _LEAF + _AXIS * leaf.ndim
        for branch in branches:
            left -= 0 if branch in node else _BRANCH
            node = node.setdefault(branch, {})
            # An empty branch is marked by None until the end, so that nothing can follow below it.
            if not isinstance(node, dict):
                raise DataError(f"expected a tree, got {name[:80]!r} below a leaf")
        if left < 0:
            raise DataError(f"expected fewer paths in {size} bytes, got {name[:80]!r} on top")
        if last in node:
            raise DataError(f"expected every path once, got {name[:80]!r} again")
        node[last] = leaf
    return _own(root)


def _own(node: dict[str, Any]) -> Tree:
    return Tree.own(
        {
            name: Tree() if value is None else _own(value) if isinstance(value, dict) else value
            for name, value in node.items()
        }
    )


def _read_member(file: BufferedReader, end: int) -> tuple[str, Array | None] | None:
    """Read the next member; None where the archive's directory begins."""
    head = file.read(_LOCAL.size)
    if head[:4] in (b"PK\1\2", b"PK\5\6"):
        return None
    if len(head) < _LOCAL.size or head[:4] != b"PK\3\4":
        raise DataError("expected an npz archive")
    _, _, flags, method, _, _, _, stored, length, n_name, n_extra = _LOCAL.unpack(head)
    name = file.read(n_name).decode()
    file.read(n_extra)
    start = file.tell()
    if method != 0 or flags & ~0x800 or stored != length or start + length > end:
        raise DataError(f"{name[:80]!r}: expected a stored member of its declared size")
    if name.endswith("/") and length == 0:
        return name, None
    if not name.endswith(".npy"):
        raise DataError(f"{name[:80]!r}: expected a name ending in .npy")
    shape, dtype, order = _read_header(file, name)
    # Allocate only what the file is seen to hold.
    if math.prod(shape) * dtype.itemsize != start + length - file.tell():
        raise DataError(f"{name[:80]!r}: {dtype} {shape} does not fill its {length} bytes")
    leaf = np.empty(shape, dtype, order=order)
    # A view in the order of memory, so that the bytes land where they were.
    flat = leaf.reshape(-1, order=order)
    if flat.nbytes and file.readinto(flat.view(np.uint8).data) != flat.nbytes:
        raise DataError(f"{name[:80]!r}: cut short")
    return name, leaf


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype, Literal["C", "F"]]:
    head = file.read(10)
    header = _HEADER.fullmatch(file.read(int.from_bytes(head[8:], "little")))
    if head[:8] != b"\x93NUMPY\1\0" or header is None or header[3].count(b",") > _MAX_AXES:
        raise DataError(f"{name[:80]!r}: expected an array of numbers in npy format 1.0")
    descr, fortran, sizes = (part.decode() for part in header.groups())
    shape = tuple(int(n) for n in sizes.split(",") if n.strip())
    return shape, np.dtype(descr), "F" if fortran == "True" else "C"
