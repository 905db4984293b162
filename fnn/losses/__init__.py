"""Losses: `loss(pred, target, *, weight=None) -> (value, dpred)`; `Loss` states the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fnn.registry import Registry, lazy_names

if TYPE_CHECKING:
    from fnn.losses.reduction import Loss as Loss


LOSSES: Registry[Loss] = Registry("loss", package=__name__)

__getattr__, __dir__, __all__ = lazy_names(__name__)
