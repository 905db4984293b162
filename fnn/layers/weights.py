"""Weights in trees, all "w" and "w_…" of 2 or more axes: found, replaced, given entries of state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fnn.errors import OptionError, TreeError
from fnn.options import integer
from fnn.tree import EMPTY, Array, Tree


def _is_named(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name == "w" or name.startswith("w_")


def is_weight(path: str, node: Any) -> bool:
    """Return whether that is a weight of 2 or more axes."""
    return _is_named(path) and getattr(node, "ndim", 0) > 1


def is_pair(path: str, node: Any) -> bool:
    """Return whether that stands in the place of a weight: its direction and its lengths."""
    return _is_named(path) and isinstance(node, Mapping) and node.keys() == {"v", "g"}


def output_axis(who: str, axis: Any) -> Callable[[str, Array], int]:
    """Return the function from the path of a weight and the weight to its axis of outputs."""
    if axis is not None:
        axis = integer(who, "axis", axis, least=-32)

    def at(path: str, w: Array) -> int:
        if axis is None:
            return 1 if w.ndim == 2 else 0
        if not -w.ndim <= axis < w.ndim:
            raise OptionError(f"axis: expected one of {path}, of shape {w.shape}, got {axis}")
        return int(axis % w.ndim)

    return at


def nodes(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and node of everything in a tree, from outside to inside."""
    for name, node in tree.items():
        yield f"{path}{name}", node
        if isinstance(node, Mapping):
            yield from nodes(node, f"{path}{name}/")


def weights_in(params: Any) -> list[tuple[str, Array]]:
    """Return path and weight of all."""
    return [(path, node) for path, node in nodes(params) if is_weight(path, node)]


def some_weights(params: Any) -> list[tuple[str, Array]]:
    """Return path and weight of all, or refuse params that have none."""
    if not (found := weights_in(params)):
        expected = "a layer with weights 'w' or 'w_…' of 2 or more axes"
        raise OptionError(f"expected {expected}, got {[path for path, _ in nodes(params)]}")
    return found


def mapped(
    is_one: Callable[[str, Any], bool], fn: Callable[..., Any], tree: Any, *rest: Any, path: str = ""
) -> dict[str, Any]:
    """Return a tree with fn(path, node, …) in the place of each node that `is_one`.

    With `rest`, fn gets what stands there too, and the leaves elsewhere are those of `rest`.
    """
    out: dict[str, Any] = {}
    for name, node in tree.items():
        others = [each[name] for each in rest]
        if is_one(name, node):
            out[name] = fn(f"{path}{name}", node, *others)
        elif isinstance(node, Mapping):
            out[name] = mapped(is_one, fn, node, *others, path=f"{path}{name}/")
        else:
            out[name] = others[0] if others else node
    return out


def with_entries(state: Any, vectors: Mapping[str, Any]) -> Tree:
    """Return the state with an entry at each path."""
    whole = Tree(state)
    for path, node in vectors.items():
        whole = _put(whole, path.split("/"), node)
    return whole


def _put(state: Tree, names: list[str], node: Any) -> Tree:
    head, *below = names
    return state | {head: _put(state.get(head, EMPTY), below, node) if below else node}


def without_entries(state: Any, paths: Mapping[str, Any], path: str = "") -> tuple[Any, dict[str, Any]]:
    """Return the state without the entries at those paths, nor what holds nothing else, and them."""
    rest: dict[str, Any] = {}
    taken: dict[str, Any] = {}
    for name, node in state.items():
        if f"{path}{name}" in paths:
            taken[f"{path}{name}"] = node
        elif isinstance(node, Mapping):
            inside, found = without_entries(node, paths, f"{path}{name}/")
            taken |= found
            rest |= {name: inside} if inside or not found else {}
        else:
            rest[name] = node
    return Tree(rest), taken


def vectors_at(path: str, vectors: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return the u and v that are carried for a weight."""
    node = vectors.get(path)
    if not isinstance(node, Mapping) or node.keys() != {"u", "v"}:
        raise TreeError(f"expected state {path}/u and {path}/v; made by another network's init?")
    return node["u"], node["v"]
