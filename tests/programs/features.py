"""How the digits look to the network."""

from __future__ import annotations

import fnn

RATE = 0.003


def read(split: str) -> fnn.Dataset:
    """Return the digits of a split, their ink centred about zero."""
    digits = fnn.digits(split)
    return fnn.Dataset(digits.x - 0.5, digits.y)
