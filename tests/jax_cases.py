"""A layer in JAX beside the same in NumPy, for the tests of that bridge."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from bridge_cases import expressible, inputs, trees

from fnn import Key, tree
from fnn.kernels.values import map_arrays

jax = pytest.importorskip("jax")
to_jax = pytest.importorskip("fnn.interop.jax").to_jax

# The tests compile much and run it once.
jax.config.update("jax_disable_most_optimizations", True)


def quick_options():
    """Return what makes XLA compile in half of the time, where this version of it knows how."""
    options = {"xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda x: x, compiler_options=options)(0.0)
    except jax.errors.JaxRuntimeError:
        return None
    return options


QUICK = quick_options()

TOLERANCES = {"float64": 1e-10, "float32": 1e-5}


def close(got, want, dtype, what=""):
    """Compare values of one structure to the tolerance of the dtype, relative to the largest number."""
    if want is None:
        return
    if isinstance(want, tuple):
        assert isinstance(got, tuple)
        assert len(got) == len(want)
        for i, (one, other) in enumerate(zip(got, want, strict=True)):
            close(one, other, dtype, f"{what}[{i}]")
        return
    got = np.asarray(got)
    assert got.shape == want.shape, what
    assert got.dtype == want.dtype or want.dtype.kind in "iu", what
    size = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCES[dtype] * size, err_msg=what)


def close_trees(got, want, dtype, what):
    """Compare trees of equal paths."""
    theirs, ours = (dict(tree.items(jax.device_get(each))) for each in (got, want))
    assert theirs.keys() == ours.keys()
    for path, leaf in ours.items():
        close(theirs[path], leaf, dtype, f"{what} {path}")


def floats_of(x):
    """Return the floating parts of a value, and the way back from them to all of it."""
    leaves, shape = jax.tree.flatten(x)
    at = [i for i, leaf in enumerate(leaves) if leaf.dtype.kind == "f"]

    def whole(some):
        filled = list(leaves)
        for i, leaf in zip(at, some, strict=True):
            filled[i] = leaf
        return jax.tree.unflatten(shape, filled)

    return [leaves[i] for i in at], whole


def agrees(layer, params, state, x, dtype, *, train, run=None):
    """Hold y, the new state and the derivatives in params and in x to those of `layer.vjp`."""
    rng = np.random.default_rng(7)
    key = Key.of(1)
    y, moved, back = layer.vjp(params, state, x, train=train, key=key)
    is_float = lambda part: part.dtype.kind == "f"  # noqa: E731
    dy = map_arrays(
        lambda part: rng.normal(size=part.shape).astype(part.dtype) if is_float(part) else None, y
    )
    dparams, dx = back(dy)
    apply = run or to_jax(layer)
    some, whole = floats_of(x)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def both(params, state, some, cotangents):
        def f(params, some):
            came, moved = apply(params, state, whole(some), train=train, key=key)
            return floats_of(came)[0], (came, moved)

        _, pullback, (came, new) = jax.vjp(f, params, some, has_aux=True)
        return came, new, *pullback(cotangents)

    cotangents = [part for part in jax.tree.leaves(dy) if part is not None]
    came, new, dtheirs, dsome = both(params, state, some, cotangents)
    close(came, y, dtype, "y")
    assert jax.tree.structure(new) == jax.tree.structure(state)
    close_trees(new, moved, dtype, "state")
    assert type(dtheirs) is tree.Tree
    close_trees(dtheirs, dparams, dtype, "the derivative in")
    wanted = [d for d, part in zip(_leaves(dx), _leaves(x), strict=True) if is_float(part)]
    for i, (got, want) in enumerate(zip(dsome, wanted, strict=True)):
        close(got, want, dtype, f"dx[{i}]")


def agrees_in_all_modes(layer, in_shape, dtype):
    """Do so in evaluation, and in training where that is another function."""
    params, state = trees(layer, in_shape, dtype)
    x = inputs(layer, in_shape, dtype)
    is_other = state or layer.traits.mixes_batch
    for train in (False, True) if is_other else (False,):
        agrees(expressible(layer), params, state, x, dtype, train=train)


def _leaves(value):
    return [each for part in value for each in _leaves(part)] if isinstance(value, tuple) else [value]
