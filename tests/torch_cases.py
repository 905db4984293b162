"""A layer in PyTorch beside the same in NumPy, for the tests of that bridge."""

from __future__ import annotations

import numpy as np
import pytest
from bridge_cases import expressible, inputs, trees

from fnn import Key, tree
from fnn.interop.arrays.functions import arrays_in, map_value
from fnn.kernels.values import map_arrays

torch = pytest.importorskip("torch")
to_torch = pytest.importorskip("fnn.interop.torch").to_torch
items_of = pytest.importorskip("fnn.interop.torch.module").items_of

TOLERANCES = {"float64": 1e-10, "float32": 1e-5}


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
