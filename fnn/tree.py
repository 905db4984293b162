"""Trees: immutable nested dicts with arrays at the leaves.

Every leaf has a path, its keys joined by "/" ("dense_0/w"), that is the same in errors, summaries,
checkpoints and logs. Plain dicts are accepted wherever a tree is; what comes back is a `Tree`.
Leaves pair by key, and paired leaves must have equal shapes: nothing broadcasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, final

import numpy as np

from fnn.errors import DTypeError, FnnError, ShapeError, TreeError

if TYPE_CHECKING:  # Importing it takes a hundredth of the time that NumPy takes.
    from numpy.typing import DTypeLike

Array: TypeAlias = np.ndarray
TreeLike: TypeAlias = Array | Mapping[str, "TreeLike"]


# --- leaves ---------------------------------------------------------------------------------


def _seal(new: Any) -> Array:
    """Return a new array, which its maker gives away, read-only; anything else is frozen."""
    if type(new) is np.ndarray and new.base is None and new.dtype.kind in "fciub":
        new.setflags(write=False)
        return new
    return _freeze_leaf(new)


def _read(leaf: Any) -> Array:
    if hasattr(type(leaf), "mask"):  # As an array it would lose its mask without a word.
        raise DTypeError(f"expected numbers at a leaf, got {type(leaf).__name__}; fill it first")
    return leaf if getattr(type(leaf), "is_traced", False) else np.asarray(leaf)  # See fnn.compile.


def _freeze_leaf(leaf: Any) -> Array:
    """Return `leaf` if it is an immutable array, else a read-only copy."""
    array = _read(leaf)
    if array.dtype.kind not in "fciub":
        raise DTypeError(f"expected numbers at a leaf, got {type(leaf).__name__} ({array.dtype})")
    if type(array) is np.ndarray and not _is_immutable(array):
        array = array.copy(order="K")
        array.setflags(write=False)
    return array


def _is_immutable(array: Array) -> bool:
    base: Any = array
    while isinstance(base, np.ndarray) and not base.flags.writeable:
        base = base.base
    return base is None or isinstance(base, bytes)


# --- trees ----------------------------------------------------------------------------------


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    raise TypeError("a Tree is immutable: build a new one, e.g. tree | {...} or fnn.tree.update")


@final
class Tree(dict[str, Any]):
    """An immutable nested dict whose leaves are read-only arrays.

    `Tree(mapping)` copies every array that its owner could still write to; one that its owner has
    made read-only, with all that it is a view of, is taken at its word. `|` gives a Tree; `==`
    compares keys, shapes and values, with plain dicts too, whatever the order of keys.

    Raises:
        TreeError: If a key is not a non-empty string without "/".
        DTypeError: If a leaf holds no numbers.
        TypeError: On every attempt to change it; writing to a leaf raises ValueError.
    """

    __slots__ = ("__weakref__",)

    # Filled here and not in __init__, which anybody could call a second time.
    def __new__(cls, mapping: Mapping[str, TreeLike] = {}, /) -> Tree:
        """Freeze `mapping` all the way down."""
        if not isinstance(mapping, Mapping):
            raise TreeError(f"expected a dict of arrays, got {type(mapping).__name__}")
        frozen: dict[str, Any] = {}
        for name, value in mapping.items():
            _check_name(name)
            try:
                frozen[name] = freeze(value)
            except FnnError as error:
                raise error.inside(name, "") from None
        return _wrap(frozen)

    def __init__(self, mapping: Mapping[str, TreeLike] = {}, /) -> None: ...

    @classmethod
    def own(cls, mapping: Mapping[str, Any]) -> Tree:
        """Wrap arrays and Trees that the caller made and gives away; nothing is copied or checked."""
        for value in mapping.values():
            if type(value) is not Tree:
                value.setflags(write=False)
        return _wrap(mapping)

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __or__(self, other: Any) -> Tree:  # type: ignore[override]
        return Tree({**self, **other}) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Any) -> Tree:  # type: ignore[override]
        return Tree({**other, **self}) if isinstance(other, Mapping) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Mapping) or self.keys() != other.keys():
            return False
        return all(
            value == other[name] if type(value) is Tree else np.array_equal(value, other[name])
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
        return Tree(dict.fromkeys(keys, value))

    def __repr__(self) -> str:
        # Where others map a Tree, as JAX does, its leaves may be anything.
        shown = (f"{v.dtype}{list(v.shape)}" if hasattr(v, "dtype") else repr(v) for v in self.values())
        return f"Tree({', '.join(f'{name}: {v}' for name, v in zip(self, shown, strict=True))})"


def _wrap(frozen: Mapping[str, Any]) -> Tree:
    tree = dict.__new__(Tree)
    dict.update(tree, frozen)
    return tree


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name or "/" in name:
        raise TreeError(f"expected keys that are strings without '/', got {name!r}")


EMPTY = Tree()


def freeze(tree: TreeLike) -> Any:
    """Return `tree` as a Tree, or as a read-only array if it is a leaf."""
    if type(tree) is Tree:
        return tree
    return Tree(tree) if isinstance(tree, Mapping) else _freeze_leaf(tree)


# --- tools ----------------------------------------------------------------------------------


def map(fn: Callable[..., Any], tree: TreeLike, *rest: TreeLike) -> Any:
    """Apply `fn` leaf by leaf to trees of one structure; leaves pair by key.

    What `fn` returns is copied, unless it is immutable: `fn` may keep it.

    Raises:
        TreeError: If the structures differ; names the first path that does.
        ShapeError: If two paired leaves differ in shape.
    """
    return _mapped(fn, tree, rest, _freeze_leaf)


def map_new(fn: Callable[..., Any], tree: TreeLike, *rest: TreeLike) -> Any:
    """Apply `fn` as `map` does and copy nothing: what it returns is made read-only where it lies.

    Only for an `fn` whose result is new at every call and held by nobody else, or immutable. One that
    returned its argument, or an array that it keeps, would make another's array read-only.
    """
    return _mapped(fn, tree, rest, _seal)


def _mapped(
    fn: Callable[..., Any], tree: Any, rest: Iterable[Any], seal: Callable[[Any], Array]
) -> Any:
    try:
        return _map(fn, tree, rest, seal)
    except FnnError as error:
        error.path = error.path or ("/",)
        raise


def _map(fn: Callable[..., Any], tree: Any, rest: Iterable[Any], seal: Callable[[Any], Array]) -> Any:
    # At every step: what is usual is asked first, and no path is built unless an error wants one.
    is_leaf = type(tree) is np.ndarray
    if not is_leaf and type(tree) is not Tree and not isinstance(tree, Mapping):
        tree, is_leaf = _read(tree), True
    if is_leaf:
        shape = tree.shape
        for other in rest:
            if type(other) is not np.ndarray or other.shape != shape:
                _check_pair(tree, other)
        return seal(fn(tree, *rest))
    for other in rest:
        if type(other) is not Tree and not isinstance(other, Mapping):
            raise TreeError(f"expected {_names(tree)}, got a leaf")
        if other.keys() != tree.keys():
            raise TreeError(f"expected {_names(tree)}, got {_names(other)}")
    made: dict[str, Any] = {}
    name = ""
    try:
        for name, value in tree.items():
            made[name] = _map(fn, value, rest and [other[name] for other in rest], seal)
    except FnnError as error:
        raise error.inside(str(name), "") from error.__cause__
    if type(tree) is not Tree:
        for name in made:
            _check_name(name)
    return _wrap(made)


def _check_pair(leaf: Array, other: Any) -> None:
    if isinstance(other, Mapping):
        raise TreeError(f"expected a leaf, got {_names(other)}")
    if np.shape(other) != leaf.shape:
        raise ShapeError(f"expected {leaf.shape}, got {np.shape(other)}")


def _names(tree: Mapping[str, Any]) -> list[str]:
    return sorted(tree, key=str)


def items(tree: TreeLike, path: str = "") -> Iterator[tuple[str, Array]]:
    """Yield (path, leaf) for every leaf, sorted by key at every level."""
    if not isinstance(tree, Mapping):
        yield path, _read(tree)
        return
    for name in _names(tree):
        _check_name(name)
        yield from items(tree[name], f"{path}/{name}" if path else name)


def leaves(tree: TreeLike) -> list[Array]:
    """Return the leaves in the order of `items`."""
    if not isinstance(tree, Mapping):
        return [_read(tree)]
    found: list[Array] = []
    for name in _names(tree):
        value = tree[name]
        found += (value,) if type(value) is np.ndarray else leaves(value)
    return found


def get(tree: TreeLike, path: str) -> Any:
    """Return the leaf or subtree at `path`.

    Raises:
        TreeError: If there is none; says what there is instead.
    """
    node: Any = tree
    for name in path.split("/") if path else ():
        if not isinstance(node, Mapping) or name not in node:
            there = _names(node) if isinstance(node, Mapping) else "a leaf"
            raise TreeError(f"expected the path {path!r}, got {there} before {name!r}")
        node = node[name]
    return node


def update(tree: Mapping[str, TreeLike], changes: Mapping[str, TreeLike]) -> Tree:
    """Return `tree` with the leaf or subtree at each path of `changes` replaced.

    Raises:
        TreeError: If the tree has no such path.
    """
    new = Tree(tree)
    for path, value in changes.items():
        get(new, path)
        new = _replace(new, path.split("/"), value)
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
        if type(value) is Tree:
            branch = _filter(value, keep, f"{prefix}{name}/")
            kept |= {name: branch} if branch else {}
        elif keep(prefix + name, value):
            kept[name] = value
    return _wrap(kept)


def ravel(tree: TreeLike) -> tuple[Array, Callable[[Array], Any]]:
    """Return all leaves as one read-only vector, in the order of `items`, and the way back.

    The vector of an empty tree is float32.

    Raises:
        DTypeError: If the leaves have more than one dtype.
        ShapeError: From the way back, if the vector's length is another.
    """
    parts = leaves(tree)
    if len({part.dtype for part in parts}) > 1:
        dtypes = sorted({str(part.dtype) for part in parts})
        raise DTypeError(f"ravel: expected leaves of one dtype, got {dtypes}")
    vector = np.concatenate(parts, axis=None) if parts else np.empty(0, "float32")
    vector.setflags(write=False)
    whole, total = _plan(tree, 0)

    def unravel(vector: Array) -> Any:
        if np.shape(vector) != (total,):
            raise ShapeError(f"unravel: expected {(total,)}, got {np.shape(vector)}")
        return _cut(_freeze_leaf(vector), whole)

    return vector, unravel


def _plan(tree: Any, start: int) -> tuple[Any, int]:
    """Return (slice, shape) of every leaf in the vector, in a dict like `tree`, and the end."""
    if not isinstance(tree, Mapping):
        shape = np.shape(tree)
        end = start + np.size(tree)
        return (slice(start, end), shape), end
    plan = dict.fromkeys(tree)  # The order of keys comes back as it was.
    for name in _names(tree):
        _check_name(name)
        plan[name], start = _plan(tree[name], start)
    return plan, start


def _cut(vector: Array, plan: Any) -> Any:
    if isinstance(plan, tuple):
        return vector[plan[0]].reshape(plan[1])
    return _wrap({name: _cut(vector, part) for name, part in plan.items()})


def cast(tree: TreeLike, dtype: DTypeLike) -> Any:
    """Return the tree with every floating or complex leaf in `dtype`; integer leaves stay.

    Raises:
        DTypeError: If `dtype` is neither floating nor complex, or real where a leaf is complex.
    """
    target = np.dtype(dtype)

    def convert(leaf: Array) -> Array:
        if leaf.dtype.kind not in "fc":
            return _freeze_leaf(leaf)
        if target.kind not in "fc" or (leaf.dtype.kind == "c" and target.kind == "f"):
            raise DTypeError(f"expected a dtype that holds {leaf.dtype}, got {target}")
        return _freeze_leaf(leaf) if leaf.dtype == target else leaf.astype(target)

    return map_new(convert, tree)


def size(tree: TreeLike) -> int:
    """Return the number of numbers in the tree."""
    return sum(leaf.size for leaf in leaves(tree))


def digest(tree: TreeLike) -> str:
    """Return the sha256 over sorted path, dtype, shape and bytes of every leaf, in hex.

    It does not depend on the order of keys, the layout in memory or the machine's byte order.
    """
    from hashlib import sha256  # Here: it takes a twentieth of the time that importing NumPy takes.

    total = sha256()
    for path, leaf in items(tree):
        dtype = leaf.dtype.newbyteorder("<")
        total.update(f"{len(path)}:{path}|{dtype.str}|{leaf.shape}|".encode())
        total.update(np.ascontiguousarray(leaf, dtype).data)
    return total.hexdigest()
