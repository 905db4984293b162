"""Operations of other kinds than elementwise ones as machine code."""

from __future__ import annotations

from fnn.compile.machine.loops import Code
from fnn.compile.machine.numpy_loops import one_loop
from fnn.compile.machine.places import gather, guard, scatter
from fnn.compile.machine.products import dot, matmul
from fnn.compile.machine.reductions import reduction
from fnn.compile.program import Op

KINDS = (dot, matmul, reduction, one_loop, gather, scatter, guard)
"""What gives the code of an operation, or None if it is of another kind."""


def native(op: Op | None) -> Code | None:
    """Return the code of an operation; None for what NumPy is called for."""
    if op is None:
        return None
    return next((code for make in KINDS if (code := make(op)) is not None), None)
