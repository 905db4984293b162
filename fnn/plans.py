"""What many steps share, done once: `jit` keeps a step's parameters as one vector between calls."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.errors import OptionError
from fnn.optimizers import Transform, apply_updates
from fnn.state import Batch, TrainState, is_finite
from fnn.training import Step, TrainStep
from fnn.tree import Array, Tree

FLAT_UP_TO = 1 << 16
"""Up to how many numbers one vector is used: beyond it, gathering the gradient costs more than the
calls per leaf that it spares."""

MOST_PLANS = 64
"""How many plans a step keeps; more structures than that are planned anew at every call."""


class _MisfitError(Exception):
    """A tree is not the one that was planned for."""


class _Plan:
    """How trees of one structure lie in one vector, leaf by leaf."""

    def __init__(self, params: Tree, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.size = 0
        self._root = self._branch(params)

    def _branch(self, node: dict[str, Any]) -> list[tuple[str, Any, slice | None]]:
        branch: list[tuple[str, Any, slice | None]] = []
        for name, value in node.items():
            if isinstance(value, dict):
                branch.append((name, self._branch(value), None))
            else:
                start, self.size = self.size, self.size + value.size
                branch.append((name, value.shape, slice(start, self.size)))
        return branch

    def gather(self, node: Any) -> Array:
        """Return the leaves as one vector, or raise _MisfitError: nothing is paired by length alone."""
        parts: list[Array] = []
        self._collect(self._root, node, parts)
        return np.concatenate(parts)

    def _collect(self, branch: Any, node: Any, parts: list[Array]) -> None:
        if not isinstance(node, dict) or len(node) != len(branch):
            raise _MisfitError
        for name, expected, cut in branch:
            value = node.get(name)
            if cut is None:
                self._collect(expected, value, parts)
            elif type(value) is np.ndarray and value.shape == expected and value.dtype == self.dtype:
                parts.append(value if value.ndim == 1 else value.reshape(-1))
            else:
                raise _MisfitError

    def scatter(self, vector: Array) -> Tree:
        """Return the tree that lies in `vector`, as views of it; the vector is frozen."""
        vector.setflags(write=False)
        return self._cut(self._root, vector)

    def _cut(self, branch: Any, vector: Array) -> Tree:
        node: dict[str, Any] = {}
        for name, expected, cut in branch:
            if cut is None:
                node[name] = self._cut(expected, vector)
            else:
                part = vector[cut]
                node[name] = part if len(expected) == 1 else part.reshape(expected)
        return Tree.own(node)

    def gather_memory(self, template: Any, memory: Any) -> Any:
        """Return an optimizer's memory of these trees as its memory of their vector, `template`."""
        if isinstance(template, dict):
            if not isinstance(memory, dict) or memory.keys() != template.keys():
                raise _MisfitError
            return Tree.own(
                {name: self.gather_memory(template[name], memory[name]) for name in template}
            )
        if isinstance(memory, dict):
            vector = self.gather(memory)
            vector.setflags(write=False)
            if template.shape != vector.shape or template.dtype != vector.dtype:
                raise _MisfitError
            return vector
        # A number of its own, such as a counter, is the same in both; a vector is no tree of ours.
        if (
            memory.shape == (self.size,)
            or template.shape != memory.shape
            or template.dtype != memory.dtype
        ):
            raise _MisfitError
        return memory

    def scatter_memory(self, template: Any, memory: Any) -> Any:
        """Return the memory of the trees from that of their vector; `template` tells which is which."""
        if isinstance(memory, dict):
            return Tree.own(
                {name: self.scatter_memory(template[name], memory[name]) for name in memory}
            )
        return self.scatter(memory) if isinstance(template, dict) else memory


@attrs.frozen(eq=False)
class _Flat:
    """A TrainState's parameters and memory as vectors, and the plan by which they lie there."""

    of: TrainState
    plan: _Plan
    params: Array
    opt_state: Any


def _signature(params: dict[str, Any]) -> tuple[Any, ...]:
    # In the order of the keys, so that trees come back in the order they went in.
    return tuple(
        (name, _signature(value)) if isinstance(value, dict) else (name, value.shape, value.dtype)
        for name, value in params.items()
    )


class Jitted:
    """A step made by `jit`; calls like the step it wraps, bit for bit."""

    def __init__(self, step: Step) -> None:
        """Wrap `step`; nothing is planned before the first call."""
        self.step = step
        self._plans: dict[tuple[Any, ...], _Plan | None] = {}
        self._last: _Flat | None = None

    def __call__(self, now: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Return what the step returns."""
        step = self.step
        if not isinstance(step, TrainStep):
            return step(now, batch)
        last = self._last  # Read once: another thread may set it meanwhile.
        flat = last if last is not None and last.of is now else self._flatten(step.optimizer, now)
        if flat is None:
            return step(now, batch)
        plan = flat.plan
        value, grads, state, logs = step.grads(now, batch)
        with np.errstate(all="ignore"):
            try:
                gradient = plan.gather(grads)
            except _MisfitError:
                # Let the step say by path what is wrong.
                return step(now, batch)
            updates, memory = step.optimizer.update(gradient, flat.opt_state, flat.params, now.step)
            vector = apply_updates(flat.params, updates)
            params = plan.scatter(vector)
            if not is_finite(vector):
                raise step.diverged(now, batch, value, grads, after={"params": params})
        opt_state = plan.scatter_memory(now.opt_state, memory) if memory else tree.EMPTY
        moved = TrainState(now.step + 1, now.key, params, state, opt_state)
        self._last = _Flat(moved, plan, vector, memory)
        return moved, {"loss": value, **logs}

    def _flatten(self, optimizer: Transform, now: TrainState) -> _Flat | None:
        """Return the vectors of `now`, or None if it is for the step itself to do."""
        if not optimizer.elementwise or not isinstance(now.params, dict):
            return None
        signature = _signature(now.params)
        if signature in self._plans:
            plan = self._plans[signature]
        else:
            plan = _planned(now.params)
            if len(self._plans) < MOST_PLANS:
                self._plans[signature] = plan
        if plan is None:
            return None
        try:
            params = plan.gather(now.params)
            params.setflags(write=False)
            return _Flat(now, plan, params, plan.gather_memory(optimizer.init(params), now.opt_state))
        except _MisfitError:
            return None

    def __reduce__(self) -> tuple[Any, ...]:
        return jit, (self.step,)

    def __repr__(self) -> str:
        sizes = [f"{plan.size} numbers" for plan in list(self._plans.values()) if plan is not None]
        plans = f"{len(sizes)} plan{'s' * (len(sizes) > 1)}, {', '.join(sizes)}" if sizes else "no plan"
        return f"jit({self.step!r}: {plans})"


def _planned(params: Tree) -> _Plan | None:
    leaves = tree.leaves(params)
    dtypes = {leaf.dtype for leaf in leaves}
    if len(dtypes) != 1 or sum(leaf.size for leaf in leaves) > FLAT_UP_TO:
        return None
    return _Plan(params, dtypes.pop())


def jit(step: Step) -> Jitted:
    """Return `step` with what its calls share done once; results are equal bit for bit.

    Small networks trained by an elementwise optimizer keep parameters and memory as one vector each
    between calls, so that an update is a few array operations however many leaves there are. Purity
    stays: the states handed out are immutable, and any state may be given, not only the last. `repr`
    shows the plans made so far, one for every structure of parameters.

    Raises:
        OptionError: If `step` is no function.
    """
    if not callable(step):
        raise OptionError(f"expected a step, got {step!r}", path=("jit",))
    return step if isinstance(step, Jitted) else Jitted(step)
