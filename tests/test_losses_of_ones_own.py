"""Losses made of others and of functions."""

import pickle

import numpy as np
import pytest
from loss_cases import NAMES, along, example

from fnn.errors import DTypeError, OptionError, ShapeError
from fnn.losses import (
    LOSSES,
    half_squared_error,
    make_loss,
    softmax_cross_entropy,
    squared_error,
    summed,
)


@pytest.mark.parametrize("weighted", [False, True])
def test_summed_multiplies_by_the_weights_sum(weighted):
    pred, target, weight = example("softmax_cross_entropy", (6, 3), "float32")
    weight = weight if weighted else None
    total = 6 if weight is None else weight.sum()
    value, dpred = softmax_cross_entropy(pred, target, weight=weight)
    big, dbig = summed(softmax_cross_entropy)(pred, target, weight=weight)
    assert type(big) is np.float32
    assert dbig.dtype == np.float32
    assert big == pytest.approx(value * total, rel=1e-6)
    np.testing.assert_allclose(dbig, dpred * total, rtol=1e-6)


def test_summed_knows_its_name_pickles_and_refuses_sums():
    loss = summed(squared_error)
    assert loss.__name__ == "summed(squared_error)"
    assert pickle.loads(pickle.dumps(loss)) == loss
    with pytest.raises(OptionError, match="half_squared_error is a sum already"):
        summed(half_squared_error)
    with pytest.raises(OptionError, match="a sum already"):
        summed(loss)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_carries_its_name_and_pickles(name):
    assert LOSSES[name].__name__ == name
    assert pickle.loads(pickle.dumps(LOSSES[name])) == LOSSES[name]


def _log_cosh(pred, target):
    d = pred - target
    return np.log(np.cosh(d)), np.tanh(d)


def test_a_loss_of_ones_own_takes_three_lines_and_is_as_safe_as_the_others():
    loss = make_loss("log_cosh", _log_cosh)
    pred, target, weight = example("squared_error", (4, 2, 3))
    value, dpred = loss(pred, target, weight=weight)
    expected = np.average(np.log(np.cosh(pred - target)).mean((1, 2)), weights=weight)
    assert value == pytest.approx(expected, rel=1e-14)
    direction = np.random.default_rng(2).normal(size=pred.shape)
    slope = along(loss, pred, target, weight, direction)
    assert slope == pytest.approx(np.sum(dpred * direction), rel=1e-12)
    assert loss.__name__ == "log_cosh"
    assert pickle.loads(pickle.dumps(loss)) == loss
    with pytest.raises(
        ShapeError, match=r"log_cosh: expected target of shape \(4, 2, 3\), got \(4, 6\)"
    ):
        loss(pred, target.reshape(4, 6))


def test_a_loss_of_ones_own_may_return_its_arguments_or_wider_numbers():
    pred = np.ones((3, 2), "float32")
    loss = make_loss("odd", lambda p, t: (p, np.ones((3, 2))))
    value, dpred = loss(pred, pred, weight=np.array([1, 0, 2]))
    assert type(value) is np.float32
    assert dpred.dtype == np.float32
    np.testing.assert_array_equal(pred, 1)
    value, dpred = make_loss("odd", lambda p, t: (p, p))(pred, pred)
    assert not np.shares_memory(dpred, pred)


def test_a_loss_of_ones_own_that_returns_nonsense_is_told():
    pred = np.ones((3, 2))
    with pytest.raises(ShapeError, match=r"odd: expected l of pred's shape \(3, 2\), got \(\)"):
        make_loss("odd", lambda p, t: (p.sum(), p))(pred, pred)
    with pytest.raises(ShapeError, match=r"odd: expected dl of pred's shape \(3, 2\), got \(2,\)"):
        make_loss("odd", lambda p, t: (p, p[0]))(pred, pred)
    with pytest.raises(DTypeError, match="odd: expected dl in float64, got complex128"):
        make_loss("odd", lambda p, t: (p, 1j * p))(pred, pred)
