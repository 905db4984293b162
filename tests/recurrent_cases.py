"""The table of recurrent layers, and a cell as a user writes it."""

from __future__ import annotations

import numpy as np

import fnn
from fnn.layers import GRU, LSTM, RNN, GRUCell, Leaf, LSTMCell, constant


def leaky_shapes(in_shape):
    n = in_shape[-1]
    return (n,), (n,), {"decay": Leaf((n,), constant(0.5))}


def leaky_step(params, carry, x):
    a = params["decay"]

    def pullback(dcarry, dy):
        d = dcarry + dy
        return {"decay": (carry * d).sum(axis=0)}, a * d, d

    h = a * carry + x
    return h, h, pullback


@fnn.constructor
def LeakyCell():
    return fnn.make_cell("leaky", leaky_shapes, leaky_step)


@fnn.constructor
def PairCell():
    """Carry two arrays of other shapes: a running sum, and a running product of its first number."""

    def shapes(in_shape):
        return in_shape, (in_shape, (1,)), {}

    def step(params, carry, x):
        total, product = carry
        new = total + x, product * 0.5 + x[:, :1]

        def pullback(dcarry, dy):
            dtotal, dproduct = dcarry
            dsum = dtotal + dy * new[1]
            dproduct = dproduct + (dy * new[0]).sum(axis=1, keepdims=True)
            dx = dsum.copy()
            dx[:, :1] += dproduct
            return {}, (dsum, 0.5 * dproduct), dx

        return new, new[0] * new[1], pullback

    return fnn.make_cell("pair", shapes, step)


@fnn.constructor
def MeanCell():
    """Give a number for each step: a sum of means that fades, by a parameter without axes."""

    def shapes(in_shape):
        return (), (), {"decay": Leaf((), constant(0.5))}

    def step(params, carry, x):
        a, n = params["decay"], x.shape[1]

        def pullback(dcarry, dy):
            d = dcarry + dy
            return {"decay": np.asarray((carry * d).sum())}, a * d, np.repeat(d[:, None] / n, n, axis=1)

        h = a * carry + x.mean(axis=1)
        return h, h, pullback

    return fnn.make_cell("mean", shapes, step)


CASES = [
    (RNN(3), (4, 2)),
    (RNN(2, activation="relu", last=True), (3, 2)),
    (LSTM(2), (3, 2)),
    (LSTM(2, reverse=True, last=True), (3, 2)),
    (GRU(2, reverse=True), (3, 2)),
    (fnn.rnn(LeakyCell()), (3, 2)),
    (fnn.rnn(PairCell(), last=True, reverse=True), (3, 2)),
    (fnn.rnn(LSTMCell(2)), (2, 2)),
    (fnn.rnn(MeanCell()), (2, 2)),
    (fnn.bidirectional(GRU(2)), (3, 2)),
    (fnn.bidirectional(RNN(2, last=True), "sum"), (2, 2)),
    (fnn.bidirectional(RNN(1), merge=fnn.fan_in("product")), (2, 2)),
]
VALUE_CASES = [
    (RNN(2, lengths=True), ((3, 2), ())),
    (LSTM(2, lengths=True, carry=True), ((3, 2), (), ((2,), (2,)))),
    (GRU(2, lengths=True, reverse=True, last=True), ((3, 2), ())),
    (GRU(2, carry=True), ((3, 2), (2,))),
    (fnn.rnn(PairCell(), lengths=True, carry=True), ((3, 2), (), ((2,), (1,)))),
    (fnn.rnn(GRUCell(2), lengths=True), ((3, 2), ())),
    (fnn.rnn(MeanCell(), lengths=True, carry=True, last=True), ((3, 2), (), ())),
    (fnn.bidirectional(LSTM(1, lengths=True)), ((3, 2), ())),
]
