"""Metrics: `metric(pred, target, *, weight=None) -> float`, and what a classifier gets right.

Counts are exact integers, all else is float64. An example of weight 2 counts as two of it would, one of
weight 0 as none; without weights every example counts alike. NaN in pred is no prediction and raises.
Of accuracies and mean errors the mean over batches, weighted by their sizes, is that of the whole; of
others it is not, and `streaming` takes those batch by batch that are functions of sums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fnn.registry import Registry, lazy_names

if TYPE_CHECKING:
    from fnn.metrics.checks import Metric as Metric


METRICS: Registry[Metric] = Registry("metric", package=__name__)

__getattr__, __dir__, __all__ = lazy_names(__name__)
