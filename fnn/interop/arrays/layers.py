"""The rules of all layers: importing this adds them."""

from __future__ import annotations

from fnn.interop.arrays import (
    activations,
    combinators,
    images,
    norms,
    plain,
    reparametrization,
    sequences,
)

__all__ = [
    "activations",
    "combinators",
    "images",
    "norms",
    "plain",
    "reparametrization",
    "sequences",
]
