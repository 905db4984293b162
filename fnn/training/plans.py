"""How trees of one structure lie in one vector, so that an update is a few calls however many leaves.

The rule of an elementwise transform gives every entry the same bits whether the entry stands in its
leaf, in a vector of all leaves or in a piece of that. So `Flat` keeps parameters and memory as vectors
between steps and updates them piece by piece, each small enough to stay in the cache.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.errors import FnnError
from fnn.kernels import memory
from fnn.optimizers.transform import Rule
from fnn.tree import Array, Tree

PIECE = 1 << 18
"""How many numbers are updated at a time, so that scratch memory stays small beside the parameters.
Pieces that fit into the cache were slower: their calls cost more than the cache gains."""

OWN_RUN = 1 << 12
"""From how many numbers on a leaf is updated where its gradient lies, not gathered with others."""


class MisfitError(Exception):
    """A tree is not the one that was planned for."""


@attrs.frozen
class _Segment:
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
        self.segments = tuple(_segments(self._sizes))

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
        get, array, dtype = node.get, np.ndarray, self.dtype
        for name, expected, cut in branch:
            value = get(name)
            if cut is None:
                self._collect(expected, value, parts)
            elif (
                type(value) is array
                and value.shape == expected
                and (value.dtype is dtype or value.dtype == dtype)
            ):
                parts.append(value if value.ndim == 1 else value.reshape(-1))
            else:
                raise MisfitError

    def gather(self, node: Any) -> Array:
        """Return the leaves as one read-only vector, or raise MisfitError."""
        vector = np.concatenate(self.leaves(node))
        vector.flags.writeable = False
        return vector

    def view(self, vector: Array) -> Tree:
        """Return the tree that lies in `vector`, as read-only views of it."""
        return self._cut(self._root, vector)

    def scatter(self, vector: Array) -> Tree:
        """Return the tree that lies in `vector`, and make the vector immutable."""
        memory.seal(vector)
        return self._cut(self._root, vector)

    def scatter_roles(self, roles: tuple[str, ...], vectors: list[Array]) -> Tree:
        """Return an optimizer's memory as trees, by the paths of its roles."""
        node: dict[str, Any] = {}
        for role, vector in zip(roles, vectors, strict=True):
            *branches, last = role.split("/")
            at = node
            for name in branches:
                at = at.setdefault(name, {})
            at[last] = self.scatter(vector)
        return Tree(node) if node else tree.EMPTY

    def _cut(self, branch: Any, vector: Array) -> Tree:
        node: dict[str, Any] = {}
        for name, expected, cut in branch:
            if cut is None:
                node[name] = self._cut(expected, vector)
            else:
                part = vector[cut]
                node[name] = part if len(expected) == 1 else part.reshape(expected)
        return Tree.own(node)


def _segments(sizes: list[int]) -> list[_Segment]:
    """Join small leaves that follow each other; leave large ones alone."""
    segments: list[_Segment] = []
    start = first = 0
    for i, size in enumerate(sizes):
        alone = size >= OWN_RUN
        if alone or i + 1 == len(sizes) or sizes[i + 1] >= OWN_RUN:
            stop = start + sum(sizes[first : i + 1])
            cuts = range(start, stop, PIECE)
            pieces = tuple(slice(cut, min(cut + PIECE, stop)) for cut in cuts)
            segments.append(_Segment(slice(first, i + 1), start, pieces))
            start, first = stop, i + 1
    return segments


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
    held: list[Array]

    @classmethod
    def gathered(cls, plan: Plan, rule: Rule, now: Any, params: Any) -> Flat:
        """Return the vectors of a TrainState and of what it trains, or raise MisfitError."""
        held = [plan.gather(part) for part in _parts(now.opt_state, rule.memory)]
        return cls(now, plan, plan.gather(params), held)

    def updated(self, rule: Rule, gradient: list[Array], step: int) -> tuple[Array, list[Array]]:
        """Return parameters and memory as vectors after an update; call where overflow is silent.

        Args:
            rule: That of the optimizer.
            gradient: What `plan.leaves` gives of it.
            step: The step's number.
        """
        new = memory.empty(self.params.shape, self.params.dtype)
        moved = [memory.empty(new.shape, new.dtype) for _ in self.held]
        _update(self.plan, rule, gradient, step, (self.params, self.held), (new, moved))
        return new, moved


def _update(
    plan: Plan,
    rule: Rule,
    gradient: list[Array],
    step: int,
    before: tuple[Array, list[Array]],
    after: tuple[Array, list[Array]],
) -> None:
    """Write parameters and memory after an update to `after`, which may be those before.

    Raises MisfitError if the rule has no numbers for the step: a schedule went wrong.
    """
    try:
        kernel = rule.at(step)
    except FnnError:
        raise MisfitError from None
    (params, held), (new, moved) = before, after
    u = memory.empty((min(PIECE, params.size),), params.dtype)
    for part in plan.segments:
        leaves = gradient[part.leaves]
        g = leaves[0] if len(leaves) == 1 else np.concatenate(leaves)
        for piece in part.pieces:
            p, out = params[piece], new[piece]
            own = g[piece.start - part.start : piece.stop - part.start]
            into = u[: piece.stop - piece.start]
            kernel(own, p, [old[piece] for old in held], [each[piece] for each in moved], into)
            np.add(p, into, out)


def _parts(held: Any, roles: tuple[str, ...]) -> list[Any]:
    """Return the trees of a memory in the order of `roles`, or raise MisfitError if it has others."""
    parts = {}

    def collect(node: Any, names: list[list[str]], path: str) -> None:
        if names == [[]]:
            parts[path] = node
            return
        heads = {first for first, *_ in names}
        if not isinstance(node, dict) or node.keys() != heads:
            raise MisfitError
        for head in heads:
            below = [rest for first, *rest in names if first == head]
            collect(node[head], below, f"{path}/{head}" if path else head)

    collect(held, [role.split("/") for role in roles], "")
    return [parts[role] for role in roles]
