"""The contract of optimizers: pure transitions of updates and a memory, which chain.

    init(params)                             -> opt_state
    update(updates, opt_state, params, step) -> updates, opt_state

What goes in first is the gradient; what comes out last carries the minus sign, so that
`apply_updates(params, updates)` adds. `step` is the one clock, an int from 0 that the caller keeps.
`opt_state` is a dict of trees named by role, `{}` if nothing is remembered. No argument is written
to, equal arguments give equal bits, and what comes out is immutable. Wherever a tree is taken, a
bare array is one too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import attrs
import numpy as np

from fnn import tree
from fnn.errors import DTypeError, FnnError, OptionError, TreeError
from fnn.options import at_step, integer, number
from fnn.recipe import Made, Recipe, bare
from fnn.tree import EMPTY, Array, TreeLike


class Init(Protocol):
    """Make the memory for these parameters."""

    def __call__(self, params: Any) -> TreeLike:
        """Return opt_state."""


class Update(Protocol):
    """Turn gradients, or the updates of the transform before, into updates."""

    def __call__(
        self, updates: Any, opt_state: Any, params: Any, step: int
    ) -> tuple[TreeLike, TreeLike]:
        """Return (updates, opt_state)."""


Numbers = Callable[[int], dict[str, float]]


def no_numbers(step: int) -> dict[str, float]:
    """Use no number at any step."""
    return {}


def _placed(part: str, fn: Any, name: str, where: str) -> Any:
    """Add the transform's name and place to errors of `fn`, check the clock and freeze trees."""
    inner = bare(fn)

    @functools.wraps(inner, updated=())
    def placed(*args: Any, **kwargs: Any) -> Any:
        try:
            if part == "init":
                return tree.freeze(inner(*args, **kwargs))
            if part == "numbers":
                return inner(*args, **kwargs)
            return update(*args, **kwargs)
        except FnnError as error:
            raise error.inside(name, where)  # noqa: B904 - the same error, with its place

    def update(updates: Any, opt_state: Any, params: Any, step: int) -> Any:
        try:
            # A NumPy integer would make float64 of every number computed from the step.
            step = integer(name, "step", step, least=0)
        except OptionError as error:
            error.path = ()
            raise
        # Gradients that overflow are for the loop to report, once and with their place.
        with np.errstate(over="ignore", invalid="ignore"):
            new_updates, new_state = inner(updates, opt_state, params, step)
        return tree.freeze(new_updates), tree.freeze(new_state)

    placed.bare = inner  # type: ignore[attr-defined]
    return placed


@attrs.frozen(eq=False, repr=False)
class Transform(Made):
    """A pure map of gradients to updates, with a memory. `init, update = transform`.

    Transforms print as the code that makes them, equal recipes are equal, and they pickle and copy
    by their recipe.

    Attributes:
        elementwise: The update of every entry depends on that entry's own numbers and `step` alone,
            so that one flat vector of all parameters gives the same bits as their tree.
        numbers: From a step to the numbers used there, for logs and errors: {"learning_rate": 0.1}.
    """

    name: str
    init: Init
    update: Update
    elementwise: bool = attrs.field(default=False, kw_only=True)
    numbers: Numbers = attrs.field(default=no_numbers, kw_only=True)
    recipe: Recipe | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(default="", kw_only=True)

    def __attrs_post_init__(self) -> None:
        for part in ("init", "update", "numbers"):
            placed = _placed(part, getattr(self, part), self.name, self.where)
            object.__setattr__(self, part, placed)

    def by_hand(self) -> Recipe:
        """Return the call of `Transform` itself."""
        options = {"elementwise": self.elementwise, "numbers": bare(self.numbers)}
        return Recipe(Transform, (self.name, bare(self.init), bare(self.update)), options)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.update))


def frozen_by(transform: Transform) -> tuple[str, ...]:
    """Return the paths that a transform leaves as they are: those of `freeze`, and of its chains."""
    paths: tuple[str, ...] = getattr(bare(transform.update), "frozen", ())
    return paths


# --- what transforms share ------------------------------------------------------------------


def stateless_init(params: TreeLike) -> TreeLike:
    """Remember nothing."""
    return EMPTY


def zeros_init(*roles: str) -> Init:
    """Return an init that remembers one tree of zeros, shaped like the parameters, per role."""

    def init(params: TreeLike) -> TreeLike:
        zeros = tree.map_new(np.zeros_like, params)
        return dict.fromkeys(roles, zeros)

    return init


def recall(opt_state: Any, *roles: str) -> list[Any]:
    """Return the trees of `opt_state` in the order of `roles`.

    Raises:
        TreeError: If it holds anything else: it belongs to another optimizer.
    """
    if not isinstance(opt_state, Mapping) or opt_state.keys() != set(roles):
        got = sorted(opt_state) if isinstance(opt_state, Mapping) else type(opt_state).__name__
        raise TreeError(f"opt_state: expected {sorted(roles)}, got {got}; from another optimizer?")
    return [opt_state[role] for role in roles]


class _MixedError(Exception):
    """Two leaves of different dtypes met."""


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


RATE = 3.4e38
"""What learning rates and weight decays stay below: in float32 more is inf, and 0 · inf is NaN."""


def held(product: float) -> float:
    """Return a product of such numbers, no larger than they may be."""
    return product if -RATE < product < RATE else math.copysign(RATE, product)


def numbers_of(who: str, **given: tuple[Any, float]) -> Numbers:
    """Check every (number or schedule, upper bound) and return what they are at a step.

    Raises:
        OptionError: If a number is not in [0, bound): at once for floats, at the step for schedules.
    """
    checked = {name: number(who, name, value, below=below) for name, (value, below) in given.items()}

    def numbers(step: int) -> dict[str, float]:
        try:
            return {name: at_step(value, step) for name, value in checked.items()}
        except OptionError as error:
            error.path = ()  # The transform puts its name and place before it.
            raise

    return numbers


def factor(now: Mapping[str, float]) -> float:
    """Return what a direction is multiplied by: -lr, or 1 for a block that knows no learning rate."""
    return -now["learning_rate"] if "learning_rate" in now else 1.0
