"""JAX itself, or the message that says how to install it; `fnn.Tree` as one of its pytrees."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import OptionError
from fnn.interop.rules import needed
from fnn.keys import Key
from fnn.tree import Tree

jax: Any = needed("jax", "jax")
jnp: Any = needed("jax.numpy", "jax")
lax: Any = needed("jax.lax", "jax")


# --- trees as pytrees -----------------------------------------------------------------------


def _flattened(tree: Tree) -> tuple[list[Any], tuple[str, ...]]:
    names = tuple(sorted(tree))
    return [tree[name] for name in names], names


def _flattened_with_keys(tree: Tree) -> tuple[list[Any], tuple[str, ...]]:
    children, names = _flattened(tree)
    keys = map(jax.tree_util.DictKey, names)
    return list(zip(keys, children, strict=True)), names


def _unflattened(names: tuple[str, ...], children: Any) -> Tree:
    # JAX puts tracers, shapes and placeholders at the leaves, which `Tree(...)` would refuse as no
    # arrays of NumPy; the names are those of a Tree, and need no second look.
    tree = dict.__new__(Tree)
    dict.update(tree, zip(names, children, strict=True))
    return tree


def _register() -> None:
    if jax.tree_util.all_leaves([Tree()]):  # Not yet known: a tree without entries would be no leaf.
        jax.tree_util.register_pytree_with_keys(Tree, _flattened_with_keys, _unflattened, _flattened)


_register()


# --- keys -----------------------------------------------------------------------------------


def jax_key(key: Any) -> Any:
    """Return JAX's key for a `fnn.Key`, an integer, or a key of JAX itself.

    A `fnn.Key` is no array, so that a jitted function cannot take it as an argument; what this returns
    it can. All 128 bits count.

    Args:
        key: A `fnn.Key`; an integer, which is what `jax.random.key` makes of it; or a key of JAX, of
            the new kind or the old (`jax.random.PRNGKey`), which comes back as one of the new kind.

    Raises:
        OptionError: If it is nothing of these.
    """
    if isinstance(key, Key):
        whole = jax.random.key(0)
        for word in np.frombuffer(key.bits, "<u4"):
            whole = jax.random.fold_in(whole, word)
        return whole
    if isinstance(key, int) and not isinstance(key, bool):
        return jax.random.key(key)
    if (dtype := getattr(key, "dtype", None)) is not None:
        if jnp.issubdtype(dtype, jax.dtypes.prng_key) and key.ndim == 0:
            return key
        if dtype == np.uint32 and key.ndim == 1:
            return jax.random.wrap_key_data(jnp.asarray(key))
        if jnp.issubdtype(dtype, jnp.integer) and key.ndim == 0:
            return jax.random.key(key)
    raise OptionError(f"key: expected a fnn.Key, one key of JAX or an integer, got {key!r:.80}")
