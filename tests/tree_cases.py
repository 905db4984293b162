"""Trees to try things on, and what tests of trees ask."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fnn import Tree, tree

DTYPES = [np.dtype(name) for name in ("float32", "float64", "complex64", "int64", "uint8", "bool")]


NAMES = st.text("abz_.-0é", min_size=1, max_size=4)


SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


LEAVES = hnp.arrays(
    st.sampled_from(DTYPES), SHAPES, elements={"allow_nan": False, "allow_infinity": False}
)


def branches(leaves):
    return st.recursive(
        st.dictionaries(NAMES, leaves, max_size=3),
        lambda inner: st.dictionaries(NAMES, leaves | inner, max_size=3),
        max_leaves=6,
    )


TREES = branches(LEAVES)


FLOAT_TREES = branches(hnp.arrays("float32", SHAPES, elements=st.floats(-9, 9, width=32)))


def example():
    return Tree(
        {
            "dense_0": {"w": np.arange(6, dtype="float32").reshape(2, 3), "b": np.zeros(3, "float32")},
            "scale": np.float32(2),
        }
    )


def backwards(node):
    """Return the same tree as plain dicts, keys in the other order."""
    if not isinstance(node, dict):
        return node
    return {name: backwards(node[name]) for name in reversed(node)}


def every_leaf_is_read_only(node):
    return all(not leaf.flags.writeable for leaf in tree.leaves(node))


def only_trees(node):
    return not isinstance(node, dict) or (type(node) is Tree and all(map(only_trees, node.values())))


def same_bits(a, b):
    pairs = zip(tree.items(a), tree.items(b), strict=True)
    return all(
        p == q and x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for (p, x), (q, y) in pairs
    )


def dict_map(fn, node):
    return {name: dict_map(fn, x) for name, x in node.items()} if isinstance(node, dict) else fn(node)
