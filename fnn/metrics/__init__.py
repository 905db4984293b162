"""Metrics: `metric(pred, target, *, weight=None) -> float`, and what a classifier gets right.

Counts are exact integers and their ratios float64. Without weights every example counts alike, so
that the mean over batches weighted by their sizes is the metric of the whole; an example of weight 2
counts as two of it would, one of weight 0 as none. NaN in pred has no class and raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fnn.registry import Registry, lazy_names

if TYPE_CHECKING:
    from fnn.metrics.checks import Metric as Metric


METRICS: Registry[Metric] = Registry("metric", package=__name__)

__getattr__, __dir__, __all__ = lazy_names(__name__)
