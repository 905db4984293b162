"""How trees of one structure lie in one vector, so that an update is a few calls however many leaves.

The rule of an elementwise transform gives every entry the same bits whether the entry stands in its
leaf or in a vector of all leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fnn import tree
from fnn.kernels import memory
from fnn.tree import Array, Tree


class MisfitError(Exception):
    """A tree is not the one that was planned for."""


class Plan:
    """Where every leaf of trees of one structure lies in their vector."""

    def __init__(self, params: Tree, dtype: np.dtype[Any]) -> None:
        """Lay out leaves in the order of the keys."""
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


def planned(params: Tree) -> Plan | None:
    """Return a plan for trees like `params`, or None if their leaves have more than one dtype."""
    dtypes = {leaf.dtype for leaf in tree.leaves(params)}
    return Plan(params, dtypes.pop()) if len(dtypes) == 1 else None


def structure(params: dict[str, Any]) -> tuple[Any, ...]:
    """Return what two trees share that one plan serves.

    It keeps the order of the keys, so that trees come back in the order in which they went in.
    """
    return tuple(
        (name, structure(value)) if isinstance(value, dict) else (name, value.shape, value.dtype)
        for name, value in params.items()
    )


def parts(held: Any, roles: tuple[str, ...]) -> list[Any]:
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


def filled(like: Any, leaves: Iterator[Any]) -> Any:
    """Return a tree of a structure, its leaves given in the order of `tree.items`."""
    return tree_of(like, {path: next(leaves) for path, _ in tree.items(like)})


def tree_of(like: Any, leaves: dict[str, Any], path: str = "") -> Any:
    """Return the tree of a structure, its keys in their order, with the leaves at their paths."""
    if not isinstance(like, dict):
        return leaves[path]
    below = f"{path}/" if path else ""
    return Tree.own({name: tree_of(each, leaves, below + name) for name, each in like.items()})
