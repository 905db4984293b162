"""Operations of other kinds as machine code."""

from __future__ import annotations

from fnn.compile.machine.loops import Code
from fnn.compile.program import Op


def native(op: Op | None) -> Code | None:
    """Return the code of an operation; None for what NumPy is called for."""
    return None
