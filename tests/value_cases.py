"""Layers of one's own that take integers and tuples, and data for them."""

from __future__ import annotations

import numpy as np

import fnn
from fnn import Dataset, Key, Traits

KEY = Key.of(0)
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 7, (20, 3))
IMAGES = RNG.normal(size=(20, 4)).astype("float32")
LABELS = RNG.integers(0, 2, 20)


@fnn.constructor
def Embedding(n, width):
    """Look up a row per token."""

    def init(key, in_shape):
        rows = 0.1 * key.generator().standard_normal((n, width), "float32")
        return (*in_shape, width), {"rows": rows}, {}

    def fwd(params, state, x, train, key):
        def back(dy):
            dw = np.zeros_like(params["rows"], dy.dtype)
            np.add.at(dw, x, dy)
            return {"rows": dw}, None

        return params["rows"][x], state, back

    return fnn.make_layer("embedding", init, fwd, traits=Traits(takes_integers=True))


@fnn.constructor
def Join():
    """Embed nothing: lay a vector beside the mean of another's rows; hand on the lengths."""

    def init(key, in_shape):
        (_, width), (n,), () = in_shape
        return ((n + width,), ()), {}, {}

    def fwd(params, state, x, train, key):
        rows, vector, lengths = x
        y = np.concatenate([vector, rows.mean(axis=1)], axis=1), lengths

        def back(dy):
            d, none = dy
            assert none is None
            n = vector.shape[1]
            drows = np.repeat(d[:, None, n:], rows.shape[1], axis=1) / rows.shape[1]
            return {}, (drows.astype(d.dtype), d[:, :n].copy(), None)

        return y, state, back

    return fnn.make_layer("join", init, fwd, traits=Traits(takes_integers=True))


@fnn.constructor
def Two(width):
    """Two inputs, tokens and a vector: y = [embedded mean, vector] w."""
    embedding, dense = Embedding(7, 2), fnn.Dense(width)

    def init(key, in_shape):
        tokens, vector = in_shape
        _, rows, _ = embedding.init(key.fold("rows"), tokens)
        shape, own, _ = dense.init(key.fold("dense"), (2 + vector[0],))
        return shape, {"embedding": rows, "dense": own}, {}

    def fwd(params, state, x, train, key):
        tokens, vector = x
        rows, _, back_rows = embedding.vjp(params["embedding"], {}, tokens)
        joined = np.concatenate([rows.mean(axis=1), vector], axis=1)
        y, _, back_dense = dense.vjp(params["dense"], {}, joined)

        def back(dy):
            own, d = back_dense(dy)
            drows = np.repeat(d[:, None, :2], tokens.shape[1], axis=1) / tokens.shape[1]
            below, _ = back_rows(drows.astype(d.dtype))
            return {"embedding": below, "dense": own}, (None, d[:, 2:].copy())

        return y, state, back

    return fnn.make_layer("two", init, fwd, traits=Traits(takes_integers=True))


def words():
    return fnn.serial(Embedding(7, 2), fnn.Flatten(), fnn.Dense(2))


def both_nets():
    return [
        (words(), Dataset(TOKENS, LABELS)),
        (fnn.serial(Two(3), fnn.Relu(), fnn.Dense(2)), Dataset((TOKENS, IMAGES), LABELS)),
    ]
