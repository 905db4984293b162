"""The table of branches, repetition, wrappers and reparametrizations."""

from __future__ import annotations

from fnn.layers import (
    GRU,
    RNN,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Identity,
    Relu,
    Sigmoid,
    Tanh,
    branch,
    fan_in,
    fan_out,
    lazy,
    parallel,
    remat,
    repeat,
    serial,
    shared,
    vmap,
    weight_norm,
)


def halved(in_shape):
    return Dense(max(1, in_shape[-1] // 2))


CASES = [
    (branch(Dense(3), Tanh()), (3,)),
    (branch(Dense(2), merge="mean"), (3,)),
    (branch(Dense(3), Sigmoid(), Tanh(), merge="product"), (3,)),
    (branch(Dense(3), Identity(), merge="max"), (3,)),
    (branch(Dense(2), Dropout(0.5), merge="concat"), (3,)),
    (branch(Tanh(), Dense(3), merge="concat", axis=-1), (2, 3)),
    (branch(Conv(1, 1), serial(BatchNorm(), Tanh()), merge="concat"), (1, 2, 2)),
    (branch(Dense(2), Tanh(), merge=serial(parallel(Dense(1), Dense(1)), fan_in("mean"))), (2,)),
    (serial(fan_out(2), parallel(Dense(2), Tanh()), fan_in("mean")), (2,)),
    (branch(branch(Dense(1), Relu(), merge="concat"), serial(Dropout(0.3), Dense(3))), (2,)),
    (repeat(serial(Dense(2), Dropout(0.3)), 2), (3,)),
    (shared(serial(Dense(3), Dropout(0.5), Tanh()), 2), (3,)),
    (shared(BatchNorm(momentum=0.5, eps=0.1), 2), (3,)),
    (lazy(halved), (4,)),
    (remat(serial(Dense(3), Dropout(0.4), BatchNorm(eps=0.1), Tanh())), (3,)),
    (vmap(serial(Dense(2), Dropout(0.3))), (2, 3)),
    (vmap(Conv(1, 2)), (2, 1, 3)),
    (weight_norm(Dense(2)), (3,)),
    (weight_norm(Conv(2, 2, bias=False)), (1, 3, 3)),
    (weight_norm(serial(Dense(2), Dense(1)), axis=0), (2,)),
]
VALUE_CASES = [
    (fan_out(2), (3,)),
    (fan_out(3), ((2,), (3, 2))),
    (fan_in("sum"), ((3,), (3,), (3,))),
    (fan_in("mean"), ((2, 2), (2, 2))),
    (fan_in("product"), ((3,), (3,), (3,))),
    (fan_in("max"), ((3,), (3,), (3,))),
    (fan_in("concat"), ((3,), (2,))),
    (fan_in("concat", axis=-1), ((2, 1), (2, 2))),
    (parallel(Dense(2), Tanh()), ((3,), (2,))),
    (parallel(GRU(1, lengths=True), Dropout(0.4)), (((2, 1), ()), (3,))),
    (branch(RNN(1, lengths=True), RNN(1, lengths=True), merge="mean"), ((2, 1), ())),
    (vmap(GRU(2, lengths=True)), ((2, 2, 2), (2,))),
    (shared(RNN(2, carry=True), 2), ((3, 2), (2,))),
]
