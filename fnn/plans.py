"""How trees of one structure lie in one vector, so that an update is a few calls however many leaves.

An elementwise transform gives every entry the same bits whether the entry stands in its leaf, in a
vector of all leaves or in a piece of that. So `Flat` keeps parameters and memory as vectors between
steps and updates them piece by piece, each small enough to stay in the cache.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.errors import FnnError
from fnn.kernels import memory
from fnn.optimizers import Transform
from fnn.recipe import bare
from fnn.tree import Array, Tree

PIECE = 1 << 16
"""How many numbers are updated at a time: with what an optimizer remembers they fit into the cache."""

OWN_RUN = 1 << 12
"""From how many numbers on a leaf is updated where its gradient lies, not gathered with others first."""


class MisfitError(Exception):
    """A tree is not the one that was planned for."""


@attrs.frozen
class _Run:
    """Leaves that follow each other in the vector, and the pieces in which they are updated."""

    leaves: slice
    start: int
    pieces: tuple[slice, ...]


class Plan:
    """Where every leaf of trees of one structure lies in their vector."""

    def __init__(self, params: Tree, dtype: np.dtype[Any]) -> None:
        """Lay out leaves in the order of the keys."""
        self.dtype = dtype
        self.size = 0
        self._sizes: list[int] = []
        self._root = self._branch(params)
        self.runs = tuple(_runs(self._sizes))

    def _branch(self, node: dict[str, Any]) -> list[tuple[str, Any, slice | None]]:
        branch: list[tuple[str, Any, slice | None]] = []
        for name, value in node.items():
            if isinstance(value, dict):
                branch.append((name, self._branch(value), None))
            else:
                start, self.size = self.size, self.size + value.size
                self._sizes.append(value.size)
                branch.append((name, value.shape, slice(start, self.size)))
        return branch

    def leaves(self, node: Any) -> list[Array]:
        """Return the leaves as vectors, or raise MisfitError: nothing is paired by length alone."""
        parts: list[Array] = []
        self._collect(self._root, node, parts)
        return parts

    def _collect(self, branch: Any, node: Any, parts: list[Array]) -> None:
        if not isinstance(node, dict) or len(node) != len(branch):
            raise MisfitError
        for name, expected, cut in branch:
            value = node.get(name)
            if cut is None:
                self._collect(expected, value, parts)
            elif type(value) is np.ndarray and value.shape == expected and value.dtype is self.dtype:
                parts.append(value if value.ndim == 1 else value.reshape(-1))
            else:
                raise MisfitError

    def gather(self, node: Any) -> Array:
        """Return the leaves as one read-only vector, or raise MisfitError."""
        vector = np.concatenate(self.leaves(node))
        vector.flags.writeable = False
        return vector

    def scatter(self, vector: Array) -> Tree:
        """Return the tree that lies in `vector`, as views of it; the vector is frozen."""
        memory.seal(vector)
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

    def gather_memory(self, template: Any, held: Any) -> Any:
        """Return an optimizer's memory of these trees as its memory of their vector, `template`."""
        if isinstance(template, dict):
            if not isinstance(held, dict) or held.keys() != template.keys():
                raise MisfitError
            return Tree.own({name: self.gather_memory(template[name], held[name]) for name in template})
        if isinstance(held, dict):
            vector = self.gather(held)
            if template.shape != vector.shape or template.dtype != vector.dtype:
                raise MisfitError
            return vector
        # A number of its own, such as a counter, is the same in both; a vector is no tree of ours.
        if held.shape == (self.size,) or template.shape != held.shape or template.dtype != held.dtype:
            raise MisfitError
        return held

    def scatter_memory(self, template: Any, held: Any) -> Any:
        """Return the memory of the trees from that of their vector; `template` tells which is which."""
        if isinstance(held, dict):
            return Tree.own({name: self.scatter_memory(template[name], held[name]) for name in held})
        return self.scatter(held) if isinstance(template, dict) else held


def _runs(sizes: list[int]) -> list[_Run]:
    """Join small leaves that follow each other; leave large ones alone."""
    runs: list[_Run] = []
    start = first = 0
    for i, size in enumerate(sizes):
        alone = size >= OWN_RUN
        if alone or i + 1 == len(sizes) or sizes[i + 1] >= OWN_RUN:
            stop = start + sum(sizes[first : i + 1])
            cuts = range(start, stop, PIECE)
            pieces = tuple(slice(cut, min(cut + PIECE, stop)) for cut in cuts)
            runs.append(_Run(slice(first, i + 1), start, pieces))
            start, first = stop, i + 1
    return runs


