"""How a run's entries are spelt: lines of metrics.jsonl, epochs in words, names of folders."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np

from fnn.runs.config import plain
from fnn.training.display import in_words

_SIMPLE = frozenset((bool, int, float, np.float64, str, type(None)))
_encode = json.JSONEncoder(allow_nan=False).encode


def name_of(value: Any) -> str:
    """Return a loss or an optimizer as the code that makes it; functions go by their names."""
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else repr(value)


def folder_of(kind: str, number: int) -> str:
    """Return where the "checkpoints" or "epochs" of a run's first, second, ... fit are."""
    return kind if number == 1 else f"{kind}-{number}"


def as_line(numbers: Any) -> str:
    """Return a record as a line of JSON, NaN and infinities as texts."""
    # NaN and what JSON does not know: looking for them first would take longer than a small step.
    if all(type(value) in _SIMPLE for value in numbers.values()):
        with contextlib.suppress(ValueError):
            line = _encode(numbers)
            # A shorter one holds no whole number that is too long to be read again.
            if len(line) < 4000:
                return line
    return _encode(plain(numbers))


def as_words(record: dict[str, Any]) -> str:
    """Return the record of an epoch as a line to read."""
    return f"epoch {record['epoch']:3d}  {in_words(record)}"
