"""What functions of NumPy do, as far as it matters to a tape."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from fnn.compile.values import UntraceableError

ANSWERS = frozenset(
    (np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.iscomplexobj, np.isrealobj,
     np.may_share_memory, np.shares_memory, np.common_type, np.min_scalar_type)
)  # fmt: skip
"""Functions that look at shapes, dtypes and memory alone."""

MUTATORS = frozenset((np.put, np.place, np.putmask, np.fill_diagonal, np.put_along_axis))
"""Functions that write into their first argument."""

OUTS = frozenset((np.dot, np.concatenate, np.stack, np.clip))
"""Functions that write into `out` what they would return, by the same code."""


PLACE_OF_OUT = {np.dot: 2, np.concatenate: 2}
"""Where `out` stands among the arguments of functions written in C, whose signatures nobody knows."""


def by_name(f: Any, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return arguments with `out`, if it was given by its place, by its name: it is written to."""
    place = PLACE_OF_OUT.get(f)
    if place is None:
        try:
            parameters = [*inspect.signature(f).parameters.values()]
        except ValueError:  # Written in C, and it has none.
            return args, options
        kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
        by_place = [each.name for each in parameters if each.kind in kinds]
        if "out" not in by_place:
            return args, options
        place = by_place.index("out")
    if len(args) <= place:
        return args, options
    if len(args) > place + 1:
        raise UntraceableError(f"np.{f.__name__} is called with more than `out` by its place")
    return args[:place], {**options, "out": args[place]}


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
