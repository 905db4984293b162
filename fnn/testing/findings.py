"""What laws note of what they find, and how they tell whether bits have changed."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fnn.testing.report import Report, Violation, concluded
from fnn.testing.values import bits_differ, described, named_leaves, worst


def bits(*values: Any) -> str:
    """Return a hash of arrays, numbers, trees and tuples of them: their dtypes, shapes and bytes."""
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, tuple | list):
            total.update(f"({len(value)}:{bits(*value)})".encode())
        elif isinstance(value, Mapping):
            total.update(repr([(name, bits(value[name])) for name in sorted(value, key=str)]).encode())
        elif isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            text = array.tolist() if array.dtype.kind in "OUS" else array.tobytes()
            total.update(f"{array.dtype.str}{array.shape}{text!r}".encode())
        else:
            total.update(repr(value).encode())
    return total.hexdigest()


def named(fn: Any) -> str:
    """Return what a function is called in reports."""
    return getattr(fn, "__name__", None) or f"{fn!r:.200}"


class Findings:
    """What a check gathers while it runs; nothing that users wrote raises or warns through it."""

    def __init__(self, subject: str, seed: int | None = None) -> None:
        """Start without findings; `seed` is that of all draws."""
        self.subject, self.seed = subject, seed
        self.laws: list[str] = []
        self.violations: list[Violation] = []
        self.notes: list[str] = []

    @contextmanager
    def law(self, name: str) -> Iterator[None]:
        """Check a law: what is raised inside is a violation of it, what warns is a note."""
        self.laws.append(name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            except Exception as error:
                self.broken(f"raised {described(error)}")
        self.notes += [f"{name}: warned of {one.category.__name__}: {one.message}" for one in caught]

    def broken(self, message: str, **place: Any) -> None:
        """Add a violation of the present law."""
        self.violations.append(Violation(self.laws[-1], message, seed=self.seed, **place))

    def close(self, message: str, leaf: str, got: Any, want: Any, tolerance: float) -> bool:
        """Return whether no entry is further off than `tolerance`; name the worst if one is."""
        got, want = np.asarray(got), np.asarray(want)
        if got.shape != want.shape:
            self.broken(f"{message}: another shape", leaf=leaf, got=got.shape, want=want.shape)
            return False
        with np.errstate(all="ignore"):
            if (np.abs(got - want) <= tolerance).all():
                return True
        self.broken(message, **worst(leaf, got, want, message).parts())
        return False

    def same(self, message: str, leaf: str, got: Any, want: Any) -> bool:
        """Return whether two trees or arrays are equal bit for bit; name the first leaf that is not."""
        place = bits_differ(named_leaves(got, leaf), named_leaves(want, leaf))
        if place is not None:
            self.broken(f"{message}: {place.message}", **place.parts())
        return place is None

    def refused(self, message: str, call: Callable[[], Any]) -> None:
        """Require a ValueError, which all errors in arguments are."""
        try:
            result = call()
        except ValueError:
            return
        except Exception as error:
            self.broken(f"{message}: expected a ValueError", got=described(error))
            return
        shown = result[0] if isinstance(result, tuple) and result else result
        self.broken(f"{message}: expected a ValueError", got=f"{shown!r:.80}")

    def concluded(self) -> Report:
        """Return the report, or raise its LawError."""
        return concluded(self.subject, self.laws, self.violations, self.notes)


# --- train steps ---------------------------------------------------------------------------------
