"""Numbers, texts and what is made of them, as a run's files hold them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from fnn.errors import OptionError


def plain(value: Any) -> Any:
    """Return `value` as JSON holds it: NaN and infinities become "nan", "inf" and "-inf".

    Raises:
        OptionError: If it is neither a number, text, None, a path nor made of those.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if attrs.has(type(value)):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else str(float(value))
    raise OptionError(f"expected numbers, text or paths, got {type(value).__name__}")
