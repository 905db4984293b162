"""What functions of NumPy do, as far as it matters to a tape."""

from __future__ import annotations

from typing import Any

import numpy as np

ANSWERS = frozenset(
    (np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.iscomplexobj, np.isrealobj,
     np.may_share_memory, np.shares_memory, np.common_type, np.min_scalar_type)
)  # fmt: skip
"""Functions that look at shapes, dtypes and memory alone."""

MUTATORS = frozenset((np.put, np.place, np.putmask, np.fill_diagonal, np.put_along_axis))
"""Functions that write into their first argument."""

OUTS = frozenset((np.dot, np.concatenate, np.stack, np.clip))
"""Functions that write into `out` what they would return, by the same code."""


def _reduction(ufunc: np.ufunc) -> Any:
    def reduction(
        tape: Any, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any
    ) -> Any:
        options = {name: each for name, each in options.items() if each is not np._NoValue}
        if out is not None:
            options["out"] = (out,)
        return tape.ufunc(ufunc, "reduce", (a,), {"axis": axis, "dtype": dtype, **options})

    return reduction


def _extreme(ufunc: np.ufunc) -> Any:
    def reduction(tape: Any, a: Any, axis: Any = None, out: Any = None, **options: Any) -> Any:
        return _reduction(ufunc)(tape, a, axis, None, out, **options)

    return reduction


def _filled(number: Any) -> Any:
    def like(tape: Any, a: Any, dtype: Any = None, **options: Any) -> Any:
        made = np.empty_like(a, dtype, **options)
        made.fill(number)
        return made

    return like


REDUCTIONS = {
    np.sum: _reduction(np.add),
    np.prod: _reduction(np.multiply),
    np.max: _extreme(np.maximum),
    np.min: _extreme(np.minimum),
    np.any: _extreme(np.logical_or),
    np.all: _extreme(np.logical_and),
    np.zeros_like: _filled(0),
    np.ones_like: _filled(1),
}
"""Functions that are a reduction, or a filling, and nothing else."""
