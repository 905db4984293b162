"""Random keys: randomness as an argument, so that equal keys give equal draws anywhere, any time."""

from __future__ import annotations

from operator import index
from typing import SupportsIndex

import attrs
import numpy as np

from fnn.errors import OptionError


def _digest(key: bytes, tag: str, text: str) -> bytes:
    # Imported here, for it takes a twentieth of the time that importing NumPy takes.
    from hashlib import blake2b

    # Tagged and length-prefixed, so that ("a", "b"), ("ab",) and (1,), ("1",) are different paths.
    data = f"{tag}:{len(text)}:{text}".encode()
    return blake2b(data, digest_size=16, key=key).digest()


@attrs.frozen(eq=False, repr=False)
class Key:
    """128 bits that determine every draw made from them.

    Derivation is keyed BLAKE2b (RFC 7693) over a tagged, length-prefixed name; draws come from the
    counter-based generator Philox 4x64 (Salmon et al., 2011, "Parallel random numbers: as easy as
    1, 2, 3"). No global random state is read or written.
    """

    bits: bytes = attrs.field()

    @bits.validator
    def _check_bits(self, _: object, value: object) -> None:
        if not isinstance(value, bytes) or len(value) != 16:
            raise OptionError(f"Key: expected 16 bytes, got {value!r}; write Key.of(seed)")

    @classmethod
    def of(cls, seed: SupportsIndex) -> Key:
        """Return the root key of `seed`, an integer of any size and sign.

        Raises:
            TypeError: If it is no integer.
        """
        try:
            return cls(bytes(16)).fold(index(seed))
        except TypeError:
            raise TypeError(f"Key.of: expected an integer as seed, got {seed!r}") from None

    def fold(self, *names: SupportsIndex | str) -> Key:
        """Derive the child at path `names`: equal names give equal keys, different ones differ.

        Integers fold by value, whatever their type; `key.fold("a", 1)` is `key.fold("a").fold(1)`.

        Raises:
            TypeError: If a name is neither a string nor an integer.
        """
        bits = self.bits
        for name in names:
            if isinstance(name, str):
                bits = _digest(bits, "str", name)
            else:
                bits = _digest(bits, "int", str(index(name)))
        return Key(bits)

    def split(self, n: int) -> tuple[Key, ...]:
        """Return `n` independent keys, distinct from every fold; the first ones do not depend on n."""
        if index(n) < 0:
            raise OptionError(f"Key.split: expected a count of 0 or more, got {n}")
        return tuple(Key(_digest(self.bits, "split", str(i))) for i in range(index(n)))

    def generator(self) -> np.random.Generator:
        """Return a fresh generator that depends on this key alone."""
        return np.random.Generator(np.random.Philox(key=int.from_bytes(self.bits, "little")))

    # Written out, for attrs would take longer to make these than the rest of the module takes.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.bits == other.bits

    def __hash__(self) -> int:
        return hash(self.bits)

    def __repr__(self) -> str:
        return f"Key({self.bits.hex()})"
