"""A training step as a program: how a state is carried, and how the step is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fnn import tree
from fnn.compile.recording import Program, Recording, recorded
from fnn.compile.values import DrawnFrom, Number
from fnn.kernels import memory
from fnn.kernels.values import map_arrays, named_arrays
from fnn.optimizers.compose import apply_updates
from fnn.training.plans import Plan, filled, parts, tree_of
from fnn.training.state import Batch, TrainState, merged, trained
from fnn.training.step import TrainStep
from fnn.tree import Array, Tree

NAMES = ("x", "target", "weight")


def inputs_of(batch: Batch) -> list[tuple[str, Array]]:
    """Return the arrays of a batch, by name."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        return []
    if all(type(each) is np.ndarray for each in batch):
        return [*zip(NAMES, batch, strict=False)]
    pairs = zip(NAMES, batch, strict=False)
    return [each for name, value in pairs for each in named_arrays(value, name)]


class Layout:
    """How the states of one structure are carried.

    With an elementwise optimizer params and its memory are a vector each; all else is carried leaf
    by leaf.
    """

    def __init__(self, step: TrainStep, plan: Plan | None, now: TrainState) -> None:
        """Remember the structure of a state."""
        self.net, self.plan, self.like = step.net, plan, now
        self.rule = step.optimizer.rule if plan is not None else None
        self.own = trained(step.net, now.params)
        self.n_vectors = 0 if self.rule is None else 1 + len(self.rule.memory)
        n_params = 1 if self.n_vectors else len(tree.leaves(self.own))
        n_memory = len(self._moving(now)) - n_params
        n_state = len(tree.leaves(now.state))
        moved = n_params + n_memory
        self.checked = (*range(n_params), *range(moved, moved + n_state))
        """Numbers of what has to be finite: params and state."""

    def arrays(self, now: TrainState) -> list[Array]:
        """Return what is carried, in order."""
        return [*self._moving(now), *tree.leaves(now.state), *self._still(now.params)]

    def _moving(self, now: TrainState) -> list[Array]:
        own = trained(self.net, now.params)
        if self.rule is None or self.plan is None:
            return [*tree.leaves(own), *tree.leaves(now.opt_state)]
        held = parts(now.opt_state, self.rule.memory)
        return [self.plan.gather(own), *map(self.plan.gather, held)]

    def _still(self, params: Tree) -> list[Array]:
        """Return the leaves of params that stand still."""
        if not self.net.frozen:
            return []
        moving = {path for path, _ in tree.items(self.own)}
        return [leaf for path, leaf in tree.items(params) if path not in moving]

    def trees(self, given: list[Any]) -> tuple[Any, Any, Any, Any]:
        """Return params, what of it is trained, state and opt_state, of what is carried."""
        left = iter(given)
        if self.plan is not None and self.rule is not None:
            own = self.plan.view(next(left))
            roles = [next(left) for _ in self.rule.memory]
            opt_state = self.plan.scatter_roles(self.rule.memory, roles)
        else:
            own, opt_state = filled(self.own, left), filled(self.like.opt_state, left)
        state = filled(self.like.state, left)
        params = own
        if self.net.frozen:
            stays = _filled_at(self.like.params, {path for path, _ in tree.items(self.own)}, left)
            params = merged(self.net, stays, own)
        return params, own, state, opt_state

    def state(self, given: list[Array], step: int, begun: TrainState) -> TrainState:
        """Return the state of what is carried, in memory of its own; what is frozen stays `begun`'s."""
        _, own, state, opt_state = self.trees([_copy(array) for array in given])
        return TrainState(step, begun.key, merged(self.net, begun.params, own), state, opt_state)


def _copy(array: Array) -> Array:
    copy = memory.empty(array.shape, array.dtype)
    np.copyto(copy, array)
    memory.seal(copy)
    return copy


def _filled_at(like: Any, but: set[str], parts: Iterator[Any]) -> Any:
    """Return the same with the leaves at some paths as they are."""
    return tree_of(
        like, {path: leaf if path in but else next(parts) for path, leaf in tree.items(like)}
    )


def record(step: TrainStep, layout: Layout, now: TrainState, batch: Batch) -> tuple[Program, Any]:
    """Return the program of a step, and the structure of the outputs among its logs.

    Raises:
        UntraceableError: If something in it cannot be noted.
    """

    outputs: Any = None

    def run(recording: Recording) -> dict[str, Any]:
        nonlocal outputs
        tape = recording.tape
        given = [
            map_arrays(lambda array, name=name: array, value)
            for name, value in zip(NAMES, batch, strict=False)
        ]
        named = iter(inputs_of(batch))
        values = [map_arrays(lambda _: recording.input(*next(named)), value) for value in given]
        carried = [recording.take(array) for array in layout.arrays(now)]
        params, own, state, opt_state = layout.trees(carried)
        key = None
        if step.net.traits.stochastic:
            key = DrawnFrom(now.key.fold("step", now.step).bits, tape, "key")
        clock: Any = Number(now.step, "step", tape)
        value, grads, new_state, y = step.computed(params, state, tuple(values), key)
        at: tuple[Any, ...] = ()
        if step.optimizer.needs_gradient:
            at = (step.elsewhere(params, own, state, tuple(values), key, value, grads),)
        trees = own, opt_state, trained(step.net, grads)
        news = _updated(step, layout, recording, carried, trees, clock, *at)
        news += [leaf for _, leaf in tree.items(new_state)]
        for i, new in enumerate(news):
            if new is not None:
                recording.carry(i, new)
        logs: dict[str, Any] = {"loss": value}
        if step.metrics:
            logs |= dict(named_arrays(y, "y"))
            outputs = map_arrays(lambda _: None, y)
        return logs

    return recorded(run), outputs


def _updated(
    step: TrainStep,
    layout: Layout,
    recording: Recording,
    carried: list[Any],
    trees: Any,
    clock: Any,
    *at: Any,
) -> list[Any]:
    """Return what follows on parameters and memory; None where it is written already."""
    own, opt_state, grads = trees
    plan, rule = layout.plan, layout.rule
    if plan is None or rule is None:
        updates, opt_state = step.optimizer.core.update(grads, opt_state, own, clock, *at)
        moved = apply_updates(own, updates)
        return [leaf for part in (moved, opt_state) for _, leaf in tree.items(part)]
    parts = [leaf for _, leaf in _in_order(layout.own, grads)]
    gradient: Any = recording.joined(parts, plan.size, plan.dtype)
    given: list[Any] = carried[: layout.n_vectors]
    params, *old = given
    nexts: list[Any] = [recording.next(i) for i in range(layout.n_vectors)]
    after, *new = nexts
    update: Any = recording.tape.empty((plan.size,), plan.dtype)
    rule.at(clock)(gradient, params, old, new, update)
    np.add(params, update, out=after)
    return [None] * layout.n_vectors


def _in_order(like: Any, node: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and leaf of a tree in the order of the keys of another, as a `Plan` lays them out."""
    for name, value in like.items():
        if isinstance(value, dict):
            yield from _in_order(value, node[name])
        else:
            yield name, node[name]
