"""Losses with absolute values and kinks: proved by differences where they say so, and told how to."""

from __future__ import annotations

import numpy as np
import pytest

import fnn
from fnn.testing import LawError, check_loss, mutation_score


def absolute(pred, target):
    return np.abs(pred - target), np.sign(pred - target)


def huber(pred, target):
    d = pred - target
    a = np.abs(d)
    return np.where(a <= 1, 0.5 * d * d, a - 0.5), np.clip(d, -1, 1)


def quantile(pred, target):
    """The pinball loss at 0.9 (Koenker & Bassett, 1978)."""
    d = pred - target
    return np.maximum(-0.9 * d, 0.1 * d), np.where(d > 0, 0.1, -0.9).astype(pred.dtype)


def smooth_absolute(pred, target):
    return np.hypot(pred - target, 0.1), (pred - target) / np.hypot(pred - target, 0.1)


KINKED = {
    "mean absolute": absolute,
    "Huber's": huber,
    "quantile": quantile,
    "hypotenuse": smooth_absolute,
}


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_losses_with_absolute_values_pass_where_they_say_so(name, dtype):
    loss = fnn.make_loss("own", KINKED[name], complex_safe=False)
    report = check_loss(loss, dtype=dtype)
    assert any("declared not complex-safe: judged by central differences" in n for n in report.notes)
    check_loss(fnn.summed(loss), dtype=dtype)


@pytest.mark.parametrize("name", ["mean absolute", "Huber's"])
def test_whoever_does_not_say_so_is_told_how_to(name):
    with pytest.raises(LawError, match=r"make_loss\(\.\.\., complex_safe=False\) says so"):
        check_loss(fnn.make_loss("own", KINKED[name]))


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("factor", [1 + 1e-5, 2.0, -1.0, 0.0])
def test_a_wrong_gradient_is_refused_by_differences(name, factor):
    def wrong(pred, target):
        value, dpred = KINKED[name](pred, target)
        return value, factor * dpred

    with pytest.raises(LawError, match="is not the central difference"):
        check_loss(fnn.make_loss("own", wrong, complex_safe=False))


def test_a_gradient_with_the_kink_in_another_place_is_refused():
    def wrong(pred, target):
        return huber(pred, target)[0], np.clip(pred - target, -1.5, 1.5)

    with pytest.raises(LawError, match="is not the central difference"):
        check_loss(fnn.make_loss("own", wrong, complex_safe=False))


def test_no_wrong_version_of_a_mean_absolute_error_passes():
    loss = fnn.make_loss("absolute", absolute, complex_safe=False)
    assert mutation_score(loss, check_loss, subject="absolute").survivors == ()
