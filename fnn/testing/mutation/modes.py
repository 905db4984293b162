"""Wrong use of what a call is told: its mode and its key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, SupportsIndex

import attrs
import numpy as np

from fnn.keys import Key
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.testing.mutation.parts import Fault

_FIXED = Key.of(0)
Call = Callable[..., Any]


def _called_with(
    change: Callable[[bool, Key | None], tuple[bool, Key | None]], layer: Layer
) -> dict[str, Any]:
    """Call the layer with change(train, key)."""
    return _called_with_each(change, change, layer)


def _called_with_each(
    in_apply: Callable[[bool, Key | None], tuple[bool, Key | None]],
    in_vjp: Callable[[bool, Key | None], tuple[bool, Key | None]],
    layer: Layer,
) -> dict[str, Any]:
    own_apply, own_vjp = layer.core.apply, layer.core.vjp

    def apply(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        train, key = in_apply(train, key)
        return own_apply(params, state, x, train=train, key=key)

    def vjp(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        train, key = in_vjp(train, key)
        return own_vjp(params, state, x, train=train, key=key)

    return {"apply": apply, "vjp": vjp}


def _back_told(
    change: Callable[[bool, Key | None], tuple[bool, Key | None]], layer: Layer
) -> dict[str, Any]:
    """Take the pullback, and it alone, from a call with change(train, key)."""
    own = layer.core.vjp

    def vjp(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        y, new, _ = own(params, state, x, train=train, key=key)
        train, key = change(train, key)
        return y, new, own(params, state, x, train=train, key=key)[2]

    return {"vjp": vjp}


def mode_faults() -> Iterator[tuple[str, Fault]]:
    """Yield faults that take one mode for the other."""
    # A key of its own, so that it does not betray itself by asking for one in evaluation.
    yield "mode ignored (always train)", partial(_called_with, lambda train, key: (True, key or _FIXED))
    yield "mode ignored (always eval)", partial(_called_with, lambda train, key: (False, key))
    in_eval = partial(_back_told, lambda train, key: (False, key))
    yield "pullback of evaluation in training", in_eval
    in_train = partial(_back_told, lambda train, key: (True, key or _FIXED))
    yield "pullback of training in evaluation", in_train
    swapped = partial(_called_with, lambda train, key: (not train, key or _FIXED))
    yield "modes swapped", swapped


# --- keys -----------------------------------------------------------------------------------


@attrs.frozen(eq=False, repr=False)
class _StuckKey(Key):
    """A key whose children are all itself, as where one key is handed to everybody."""

    inner: Key

    def fold(self, *names: SupportsIndex | str) -> _StuckKey:
        return self

    def split(self, n: int) -> tuple[Key, ...]:
        return (self,) * n

    def generator(self) -> np.random.Generator:
        return self.inner.generator()


@attrs.frozen(eq=False, repr=False)
class _CountingKey(Key):
    """A key whose children are told apart by their position instead of by their name."""

    inner: Key
    calls: list[int] = attrs.field(factory=lambda: [0])

    def fold(self, *names: SupportsIndex | str) -> Key:
        self.calls[0] += 1
        return self.inner.fold(self.calls[0])

    def split(self, n: int) -> tuple[Key, ...]:
        return self.inner.split(n)

    def generator(self) -> np.random.Generator:
        return self.inner.generator()


def _stuck(train: bool, key: Key | None) -> tuple[bool, Key | None]:
    return train, None if key is None else _StuckKey(key.bits, key)


def _counting(train: bool, key: Key | None) -> tuple[bool, Key | None]:
    return train, None if key is None else _CountingKey(key.bits, key)


def _other(train: bool, key: Key | None) -> tuple[bool, Key | None]:
    return train, None if key is None else key.fold("another")


def _fixed(train: bool, key: Key | None) -> tuple[bool, Key | None]:
    return train, None if key is None else _FIXED


def _same(train: bool, key: Key | None) -> tuple[bool, Key | None]:
    return train, key


def _init_key(kind: Callable[..., Key], layer: Layer) -> dict[str, Any]:
    def init(key: Key, in_shape: Shape) -> Any:
        return layer.core.init(kind(key.bits, key), in_shape)

    return {"init": init}


def key_faults(n_drawn: int) -> Iterator[tuple[str, Fault]]:
    """Yield faults of the key of a call in training, in which the layer draws so many times."""
    if not n_drawn:
        return
    yield "key ignored", partial(_called_with, _fixed)
    yield "key not needed", partial(_called_with, lambda train, key: (train, key or _FIXED))
    yield "pullback's mask from another key", partial(_back_told, _other)
    yield "apply's mask from another key", partial(_called_with_each, _other, _same)
    if n_drawn > 1:
        yield "key reused", partial(_called_with, _stuck)


def init_key_faults(n_drawn: int, *, has_children: bool) -> Iterator[tuple[str, Fault]]:
    """Yield faults of the key of an init that draws so many times."""
    if n_drawn > 1:
        yield "init's key reused", partial(_init_key, _StuckKey)
    if n_drawn and has_children:
        yield "init's keys by position", partial(_init_key, _CountingKey)


def keys_by_position() -> Iterator[tuple[str, Fault]]:
    """Yield the fault of children that draw by their position in a composition."""
    yield "keys by position", partial(_called_with, _counting)
