"""What every layer computes, said once for all systems that have arrays and derivatives of their own.

`fnn.interop.jax` and `fnn.interop.torch` bring the functions of their arrays (`functions.register`);
the rules here call those. A rule turns a layer into `run(params, state, x, train, key) -> (y, state)`.
"""

from fnn.interop.arrays import (
    activations,
    combinators,
    images,
    norms,
    plain,
    reparametrization,
    sequences,
)

# Importing them adds their rules.
__all__ = [
    "activations",
    "combinators",
    "images",
    "norms",
    "plain",
    "reparametrization",
    "sequences",
]
