"""How transforms that look at one leaf at a time are written: by its norm, its rows or its axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from fnn import tree
from fnn.errors import DTypeError, OptionError, ShapeError, TreeError
from fnn.kernels.noting import as_array, holds, sqrt
from fnn.optimizers.adaptive import blend, over_root, squared
from fnn.optimizers.constraints import global_norm
from fnn.optimizers.making import Now, check_made, paired
from fnn.optimizers.numbers import Bounded, clamped, numbers_of
from fnn.optimizers.transform import Transform
from fnn.options import returned
from fnn.tree import Array, Tree, TreeLike

Held: TypeAlias = dict[str, Array]
"""What is remembered of one leaf, by role."""

LeafFormula: TypeAlias = Callable[[Now, Array, Array, Held], "tuple[Array, Held]"]
"""formula(now, g, p, old) -> (u, new): new arrays from the gradient, the parameters and the memory."""


def nothing(p: Array) -> Held:
    """Remember nothing of a leaf."""
    return {}


def make_leafwise(
    name: str,
    formula: LeafFormula,
    *,
    memory: Callable[[Array], Held] = nothing,
    numbers: Mapping[str, Bounded] | None = None,
) -> Transform:
    """Make a transform of what it does to one leaf, whatever leaves there are beside it.

    Args:
        name: Kind of transform, as it stands in paths.
        formula: formula(now, g, p, old) -> (u, new). It writes to no argument and returns arrays that
            nobody else holds. `now` holds the numbers used at the step by name, and the step as "step".
        memory: What is remembered of a leaf at first, by role; the roles may depend on its shape.
            opt_state holds a tree per role, of the leaves that have it.
        numbers: As in `make_transform`.
    """
    check_made("make_leafwise", name, formula)
    numbers_at = numbers_of(name, numbers or {})

    def first(p: Array) -> Held:
        held = memory(p)
        if not isinstance(held, Mapping) or not all(isinstance(a, np.ndarray) for a in held.values()):
            raise OptionError(f"memory: expected a dict of arrays by role, got {held!r:.80}")
        return held

    def init(params: Any) -> TreeLike:
        return _by_role((path, first(p)) for path, p in tree.items(params))

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        now: dict[str, float] = {**numbers_at(step), "step": step}
        paired(lambda *_: np.empty(0), params, updates)  # Refuses what does not fit, with its path.
        gradient = dict(tree.items(updates))
        olds = _by_leaf(opt_state, {path: first(p) for path, p in tree.items(params)})
        moved, news = {}, []
        for path, p in tree.items(params):
            u, new = returned("formula", formula(now, gradient[path], p, olds[path]), ("u", "new"))
            if not isinstance(new, Mapping):
                raise OptionError(f"formula: expected new as a dict by role, got {type(new).__name__}")
            # Of an array without axes NumPy makes a number.
            moved[path] = as_array(u)
            news.append((path, {role: as_array(array) for role, array in new.items()}))
        return _like(params, moved), _by_role(news)

    return Transform(name, init, update, numbers=numbers_at)


def _by_role(held: Any) -> TreeLike:
    """Return the memory as a tree per role."""
    return _nested(
        {f"{role}/{path}" if path else role: array for path, of in held for role, array in of.items()}
    )


def _like(params: Any, leaves: Mapping[str, Array], path: str = "") -> Any:
    """Return the tree of the structure of `params` with the leaves at their paths."""
    if not isinstance(params, Mapping):
        return leaves[path]
    names = {name: f"{path}/{name}" if path else name for name in params}
    return Tree.own({name: _like(params[name], leaves, at) for name, at in names.items()})


def _nested(leaves: Mapping[str, Array]) -> Tree:
    root: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *branches, last = path.split("/")
        node = root
        for name in branches:
            node = node.setdefault(name, {})
        node[last] = leaf
    return Tree.own(_owned(root))


def _owned(node: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Tree.own(_owned(value)) if isinstance(value, dict) else value
        for name, value in node.items()
    }


def _by_leaf(opt_state: Any, expected: Mapping[str, Held]) -> dict[str, Held]:
    """Return the memory of every leaf, if it is like that expected in structure, shape and dtype."""
    roles = {role for held in expected.values() for role in held}
    if not isinstance(opt_state, Mapping) or opt_state.keys() != roles:
        got = sorted(opt_state) if isinstance(opt_state, Mapping) else type(opt_state).__name__
        raise TreeError(f"opt_state: expected {sorted(roles)}, got {got}; from another optimizer?")
    there = dict(tree.items(opt_state))
    olds: dict[str, Held] = {path: {} for path in expected}
    for path, held in expected.items():
        for role, first in held.items():
            at = f"{role}/{path}" if path else role
            if at not in there:
                raise TreeError(f"opt_state: expected the path {at!r}, got {sorted(there)}")
            old = there.pop(at)
            if old.shape != first.shape:
                raise ShapeError(f"expected {first.shape}, got {old.shape}", path=(at,))
            if old.dtype != first.dtype:
                raise DTypeError(f"expected {first.dtype}, got {old.dtype}", path=(at,))
            olds[path][role] = old
    if there:
        raise TreeError(f"opt_state: expected nothing at {sorted(there)[0]!r}, got {sorted(there)}")
    return olds


# --- what formulas share --------------------------------------------------------------------


def trust_ratio(above: Array, below: Array, weight: float = 1.0) -> float:
    """Return weight · |above| / |below|, and 1 where one of the two norms is 0."""
    top, bottom = global_norm(above), global_norm(below)
    if top == 0.0 or bottom == 0.0:
        return 1.0
    return quotient(weight * top, bottom)


def quotient(top: float, bottom: float) -> float:
    """Return top / bottom, no larger than a number of a float32 may be; NaN where it is NaN."""
    ratio = top / bottom
    return ratio if holds(math.isnan, ratio) else clamped(ratio)


def moments(p: Array) -> Held:
    """Remember what `adam` does: the mean m and the mean square v of gradients."""
    return {"m": np.zeros_like(p), "v": np.zeros_like(p)}


def adam_step(now: Now, g: Array, old: Held, eps: float) -> tuple[Array, Held]:
    """Return the direction of `scale_by_adam`, debiased, and the new memory; see `moments`."""
    b1, b2, n = now["b1"], now["b2"], now["step"] + 1
    m, v, u = np.empty_like(g), np.empty_like(g), np.empty_like(g)
    g = squared(g, u)
    u *= 1.0 - b2
    blend(old["v"], v, u, b2)
    blend(old["m"], m, np.multiply(g, 1.0 - b1, u), b1)
    root = sqrt(1.0 - b2**n)
    over_root(m, v, root / (1.0 - b1**n), eps * root, u)
    return u, {"m": m, "v": v}


def root_mean_square(x: Array) -> float:
    """Return √(mean x²), 0 without entries."""
    return global_norm(x) / math.sqrt(x.size) if x.size else 0.0


def safe(g: Array) -> Array:
    """Return g, capped so that the sum of all its squares is within the dtype."""
    most = float(np.sqrt(np.finfo(g.dtype).max / max(1, g.size)))
    if not np.any(np.abs(g) > most):
        return g
    return np.where(np.isinf(g), g, np.clip(g, -most, most))
