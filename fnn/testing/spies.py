"""Keys that tell which generators were made from them."""

from __future__ import annotations

from typing import SupportsIndex

import attrs
import numpy as np

from fnn.keys import Key


@attrs.frozen(eq=False, repr=False)
class SpyKey(Key):
    """A key that notes the bits of every generator made from it or from what derives from it."""

    drawn: list[bytes] = attrs.field(factory=list)

    def fold(self, *names: SupportsIndex | str) -> SpyKey:
        """Derive a child that notes in the same list."""
        return SpyKey(Key.fold(self, *names).bits, self.drawn)

    def split(self, n: int) -> tuple[Key, ...]:
        """Return keys that note in the same list."""
        return tuple(SpyKey(key.bits, self.drawn) for key in Key.split(self, n))

    def generator(self) -> np.random.Generator:
        """Return a fresh generator, having noted so."""
        self.drawn.append(self.bits)
        return Key.generator(self)
