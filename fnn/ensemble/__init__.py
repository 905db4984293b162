"""Ensembles: networks of one architecture that train together, a member per seed.

    seeds = range(32)
    many = stacked(net, len(seeds))  # the same layers and paths, with a leading axis of members
    step = fnn.train_step(many, over_members(loss), optimizer)
    now = fnn.init_train_state(many, optimizer, in_shape, Keys.of(seeds))
    now, logs = fnn.scan(step, now, batches)
    unstack(now, 3)  # what `net` becomes with Key.of(3)

An ensemble is a layer, a loss and a state like any other; `jit`, `scan`, `fit` and `predict` take them
as they are. Every parameter has the members on its first axis; the output has them on axis 1, after
the batch. Each member gets the bits of its own single run, in float32 and in float64, under every
elementwise optimizer, and under any other with `per_member(optimizer, n)`. That holds where a single
run would hold it: same NumPy, BLAS and number of threads, and the same batches.

What it spares is the cost of calls: 1,000 steps of the parity network 5-20-10-5-1 with 32 seeds and
batches of 32 take 0.11 of the time of 32 runs (0.10 to 0.13 in twelve rounds, each under `jit`, with
Adam and with plain gradients, NumPy 2.4 with OpenBLAS on one thread). Large layers gain less.

A member whose numbers are no longer finite stops them all: the step raises DivergedError and `now` is
what it was. `diverging` says which members it was, and `stack` goes on with the others.
"""

from fnn.registry import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
