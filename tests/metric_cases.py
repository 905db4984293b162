"""Examples of every metric, and which of them are functions of sums."""

from __future__ import annotations

import numpy as np

import fnn
from fnn.metrics import (
    binary_accuracy_at,
    binary_calibration_error_in,
    calibration_error_in,
)


def _labels(rng, shape, scale=1.0):
    return scale * rng.normal(size=shape), rng.integers(0, shape[-1], shape[:-1])


def _classes(rng, shape):
    scores, labels = _labels(rng, shape, 2.0)
    rows = np.exp(scores)
    return rows / rows.sum(axis=-1, keepdims=True), labels


def _ones(rng, shape):
    pred = rng.integers(0, 65, shape) / 64  # With ties, in float32 too.
    return pred, (rng.random(shape) < 0.2 + 0.6 * pred).astype(np.int64)


def _numbers(rng, shape):
    target = rng.normal(size=shape) + 3
    return target + 0.5 * rng.normal(size=shape), target


def _rows(rng, shape):
    pred, labels = _classes(rng, shape)
    return pred, np.eye(shape[-1])[labels]


EXAMPLES = {
    "accuracy": _labels,
    "average_precision": _ones,
    "binary_accuracy": _ones,
    "binary_calibration_error": _ones,
    "calibration_error": _classes,
    "categorical_accuracy": _rows,
    "mean_absolute_error": _numbers,
    "mean_squared_error": _numbers,
    "perplexity": _labels,
    "r2": _numbers,
    "roc_auc": _ones,
    "root_mean_squared_error": _numbers,
    "top_5_accuracy": _labels,
}
"""By name: from a generator and a shape (batch, ..., 6 or more) to pred and target."""

WITH_OPTIONS = [
    (fnn.top_k(2), _labels),
    (binary_accuracy_at(0.3), _ones),
    (calibration_error_in(4), _classes),
    (binary_calibration_error_in(7), _ones),
]

CASES = [(fnn.METRICS[name], make) for name, make in EXAMPLES.items()] + WITH_OPTIONS
IDS = [metric.__name__ for metric, _ in CASES]
NO_SUMS = {"average_precision", "roc_auc"}
STREAMS = [(metric, make) for metric, make in CASES if metric.__name__ not in NO_SUMS]
STREAM_IDS = [metric.__name__ for metric, _ in STREAMS]
