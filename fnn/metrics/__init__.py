"""Metrics: `metric(pred, target, *, weight=None) -> float`, and what a classifier gets right.

Counts are exact integers and their ratios float64. Without weights every example counts alike, so
that the mean over batches weighted by their sizes is the metric of the whole; an example of weight 2
counts as two of it would, one of weight 0 as none. NaN in pred has no class and raises.
"""

from fnn.metrics.accuracies import (
    accuracy,
    binary_accuracy,
    binary_accuracy_at,
    categorical_accuracy,
    top_k,
)
from fnn.metrics.checks import Metric
from fnn.metrics.confusion import confusion_matrix
from fnn.metrics.reports import Average, ClassReport, classification_report
from fnn.registry import Registry

METRICS: Registry[Metric] = Registry(
    "metric",
    {
        "accuracy": accuracy,
        "binary_accuracy": binary_accuracy,
        "categorical_accuracy": categorical_accuracy,
        "top_5_accuracy": top_k(5),
    },
)

__all__ = [
    "METRICS",
    "Average",
    "ClassReport",
    "Metric",
    "accuracy",
    "binary_accuracy",
    "binary_accuracy_at",
    "categorical_accuracy",
    "classification_report",
    "confusion_matrix",
    "top_k",
]
