"""What numbers are in the text of machine code, and how one kind becomes another."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

LANES = 16
"""How many elements a turn of a loop takes; the machine splits what is wider than its registers."""

_NAMES = {"f4": "float", "f8": "double", "b1": "i1"} | {
    f"{kind}{size}": f"i{8 * size}" for kind in "iu" for size in (1, 2, 4, 8)
}


def kind(dtype: Any) -> str:
    """Return a dtype as kind and size, such as "f4"."""
    return str(np.dtype(dtype).str[1:])


def is_known(dtype: Any) -> bool:
    """Return whether there is machine code for numbers of a dtype."""
    dtype = np.dtype(dtype)
    return dtype.isnative and kind(dtype) in _NAMES


def scalar(name: str) -> str:
    """Return the type of one number."""
    return _NAMES[name]


def in_memory(name: str) -> str:
    """Return the type of one number in memory."""
    return "i8" if name == "b1" else _NAMES[name]


def wide(type_: str, lanes: int) -> str:
    """Return the type of so many numbers."""
    return type_ if lanes == 1 else f"<{lanes} x {type_}>"


def literal(name: str, value: Any) -> str:
    """Return one number as it is written."""
    if name[0] == "f":
        with np.errstate(all="ignore"):
            number = np.asarray(value).astype(name)
        return "0x" + struct.pack(">d", float(number)).hex().upper()
    if name == "b1":
        return "true" if value else "false"
    return str(int(value))


def constant(name: str, value: Any, lanes: int) -> str:
    """Return the same number so many times, without its type."""
    text = literal(name, value)
    return text if lanes == 1 else f"splat ({scalar(name)} {text})"


def conversion(old: str, new: str) -> str | None:
    """Return the instruction that makes numbers of one kind those of another; "" if they are the same.

    None where there is none that does what NumPy does with all numbers.
    """
    if old == new or (old[0] in "iu" and new[0] in "iu" and old[1:] == new[1:]):
        return ""
    if old[0] == "f" and new[0] == "f":
        return "fpext" if old < new else "fptrunc"
    if new == "b1" or old[0] == "f":
        return None
    if new[0] == "f":
        return "sitofp" if old[0] == "i" else "uitofp"
    if old == "b1":
        return "zext"
    if int(new[1:]) < int(old[1:]):
        return "trunc"
    return "sext" if old[0] == "i" else "zext"
