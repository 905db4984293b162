"""Random words by their place: word j of example i is a function of a key, i and j alone.

A generator that draws one number after another gives an example other numbers when it stands elsewhere
in a batch. Here a number's place is the counter of a block cipher, so that any examples can be asked
for, in any order, all at once.
"""

from __future__ import annotations

import math

import numpy as np

from fnn.tree import Array

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_MASK = 0xFFFFFFFF


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> tuple[Array, ...]:
    """Return four words for every counter: Philox 4x32 with ten rounds.

    Args:
        counter: Four words, uint64 arrays below 2³² of shapes that broadcast.
        key: Two words.

    Returns:
        Four uint64 arrays below 2³².

    References:
        Salmon, Moraes, Dror & Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3", section 4.3.
    """
    a, b, c, d = counter
    first, second = key
    mask, half = np.uint64(_MASK), np.uint64(32)
    for _ in range(_ROUNDS):
        # Factors of 32 bits: no product is lost in 64.
        p, q = np.uint64(_MULTIPLIERS[0]) * a, np.uint64(_MULTIPLIERS[1]) * c
        a, c = (q >> half) ^ b ^ np.uint64(first), (p >> half) ^ d ^ np.uint64(second)
        b, d = q & mask, p & mask
        first, second = (first + _WEYL[0]) & _MASK, (second + _WEYL[1]) & _MASK
    return a, b, c, d


def words(key: bytes, index: Array, count: int) -> Array:
    """Return `count` words for each of some examples, uint64 (n, count) below 2³².

    Args:
        key: 12 bytes or more, of which the first 12 count.
        index: Numbers of the examples, int64 (n,) of 0 or more.
        count: How many words an example needs; the first ones do not depend on it.
    """
    number = index.astype(np.uint64)[:, None]
    block: Array = np.arange(-(-count // 4), dtype=np.uint64)
    first, second, third = (int.from_bytes(key[at : at + 4], "little") for at in (0, 4, 8))
    counter = number & np.uint64(_MASK), number >> np.uint64(32), block, np.full(1, third, np.uint64)
    found = philox(counter, (first, second))
    shape = (len(index), len(block))
    stacked = np.stack([np.broadcast_to(each, shape) for each in found], axis=-1)
    return stacked.reshape(len(index), 4 * len(block))[:, :count]


def uniforms(key: bytes, index: Array, count: int) -> Array:
    """Return float64 (n, count), uniform in [0, 1) in steps of 2⁻⁵³."""
    pairs = words(key, index, 2 * count).reshape(len(index), count, 2)
    high, low = pairs[..., 0] >> np.uint64(5), pairs[..., 1] >> np.uint64(6)
    uniform: Array = (high.astype(np.float64) * 2.0**26 + low) * 2.0**-53
    return uniform


def normals(key: bytes, index: Array, count: int) -> Array:
    """Return float64 (n, count), standard normal: r cos t and r sin t of r² = -2 ln u, t = 2π v.

    With u in steps of 2⁻³² no number is beyond 6.77.

    References:
        Box & Muller (1958), "A note on the generation of random normal deviates".
    """
    half = -(-count // 2)
    pairs = words(key, index, 2 * half).reshape(len(index), half, 2)
    # Half a step from 0, whose logarithm is infinite.
    uniform = (pairs + 0.5) * 2.0**-32
    radius = np.sqrt(-2.0 * np.log(uniform[..., 0]))
    turn = 2.0 * math.pi * uniform[..., 1]
    both = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=-1)
    return both.reshape(len(index), 2 * half)[:, :count]
