"""Trees: immutable nested dicts with arrays at the leaves.

Every leaf has a path, its keys joined by "/" ("dense_0/w"), that is the same in errors, summaries,
checkpoints and logs. Plain dicts are accepted wherever a tree is; what comes back is a `Tree`.
Leaves pair by key, and paired leaves must have equal shapes: nothing broadcasts.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, Self, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from fnn.errors import DTypeError, ShapeError, TreeError

Array: TypeAlias = np.ndarray
TreeLike: TypeAlias = "Array | Mapping[str, TreeLike]"


def _references(array: Array) -> int:
    return sys.getrefcount(array)


# What the interpreter counts, inside a function, for an argument that nothing else holds.
_UNSHARED = _references(np.empty(0))


def _is_immutable(array: Array) -> bool:
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return base is None or isinstance(base, bytes)


def _freeze_leaf(leaf: Any) -> Array:
    """Return `leaf` if it is an immutable array, else a read-only copy."""
    array = np.asarray(leaf)
    if array.dtype.kind not in "fciub":
        raise DTypeError(f"expected numbers at a leaf, got {type(leaf).__name__} ({array.dtype})")
    if not _is_immutable(array):
        array = array.copy(order="K")
        array.setflags(write=False)
    return array


def _seal(array: Any) -> Array:
    """Like `_freeze_leaf`, without the copy where the array is fresh: where only we hold it."""
    if type(array) is np.ndarray and array.base is None and sys.getrefcount(array) <= _UNSHARED:
        array.setflags(write=False)
        return array
    return _freeze_leaf(array)


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    raise TypeError("a Tree is immutable: build a new one, e.g. tree | {...} or fnn.tree.update")


class Tree(dict[str, Any]):
    """An immutable nested dict whose leaves are read-only arrays.

    `Tree(mapping)` copies every array that its owner could still write to. `|` gives a Tree, and
    `==` compares structures and values exactly, with plain dicts too.

    Raises:
        TreeError: If a key is not a non-empty string without "/".
        DTypeError: If a leaf holds no numbers.
        TypeError: On every attempt to change it; writing to a leaf raises ValueError.
    """

    __slots__ = ()

    def __init__(self, mapping: Mapping[str, TreeLike] = {}, /) -> None:
        """Freeze `mapping` all the way down."""
        super().__init__()
        for name, value in mapping.items():
            if not isinstance(name, str) or not name or "/" in name:
                raise TreeError(f"expected keys that are strings without '/', got {name!r}")
            try:
                dict.__setitem__(self, name, freeze(value))
            except (DTypeError, TreeError) as error:
                raise error.inside(name, "") from None

    @classmethod
    def own(cls, mapping: Mapping[str, Any]) -> Self:
        """Wrap arrays and Trees that the caller made and gives away; nothing is copied or checked."""
        tree = cls.__new__(cls)
        dict.update(tree, mapping)
        for value in mapping.values():
            if type(value) is not cls:
                value.setflags(write=False)
        return tree

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __or__(self, other: Any) -> Tree:  # type: ignore[override]
        if not isinstance(other, Mapping):
            return NotImplemented
        return Tree({**self, **other})

    def __ror__(self, other: Any) -> Tree:  # type: ignore[override]
        if not isinstance(other, Mapping):
            return NotImplemented
        return Tree({**other, **self})

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Mapping) or self.keys() != other.keys():
            return False
        return all(
            value == other[name]
            if isinstance(value, Mapping)
            else not isinstance(other[name], Mapping) and np.array_equal(value, other[name])
            for name, value in self.items()
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def copy(self) -> Tree:
        """Return the tree itself: nobody can change it."""
        return self

    def __copy__(self) -> Tree:
        return self

    def __deepcopy__(self, memo: object) -> Tree:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Tree, (dict(self),)

    @classmethod
    def fromkeys(cls, keys: Iterable[str], value: Any = None, /) -> Tree:  # type: ignore[override]
        """Return a tree with `value` at every key."""
        return cls(dict.fromkeys(keys, value))

    def __repr__(self) -> str:
        entries = (
            f"{name}: {value!r}"
            if isinstance(value, Mapping)
            else f"{name}: {value.dtype}{list(value.shape)}"
            for name, value in self.items()
        )
        return f"Tree({', '.join(entries)})"


EMPTY = Tree()


def freeze(tree: TreeLike) -> Any:
    """Return `tree` as a Tree, or as a read-only array if it is a leaf."""
    if type(tree) is Tree:
        return tree
    return Tree(tree) if isinstance(tree, Mapping) else _freeze_leaf(tree)


def map(fn: Callable[..., Any], tree: TreeLike, *rest: TreeLike) -> Any:
    """Apply `fn` leaf by leaf to trees of one structure; leaves pair by key.

    Raises:
        TreeError: If the structures differ; names the first path that does.
        ShapeError: If two paired leaves differ in shape.
    """
    return _map(fn, tree, rest, ())


def _map(fn: Callable[..., Any], tree: Any, rest: tuple[Any, ...], path: tuple[str, ...]) -> Any:
    if not isinstance(tree, Mapping):
        shape = np.shape(tree)
        for other in rest:
            if isinstance(other, Mapping):
                raise TreeError(f"expected a leaf, got {sorted(other)}", path=path or ("/",))
            if np.shape(other) != shape:
                raise ShapeError(f"expected {shape}, got {np.shape(other)}", path=path or ("/",))
        return _seal(fn(tree, *rest))
    for other in rest:
        if not isinstance(other, Mapping):
            raise TreeError(f"expected {sorted(tree)}, got a leaf", path=path or ("/",))
        if other.keys() != tree.keys():
            raise TreeError(f"expected {sorted(tree)}, got {sorted(other)}", path=path or ("/",))
    return Tree.own(
        {
            name: _map(fn, value, tuple([other[name] for other in rest]), (*path, name))
            for name, value in tree.items()
        }
    )


def items(tree: TreeLike, path: str = "") -> Iterator[tuple[str, Array]]:
    """Yield (path, leaf) for every leaf, sorted by key at every level."""
    if not isinstance(tree, Mapping):
        yield path, tree
        return
    for name in sorted(tree):
        yield from items(tree[name], f"{path}/{name}" if path else name)


def leaves(tree: TreeLike) -> list[Array]:
    """Return the leaves in the order of `items`."""
    return [leaf for _, leaf in items(tree)]


def get(tree: TreeLike, path: str) -> Any:
    """Return the leaf or subtree at `path`.

    Raises:
        TreeError: If there is none; says what there is instead.
    """
    node: Any = tree
    for name in path.split("/") if path else ():
        if not isinstance(node, Mapping) or name not in node:
            there = sorted(node) if isinstance(node, Mapping) else "a leaf"
            raise TreeError(f"expected the path {path!r}, got {there} before {name!r}")
        node = node[name]
    return node


def update(tree: Mapping[str, TreeLike], changes: Mapping[str, TreeLike]) -> Tree:
    """Return `tree` with the leaf or subtree at each path of `changes` replaced.

    Raises:
        TreeError: If the tree has no such path.
    """
    new: Any = Tree(tree)
    for path, value in changes.items():
        get(new, path)
        new = _replace(new, path.split("/"), freeze(value))
    return new


def _replace(tree: Tree, names: list[str], value: Any) -> Tree:
    head, *rest = names
    return tree | {head: _replace(tree[head], rest, value) if rest else value}


def filter(tree: Mapping[str, TreeLike], keep: Callable[[str, Array], bool]) -> Tree:
    """Return the tree of those leaves for which `keep(path, leaf)` holds; empty branches go."""
    return _filter(Tree(tree), keep, "")


def _filter(tree: Tree, keep: Callable[[str, Array], bool], prefix: str) -> Tree:
    kept: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            branch = _filter(value, keep, f"{prefix}{name}/")  # type: ignore[arg-type]
            kept |= {name: branch} if branch else {}
        elif keep(prefix + name, value):
            kept[name] = value
    return Tree.own(kept)


def ravel(tree: TreeLike) -> tuple[Array, Callable[[Array], Any]]:
    """Return all leaves as one vector, in the order of `items`, and the way back.

    Raises:
        DTypeError: If the leaves have more than one dtype.
        ShapeError: From the way back, if the vector's length is another.
    """
    pairs = list(items(tree))
    dtypes = sorted({str(leaf.dtype) for _, leaf in pairs})
    if len(dtypes) > 1:
        raise DTypeError(f"ravel: expected leaves of one dtype, got {dtypes}")
    vector = np.concatenate([leaf.ravel() for _, leaf in pairs]) if pairs else np.zeros(0, "float32")
    total, cuts = 0, {}
    for path, leaf in pairs:
        cuts[path] = slice(total, total + leaf.size)
        total += leaf.size

    def plan(node: TreeLike, path: str) -> Any:
        if not isinstance(node, Mapping):
            return cuts[path], node.shape
        return {name: plan(value, f"{path}/{name}" if path else name) for name, value in node.items()}

    whole = plan(tree, "")

    def cut(vector: Array, node: Any) -> Any:
        if isinstance(node, tuple):
            return vector[node[0]].reshape(node[1])
        return Tree.own({name: cut(vector, value) for name, value in node.items()})

    def unravel(vector: Array) -> Any:
        if vector.shape != (total,):
            raise ShapeError(f"unravel: expected {(total,)}, got {vector.shape}")
        return cut(_freeze_leaf(vector), whole)

    return vector, unravel


def cast(tree: TreeLike, dtype: DTypeLike) -> Any:
    """Return the tree with every floating or complex leaf in `dtype`; integer leaves stay."""
    return map(lambda leaf: leaf.astype(dtype) if leaf.dtype.kind in "fc" else leaf, tree)


def size(tree: TreeLike) -> int:
    """Return the number of numbers in the tree."""
    return sum(leaf.size for leaf in leaves(tree))


def digest(tree: TreeLike) -> str:
    """Return the sha256 over sorted path, dtype, shape and bytes of every leaf, in hex."""
    total = hashlib.sha256()
    for path, leaf in items(tree):
        head = f"{len(path)}:{path}|{leaf.dtype.newbyteorder('<').str}|{leaf.shape}|"
        total.update(head.encode())
        total.update(np.ascontiguousarray(leaf, leaf.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()
