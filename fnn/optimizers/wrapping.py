"""Transforms around another one: at every n-th step, slowly after it, or only where all is finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fnn import tree
from fnn.errors import FnnError
from fnn.kernels.noting import as_array
from fnn.optimizers.making import capped, check_inner, paired, recall
from fnn.optimizers.transform import Kernel, Rule, Transform
from fnn.options import integer, real
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, TreeLike


def _call(transform: Transform, fn: Any, *args: Any) -> Any:
    """Call a function of the inner transform, its errors placed under its name."""
    try:
        return fn(*args)
    except FnnError as error:
        raise error.inside(transform.name, transform.where)  # noqa: B904 - the same error, with its place


def _still(u: Array) -> Array:
    # p + (-0.0) is p to the bit; p + 0.0 would turn a parameter of -0.0 into 0.0.
    return np.full_like(u, -0.0)


def _around(
    name: str,
    inner: Transform,
    init: Any,
    update: Any,
    *,
    own: str,
    at: Callable[[int], Kernel],
    numbers: Any = None,
    clock: Callable[[int], int] = int,
) -> Transform:
    """Return a transform around `inner`, elementwise with the kernels `at` if that is.

    Args:
        name: Kind of transform.
        inner: The transform inside.
        init, update: Of the whole.
        own: What the whole remembers beside "inner".
        at: From a step to the kernel, whose memory is that of `own` and then that of `inner`.
        numbers: Of the whole, those of `inner` if None.
        clock: From a step to that of `inner`.
    """
    rule = None
    if inner.rule is not None:
        memory = (own, *(f"inner/{path}" for path in inner.rule.memory))
        rule = Rule(memory, at, update)
    return Transform(
        name,
        init,
        update,
        elementwise=inner.elementwise,
        numbers=numbers or inner.core.numbers,
        rule=rule,
        frozen=inner.frozen,
        clock=clock,
    )


def _with_inner(own: dict[str, Any], memory: Any) -> TreeLike:
    return {**own, "inner": memory} if len(memory) else own


def _recalled(opt_state: Any, inner: Transform, own: str) -> tuple[Any, Any]:
    """Return what the whole remembers, and the memory of the inner transform."""
    if isinstance(opt_state, dict) and opt_state.keys() == {own}:
        return opt_state[own], EMPTY
    mine, memory = recall(opt_state, own, "inner")
    return mine, memory


# --- accumulate -----------------------------------------------------------------------------


@constructor
def accumulate(transform: Transform, n: int) -> Transform:
    """Update at every n-th step, by the mean gradient of the last n; leave all as it is between.

    As one batch of n times the size, where the network treats examples by themselves and the batches
    weigh the same. The inner transform counts its own updates: at step t it sees the step t // n, so
    that its schedules are to be as long as the updates are many.

    Args:
        transform: The optimizer; give it all that looks at whole gradients, such as clipping, too.
        n: How many gradients make an update, 1 or more.

    Raises:
        OptionError: If an argument is something else.
    """
    check_inner("accumulate", transform)
    n = integer("accumulate", "n", n)

    def init(params: Any) -> TreeLike:
        zeros = tree.map_new(np.zeros_like, params)
        return _with_inner({"sum": zeros}, _call(transform, transform.core.init, params))

    def summed(total: Array, g: Array) -> Array:
        new = np.empty_like(total)
        capped(np.add, total, g, new)
        return new

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        total, memory = _recalled(opt_state, transform, "sum")
        total = paired(summed, total, updates)
        if step % n < n - 1:
            return tree.map_new(_still, total), _with_inner({"sum": total}, memory)
        mean = tree.map_new(lambda a: np.divide(a, n, np.empty_like(a)), total)
        u, memory = _call(transform, transform.core.update, mean, memory, params, step // n)
        return u, _with_inner({"sum": tree.map_new(np.zeros_like, total)}, memory)

    def at(step: int) -> Kernel:
        kernel = transform.rule.at(step // n)  # type: ignore[union-attr]

        def whole(g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
            total = new[0]
            if step % n < n - 1:
                capped(np.add, old[0], g, u)
                np.copyto(total, u)
                for before, after in zip(old[1:], new[1:], strict=True):
                    np.copyto(after, before)
                u.fill(-0.0)
                return
            capped(np.add, old[0], g, u)
            np.divide(u, n, total)
            kernel(total, p, old[1:], new[1:], u)
            total.fill(0.0)

        return whole

    def numbers(step: int) -> dict[str, float]:
        return transform.core.numbers(step // n)

    def clock(step: int) -> int:
        return step // n

    return _around(
        "accumulate", transform, init, update, own="sum", at=at, numbers=numbers, clock=clock
    )


# --- lookahead ------------------------------------------------------------------------------


@constructor
def lookahead(transform: Transform, n: int = 6, *, alpha: float = 0.5) -> Transform:
    """Go n steps, then back to a point between where they began and where they led.

    With slow parameters s, which are the first ones at the beginning; at every n-th step, when the
    inner transform has led to p: s ← s + alpha (p - s), and the parameters become s.

    Args:
        transform: The optimizer that takes the steps; it goes on with its memory as it is.
        n: How many steps, 1 or more.
        alpha: How far the slow parameters follow, above 0 and up to 1.

    Raises:
        OptionError: If an argument is something else or out of its range.

    References: Zhang et al. (2019), "Lookahead optimizer: k steps forward, 1 step back", algorithm 1.
    """
    check_inner("lookahead", transform)
    n = integer("lookahead", "n", n)
    share = real("lookahead", "alpha", alpha, least=2.0**-63, most=1.0)

    def init(params: Any) -> TreeLike:
        memory = _call(transform, transform.core.init, params)
        return _with_inner({"slow": tree.map_new(np.array, params)}, memory)

    def followed(slow: Array, p: Array, u: Array) -> Array:
        new = p + u
        new -= slow
        new *= share
        new += slow
        return as_array(new)

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        slow, memory = _recalled(opt_state, transform, "slow")
        u, memory = _call(transform, transform.core.update, updates, memory, params, step)
        if step % n == n - 1:
            slow = paired(followed, slow, params, u)
            u = paired(np.subtract, slow, params)
        return u, _with_inner({"slow": slow}, memory)

    def at(step: int) -> Kernel:
        kernel = transform.rule.at(step)  # type: ignore[union-attr]

        def whole(g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
            kernel(g, p, old[1:], new[1:], u)
            if step % n < n - 1:
                np.copyto(new[0], old[0])
                return
            np.copyto(new[0], followed(old[0], p, u))
            np.subtract(new[0], p, u)

        return whole

    return _around("lookahead", transform, init, update, own="slow", at=at)


# --- skip_nonfinite -------------------------------------------------------------------------


@constructor
def skip_nonfinite(transform: Transform) -> Transform:
    """Leave parameters and memory as they are at steps whose gradient has a NaN or an infinity.

    The clock goes on. A training step with such an optimizer (in a chain too) does not end a training
    where the loss or the carried state is not finite: what the batch did to the carried state is then
    left out as well, and the loss that is logged is what it was. Parameters that become infinite by an
    update of finite gradients are an error still.

    Args:
        transform: The optimizer; give it all that remembers something.

    Raises:
        OptionError: If `transform` is something else.
    """
    check_inner("skip_nonfinite", transform)

    def init(params: Any) -> TreeLike:
        return _call(transform, transform.core.init, params)

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        if all(np.isfinite(leaf).all() for leaf in tree.leaves(updates)):
            moved: tuple[Any, TreeLike] = _call(
                transform, transform.core.update, updates, opt_state, params, step
            )
            return moved
        return tree.map_new(_still, updates), opt_state

    return Transform(
        "skip_nonfinite",
        init,
        update,
        numbers=transform.core.numbers,
        frozen=transform.frozen,
        skips_nonfinite=True,
    )
