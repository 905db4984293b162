"""The law of layouts: how arguments lie in memory changes results by rounding alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fnn.testing.probe import Probe
from fnn.testing.report import Violation
from fnn.testing.values import BrokenError, arrays_of, bits_differ, copies, named_leaves, rebuilt, worst
from fnn.tree import Array

Named = list[tuple[str, Any]]


def _gap(dtype: np.dtype[Any]) -> Any:
    """Return what stands between the numbers of an array with gaps: it shows in whatever reads it."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).max
    return True if dtype.kind == "b" else np.nan


def _spaced(a: Array) -> Array:
    wide = np.full([2 * n for n in a.shape], _gap(a.dtype), a.dtype)
    places: Any = (*(slice(None, None, 2) for _ in a.shape), ...)  # "...": a view without axes too.
    apart: Array = wide[places]
    apart[...] = a
    return apart


def _backwards(a: Array) -> Array:
    turn: Any = (*(slice(None, None, -1) for _ in a.shape), ...)
    turned: Array = a[turn].copy()[turn]
    return turned


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran-ordered": lambda a: np.array(a, order="F"),
    "strided": _spaced,
    "reversed": _backwards,
}


def layouts(p: Probe) -> Iterator[Violation]:
    """Equal arguments that lie otherwise, and cannot be written to, give equal values to rounding.

    Sums may run in another order there, so that the last bits differ; at equal layouts they do not.
    """
    want = _run(p, np.copy)
    # Where a result cancels, as the derivative of a narrow softmax does, its own size says nothing
    # about its rounding: all sizes together do.
    sizes = [leaf for _, leaf in want if leaf.size] + [leaf for leaf in arrays_of(p.x) if leaf.size]
    largest = max((float(np.abs(leaf).max()) for leaf in sizes), default=0.0)
    bound = 10 * np.sqrt(p.eps) * max(largest, 1.0)
    for name, lay in LAYOUTS.items():
        try:
            got, again = _run(p, lay), _run(p, lay)
        except BrokenError as broken:
            message = f"with {name} arguments that cannot be written to: {broken.message}"
            yield Violation("pure", message, leaf=broken.leaf)
            return
        for (leaf, a), (_, b) in zip(got, want, strict=True):
            if a.size and not np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
                with np.errstate(all="ignore"):
                    off = float(np.abs(a - b).max())
                if not off <= bound:
                    message = f"{name} copies of the arguments give other values"
                    yield Violation("pure", message, **worst(leaf, a, b, "").parts())
                    return
        gap = bits_differ(again, got)
        if gap is not None:
            message = f"equal arguments, both {name}, give other bits at a later call"
            yield Violation("pure", message, **gap.parts())
            return


def _run(p: Probe, lay: Callable[[Array], Array]) -> Named:
    """Return y, state and gradient at arguments that lie so; apply and vjp are to agree in them."""

    def laid(value: Any) -> Any:
        arrays = [lay(leaf) for leaf in arrays_of(value)]
        for array in arrays:
            array.setflags(write=False)
        return rebuilt(value, arrays)

    given = {"params": laid(p.params), "state": laid(p.state), "x": laid(p.x)}
    y, state, pull = p.vjp(**given)
    found = copies([*named_leaves(y, "y"), *named_leaves(state, "state")])
    applied, moved = p.apply(**given)
    gap = bits_differ([*named_leaves(applied, "y"), *named_leaves(moved, "state")], found)
    if gap is not None:
        raise BrokenError("pure", f"vjp is not apply: {gap.message}", gap.leaf)
    dparams, dx = pull(laid(p.draw_like(y, "dy")))
    return found + copies([*named_leaves(dparams, "dparams"), *named_leaves(dx, "dx")])
