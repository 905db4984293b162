"""Laws of augmentations: pure functions of the key and of each example's number alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.datasets.augmentation.making import Augmentation
from fnn.errors import OptionError
from fnn.kernels.values import map_arrays, named_arrays, take_rows
from fnn.keys import Key
from fnn.options import integer
from fnn.testing.findings import Findings, bits
from fnn.testing.report import Report


def check_augmentation(augment: Augmentation, x: Any, y: Any = None, *, seed: int = 0) -> Report:
    """Prove an augmentation right, or raise with every law that it breaks.

    Laws, by name: `call` (as many examples come back, of the same dtype, and as many targets), `shape`
    (examples of the same shape), `finite`, `untouched` (no argument is written to), `pure` (equal
    calls give equal bits), `index` (what becomes of an example follows from the key and its index
    alone, whoever is beside it; one that changes targets may look at the whole batch, in whatever
    order that is), `layout` (so it does in any layout of memory) and `empty` (no examples become none).

    Args:
        augment: The augmentation.
        x: Examples (n, ...), 3 or more that differ.
        y: Their targets; needed where it changes targets.
        seed: Of the keys and the order that it is tried with.

    Raises:
        LawError: If a law is broken; lists all findings.
        OptionError: If `augment` is no `Augmentation`, or there are fewer than 3 examples.
    """
    who, seed = "check_augmentation", integer("check_augmentation", "seed", seed, least=0)
    if not isinstance(augment, Augmentation):
        raise OptionError(f"expected an Augmentation, got {augment!r:.80}", path=(who,))
    given = (np.array(x),) if y is None else (np.array(x), map_arrays(np.array, y))
    n = len(given[0]) if given[0].ndim else 0
    if n < 3:
        raise OptionError(f"x: expected 3 examples or more, got {n}", path=(who,))
    key, draw = Key.of(seed), Key.of(seed).fold(who).generator()
    index, order = np.sort(draw.choice(10 * n, n, replace=False)), draw.permutation(n)
    found = Findings(f"augmentation {augment!r:.200}", seed)

    def made(values: tuple[Any, ...], numbers: Any) -> tuple[Any, ...]:
        out = augment(key, *values, index=numbers)
        return (out,) if y is None else tuple(out)

    def part(at: Any) -> tuple[Any, ...]:
        return made(tuple(take_rows(each, at) for each in given), index[at])

    def same(message: str, got: tuple[Any, ...], want: tuple[Any, ...]) -> None:
        for name, one, other in zip(("x", "y"), got, want, strict=False):
            for (leaf, a), (_, b) in zip(
                named_arrays(one, name), named_arrays(other, name), strict=True
            ):
                found.same(message, leaf, a, b)

    before, whole = bits(*given), None
    with found.law("call"):
        whole = made(given, index)
    if whole is None:
        return found.concluded()
    with found.law("shape"):
        new = whole[0]
        if (new.shape, new.dtype) != (given[0].shape, given[0].dtype):
            got, want = (f"{each.dtype}{list(each.shape)}" for each in (new, given[0]))
            found.broken("examples of another shape or dtype", leaf="x", got=got, want=want)
    with found.law("finite"):
        for leaf, array in [
            place for i, each in enumerate(whole) for place in named_arrays(each, "xy"[i])
        ]:
            if array.dtype.kind in "fc" and not np.isfinite(array).all():
                found.broken("a number that is nan or infinite, of finite ones", leaf=leaf)
    with found.law("untouched"):
        if bits(*given) != before:
            found.broken("an argument was written to")
            return found.concluded()
    with found.law("pure"):
        same("called again", made(given, index), whole)
    with found.law("index"):
        same("in another order", part(order), tuple(take_rows(each, order) for each in whole))
        for at in () if augment.targets else (slice(0, 1), slice(1, n)):
            alone = tuple(take_rows(each, at) for each in whole)
            same(f"of examples {at.start} to {at.stop - 1} alone", part(at), alone)
    with found.law("layout"):
        for name, other in (
            ("Fortran's order", np.asfortranarray(given[0])),
            ("a view", _strided(given[0])),
        ):
            same(f"in {name}", made((other, *given[1:]), index), whole)
    with found.law("empty"):
        if (left := len(part(slice(0, 0))[0])) != 0:
            found.broken("expected no examples of none", leaf="x", got=left)
    return found.concluded()


def _strided(x: Any) -> Any:
    """Return the same numbers with others between them."""
    return np.repeat(x, 2, axis=0)[::2]
