"""Optimizers: pure state transitions that chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fnn.registry import Registry, lazy_names

if TYPE_CHECKING:
    from fnn.optimizers.transform import Transform as Transform


OPTIMIZERS: Registry[Callable[..., Transform]] = Registry("optimizer", package=__name__)

__getattr__, __dir__, __all__ = lazy_names(__name__)
