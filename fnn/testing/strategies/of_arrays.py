"""Hypothesis strategies for seeds, keys, shapes, arrays, trees and datasets.

Arrays are made from a drawn seed, not drawn number by number: that is fast at any size, a failure
still replays from its choices, and it shrinks to a plain ramp or to zeros in plain memory order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from fnn.datasets.dataset import Dataset
from fnn.keys import Key
from fnn.layers.calls import Shape
from fnn.tree import Array, Tree

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# --- seeds, keys, shapes --------------------------------------------------------------------


def seeds() -> st.SearchStrategy[int]:
    """Return integers for `Key.of`; 0 is the simplest."""
    return st.integers(0, 2**32 - 1)


def _key(seed: int) -> Key:
    return Key.of(seed)


_key.__name__ = "Key.of"  # As Hypothesis is to print it; of the method it knows no class.


def keys() -> st.SearchStrategy[Key]:
    """Return random keys, printed as the `Key.of(seed)` that makes them."""
    return st.builds(_key, seeds())


def shapes(min_dims: int = 1, max_dims: int = 3, max_side: int = 5) -> st.SearchStrategy[Shape]:
    """Return shapes of one example, every side 1 or more."""
    return st.lists(st.integers(1, max_side), min_size=min_dims, max_size=max_dims).map(tuple)


def batch_sizes(n: int) -> st.SearchStrategy[int]:
    """Return batch sizes for `n` examples: 1 to n + 1, for a batch may be larger than the set."""
    return st.integers(1, n + 1)


# --- arrays ---------------------------------------------------------------------------------


def _ramp(shape: Shape, rng: np.random.Generator | None = None) -> Array:
    """Return values at least 4 / max(n, 8) apart and a quarter of that from 0, shuffled by `rng`."""
    n = math.prod(shape)
    order = np.arange(n) if rng is None else rng.permutation(n)
    return ((order - (n - 1) / 2 + 0.25) * (4 / max(n, 8))).reshape(shape)


def _sparse(shape: Shape, rng: np.random.Generator) -> Array:
    return rng.normal(size=shape) * (rng.random(shape) < 0.3)


def _uneven(shape: Shape, rng: np.random.Generator) -> Array:
    return rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3, size=shape)


_SMOOTH: dict[str, Any] = {
    "ramp": lambda shape, rng: _ramp(shape),
    "shuffled": _ramp,
    "shuffled, steep": lambda shape, rng: 3 * _ramp(shape, rng),
}
_ANY: dict[str, Any] = {
    "zeros": lambda shape, rng: np.zeros(shape),
    "ones": lambda shape, rng: np.ones(shape),
    **_SMOOTH,
    "normal": lambda shape, rng: rng.normal(size=shape),
    "shifted": lambda shape, rng: rng.normal(size=shape) + 10,
    "ties": lambda shape, rng: rng.integers(-2, 3, size=shape),
    "sparse": _sparse,
    "uneven": _uneven,
}


def _strided(a: Array) -> Array:
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


_LAYOUTS: dict[str, Any] = {
    "C": lambda a: a,
    "F": lambda a: np.copy(a, order="F"),
    "batch innermost": lambda a: np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0),
    "strided": _strided,
    "backwards": lambda a: np.flip(np.flip(a).copy()),
}


def _sealed(a: Array) -> Array:
    if a.base is not None:
        a.base.setflags(write=False)
    a.setflags(write=False)
    return a


@st.composite
def arrays(
    draw: st.DrawFn, shape: Shape, dtype: DTypeLike = "float64", *, away_from_kinks: bool = False
) -> Array:
    """Draw a read-only array of finite, moderate numbers in any memory layout.

    Args:
        draw: Given by Hypothesis.
        shape: The batch included.
        dtype: Real or complex; the parts of a complex one are drawn alike.
        away_from_kinks: Keep all values well apart and away from 0, by 1 / max(n, 8) or more for n
            values, so that no ReLU is at its corner and no maximum is tied. Otherwise zeros,
            ties, sparse and uneven values come too.
    """
    shape, dtype = tuple(shape), np.dtype(dtype)
    forms = _SMOOTH if away_from_kinks else _ANY
    form = draw(st.sampled_from(list(forms)))
    seed = draw(seeds())
    layout = draw(st.sampled_from(list(_LAYOUTS))) if shape else "C"
    rng = Key.of(seed).generator()
    values = forms[form](shape, rng)
    if dtype.kind == "c":
        values = values + 1j * forms[form](shape, rng)
    return _sealed(_LAYOUTS[layout](np.asarray(values).astype(dtype)))


# --- trees and datasets ---------------------------------------------------------------------

_NAMES = st.sampled_from(["w", "b", "dense_0", "dense_1"]) | st.text(
    st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=3
)


def trees(
    leaves: st.SearchStrategy[Array] | None = None, *, dtype: DTypeLike = "float64", max_leaves: int = 8
) -> st.SearchStrategy[Tree]:
    """Return trees of arrays, empty and nested ones among them.

    Args:
        leaves: What stands at the leaves; arrays of up to two axes and of `dtype` by default.
        dtype: Of the default leaves.
        max_leaves: At most so many.
    """
    if leaves is None:
        leaves = shapes(0, 2, 3).flatmap(lambda shape: arrays(shape, dtype))

    def branch(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.dictionaries(_NAMES, inner, max_size=3)

    return branch(st.recursive(leaves, branch, max_leaves=max_leaves)).map(Tree)


@st.composite
def datasets(
    draw: st.DrawFn,
    in_shape: Shape | None = None,
    *,
    classes: int | None = None,
    max_examples: int = 8,
    dtype: DTypeLike = "float32",
) -> Dataset:
    """Draw a dataset of 1 to `max_examples` examples.

    Args:
        draw: Given by Hypothesis.
        in_shape: Shape of one example; any small one by default.
        classes: Targets are labels 0 to classes - 1, some perhaps missing; by default they are
            numbers of `dtype`, shape (n, 1).
        max_examples: At most so many.
        dtype: Of x.
    """
    n = draw(st.integers(1, max_examples))
    shape = draw(shapes()) if in_shape is None else tuple(in_shape)
    x = draw(arrays((n, *shape), dtype))
    if classes is None:
        return Dataset(x, draw(arrays((n, 1), dtype)))
    labels = st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)
    return Dataset(x, np.array(draw(labels)))
