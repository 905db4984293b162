"""Metrics at the ends of what float64, and half precision, can say."""

from __future__ import annotations

import numpy as np
import pytest

import fnn
from fnn.metrics.totals import averaged


@pytest.mark.parametrize(("of_ones", "of_zeros"), [(1e-200, 1e-200), (1e200, 1e200), (1e-300, 1e300)])
def test_weights_however_small_or_large_say_the_same_of_the_roc_area(of_ones, of_zeros):
    rng = np.random.default_rng(0)
    pred, target = np.round(rng.normal(size=60), 1), rng.integers(0, 2, 60)
    weight = rng.random(60)
    scaled = weight * np.where(target == 1, of_ones, of_zeros)
    # Each class's weights are those of a mean of its own.
    assert fnn.roc_auc(pred, target, weight=scaled) == pytest.approx(
        fnn.roc_auc(pred, target, weight=weight), rel=1e-12
    )


@pytest.mark.parametrize("size", [1e-200, 1e200])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_spread_whose_square_no_number_can_say_has_no_r2(size, streamed):
    target = size * np.array([[0.0, 1.0], [2.0, 5.0]])
    measure, stream = fnn.r2, fnn.streaming(fnn.r2)
    if streamed:
        measure = lambda pred, target: stream.value(stream.add(stream.start(), pred, target))  # noqa: E731
    for pred in (target, -target):
        with pytest.raises(
            fnn.DataError, match="r2: expected targets and weights of which float64 holds"
        ):
            measure(pred, target)
    rows = np.arange(6.0).reshape(3, 2)
    with pytest.raises(fnn.DataError, match=r"r2: expected targets and weights .*, got inf$"):
        fnn.r2(rows, 1e10 * rows, weight=np.full(3, 1e300))


def test_a_metric_of_ones_own_in_half_precision_is_summed_in_float64():
    @averaged
    def error(pred, target):
        return np.abs(pred - target)

    pred, target = np.full((5000, 1), 20, "float16"), np.zeros((5000, 1), "float16")
    stream, weight = fnn.streaming(error), np.ones(5000)
    assert error(pred, target) == error(pred, target, weight=weight) == 20
    for by in (None, weight):
        assert stream.value(stream.add(stream.start(), pred, target, by)) == 20
