"""What every layer of a network gives for one example, seen without changing what it computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import attrs
import numpy as np

from fnn.kernels.values import is_tuple_of_shapes
from fnn.layers.contract import Layer
from fnn.tree import Array, TreeLike


class Seen(NamedTuple):
    """What a layer gave.

    Attributes:
        path: Where the layer stands in params, "dense_0" or "first/residual_0/conv_1".
        kind: What it is, "dense".
        y: What it gave, with the batch first.
    """

    path: str
    kind: str
    y: Any


_notes: ContextVar[list[Seen] | None] = ContextVar("notes", default=None)


def watched(net: Layer) -> Layer:
    """Return a network of the same values that notes for `seen` what its layers give."""
    return _watched(net, "")


def _watched(layer: Layer, path: str) -> Layer:
    inner = layer
    if layer.children and layer.rebuilt is not None:
        inner = layer.rebuilt(lambda name, child: _watched(child, "/".join(filter(None, (path, name)))))

    def apply(params: Any, state: Any, x: Any, **options: Any) -> tuple[Any, TreeLike]:
        y, state = inner.core.apply(params, state, x, **options)
        notes = _notes.get()
        if notes is not None:
            notes.append(Seen(path, layer.name, y))
        return y, state

    # The names of children are made of these two.
    return Layer(
        layer.name,
        inner.core.init,
        apply,
        inner.core.vjp,
        children=inner.children,
        traits=layer.traits,
        rebuilt=inner.rebuilt,
        is_named=layer.is_named,
    )


def seen(net: Layer, params: TreeLike, state: TreeLike, x: Any) -> tuple[Any, list[Seen]]:
    """Return what a `watched` network makes of x, in evaluation, and what its layers gave on the way.

    Layers that hand on what they got (Flatten, Dropout in evaluation, a composition that ends in one
    of its parts) are left out, and so are tuples of arrays.

    Raises:
        ShapeError, DTypeError: If the network does not take x; names the layer.
    """
    notes: list[Seen] = []
    token = _notes.set(notes)
    try:
        with np.errstate(all="ignore"):
            y, _ = net.apply(params, state, x)
    finally:
        _notes.reset(token)
    return y, list(_new(notes, x))


def _new(notes: list[Seen], x: Any) -> Iterator[Seen]:
    before = x
    for note in notes:
        if isinstance(note.y, np.ndarray) and not _same(note.y, before):
            yield note
        before = note.y


def _same(y: Array, before: Any) -> bool:
    if not isinstance(before, np.ndarray) or y.size != before.size:
        return False
    return y is before or np.array_equal(y.ravel(), before.ravel())


@attrs.frozen
class Outcome:
    """Two classes and what of the image speaks for one rather than the other.

    Attributes:
        first: The likeliest class.
        second: The next.
        heat: The derivative of their difference in log-odds in every number of the input.
    """

    first: int
    second: int
    heat: Array


def outcome(net: Layer, params: TreeLike, state: TreeLike, x: Array, how: str) -> Outcome | None:
    """Return what speaks for the likeliest class rather than for the next.

    The difference of two scores, unlike the probability of one, still has a derivative to show where
    the network is sure.

    Args:
        net: The network, not `watched`.
        params, state: Its weights.
        x: One example, with the batch first.
        how: What its outputs are: "logits", "sigmoid" (a logit of each class alone), or
            "probabilities".
    """
    with np.errstate(all="ignore"):
        y, _, pullback = net.vjp(params, state, x)
        second, first = np.argsort(y[0], kind="stable")[-2:]
        dy = np.zeros_like(y)
        dy[0, first], dy[0, second] = 1, -1
        if how == "probabilities":
            # Of log p, without dividing by nothing.
            dy /= np.maximum(np.abs(y), 1e-6)
        _, dx = pullback(dy)
    if not isinstance(dx, np.ndarray) or not np.isfinite(dx).all():
        return None
    return Outcome(int(first), int(second), dx[0])


def takes_one_array(net: Layer, in_shape: Any) -> bool:
    """Return whether a network takes one array of numbers with a derivative."""
    return not is_tuple_of_shapes(in_shape) and not net.traits.takes_integers
