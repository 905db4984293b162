"""Calls of an estimator that fail: errors say whose they are, and nothing is left half done."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar

from fnn.errors import FnnError

P = ParamSpec("P")
E = TypeVar("E")


@contextlib.contextmanager
def placed(estimator: Any) -> Iterator[None]:
    """Have errors say which estimator they come from."""
    try:
        yield
    except FnnError as error:
        raise error.inside(type(estimator).__name__, "")  # noqa: B904 - the same error, with its place


def attempt(train: Callable[Concatenate[E, P], E]) -> Callable[Concatenate[E, P], E]:
    """Have a training that fails leave the estimator as it was.

    After Ctrl-C what was reached is there, and the interrupt goes on, so that a search over many ends.
    """

    @functools.wraps(train)
    def attempted(self: E, /, *args: P.args, **kwargs: P.kwargs) -> E:
        before = dict(self.__dict__)
        try:
            with placed(self):
                return train(self, *args, **kwargs)
        except BaseException:
            if self.__dict__.get("state_") is before.get("state_"):
                self.__dict__.clear()
                self.__dict__.update(before)
            raise

    return attempted
