"""Wrong versions of optimizers: of updates, memory, clock and order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count, pairwise
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.optimizers.transform import Transform
from fnn.testing.mutation.parts import (
    FACTOR,
    Fault,
    Mutant,
    TreeBuffers,
    halved,
    overwrite,
    rounded,
    wide,
    wrong,
)
from fnn.tree import Array, Tree

Leaf = Callable[[Array], Array]


def _around(
    transform: Transform,
    *,
    before: Callable[[Any, Any, Any, int], tuple[Any, Any, Any, int]] | None = None,
    after: Callable[[Any, Any, Any, Any, Any], tuple[Any, Any]] | None = None,
) -> dict[str, Any]:
    """Call update with before(its arguments); return after(u, new state, updates, state, params)."""
    own = transform.core.update

    def update(updates: Any, opt_state: Any, params: Any, step: int, *at: Any) -> Any:
        given = (updates, opt_state, params, step)
        u, new = own(*(before(*given) if before else given), *at)
        return after(u, new, updates, opt_state, params) if after else (u, new)

    return {"update": update}


# --- updates --------------------------------------------------------------------------------


def _transposed(u: Array) -> Array:
    return u if u.ndim < 2 else np.swapaxes(u, -1, -2).reshape(u.shape)


_LEAF_FAULTS: dict[str, Leaf] = {
    f"× {FACTOR}": lambda u: u * FACTOR,
    "sign": lambda u: -u,
    "dropped": lambda u: np.zeros_like(u),
    "transposed": _transposed,
    "index shifted": lambda u: np.roll(u, 1),
    "rounded": lambda u: rounded(u),
    "float64 leak": lambda u: wide(u),
}


def _all_updates(leaf: Leaf) -> Fault:
    return partial(_around, after=lambda u, new, g, s, p: (tree.map(leaf, u), new))


def _largest_update(leaf: Leaf) -> Fault:
    """Change the updates of the largest leaf only."""

    def after(u: Any, new: Any, g: Any, s: Any, p: Any) -> Any:
        largest = max(tree.items(u), key=lambda item: item[1].size, default=None)
        if largest is None or not largest[0]:
            return tree.map(leaf, u), new
        return tree.update(u, {largest[0]: leaf(largest[1])}), new

    return partial(_around, after=after)


def _reusing(transform: Transform) -> dict[str, Any]:
    buffers = TreeBuffers()
    return _around(transform, after=lambda u, new, g, s, p: (buffers(u), new))


def _writing_to(which: int) -> Fault:
    def after(u: Any, new: Any, g: Any, s: Any, p: Any) -> Any:
        overwrite((g, s, p)[which], halved)
        return u, new

    return partial(_around, after=after)


# --- memory ---------------------------------------------------------------------------------


def _stale_role(role: str) -> Fault:
    return partial(_around, after=lambda u, new, g, s, p: (u, Tree({**new, role: s[role]})))


def _forgetful(transform: Transform) -> dict[str, Any]:
    own = transform.core.init
    return _around(transform, before=lambda g, s, p, step: (g, own(p), p, step))


def _remembered(transform: Transform) -> dict[str, Any]:
    """Keep the memory in the transform instead of in opt_state."""
    kept: list[Any] = []

    def before(g: Any, s: Any, p: Any, step: int) -> Any:
        return g, (kept[-1] if kept else s), p, step

    def after(u: Any, new: Any, g: Any, s: Any, p: Any) -> Any:
        kept[:] = [tree.freeze(new)]
        return u, new

    return _around(transform, before=before, after=after)


def _in_place(u: Any, new: Any, g: Any, s: Any, p: Any) -> Any:
    overwrite(s, lambda old, moved: moved, new)
    return u, new


def _reusing_state(transform: Transform) -> dict[str, Any]:
    buffers = TreeBuffers()
    return _around(transform, after=lambda u, new, g, s, p: (u, buffers(tree.freeze(new))))


def _first_values(leaf: Leaf, transform: Transform) -> dict[str, Any]:
    own = transform.core.init
    return {"init": lambda params: tree.map(leaf, own(params))}


# --- clock ----------------------------------------------------------------------------------


def _stepping(clock: Callable[[int], int], transform: Transform) -> dict[str, Any]:
    return _around(transform, before=lambda g, s, p, step: (g, s, p, clock(step)))


def _own_clock(transform: Transform) -> dict[str, Any]:
    calls = count()
    return _stepping(lambda step: next(calls), transform)


def _evaluated_once(transform: Transform) -> dict[str, Any]:
    seen: list[int] = []

    def clock(step: int) -> int:
        seen[:] = seen or [step]
        return seen[0]

    return _stepping(clock, transform)


def _numbers_late(transform: Transform) -> dict[str, Any]:
    own = transform.core.numbers
    return {"numbers": lambda step: own(step + 1)}


def _without_params(transform: Transform) -> dict[str, Any]:
    return _around(transform, before=lambda g, s, p, step: (g, s, tree.map(np.zeros_like, p), step))


def _faults(transform: Transform, params: Any) -> Iterator[tuple[str, Fault]]:
    for name, leaf in _LEAF_FAULTS.items():
        yield f"u {name}", _all_updates(leaf)
        yield f"u {name} in its largest leaf", _largest_update(leaf)
    yield "u aliased buffer", _reusing
    for which, name in enumerate(("updates", "opt_state", "params")):
        yield f"{name} overwritten", _writing_to(which)
    state = transform.init(params)
    if state:
        yield "opt_state stale", partial(_around, after=lambda u, new, g, s, p: (u, s))
        for role in state if len(state) > 1 else ():
            yield f"opt_state/{role} stale", _stale_role(role)
        yield "opt_state forgotten", _forgetful
        yield "opt_state kept in the transform", _remembered
        yield "opt_state updated in place", partial(_around, after=_in_place)
        yield "opt_state aliased buffer", _reusing_state
        leak = partial(_around, after=lambda u, new, g, s, p: (u, tree.map(wide, new)))
        yield "opt_state float64 leak", leak
        scaled = partial(
            _around, after=lambda u, new, g, s, p: (u, tree.map(_LEAF_FAULTS["sign"], new))
        )
        yield "opt_state sign", scaled
        yield "opt_state float64 leak in init", partial(_first_values, wide)
        yield "opt_state starts elsewhere", partial(_first_values, lambda s: s + np.ones_like(s))
    yield "step ignored", partial(_stepping, lambda step: 0)
    yield "step off by one", partial(_stepping, lambda step: step + 1)
    yield "step counted by itself", _own_clock
    yield "schedule evaluated once", _evaluated_once
    if transform.numbers(0):
        yield "numbers of the next step", _numbers_late
    yield "params ignored", _without_params
    if not transform.elementwise:
        yield "elementwise declared falsely", lambda transform: {"elementwise": True}


# --- chains ---------------------------------------------------------------------------------


def _rebuilt(transform: Transform, args: list[Any]) -> Transform:
    recipe = transform.recipe
    assert recipe is not None
    return attrs.evolve(recipe.call(*args, **recipe.kwargs), where=transform.where)


def transform_mutants(transform: Transform, params: Mapping[str, Any]) -> Iterator[Mutant]:
    """Yield wrong versions of the transform, and of those it is made of, one fault each."""
    for name, fault in _faults(transform, params):
        yield Mutant(name, wrong(transform, name, fault))
    args = list(transform.recipe.args) if transform.recipe is not None else []
    places = [i for i, value in enumerate(args) if isinstance(value, Transform)]
    for i in places:
        for mutant in transform_mutants(args[i], params):
            if "declared" in mutant.name:  # A chain declares for itself.
                continue
            changed = [mutant.value if j == i else value for j, value in enumerate(args)]
            yield Mutant(f"{args[i].name} at {i}: {mutant.name}", _rebuilt(transform, changed))
    for i, j in pairwise(places):
        swapped = list(args)
        swapped[i], swapped[j] = args[j], args[i]
        yield Mutant(
            f"{args[i].name} at {i} and {args[j].name} at {j} swapped", _rebuilt(transform, swapped)
        )
        dropped = [value for k, value in enumerate(args) if k != j]
        yield Mutant(f"{args[j].name} at {j} dropped", _rebuilt(transform, dropped))
