"""What many steps share, done once: `jit` keeps a step's parameters as one vector between calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.errors import OptionError
from fnn.optimizers import Transform, apply_updates
from fnn.training import Batch, Step, TrainState, TrainStep
from fnn.tree import Array, Tree

FLAT_UP_TO = 1 << 16
"""Up to how many numbers one vector is used: beyond it, gathering the gradient costs more than the
calls per leaf that it spares."""


@attrs.frozen(eq=False)
class _Flat:
    """A TrainState's parameters and memory as vectors, and the way back."""

    of: TrainState
    params: Array
    opt_state: Any
    unravel: Callable[[Array], Tree]


def _flatten(optimizer: Transform, now: TrainState) -> _Flat:
    params, unravel = tree.ravel(now.params)
    # The memory for one vector has a leaf wherever the memory for the tree has a tree.
    template = optimizer.init(params)
    return _Flat(now, params, _ravel_like(template, now.opt_state), unravel)


def _ravel_like(template: Any, opt_state: Any) -> Any:
    if not isinstance(template, Mapping):
        return tree.ravel(opt_state)[0]
    return Tree({name: _ravel_like(template[name], opt_state[name]) for name in template})


def _unravel_like(flat: Any, unravel: Callable[[Array], Tree]) -> Any:
    if not isinstance(flat, Mapping):
        return unravel(flat)
    return Tree.own({name: _unravel_like(value, unravel) for name, value in flat.items()})


class Jitted:
    """A step made by `jit`; calls like the step it wraps, bit for bit."""

    def __init__(self, step: Step) -> None:
        """Wrap `step`; nothing is planned before the first call."""
        self.step = step
        self._last: _Flat | None = None

    def __call__(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Return what the step returns."""
        step = self.step
        if not isinstance(step, TrainStep) or not self._fits(step.optimizer, now):
            return step(now, batch)
        last = self._last  # Read once: another thread may set it meanwhile.
        flat = last if last is not None and last.of is now else _flatten(step.optimizer, now)
        with np.errstate(all="ignore"):
            value, grads, state, logs = step.grads(now, batch)
            gradient, _ = tree.ravel(grads)
            updates, opt_state = step.optimizer.update(gradient, flat.opt_state, flat.params, now.step)
            params = apply_updates(flat.params, updates)
        moved = TrainState(
            now.step + 1,
            now.key,
            flat.unravel(params),
            state,
            _unravel_like(opt_state, flat.unravel),
        )
        self._last = attrs.evolve(flat, of=moved, params=params, opt_state=opt_state)
        return moved, {"loss": value, **logs}

    def _fits(self, optimizer: Transform, now: TrainState) -> bool:
        if self._last is not None and self._last.of is now:
            return True
        leaves = tree.leaves(now.params)
        return (
            optimizer.elementwise
            and sum(leaf.size for leaf in leaves) <= FLAT_UP_TO
            and len({leaf.dtype for leaf in leaves}) == 1
        )

    def __repr__(self) -> str:
        plans = "no plan yet" if self._last is None else f"1 plan, {self._last.params.size} numbers"
        return f"jit({self.step!r}: {plans})"


def jit(step: Step) -> Jitted:
    """Return `step` with what its calls share done once; results are equal bit for bit.

    Small networks trained by an elementwise optimizer keep parameters and memory as one vector each
    between calls, so that an update is a few array operations however many leaves there are. Purity
    stays: the states handed out are immutable, and any state may be given, not only the last.
    """
    if not callable(step):
        raise OptionError(f"jit: expected a step, got {step!r}")
    return step if isinstance(step, Jitted) else Jitted(step)
