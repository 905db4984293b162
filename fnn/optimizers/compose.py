"""Chain transforms, and add their updates to the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn import tree
from fnn.errors import FnnError, OptionError, TreeError
from fnn.optimizers.making import chained_kernel, paired, recall
from fnn.optimizers.transform import At, Rule, Transform
from fnn.recipe import constructor
from fnn.tree import EMPTY, TreeLike


@constructor
def chain(*transforms: Transform) -> Transform:
    """Compose transforms left to right, the gradient entering the first; `chain()` is the identity.

    The memory of each is kept under its kind and count ("momentum_0"); those that remember nothing
    have no entry. Exactly one of them should bring the minus sign: an optimizer such as `sgd`, or
    `scale_by_learning_rate`. What a `freeze` among them, or in a chain among them, leaves as it is has
    a gradient of 0 from the beginning: clipping and norms count only what is trained.

    Raises:
        OptionError: If an argument is not a Transform.
        TreeError: From `update`, if opt_state was made by another optimizer.
    """
    names: list[str] = []
    seen: dict[str, int] = {}
    for each in transforms:
        if not isinstance(each, Transform):
            raise OptionError(f"expected transforms, got {each!r}", path=("chain",))
        seen[each.name] = seen.get(each.name, -1) + 1
        names.append(f"{each.name}_{seen[each.name]}")
    children = tuple(zip(names, transforms, strict=True))

    frozen = tuple(dict.fromkeys(path for each in transforms for path in each.frozen))

    def init(params: TreeLike) -> TreeLike:
        states = {name: _inside(name, child, child.core.init, params) for name, child in children}
        return {name: own for name, own in states.items() if own}

    def update(updates: Any, opt_state: Any, params: Any, step: int, *at: At) -> tuple[Any, TreeLike]:
        if not isinstance(opt_state, Mapping) or not opt_state.keys() <= set(names):
            recall(opt_state, *names)
        updates = _zeroed(updates, frozen) if frozen else updates
        new_state = {}
        for name, child in children:
            own = opt_state.get(name, EMPTY)
            asks = at if child.needs_gradient else ()
            given = updates, own, params, step, *asks
            updates, moved = _inside(name, child, child.core.update, *given)
            if moved:
                new_state[name] = moved
        return updates, new_state

    def numbers(step: int) -> dict[str, float]:
        merged: dict[str, float] = {}
        for name, child in children:
            for key, value in _inside(name, child, child.core.numbers, step).items():
                merged[f"{name}/{key}" if key in merged else key] = value
        return merged

    rules = [child.rule for child in transforms if child.rule is not None]
    memory = (f"{name}/{own}" for name, child in children if child.rule for own in child.rule.memory)
    rule = Rule(tuple(memory), lambda step: chained_kernel(rules, step), update)
    return Transform(
        "chain",
        init,
        update,
        elementwise=all(child.elementwise for child in transforms),
        numbers=numbers,
        rule=rule if len(rules) == len(transforms) else None,
        frozen=frozen,
        skips_nonfinite=any(child.skips_nonfinite for child in transforms),
        needs_gradient=any(child.needs_gradient for child in transforms),
    )


def _zeroed(updates: Any, paths: tuple[str, ...]) -> Any:
    """Return updates with zeros at those of the paths that there are; `freeze` refuses the others."""
    for path in paths:
        try:
            still = tree.get(updates, path)
        except TreeError:
            continue
        updates = tree.update(updates, {path: tree.map_new(np.zeros_like, still)})
    return updates


def _inside(name: str, child: Transform, fn: Any, *args: Any) -> Any:
    """Call a child's function, its errors placed under its name in the chain."""
    try:
        return fn(*args)
    except FnnError as error:
        raise error.inside(name, child.where)  # noqa: B904 - the same error, with its place


def apply_updates(params: TreeLike, updates: TreeLike) -> Any:
    """Return params + updates, as a Tree.

    Raises:
        TreeError, ShapeError, DTypeError: If the trees differ in structure, shape or dtype anywhere;
            names the path. Nothing broadcasts and nothing is promoted.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return paired(np.add, params, updates)
    except FnnError as error:
        raise error.inside("apply_updates", "")  # noqa: B904 - the same error, with its place