def planned(params: Tree) -> Plan | None:
    """Return a plan for trees like `params`, or None if their leaves have more than one dtype."""
    dtypes = {leaf.dtype for leaf in tree.leaves(params)}
    return Plan(params, dtypes.pop()) if len(dtypes) == 1 else None


def signature(params: dict[str, Any]) -> tuple[Any, ...]:
    """Return what two trees share that one plan serves.

    It keeps the order of the keys, so that trees come back in the order in which they went in.
    """
    return tuple(
        (name, signature(value)) if isinstance(value, dict) else (name, value.shape, value.dtype)
        for name, value in params.items()
    )


@attrs.frozen(eq=False)
class Flat:
    """A TrainState's parameters and memory as vectors, and the plan by which they lie there."""

    of: Any
    plan: Plan
    params: Array
    opt_state: Any

    @classmethod
    def gathered(cls, plan: Plan, optimizer: Transform, now: Any) -> Flat:
        """Return the vectors of a TrainState, or raise MisfitError."""
        params = plan.gather(now.params)
        return cls(now, plan, params, plan.gather_memory(optimizer.init(params), now.opt_state))

    def updated(self, optimizer: Transform, gradient: list[Array], step: int) -> tuple[Array, Any]:
        """Return parameters and memory as vectors after an update; call where overflow is silent.

        Args:
            optimizer: An elementwise transform.
            gradient: What `plan.leaves` gives of it.
            step: The step's number.
        """
        try:
            return self._updated(bare(optimizer.update), gradient, step)
        except FnnError as error:
            raise error.inside(optimizer.name, optimizer.where) from error.__cause__

    def _updated(self, update: Any, gradient: list[Array], step: int) -> tuple[Array, Any]:
        params, held, runs = self.params, self.opt_state, self.plan.runs
        if len(runs) == 1 and len(runs[0].pieces) == 1:
            g = gradient[0] if len(gradient) == 1 else np.concatenate(gradient)
            updates, moved = update(g, held, params, step)
            _check_alike(updates, params)
            _check_alike(moved, held)
            return np.add(params, updates), moved
        new, moved = memory.empty(params.shape, params.dtype), _room(held, params.shape)
        for run in runs:
            parts = gradient[run.leaves]
            g = parts[0] if len(parts) == 1 else np.concatenate(parts)
            for piece in run.pieces:
                own, p = g[piece.start - run.start : piece.stop - run.start], params[piece]
                remembered = _cut(held, params.shape, piece)
                updates, now = update(own, remembered, p, step)
                _check_alike(updates, p)
                _check_alike(now, remembered)
                np.add(p, updates, new[piece])
                _put(now, moved, piece)
        return new, moved


def _check_alike(got: Any, like: Any) -> None:
    """Leave to the step itself to say what is wrong with a transform that changes shapes or dtypes."""
    if isinstance(like, dict):
        if got.keys() != like.keys():
            raise MisfitError
        for name, value in like.items():
            _check_alike(got[name], value)
    elif type(got) is not np.ndarray or got.shape != like.shape or got.dtype is not like.dtype:
        raise MisfitError


def _room(held: Any, shape: tuple[int, ...]) -> Any:
    """Return room for the vectors of a memory, in a dict like it."""
    if isinstance(held, dict):
        return {name: _room(value, shape) for name, value in held.items()}
    return memory.empty(shape, held.dtype) if held.shape == shape else held


def _cut(held: Any, shape: tuple[int, ...], piece: slice) -> Any:
    if isinstance(held, dict):
        return {name: _cut(value, shape, piece) for name, value in held.items()}
    return held[piece] if held.shape == shape else held


def _put(moved: Any, into: dict[str, Any], piece: slice) -> None:
    for name, value in moved.items():
        if isinstance(value, dict):
            _put(value, into[name], piece)
        elif value.shape == into[name].shape:
            into[name] = value  # A number of its own, the same for every piece.
        else:
            into[name][piece] = value
