"""The table of further activations, gates and noise."""

from __future__ import annotations

import numpy as np

import fnn
from fnn.layers import (
    Abs,
    Celu,
    Elu,
    Exp,
    GaussianNoise,
    GeGlu,
    Gelu,
    Glu,
    HardSigmoid,
    HardSwish,
    HardTanh,
    Lambda,
    LayerNorm,
    LogSigmoid,
    LogSoftmax,
    Maxout,
    Mish,
    PRelu,
    Relu6,
    Selu,
    Silu,
    Softmax,
    Softplus,
    Softsign,
    Sparsemax,
    SpatialDropout,
    Square,
    StochasticDepth,
    SwiGlu,
    mlp,
)


def total(x):
    return x.sum(axis=1)


def total_vjp(x, y, dy):
    return np.repeat(dy[:, None], x.shape[1], axis=1)


def rest(in_shape):
    return in_shape[1:]


SMOOTH = [Celu(2.0), Gelu(), Gelu(approximate=True), Silu(), Mish(), Softplus(), Softsign(),
          LogSigmoid(), Exp(), Square()]  # fmt: skip
BENT = [Elu(), Elu(0.5), Selu(), Relu6(), HardTanh(), HardSigmoid(), HardSwish(), Abs()]
CASES = [
    *((layer, (4,)) for layer in (*SMOOTH, *BENT)),
    (Sparsemax(), (4,)),
    (Sparsemax(axis=1), (3, 2)),
    (Softmax(temperature=0.5), (3,)),
    (LogSoftmax(axis=1, temperature=2.0), (3, 2)),
    (Glu(), (4,)),
    (GeGlu(axis=1), (2, 3)),
    (SwiGlu(), (2, 2)),
    (PRelu(), (3,)),
    (PRelu(per_channel=True), (2, 3)),
    (Maxout(2), (4,)),
    (Maxout(3, axis=1), (3, 2)),
    (Lambda(total, total_vjp, out_shape=rest), (3, 2)),
    (SpatialDropout(0.4), (3, 2, 2)),
    (StochasticDepth(0.4), (3,)),
    (GaussianNoise(0.5), (3,)),
    (mlp((3, 2)), (2,)),
    (mlp((3, 2), activation="tanh", norm=LayerNorm(eps=0.1), dropout=0.2, activate_last=True), (3,)),
]
VALUE_CASES = [(fnn.serial(Gelu(), Elu()), ((2,), (3,)))]
