"""What tests of replayed steps share: batches of every layer, and what became of a step."""

from __future__ import annotations

import numpy as np

import fnn
from fnn import tree
from fnn.kernels.values import is_integer, is_tuple_of_shapes, map_arrays, named_arrays


def inputs(layer, in_shape, n, seed):
    """Return n valid examples in float32."""
    if layer.inputs is not None:
        return map_arrays(
            lambda a: a if is_integer(a) else a.astype(np.float32),
            layer.inputs(fnn.Key.of(seed), n, in_shape),
        )
    rng = np.random.default_rng(seed)

    def drawn(shape):
        if is_tuple_of_shapes(shape):
            return tuple(map(drawn, shape))
        return rng.normal(size=(n, *shape)).astype(np.float32)

    return drawn(in_shape)


def squares(pred, target, *, weight=None):
    """Return Σ y² / 200 over all floating parts of the outputs, with its gradient."""
    parts = [part for _, part in named_arrays(pred) if not is_integer(part)]
    value = sum((np.add.reduce(part * part, axis=None) for part in parts), np.float32(0))
    dpred = map_arrays(lambda part: None if is_integer(part) else part * np.float32(0.01), pred)
    return value * np.float32(0.005), dpred


def gain():
    """Return a layer of one parameter, 1 at first: y = x g."""

    def shapes(in_shape):
        return in_shape, {"g": fnn.layers.making.Leaf((), lambda key, shape: np.ones(shape, "f4"))}, {}

    def fwd(params, state, x, train, key):
        def pullback(dy):
            return {"g": np.add.reduce(x * dy, axis=None, keepdims=True).reshape(())}, dy * params["g"]

        return x * params["g"], state, pullback

    return fnn.make_layer("gain", shapes, fwd)


def bits(now):
    trees = {"params": now.params, "state": now.state, "opt_state": now.opt_state}
    return now.step, now.key, tree.digest(trees)


def kinds(jitted):
    """Return what a jitted step knows of its kinds of batches in this thread."""
    return [kind for each in jitted._programs() for kind in each.kinds.values()]


def assert_replayed(step, now, batches):
    """Assert that a scan has the bits of the plain steps, and that programs are trusted at its end."""
    jitted = fnn.jit(step)
    reached, logs = fnn.scan(jitted, now, batches)
    expected, values = now, []
    for batch in batches:
        expected, log = step(expected, batch)
        values.append(log["loss"])
    assert bits(reached) == bits(expected)
    assert logs["loss"].tobytes() == np.array(values).tobytes()
    found = kinds(jitted)
    assert found
    assert all(kind.is_ready for kind in found), [kind.reason for kind in found]
    return jitted
