"""What the tests of the bridge to ONNX share: models are run, and compared with what we predict."""

from __future__ import annotations

import numpy as np

import fnn
from fnn import tree
from fnn.kernels.values import is_tuple_of_shapes, map_arrays


def flat(value):
    return [each for part in value for each in flat(part)] if isinstance(value, tuple) else [value]


def drawn(layer, in_shape, dtype="float32", seed=0):
    """Return params and state off their first values; variances stay above 0."""
    _, params, state = layer.init(fnn.Key.of(seed), in_shape)
    rng = np.random.default_rng(seed)
    params = tree.map(lambda a: (a + rng.normal(size=a.shape) / 2).astype(dtype), params)
    state = tree.map(lambda a: (a * np.exp(rng.normal(size=a.shape) / 2)).astype(dtype), state)
    return params, state


def inputs(layer, in_shape, n=3, dtype="float32", seed=0):
    """Return n examples."""
    if layer.inputs is not None:
        x = layer.inputs(fnn.Key.of(seed), n, in_shape)
    else:
        x = _normal(in_shape, n, np.random.default_rng(seed))
    return map_arrays(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a, x)


def _normal(shape, n, rng):
    if is_tuple_of_shapes(shape):
        return tuple(_normal(each, n, rng) for each in shape)
    return rng.normal(size=(n, *shape))


def feeds(model, x):
    return dict(zip([each.name for each in model.graph.input], flat(x), strict=True))


def in_runtime(model, runtime):
    """Return the function that onnxruntime makes of a model."""
    content = model.SerializeToString()
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, feeds(model, x))


def in_reference(model):
    """Return the function that ONNX's own evaluator makes of a model."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)

    def run(x):
        with np.errstate(all="ignore"):  # It warns where numbers overflow on the way.
            return evaluator.run(None, feeds(model, x))

    return run


def assert_alike(wanted, got, atol=1e-5, **more):
    """Compare arrays one by one, to 1e-5 of the largest."""
    wanted = flat(wanted)
    assert len(wanted) == len(got)
    for ours, theirs in zip(wanted, got, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        size = np.abs(ours).max() if ours.size and ours.dtype.kind == "f" else 0
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=atol * max(1, size), **more)
