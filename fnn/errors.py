"""The errors this library raises, each naming who, what was expected and what came.

All but `DivergedError` are ValueErrors, so that `except ValueError` keeps working for callers who do
not care which. An error raised inside a network gathers the path of the layer on its way up:
`serial/residual_0/dense_1 (train.py:12): expected last axis 16, got (128, 8)`.
"""

from __future__ import annotations

from typing import Any, Self


class FnnError(Exception):
    """Base of every error of this library; `path` and `where` say which layer it came from."""

    def __init__(self, message: str, *, path: tuple[str, ...] = (), where: str = "") -> None:
        """Keep the bare message apart from the place, which callers further up refine."""
        super().__init__(message)
        self.message = message
        self.path = path
        self.where = where

    def inside(self, name: str, where: str) -> Self:
        """Return this error with `name` put before its path; the innermost `where` stays."""
        self.path = (name, *self.path)
        self.where = self.where or where
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # By attributes: the constructors of some errors ask for more than the message.
        return _rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        place = "/".join(self.path) + (f" ({self.where})" if self.where else "")
        return f"{place}: {self.message}" if place else self.message


def _rebuild(kind: type[FnnError], args: tuple[Any, ...], attributes: dict[str, Any]) -> FnnError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class ShapeError(FnnError, ValueError):
    """An array or an example has the wrong shape."""


class DTypeError(FnnError, ValueError):
    """An array has the wrong dtype, or two arrays that meet have different precisions."""


class TreeError(FnnError, ValueError):
    """Two trees that should pair do not, or a tree lacks a path or holds something else than arrays."""


class OptionError(FnnError, ValueError):
    """A constructor or a function was given an option out of its range."""


class DataError(FnnError, ValueError):
    """Data, labels or a data file are not what they should be."""


class DivergedError(FnnError, ArithmeticError):
    """The loss of a training step is not finite; the state before that step is untouched.

    Attributes:
        step: Number of the step that failed, from 0.
        leaf: First place that is not finite: "x", a path in params or one in the gradient
            ("grads/dense_0/w"), or "loss" if all of those are finite.
        learning_rate: The learning rate at that step, None if the optimizer has none.
        grad_norm: Global norm of the gradient, possibly inf or nan.
    """

    def __init__(
        self, message: str, *, step: int, leaf: str, learning_rate: float | None, grad_norm: float
    ) -> None:
        """Keep what is known about the failed step."""
        super().__init__(message)
        self.step, self.leaf = step, leaf
        self.learning_rate, self.grad_norm = learning_rate, grad_norm
