"""The contract of optimizers: pure transitions of updates and a memory, which chain.

    init(params)                             -> opt_state
    update(updates, opt_state, params, step) -> updates, opt_state

What goes in first is the gradient; what comes out last carries the minus sign, so that
`apply_updates(params, updates)` adds. `step` is the one clock, an int from 0 that the caller keeps.
`opt_state` is a dict of trees by name, `{}` if nothing is remembered. No argument is written to, equal
arguments give equal bits, and what comes out is immutable. Wherever a tree is taken, a single array
is one too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias

import attrs
import numpy as np

from fnn import tree
from fnn.errors import FnnError
from fnn.options import integer
from fnn.recipe import HasRecipe, Recipe
from fnn.tree import Array, TreeLike


class Init(Protocol):
    """Make the memory for these parameters."""

    def __call__(self, params: Any) -> TreeLike:
        """Return opt_state."""


class Update(Protocol):
    """Turn gradients, or the updates of the transform before, into updates."""

    def __call__(
        self, updates: Any, opt_state: Any, params: Any, step: int, /
    ) -> tuple[TreeLike, TreeLike]:
        """Return (updates, opt_state); where a transform needs it, `at` is a fifth argument."""


At: TypeAlias = Callable[[Any], "tuple[Any, Any]"]
"""From parameters to the loss of the batch there, and its gradient."""


Numbers: TypeAlias = Callable[[int], dict[str, float]]
"""From a step to the numbers used there, by name."""


def no_numbers(step: int) -> dict[str, float]:
    """Use no number at any step."""
    return {}


class Core(NamedTuple):
    """The functions of a transform as they were written.

    Nothing checks the step, errors get no place, NumPy's warnings are not silenced, and trees are not
    made immutable: for chains and loops, which do that once for all that they call.
    """

    init: Init
    update: Update
    numbers: Numbers


def _checked_core(core: Core, name: str, where: str) -> Core:
    """Return functions for callers outside: they check the step, freeze trees and place errors."""

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
    def update(updates: Any, opt_state: Any, params: Any, step: int, *at: At) -> Any:
        # A NumPy integer would make float64 of every number computed from the step.
        step = integer("", "step", step, least=0)
        # Gradients that overflow are for the loop to report, once and with their place.
        with np.errstate(over="ignore", invalid="ignore"):
            new_updates, new_state = core.update(updates, opt_state, params, step, *at)
        return tree.freeze(new_updates), tree.freeze(new_state)

    return Core(placed(init), placed(update), placed(core.numbers))


Kernel: TypeAlias = Callable[[Array, Array, "list[Array]", "list[Array]", Array], None]
"""kernel(g, p, old, new, u): from the gradient, the parameters and the old arrays of the memory, write
the new arrays of the memory and the update u; nothing else is written to. All have one shape. A new
array may be the old one itself; apart from that no two overlap."""


@attrs.frozen(eq=False)
class Rule:
    """What an elementwise transform does to arrays, be they leaves or one vector of all leaves.

    Attributes:
        memory: Paths in opt_state of the trees that it remembers, each shaped like the parameters.
        at: From a step to the kernel that is run there.
        update: The update that does the same leaf by leaf.
    """

    memory: tuple[str, ...]
    at: Callable[[int], Kernel]
    update: Update


@attrs.frozen(eq=False, repr=False)
class Transform(HasRecipe):
    """A pure map of gradients to updates, with a memory. `init, update = transform`.

    Transforms print as the code that makes them, equal recipes are equal, and they pickle and copy
    by their recipe. `make_transform` makes an elementwise one of its formula.

    Attributes:
        name: Kind of transform, as it stands in paths.
        init, update: The pair; see the top of this file.
        elementwise: The update of every entry depends on that entry's own numbers and `step` alone,
            so that one flat vector of all parameters gives the same bits as their tree.
        numbers: From a step to the numbers used there, for logs and errors: {"learning_rate": 0.1}.
        core: The functions as they were written, for chains and loops; see `Core`.
        rule: What an elementwise transform does to arrays, for loops that keep all parameters in one
            vector; None if only `update` knows.
        frozen: Paths of the parameters that it leaves as they are; a chain gives them a gradient of 0.
        skips_nonfinite: Gradients that are not finite change nothing, so that a loss that is not finite
            need not end a training.
        needs_gradient: `update` takes a fifth argument, `at(params) -> (value, grads)`, the loss of the
            batch elsewhere, which a training step gives.
        clock: From a step to the one that the transforms inside it see; `accumulate` counts updates.
        recipe: The call that made it, None for one made directly.
        where: File and line of that call.
    """

    name: str
    _init: Init
    _update: Update
    elementwise: bool = attrs.field(default=False, kw_only=True)
    _numbers: Numbers = attrs.field(default=no_numbers, kw_only=True)
    rule: Rule | None = attrs.field(default=None, kw_only=True)
    frozen: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    skips_nonfinite: bool = attrs.field(default=False, kw_only=True)
    needs_gradient: bool = attrs.field(default=False, kw_only=True)
    clock: Callable[[int], int] = attrs.field(default=int, kw_only=True)
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
        # A copy with another update (by `attrs.evolve`) does not do what the rule does.
        if self.rule is not None and not (self.elementwise and self.rule.update is self._update):
            object.__setattr__(self, "rule", None)

    def direct_recipe(self) -> Recipe:
        """Return the call of `Transform` itself."""
        options: dict[str, Any] = {"elementwise": self.elementwise, "numbers": self.core.numbers}
        options |= {"rule": self.rule} if self.rule is not None else {}
        options |= {"frozen": self.frozen} if self.frozen else {}
        options |= {"skips_nonfinite": True} if self.skips_nonfinite else {}
        options |= {"needs_gradient": True} if self.needs_gradient else {}
        options |= {"clock": self.clock} if self.clock is not int else {}
        return Recipe(Transform, (self.name, self.core.init, self.core.update), options)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.update))
