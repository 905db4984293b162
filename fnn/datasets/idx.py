"""The IDX format, plain or gzipped: two zero bytes, a type code, the number of axes, sizes, numbers.

Big-endian throughout (LeCun, Cortes & Burges, 1998, "The MNIST database of handwritten digits"). A file
is read whole or not at all, and nothing is allocated on the word of a header alone.
"""

from __future__ import annotations

import errno
import math
import os
from typing import IO, Any, cast

import numpy as np

from fnn.errors import DataError, DTypeError, ShapeError
from fnn.files import PathLike, limit, opened, replacing
from fnn.kernels.conversion import check_unmasked
from fnn.options import integer
from fnn.tree import Array

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CODES = {np.dtype(name).newbyteorder("="): code for code, name in _DTYPES.items()}
# NumPy's arrays have at most 64 axes, but no real file has more than a few.
_MOST_AXES = 32
_MEBIBYTE = 1 << 20


def looks_like_html(start: bytes) -> bool:
    """Say whether a file that begins so is a web page, as servers send in place of a lost file."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def describe(start: bytes) -> str:
    """Return what the first bytes of a file that is not what it should be look like."""
    if not start:
        return "an empty file"
    if looks_like_html(start):
        return "what looks like an HTML page"
    return f"a file that starts with {start[:8].hex(' ')}"


def read_idx(path: PathLike, *, max_bytes: int | None = None) -> Array:
    """Return the array in the IDX file at `path`, read-only and in the machine's byte order.

    Whether the file is gzipped is told by its first bytes, not by its name.

    Args:
        path: The file.
        max_bytes: Refuse files that declare more than this; by default 100 times the size of the
            file, at least 64 MiB, and at most what `fnn.files.LIMITS` says.

    Raises:
        DataError: If the file is missing, is not IDX, is corrupted, shorter or longer than it
            declares, or declares more than max_bytes.
    """
    name = os.fspath(path)
    if max_bytes is not None:
        max_bytes = integer("read_idx", "max_bytes", max_bytes)
    try:
        with opened(name) as file:
            size = os.fstat(file.fileno()).st_size
            most = max_bytes
            if most is None:
                most = min(max(64 * _MEBIBYTE, 100 * size), limit("idx"))
            start = file.read(2)
            file.seek(0)
            if start == b"\x1f\x8b":
                # What cannot be compressed grows by less than that. Behind its end a file may go on in
                # zeros, which are passed over, and as many as there are would be read.
                if size > most + most // 100 + _MEBIBYTE:
                    raise DataError(f"{name}: expected at most {most} bytes of data, packed in {size}")
                return _gunzip(name, file, most)
            return _read(name, file, most, size)
    except OSError as error:
        special = isinstance(error, IsADirectoryError) or error.errno == errno.EINVAL
        got = "something that is not a file" if special else error.strerror or error
        raise DataError(f"{name}: expected an IDX file, got {got}") from None
    except MemoryError:
        raise DataError(f"{name}: expected numbers that memory has room for, got more") from None


def _gunzip(name: str, file: IO[bytes], most: int) -> Array:
    import gzip  # here, as NumPy does not load it and importing this library must stay cheap
    import zlib

    try:
        with gzip.open(file, "rb") as unpacked:
            return _read(name, cast("IO[bytes]", unpacked), most, None)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: expected a whole gzip file, got a corrupted one: {error}") from None


def _read(name: str, file: IO[bytes], most: int, size: int | None) -> Array:
    """Read header and numbers; `size` is the length of a plain file, None where it is not known."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\x00\x00":
        raise DataError(f"{name}: expected an IDX file, got {describe(head + file.read(28))}")
    if head[2] not in _DTYPES:
        known = ", ".join(f"0x{code:02x}" for code in _DTYPES)
        raise DataError(f"{name}: expected one of the type codes {known}, got 0x{head[2]:02x}")
    n_axes = head[3]
    if not 1 <= n_axes <= _MOST_AXES:
        raise DataError(f"{name}: expected 1 to {_MOST_AXES} axes, got {n_axes}")
    sizes = file.read(4 * n_axes)
    if len(sizes) < 4 * n_axes:
        raise DataError(f"{name}: expected {4 + 4 * n_axes} bytes of header, got {4 + len(sizes)}")
    dtype = np.dtype(_DTYPES[head[2]])
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4))
    # An axis of 0 makes the product 0 and leaves the others unbounded, which NumPy refuses too.
    if (declared := dtype.itemsize * math.prod(n or 1 for n in shape)) > most:
        raise DataError(f"{name}: expected at most {most} bytes of data, got {declared} in its header")
    declared = dtype.itemsize * math.prod(shape)
    whole = 4 + len(sizes) + declared
    if size is not None and size != whole:
        raise DataError(f"{name}: expected {whole} bytes for shape {shape}, got {size}")
    numbers = _numbers(name, file, declared).view(dtype).reshape(shape)
    array = numbers.astype(dtype.newbyteorder("="), copy=False)
    array.setflags(write=False)
    return array


def _numbers(name: str, file: IO[bytes], declared: int) -> Array:
    # Pages of np.empty cost nothing until the file really has filled them.
    numbers = np.empty(declared, np.uint8)
    there = 0
    while there < declared:
        part = file.read(min(_MEBIBYTE, declared - there))
        if not part:
            raise DataError(f"{name}: expected {declared} bytes of data, got {there}")
        numbers[there : there + len(part)] = np.frombuffer(part, np.uint8)
        there += len(part)
    if file.read(1):
        raise DataError(f"{name}: expected {declared} bytes of data, got more")
    numbers.setflags(write=False)
    return numbers


def write_idx(path: PathLike, array: Any) -> None:
    """Write `array` as an IDX file, gzipped if the name ends in ".gz"; the bytes hold no date.

    The file appears whole or not at all.

    Raises:
        DataError: If the array is masked.
        DTypeError: If IDX has no code for the dtype (int64, float16, bool, ...).
        ShapeError: If the array is a scalar, or has more axes or a longer one than IDX can say.
    """
    check_unmasked("array", array, ("write_idx",))
    array = np.asarray(array)
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        known = ", ".join(dtype.name for dtype in _CODES)
        raise DTypeError(f"expected one of {known}, got {array.dtype}", path=("write_idx",))
    if not 1 <= array.ndim <= _MOST_AXES or max(array.shape) >= 1 << 32:
        raise ShapeError(f"expected 1 to {_MOST_AXES} axes, got {array.shape}", path=("write_idx",))
    head = bytes([0, 0, code, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    data = np.ascontiguousarray(array, _DTYPES[code]).reshape(-1).view(np.uint8)
    with replacing(path) as file:
        if os.fspath(path).endswith(".gz"):
            import gzip

            with gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed:
                packed.write(head)
                packed.write(data.data)
        else:
            file.write(head)
            file.write(data.data)
