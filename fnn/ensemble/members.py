"""Many trees, states or keys as one, and one of them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex, TypeVar

import attrs
import numpy as np

from fnn import tree
from fnn.errors import OptionError
from fnn.keys import Key
from fnn.options import integer
from fnn.training.state import TrainState
from fnn.tree import TreeLike

T = TypeVar("T", bound="TreeLike | TrainState")


def _digest(bits: bytes) -> bytes:
    from hashlib import blake2b  # Here, as in fnn.keys.

    return blake2b(bits, digest_size=16).digest()


@attrs.frozen(eq=False, repr=False, init=False)
class Keys(Key):
    """The keys of all members, in the place of one key.

    What is derived from them is derived from each. A generator, such as the one that shuffles the data
    which the members share, draws from a digest of them all. A checkpoint keeps that digest alone;
    read with `like`, as resuming a run does, it has the members' keys again.

    Attributes:
        members: One key per member, in their order.
    """

    members: tuple[Key, ...]

    def __init__(self, members: Iterable[Key]) -> None:
        """Keep the keys.

        Raises:
            OptionError: If one is no Key, or there is none.
        """
        keys = tuple(members)
        if not keys or not all(isinstance(key, Key) for key in keys):
            raise OptionError(f"expected one Key per member, got {keys!r:.80}", path=("Keys",))
        bits = _digest(b"".join(key.bits for key in keys))
        self.__attrs_init__(bits, keys)

    @classmethod
    def of(cls, seeds: SupportsIndex | Iterable[SupportsIndex]) -> Keys:
        """Return the root keys of the members' seeds.

        Raises:
            TypeError: If a seed is no integer.
        """
        if not isinstance(seeds, Iterable):
            raise TypeError(f"Keys.of: expected one integer per member, got {seeds!r}")
        return cls(map(Key.of, seeds))

    def fold(self, *names: SupportsIndex | str) -> Keys:
        """Derive the child at path `names` of every member's key."""
        return Keys(key.fold(*names) for key in self.members)

    def split(self, n: int) -> tuple[Key, ...]:
        """Return `n` times the keys of all members, each split by itself."""
        return tuple(map(Keys, zip(*(key.split(n) for key in self.members), strict=True)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Keys, (self.members,)

    def __repr__(self) -> str:
        return f"Keys({list(self.members)!r})"


def keys_of(key: Key, n: int) -> tuple[Key, ...]:
    """Return the keys of n members: their own, or those that split a single key.

    Raises:
        OptionError: If `key` is that of another number of members.
    """
    if not isinstance(key, Keys):
        return key.split(n)
    if len(key.members) != n:
        raise OptionError(f"key: expected the keys of {n} members, got those of {len(key.members)}")
    return key.members


def stack(parts: Sequence[T]) -> T:
    """Return trees, or states of training, of one structure as one with the members on axis 0.

    `stack([unstack(now, i) for i in kept])` goes on with some of the members.

    Raises:
        OptionError: If there are none, or states have taken different numbers of steps.
        TreeError, ShapeError: If two differ in structure or in a shape; names the path.
    """
    each: list[Any] = list(parts)
    if not each:
        raise OptionError("expected one member or more, got none", path=("stack",))
    if not isinstance(each[0], TrainState):
        return tree.map_new(lambda *leaves: np.stack(leaves), *each)
    steps = sorted({now.step for now in each})
    if len(steps) > 1:
        raise OptionError(f"expected members after equally many steps, got {steps}", path=("stack",))
    trees = [stack([getattr(now, name) for now in each]) for name in ("params", "state", "opt_state")]
    whole: Any = TrainState(steps[0], Keys(now.key for now in each), *trees)
    return whole


def unstack(stacked: T, i: int) -> T:
    """Return member i of a stacked tree, or of a state of training.

    Raises:
        OptionError: If there is no such member, or the state's key is not `Keys`.
    """
    i = integer("unstack", "i", i, least=0)
    if isinstance(stacked, TrainState):
        if not isinstance(stacked.key, Keys):
            expected = "a state whose key is Keys, one per member"
            raise OptionError(f"expected {expected}, got {stacked.key!r}", path=("unstack",))
        _check_member(i, stacked.key.members)
        trees = [unstack(part, i) for part in (stacked.params, stacked.state, stacked.opt_state)]
        own: Any = TrainState(stacked.step, stacked.key.members[i], *trees)
        return own

    def pick(leaf: Any) -> Any:
        _check_member(i, leaf)
        return leaf[i]

    return tree.map(pick, stacked)


def _check_member(i: int, members: Any) -> None:
    if i >= len(members):
        raise OptionError(f"expected a member in [0, {len(members)}), got {i}", path=("unstack",))
