"""Addresses of what NumPy itself calls: the loops of its ufuncs, and the products of its BLAS."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path
from typing import Any

import attrs
import numpy as np

# Where a ufunc's object holds these: part of NumPy's binary interface, and looked at before it is used.
_NIN, _NOUT, _LOOPS, _DATA, _NTYPES, _NAME = 16, 20, 32, 40, 48, 56


def loop_of(ufunc: np.ufunc, types: str) -> tuple[int, int] | None:
    """Return the address of a ufunc's loop for types such as "ff->f", and of the data it is given."""
    if types not in ufunc.types or not _is_laid_out(ufunc):
        return None
    at = ufunc.types.index(types)
    loops = ctypes.c_void_p.from_address(id(ufunc) + _LOOPS).value
    data = ctypes.c_void_p.from_address(id(ufunc) + _DATA).value
    if not loops:
        return None
    loop = ctypes.c_void_p.from_address(loops + 8 * at).value
    given = ctypes.c_void_p.from_address(data + 8 * at).value if data else 0
    return (loop, given or 0) if loop else None


@functools.cache
def _is_laid_out(ufunc: np.ufunc) -> bool:
    """Return whether the object is laid out as is believed here."""
    if object.__basicsize__ != 16 or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False

    def number(at: int) -> int:
        return ctypes.c_int.from_address(id(ufunc) + at).value

    if (number(_NIN), number(_NOUT), number(_NTYPES)) != (ufunc.nin, ufunc.nout, ufunc.ntypes):
        return False
    name = ctypes.c_void_p.from_address(id(ufunc) + _NAME).value
    return bool(name) and ctypes.string_at(name or 0) == ufunc.__name__.encode()


@attrs.frozen
class Blas:
    """The library: how its functions are called, and how wide its integers are."""

    library: Any
    pattern: str
    integer: str

    def address(self, name: str) -> int | None:
        """Return the address of a function such as "sgemm"."""
        found = getattr(self.library, self.pattern.format(name), None)
        return ctypes.cast(found, ctypes.c_void_p).value if found else None


@functools.cache
def blas() -> Blas | None:
    """Return the library that NumPy multiplies with; None if it is not told apart for sure."""
    loaded = {path for path in _loaded() if "openblas" in Path(path).name.lower()}
    own = Path(np.__file__).parent.parent / "numpy.libs"
    ours = [path for path in sorted(loaded) if Path(path).parent == own]
    if not ours and len(loaded) == 1:
        ours = [*loaded]
    if len(ours) != 1:
        return None
    try:
        library = ctypes.CDLL(ours[0], mode=os.RTLD_NOLOAD)
    except (OSError, AttributeError):
        return None
    for pattern, integer in (("scipy_cblas_{}64_", "i64"), ("cblas_{}64_", "i64"), ("cblas_{}", "i32")):
        if hasattr(library, pattern.format("sgemm")):
            return Blas(library, pattern, integer)
    return None


class _Loaded(ctypes.Structure):
    """What the loader says of one library."""

    _fields_ = (("address", ctypes.c_void_p), ("name", ctypes.c_char_p))


def _loaded() -> set[str]:
    """Return what this process has loaded, where the system tells."""
    found: set[str] = set()

    def note(info: Any, size: int, data: Any) -> int:
        found.add(os.fsdecode(info.contents.name or b""))
        return 0

    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Loaded), ctypes.c_size_t, ctypes.c_void_p)
    every = getattr(ctypes.CDLL(None), "dl_iterate_phdr", None)
    if every is not None:
        every(function(note), None)
    return found
