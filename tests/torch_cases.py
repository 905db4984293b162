"""A layer in PyTorch beside the same in NumPy, for the tests of that bridge."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import draw

import fnn
from fnn import Key, tree
from fnn.interop.arrays.functions import arrays_in, map_value
from fnn.kernels.values import is_tuple_of_shapes, map_arrays

torch = pytest.importorskip("torch")
to_torch = pytest.importorskip("fnn.interop.torch").to_torch
items_of = pytest.importorskip("fnn.interop.torch.module").items_of

TOLERANCES = {"float64": 1e-10, "float32": 1e-5}
RATES = ("rate", "dropout", "std")


def expressible(layer, *, of_numpy=(fnn.elementwise,)):
    """Return a layer like it with all rates of dropout and noise 0, and Tanh for functions of NumPy."""
    recipe = layer.made_by()
    if recipe.call in (fnn.Dropout, fnn.SpatialDropout, fnn.StochasticDepth, fnn.GaussianNoise):
        return recipe.call(0)
    if recipe.call in of_numpy:
        return fnn.Tanh()
    if recipe.call is fnn.make_layer:
        return layer

    def changed(value):
        return expressible(value, of_numpy=of_numpy) if isinstance(value, fnn.Layer) else value

    args = [changed(each) for each in recipe.args]
    more = {name: 0 if name in RATES else changed(each) for name, each in recipe.kwargs.items()}
    return recipe.call(*args, **more)


def inputs(layer, in_shape, dtype, *, batch=3, seed=0):
    """Return examples of a layer, of floats that keep apart and away from kinks."""
    if layer.inputs is not None:
        x = layer.inputs(Key.of(seed), batch, in_shape)
    else:
        rng = np.random.default_rng(seed)

        def drawn(shape):
            nested = is_tuple_of_shapes(shape)
            return tuple(map(drawn, shape)) if nested else draw((batch, *shape), rng)

        x = drawn(in_shape)
    return map_arrays(lambda part: part.astype(dtype) if part.dtype.kind == "f" else part, x)


def trees(layer, in_shape, dtype, *, seed=0):
    """Return params and state off their first values."""
    rng = np.random.default_rng(seed)
    _, params, state = layer.init(Key.of(seed), in_shape)

    def off(leaf):
        return (leaf + 0.5 * rng.normal(size=leaf.shape)).astype(dtype)

    def scaled(leaf):
        return (leaf * rng.uniform(0.5, 1.5, leaf.shape)).astype(dtype)

    return tree.map(off, params), tree.map(scaled, state)


def close(got, want, dtype, what):
    """Compare arrays to the tolerance of the dtype, relative to the largest number."""
    got = got.detach().numpy() if isinstance(got, torch.Tensor) else np.asarray(got)
    assert got.shape == want.shape, what
    assert got.dtype == want.dtype, what
    size = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCES[dtype] * size, err_msg=what)


def close_trees(got, want, dtype, what):
    theirs = dict(tree.items(got))
    assert theirs.keys() == dict(tree.items(want)).keys()
    for path, leaf in tree.items(want):
        close(theirs[path], leaf, dtype, f"{what} {path}")


def tensors(x):
    """Return a value as tensors, of which the floating ones ask for a gradient."""
    return map_value(
        lambda part: torch.tensor(np.array(part)).requires_grad_(part.dtype.kind == "f"), x
    )


def called(module, x):
    return module(*x) if isinstance(x, tuple) else module(x)


def agrees(layer, params, state, x, dtype, *, train, module=None):
    """Hold y, the new state and the derivatives in params and in x to those of `layer.vjp`."""
    rng = np.random.default_rng(7)
    y, moved, back = layer.vjp(params, state, x, train=train, key=Key.of(1))
    dy = map_arrays(
        lambda part: rng.normal(size=part.shape).astype(part.dtype) if part.dtype.kind == "f" else None,
        y,
    )
    dparams, dx = back(dy)
    module = (module or to_torch(layer, params, state)).train(train)
    given = tensors(x)
    came = called(module, given)
    pairs = list(zip(arrays_in(came), arrays_in(y), arrays_in(dy), strict=True))
    for i, (one, other, _) in enumerate(pairs):
        close(one, other, dtype, f"y[{i}]")
    close_trees(module.trees()[1], moved, dtype, "state")
    total = sum((a * torch.tensor(np.array(d))).sum() for a, _, d in pairs if d is not None)
    if total.requires_grad:
        total.backward()
    leaves = dict(items_of(module.params.tree()))
    for path, want in tree.items(dparams):
        leaf = leaves[path]
        grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        close(grad, want, dtype, f"the derivative in {path}")
    for i, (a, want) in enumerate(zip(arrays_in(given), arrays_in(dx), strict=True)):
        if a.requires_grad and want is not None:
            close(torch.zeros_like(a) if a.grad is None else a.grad, want, dtype, f"dx[{i}]")


def agrees_in_all_modes(layer, in_shape, dtype):
    """Do so in evaluation, and in training where that is another function."""
    params, state = trees(layer, in_shape, dtype)
    x = inputs(layer, in_shape, dtype)
    is_other = state or layer.traits.mixes_batch
    for train in (False, True) if is_other else (False,):
        agrees(expressible(layer), params, state, x, dtype, train=train)
