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
from typing import Any, NamedTuple, Protocol, TypeAlias

import attrs
import numpy as np

from fnn import tree
from fnn.errors import DTypeError, FnnError, OptionError, TreeError
from fnn.options import at_step, integer, number
from fnn.recipe import Made, Recipe
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


class Core(NamedTuple):
    """The functions of a transform as they were written: nothing is checked or frozen."""

    init: Init
    update: Update
    numbers: Numbers


def _checked_core(core: Core, name: str, where: str) -> Core:
    """Return the functions for callers outside: they check the clock and add their place to errors."""

    def placed(fn: Any) -> Any:
        @functools.wraps(fn, updated=())
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return fn(*args, **kwargs)
            except FnnError as error:
                raise error.inside(name, where)  # noqa: B904 - the same error, with its place

        return call

    @functools.wraps(core.init, updated=())
    def init(params: Any) -> Any:
        return tree.freeze(core.init(params))

    @functools.wraps(core.update, updated=())
    def update(updates: Any, opt_state: Any, params: Any, step: int) -> Any:
        try:
            # A NumPy integer would make float64 of every number computed from the step.
            step = integer(name, "step", step, least=0)
        except OptionError as error:
            error.path = ()
            raise
        # Gradients that overflow are for the loop to report, once and with their place.
        with np.errstate(over="ignore", invalid="ignore"):
            new_updates, new_state = core.update(updates, opt_state, params, step)
        return tree.freeze(new_updates), tree.freeze(new_state)

    return Core(placed(init), placed(update), placed(core.numbers))


ArrayUpdate: TypeAlias = Callable[[Array, Array, "list[Array]", "list[Array]", Array], None]
"""run(g, p, old, new, u): from entries of the gradient, the parameters and each old memory, write the
new memories and the update u; only those are written to. A new memory may be the old one itself,
otherwise nothing overlaps."""


@attrs.frozen
class Rule:
    """What an elementwise transform does to arrays, leaf by leaf or over pieces of one vector.

    Attributes:
        roles: Paths of the trees that it remembers, each shaped like the parameters.
        at: From a step to what is run there.
    """

    roles: tuple[str, ...]
    at: Callable[[int], ArrayUpdate]


@attrs.frozen(eq=False, repr=False)
class Transform(Made):
    """A pure map of gradients to updates, with a memory. `init, update = transform`.

    Transforms print as the code that makes them, equal recipes are equal, and they pickle and copy
    by their recipe.

    Attributes:
        init, update: See the top of this file.
        core: The functions as they were written, for chains and loops; see `Core`.
        elementwise: The update of every entry depends on that entry's own numbers and `step` alone,
            so that one flat vector of all parameters gives the same bits as their tree.
        numbers: From a step to the numbers used there, for logs and errors: {"learning_rate": 0.1}.
        rule: What an elementwise transform does to arrays, for loops that keep all parameters in one
            vector; None if only `update` knows.
        frozen: Paths in params that it leaves as they are.
    """

    name: str
    _init: Init
    _update: Update
    elementwise: bool = attrs.field(default=False, kw_only=True)
    _numbers: Numbers = attrs.field(default=no_numbers, kw_only=True)
    rule: Rule | None = attrs.field(default=None, kw_only=True)
    frozen: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    recipe: Recipe | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(default="", kw_only=True)
    core: Core = attrs.field(init=False)
    init: Init = attrs.field(init=False)
    update: Update = attrs.field(init=False)
    numbers: Numbers = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        core = Core(self._init, self._update, self._numbers)
        checked = _checked_core(core, self.name, self.where)
        for name, value in {"core": core, **checked._asdict()}.items():
            object.__setattr__(self, name, value)

    def direct_recipe(self) -> Recipe:
        """Return the call of `Transform` itself."""
        options: dict[str, Any] = {"elementwise": self.elementwise, "numbers": self.core.numbers}
        options |= {"rule": self.rule} if self.rule is not None else {}
        options |= {"frozen": self.frozen} if self.frozen else {}
        return Recipe(Transform, (self.name, self.core.init, self.core.update), options)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.update))


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
