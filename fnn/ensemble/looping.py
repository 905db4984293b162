"""Members one after the other, each by the layer itself: for layers that know of no members.

Layers of one's own among them, and what they take: tuples of arrays, and integers. A member gets the
arrays, and so the bits, that it would get alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.ensemble.members import keys_of, stack, unstack
from fnn.kernels.noting import contiguous
from fnn.kernels.stacked_affine import sum_if_shared
from fnn.kernels.values import map_arrays
from fnn.keys import Key
from fnn.layers.calls import Pullback, Shape
from fnn.layers.contract import Layer
from fnn.layers.making import need_key
from fnn.tree import EMPTY, TreeLike


def looped(layer: Layer, n: int) -> Layer:
    """Return the layer that calls `layer` for each of n members of (members, batch, ...)."""
    core: Any = layer.core
    own_init, own_apply, own_vjp = core

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        drawn = [own_init(each, in_shape) for each in keys_of(key, n)]
        params, state = (stack([parts[k] for parts in drawn]) for k in (1, 2))
        return drawn[0][0], params, state

    def each(call: Any, params: Any, state: Any, x: Any, train: bool, key: Key | None) -> Any:
        """Call with the part of each member, and return what came by kind: all y, all states, …"""
        draws = layer.traits.stochastic and train
        keys = keys_of(need_key(key), n) if draws else (None,) * n
        came = [
            call(unstack(params, i), unstack(state, i), member(x, i), train=train, key=own)
            for i, own in enumerate(keys)
        ]
        ys, states, *pullbacks = zip(*came, strict=True)
        return joined(ys), stack(states) if state else state, *pullbacks

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        y, moved = each(own_apply, params, state, x, train, key)
        return y, moved

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        y, moved, pullbacks = each(own_vjp, params, state, x, train, key)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            came = [back(member(dy, i), need_dx=need_dx) for i, back in enumerate(pullbacks)]
            dparams = stack([own for own, _ in came]) if params else EMPTY
            return dparams, shares(joined([dx for _, dx in came]), x) if need_dx else None

        return y, moved, pullback

    return Layer(layer.name, init, apply, vjp, traits=layer.traits)


def member(value: Any, i: int) -> Any:
    """Return what member i has of a value; what all share has 1 in the place of the members."""
    return map_arrays(lambda part: None if part is None else part[i if len(part) > 1 else 0], value)


def joined(values: Any) -> Any:
    """Return the values of all members as one, the members first; None stays None."""
    if isinstance(values[0], tuple):
        return tuple(map(joined, zip(*values, strict=True)))
    return None if values[0] is None else np.stack(values)


def shares(dx: Any, x: Any) -> Any:
    """Return dx of a value x; where all members share x, the sum of theirs."""
    return map_arrays(lambda part, own: None if own is None else sum_if_shared(own, len(part)), x, dx)


def spread(x: Any, n: int) -> Any:
    """Return what is the same for all members once for each."""
    return map_arrays(lambda part: part if len(part) == n else np.repeat(part, n, axis=0), x)


def outward(y: Any) -> Any:
    """Return (members, batch, ...) as (batch, members, ...), or the other way."""
    return map_arrays(lambda part: None if part is None else part.swapaxes(0, 1), y)


def inward(dy: Any) -> Any:
    """Return (batch, members, ...) as contiguous (members, batch, ...).

    Each member's matrix lies in memory as it would alone, and so takes the same way through BLAS.
    """
    return map_arrays(lambda part: None if part is None else contiguous(part.swapaxes(0, 1)), dy)
