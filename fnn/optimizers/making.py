"""How transforms are written: elementwise ones as a formula, by `make_transform`; what others need.

A formula writes where it is told to, so that the pure update gives it new arrays and a jitted step
gives it memory of earlier steps; either way the same operations run, and the bits are equal.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from fnn import tree
from fnn.errors import DTypeError, OptionError, TreeError
from fnn.optimizers.numbers import Bounded, numbers_of
from fnn.optimizers.transform import Init, Kernel, Rule, Transform
from fnn.options import flag
from fnn.tree import EMPTY, Array, TreeLike

Now: TypeAlias = Mapping[str, float]
"""The numbers used at a step, and "step" itself."""

Formula: TypeAlias = Callable[[Now, Array, Array, "list[Array]", "list[Array]", Array], None]
"""formula(now, g, p, old, new, u): a `Kernel` for the numbers of a step."""


def make_transform(
    name: str,
    formula: Formula,
    *,
    memory: tuple[str, ...] = (),
    numbers: Mapping[str, Bounded] | None = None,
    reads_params: bool = False,
) -> Transform:
    """Make an elementwise transform of its formula, for a tree of parameters and for one vector.

        @fnn.constructor
        def momentum(learning_rate, decay=0.9):
            def formula(now, g, p, old, new, u):
                np.multiply(old[0], now["decay"], out=new[0])
                new[0] += g
                np.multiply(new[0], -now["learning_rate"], out=u)

            numbers = {"learning_rate": learning_rate, "decay": (decay, 1.0)}
            return fnn.make_transform("momentum", formula, memory=("velocity",), numbers=numbers)

    What is remembered starts at 0. What is not elementwise is written as a `Transform`.

    Args:
        name: Kind of transform, as it stands in paths.
        formula: formula(now, g, p, old, new, u) writes the update to u, and to new[i] what is
            remembered in place of old[i]; g is the gradient and p the parameters. All are arrays of one
            shape and dtype, and only u and new may be written to. new[i] may be old[i] itself; apart
            from that no two overlap. Every entry is to depend on the same entry of the others alone.
            `now` holds the numbers used at the step by name, and the step as "step".
        memory: Names of what is remembered, in the order of old and new.
        numbers: Floats or schedules by name, 0 or more; (number, bound) for one that stays below a
            bound.
        reads_params: Whether the formula looks at p; p is the gradient if not.

    Raises:
        OptionError: If a number is out of its range or called "step", or another option is none. At
            the first step, if the formula leaves u or an array of new unwritten, or writes to others.
    """
    who = "make_transform"
    check_made(who, name, formula)
    reads_params = flag(who, "reads_params", reads_params)
    memory = _roles(who, memory)
    numbers_at = numbers_of(name, numbers or {})
    if numbers and "step" in numbers:
        raise OptionError("numbers: expected another name than 'step'", path=(name,))
    is_tried = False

    def at(step: int) -> Kernel:
        nonlocal is_tried
        now = {**numbers_at(step), "step": step}
        if not is_tried:
            _try(formula, now, memory)
            is_tried = True
        return functools.partial(formula, now)

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> tuple[Any, TreeLike]:
        remembered = recall(opt_state, *memory)
        kernel = at(step)
        moved: list[list[Array]] = [[] for _ in memory]

        def leaf(*arrays: Array) -> Array:
            *old, g = arrays
            p = old.pop(0) if reads_params else g
            new, u = [np.empty_like(o) for o in old], np.empty_like(g)
            kernel(g, p, old, new, u)
            for made, each in zip(moved, new, strict=True):
                made.append(each)
            return u

        u = paired(leaf, *([params] if reads_params else []), *remembered, updates)
        for made in moved:
            made.reverse()
        new_state = {
            role: tree.map_new(lambda _, made=made: made.pop(), trees)
            for role, trees, made in zip(memory, remembered, moved, strict=True)
        }
        return u, new_state or EMPTY

    init = zeros_init(*memory) if memory else stateless_init
    rule = Rule(memory, at, update)
    return Transform(name, init, update, elementwise=True, numbers=numbers_at, rule=rule)


def check_made(who: str, name: Any, formula: Any) -> None:
    """Refuse a name that could not stand in a path, and a formula that is no function."""
    if not isinstance(name, str) or not name or "/" in name:
        raise OptionError(f"name: expected a string without '/', got {name!r}", path=(who,))
    if not callable(formula):
        raise OptionError(f"formula: expected a function, got {formula!r}", path=(who,))


def _roles(who: str, memory: Any) -> tuple[str, ...]:
    """Return the names of what is remembered; a text alone would be taken for one of each letter."""
    named = isinstance(memory, tuple | list) and all(isinstance(role, str) and role for role in memory)
    if not named or len(set(memory)) != len(memory):
        expected = "memory: expected different names such as ('velocity',)"
        raise OptionError(f"{expected}, got {memory!r}", path=(who,))
    return tuple(memory)


_UNWRITTEN = np.uint32(0x7FC5AA55)
"""Bits of a NaN that no arithmetic on finite numbers makes; what is added to it keeps them."""


def _try(formula: Formula, now: Now, memory: tuple[str, ...]) -> None:
    """Run a formula on arrays of one number, to see that it writes what it has to and nothing else.

    What it left unwritten would be whatever the memory held before, and train without a word.

    Raises:
        OptionError: Naming the array, or the number that there is not.
    """
    given = {"g": 0.5, "p": 0.25, **{f"old[{i}]": 0.0 for i in range(len(memory))}}
    read = {what: np.full(1, value, np.float32) for what, value in given.items()}
    g, p, *old = read.values()
    *new, u = (np.full(1, _UNWRITTEN).view(np.float32) for _ in range(len(memory) + 1))
    try:
        with np.errstate(all="ignore"):
            formula(now, g, p, old, new, u)
    except KeyError as error:
        known = sorted(now)
        raise OptionError(f"formula: expected to look for one of {known} in now, got {error}") from None
    names = ["u", *(f"new[{i}] ({role})" for i, role in enumerate(memory))]
    for what, array in zip(names, (u, *new), strict=True):
        if array.view(np.uint32)[0] == _UNWRITTEN:
            raise OptionError(f"formula: expected it to write to {what}, got nothing there")
    for what, array in read.items():
        if array[0] != given[what]:
            raise OptionError(f"formula: expected u and new alone to be written to, got a new {what}")


def capped(op: np.ufunc, a: Array, b: Array | float, out: Array) -> None:
    """Write op(a, b) to `out`, the largest number of the dtype where finite ones exceed it.

    It keeps what is remembered finite: infinity times 0, over infinity or less infinity is NaN. The
    processor notes an overflow in passing, so that looking for one costs nothing where none is.
    """
    try:
        with np.errstate(over="raise"):
            op(a, b, out)
    except FloatingPointError:
        # Everything is written by now. Infinities that came in are kept, for the loop to report.
        is_new = np.isinf(out) & np.isfinite(b)
        if not np.shares_memory(a, out):
            is_new &= np.isfinite(a)
        np.copyto(out, np.copysign(np.finfo(out.dtype).max, out), where=is_new)


def chained_kernel(rules: list[Rule], step: int) -> Kernel:
    """Return the kernel of rules one after the other, each given the update of the one before."""
    kernels = [(rule.at(step), len(rule.memory)) for rule in rules]

    def kernel(g: Array, p: Array, old: list[Array], new: list[Array], u: Array) -> None:
        start = 0
        for i, (child, n_arrays) in enumerate(kernels):
            into = u if i + 1 == len(kernels) else np.empty_like(u)
            own = slice(start, start + n_arrays)
            child(g, p, old[own], new[own], into)
            g, start = into, start + n_arrays
        if not kernels:
            np.copyto(u, g)

    return kernel


# --- what other transforms need ---------------------------------------------------------------


def check_inner(who: str, transform: Any) -> None:
    """Refuse what is no transform, or one that asks for the loss of the whole batch elsewhere."""
    if not isinstance(transform, Transform):
        raise OptionError(f"expected a transform, got {transform!r}", path=(who,))
    if transform.needs_gradient:
        message = f"expected a transform that asks for no other gradient, got {transform!r}"
        raise OptionError(message, path=(who,))


def stateless_init(params: TreeLike) -> TreeLike:
    """Remember nothing."""
    return EMPTY


def zeros_init(*memory: str) -> Init:
    """Return an init that remembers one tree of zeros, shaped like the parameters, per name."""

    def init(params: TreeLike) -> TreeLike:
        zeros = tree.map_new(np.zeros_like, params)
        return dict.fromkeys(memory, zeros)

    return init


def recall(opt_state: Any, *memory: str) -> list[Any]:
    """Return the trees of `opt_state` in the order of their names.

    Raises:
        TreeError: If it holds anything else: it belongs to another optimizer.
    """
    if not isinstance(opt_state, Mapping) or opt_state.keys() != set(memory):
        got = sorted(opt_state) if isinstance(opt_state, Mapping) else type(opt_state).__name__
        raise TreeError(f"opt_state: expected {sorted(memory)}, got {got}; from another optimizer?")
    return [opt_state[name] for name in memory]


class _MixedError(Exception):
    """Leaves that belong together have different dtypes."""


def paired(fn: Callable[..., Array], *trees: TreeLike) -> Any:
    """Return the tree of fn over paired leaves of equal shape and dtype; fn returns new arrays.

    A ufunc with an `out` would round a float64 gradient to float32 without a word.

    Raises:
        TreeError, ShapeError, DTypeError: If structure, shape or dtype differ; names the path.
    """

    def checked(*leaves: Any) -> Array:
        arrays = [leaf if type(leaf) is np.ndarray else tree.leaves(leaf)[0] for leaf in leaves]
        if any(array.dtype != arrays[0].dtype for array in arrays):
            raise _MixedError
        return fn(*arrays)

    try:
        return tree.map_new(checked, *trees)
    except _MixedError:
        raise _mixed(trees) from None


def _mixed(trees: tuple[TreeLike, ...]) -> DTypeError:
    for leaves in zip(*map(tree.items, trees), strict=True):
        path, first = leaves[0]
        for _, other in leaves:
            if other.dtype != first.dtype:
                return DTypeError(f"expected {first.dtype}, got {other.dtype}", path=(path or "/",))
    raise AssertionError("no two dtypes differ")
