"""Elementwise transforms, declared by a rule for arrays: it runs leaf by leaf, or over one vector.

A rule writes where it is told to, so that the pure update gives it new arrays and a jitted step gives
it memory of earlier steps; either way the same operations run, and the bits are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from fnn import tree
from fnn.optimizers.transform import (
    ArrayUpdate,
    Numbers,
    Rule,
    Transform,
    paired,
    recall,
    stateless_init,
    zeros_init,
)
from fnn.tree import EMPTY, Array, TreeLike

Bind: TypeAlias = Callable[[Mapping[str, float], int], ArrayUpdate]
"""From the numbers used at a step, and the step, to what is run there."""


def capped(op: np.ufunc, a: Array, b: Array, out: Array) -> None:
    """Write op(a, b) to `out`, the largest number of the dtype where finite ones exceed it.

    What a rule remembers stays finite by it: infinity times 0, over infinity or less infinity is NaN.
    The processor notes an overflow in passing, so that looking for one costs nothing where none is.
    """
    try:
        with np.errstate(over="raise"):
            op(a, b, out)
    except FloatingPointError:
        # Everything is written by now. Infinities that came in are kept, for the loop to report.
        is_new = np.isinf(out) & np.isfinite(b)
        if a is not out:
            is_new &= np.isfinite(a)
        np.copyto(out, np.copysign(np.finfo(out.dtype).max, out), where=is_new)


def make_transform(
    name: str, roles: tuple[str, ...], bind: Bind, numbers: Numbers, *, reads_params: bool = False
) -> Transform:
    """Make an elementwise transform of what it does to arrays; its memory starts at zero.

        def bind(now, step):
            rate = -now["learning_rate"]

            def run(g, p, old, new, u):  # Write new and u; everything else is read alone.
                np.multiply(np.sign(g), rate, u)

            return run

        numbers = numbers_of("sign_descent", learning_rate=(learning_rate, RATE))
        return make_transform("sign_descent", (), bind, numbers)

    Args:
        name: As in `Transform`.
        roles: Names of the trees that it remembers.
        bind: From numbers and step to what is run.
        numbers: As in `Transform`.
        reads_params: Whether the rule looks at p; else it is given the gradient there.
    """

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        held = recall(opt_state, *roles)
        run = bind(numbers(step), step)
        moved: list[list[Array]] = [[] for _ in roles]

        def leaf(*arrays: Array) -> Array:
            *old, g = arrays
            p = old.pop(0) if reads_params else g
            new, u = [np.empty_like(o) for o in old], np.empty_like(g)
            run(g, p, old, new, u)
            for made, each in zip(moved, new, strict=True):
                made.append(each)
            return u

        u = paired(leaf, *([params] if reads_params else []), *held, updates)
        for made in moved:
            made.reverse()
        memory = {
            role: tree.map_new(lambda _, made=made: made.pop(), trees)
            for role, trees, made in zip(roles, held, moved, strict=True)
        }
        return u, memory or EMPTY

    init = zeros_init(*roles) if roles else stateless_init
    rule = Rule(roles, lambda step: bind(numbers(step), step))
    return Transform(name, init, update, elementwise=True, numbers=numbers, rule=rule)


def chained_rule(children: tuple[tuple[str, Transform], ...]) -> Rule | None:
    """Return the rule of transforms one after the other, None if one of them has none."""
    rules = [(name, child.rule if child.elementwise else None) for name, child in children]
    if any(rule is None for _, rule in rules):
        return None
    parts = [(rule, len(rule.roles)) for _, rule in rules if rule is not None]
    roles = tuple(f"{name}/{role}" for name, rule in rules if rule is not None for role in rule.roles)

    def at(step: int) -> ArrayUpdate:
        runs = [(rule.at(step), count) for rule, count in parts]

        def run(g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
            start = 0
            for i, (child, count) in enumerate(runs):
                into = u if i + 1 == len(runs) else np.empty_like(u)
                cut = slice(start, start + count)
                child(g, p, old[cut], new[cut], into)
                g, start = into, start + count
            if not runs:
                np.copyto(u, g)

        return run

    return Rule(roles, at)
