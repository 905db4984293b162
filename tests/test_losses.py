"""Losses: values by loops, weights, dtypes, purity, and inputs at the edge of the numbers."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import CASES, DEFINITIONS, NAMES, example, softmax

from fnn.errors import DataError
from fnn.losses import (
    LOSSES,
    Loss,
    absolute_error,
    cross_entropy,
    nll,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_dense,
    squared_error,
)


def by_loops(name, pred, target, weight):
    """Compute the value entry by entry from its definition."""
    definition, n = DEFINITIONS[name], len(pred)
    weight = np.ones(n) if weight is None else weight
    total = 0.0
    for i in range(n):
        if definition.takes == "numbers":
            pairs = zip(pred[i].reshape(-1), target[i].reshape(-1), strict=True)
        else:
            rows = pred[i].reshape(-1, pred.shape[-1])
            wanted = target[i].reshape(-1 if definition.takes == "labels" else rows.shape)
            pairs = zip(rows, wanted, strict=True)
        values = [definition.value(x, t) for x, t in pairs]
        total += weight[i] * (np.sum(values) if definition.is_sum else np.mean(values))
    return total if definition.is_sum else total / weight.sum()


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_value_is_its_definition_computed_by_loops(name, shape, weighted):
    pred, target, weight = example(name, shape)
    weight = weight if weighted else None
    value, dpred = LOSSES[name](pred, target, weight=weight)
    assert value == pytest.approx(by_loops(name, pred, target, weight), rel=1e-13)
    assert dpred.shape == pred.shape


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_float32_stays_float32_and_agrees_with_float64(name, shape):
    pred, target, weight = example(name, shape, "float32")
    for given_weight in (None, weight):
        value, dpred = LOSSES[name](pred, target, weight=given_weight)
        exact, dexact = LOSSES[name](pred.astype("float64"), target, weight=given_weight)
        assert type(value) is np.float32
        assert dpred.dtype == np.float32
        assert type(exact) is np.float64
        assert dexact.dtype == np.float64
        assert value == pytest.approx(exact, rel=2e-6, abs=1e-6)
        np.testing.assert_allclose(dpred, dexact, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_of_two_counts_an_example_twice(name):
    pred, target, _ = example(name, (4, 3))
    twice = np.array([0, 1, 2, 3, 3])
    value, dpred = LOSSES[name](pred, target, weight=np.array([1, 1, 1, 2]))
    expected, dexpected = LOSSES[name](pred[twice], target[twice])
    assert value == pytest.approx(expected, rel=1e-14)
    dexpected[3] += dexpected[4]
    np.testing.assert_allclose(dpred, dexpected[:4], rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("name", NAMES)
def test_equal_weights_are_no_weights(name):
    pred, target, _ = example(name, (4, 3))
    value, dpred = LOSSES[name](pred, target)
    same, dsame = LOSSES[name](pred, target, weight=np.ones(4, bool))
    assert same == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(dsame, dpred, rtol=1e-14)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"half_squared_error"}))
@pytest.mark.parametrize("scale", [1e-320, 1e-60, 1e60, 1e300])
def test_the_scale_of_weights_cancels_even_beyond_the_range_of_float32(name, scale):
    pred, target, _ = example(name, (4, 3), "float32")
    value, dpred = LOSSES[name](pred, target, weight=np.full(4, scale))
    expected, dexpected = LOSSES[name](pred, target)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(dpred, dexpected, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_of_weight_zero_counts_for_nothing_even_if_it_is_nan(name):
    pred, target, _ = example(name, (4, 3))
    bad = pred.copy()
    bad[2] = np.nan
    value, dpred = LOSSES[name](bad, target, weight=np.array([1.0, 2, 0, 1]))
    expected, dexpected = LOSSES[name](pred, target, weight=np.array([1.0, 2, 0, 1]))
    assert value == expected
    np.testing.assert_array_equal(dpred, dexpected)
    assert not dpred[2].any()


@given(st.data())
def test_the_mean_over_batches_weighed_by_their_sizes_is_the_mean_of_the_whole(data):
    name = data.draw(st.sampled_from([name for name in NAMES if name != "half_squared_error"]))
    inner = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    n, cut = data.draw(st.integers(2, 6)), data.draw(st.integers(1, 5))
    cut = min(cut, n - 1)
    pred, target, weight = example(name, (n, *inner), seed=data.draw(st.integers(0, 99)))
    value, dpred = LOSSES[name](pred, target, weight=weight)
    parts = [slice(0, cut), slice(cut, n)]
    shares = [weight[part].sum() / weight.sum() for part in parts]
    results = [LOSSES[name](pred[part], target[part], weight=weight[part]) for part in parts]
    mean = sum(share * result[0] for share, result in zip(shares, results, strict=True))
    assert value == pytest.approx(mean, rel=1e-12)
    joined = np.concatenate([share * result[1] for share, result in zip(shares, results, strict=True)])
    np.testing.assert_allclose(dpred, joined, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighted", [False, True])
def test_arguments_stay_untouched_and_the_gradient_is_fresh(name, weighted):
    arrays = example(name, (4, 2, 3))
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    _, dpred = LOSSES[name](*arrays[:2], weight=arrays[2] if weighted else None)
    assert dpred.flags.writeable
    assert not any(np.shares_memory(dpred, array) for array in arrays)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 3)])
def test_every_memory_layout_gives_the_same_loss(name, shape):
    pred, target, weight = example(name, shape)
    value, dpred = LOSSES[name](pred, target, weight=weight)
    strided = np.repeat(pred, 2, axis=0)[::2]
    for layout in (np.asfortranarray(pred), strided, pred[::-1].copy()[::-1]):
        other, dother = LOSSES[name](layout, np.asfortranarray(target), weight=weight)
        assert other == pytest.approx(value, rel=1e-14)
        np.testing.assert_allclose(dother, dpred, rtol=1e-13, atol=1e-17)


# --- extreme inputs ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e2, 1e10, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_up_to_1e30_give_finite_losses_and_gradients(size, dtype):
    logits = np.array([[1, -1, 0], [-1, 1, 1], [0, 0, 0], [-1, -1, -1]], dtype) * dtype_of(dtype)(size)
    with np.errstate(all="raise"):  # The losses must not depend on what the caller has set.
        for loss, target in (
            (softmax_cross_entropy, np.array([1, 0, 2, 0])),
            (softmax_cross_entropy_dense, np.eye(3)[[1, 0, 2, 0]]),
            (sigmoid_cross_entropy, np.eye(3)[[1, 0, 2, 0]]),
            (squared_error if size < 1e19 or dtype == "float64" else absolute_error, np.zeros((4, 3))),
        ):
            for weight in (None, np.arange(4)):
                value, dpred = loss(logits, target, weight=weight)
                assert np.isfinite(value)
                assert np.isfinite(dpred).all()
    value, dpred = softmax_cross_entropy(logits, np.array([1, 0, 2, 0]))
    exact = (2 * size + 2 * size + np.log(2) + 2 * np.log(3)) / 4
    assert value == pytest.approx(exact, rel=1e-6)
    np.testing.assert_allclose(dpred[0], [0.25, -0.25, 0], atol=1e-7)


def dtype_of(name):
    return np.dtype(name).type


REFUSED = {("cross_entropy", np.inf), ("cross_entropy", -np.inf), ("nll", np.inf)}


@pytest.mark.parametrize(
    ("name", "bad"),
    [pair for pair in itertools.product(NAMES, [np.nan, np.inf, -np.inf]) if pair not in REFUSED],
)
def test_predictions_that_are_not_finite_never_warn(name, bad):
    pred, target, weight = example(name, (3, 4), "float32")
    pred[1] = bad
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        value, dpred = LOSSES[name](pred, target, weight=weight)
        value, dpred = LOSSES[name](pred, target)
    assert not np.isfinite(value)
    assert np.isnan(value) or not np.isnan(bad)
    assert dpred.shape == pred.shape


def test_a_class_masked_with_minus_infinity_costs_nothing():
    logits = np.array([[0.5, -np.inf, 1.0]])
    expected, dexpected = softmax_cross_entropy(logits[:, [0, 2]], np.array([1]))
    for loss, target in (
        (softmax_cross_entropy, np.array([2])),
        (softmax_cross_entropy_dense, np.array([[0, 0, 1]])),
    ):
        value, dpred = loss(logits, target)
        assert value == pytest.approx(expected)
        np.testing.assert_allclose(dpred[:, [0, 2]], dexpected)
        assert dpred[0, 1] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_probability_of_zero_has_a_finite_loss_with_its_own_gradient(dtype):
    tiny = float(np.finfo(dtype).tiny)
    label = np.array([0])
    for p in (0.0, tiny / 4, tiny / 2):
        value, dpred = cross_entropy(np.array([[p, 1 - p]], dtype), label)
        assert value == pytest.approx(-np.log(tiny) + (tiny - p) / tiny, rel=1e-6)
        np.testing.assert_allclose(dpred, [[-1 / tiny, 0]], rtol=1e-6)
    inside = np.array([[tiny / 2, 1.0]])
    if dtype == "float64":
        pred = inside + 1j * np.array([[tiny * 2.0**-20, 0]])
        slope = cross_entropy(pred, label)[0].imag / (tiny * 2.0**-20)
        assert slope == pytest.approx(-1 / tiny)


def test_rounding_above_one_or_zero_is_forgiven_but_logits_are_told():
    label = np.array([0])
    assert cross_entropy(np.array([[1.0005, 0.0]]), label)[0] < 0
    assert nll(np.array([[1e-4, -9.0]]), label)[0] < 0
    logits = np.array([[0.2, 0.3], [3.0, -2.0]])
    with pytest.raises(DataError) as error:
        cross_entropy(logits, np.array([0, 0]))
    assert str(error.value) == (
        "cross_entropy: probabilities[1, 0] = 3.0 is not in [0, 1]; logits go to softmax_cross_entropy"
    )
    with pytest.raises(DataError, match=r"probabilities\[0, 1\] = -0.5 is not in"):
        cross_entropy(np.array([[0.2, -0.5]]), label)
    with pytest.raises(DataError) as error:
        nll(-logits, np.array([0, 0]))
    assert str(error.value) == (
        "nll: log_probabilities[1, 1] = 2.0 is above 0; logits go to softmax_cross_entropy"
    )


def test_softmax_then_cross_entropy_is_softmax_cross_entropy():
    logits, labels, weight = example("softmax_cross_entropy", (5, 2, 3))
    value, _ = softmax_cross_entropy(logits, labels, weight=weight)
    p = softmax(logits)
    assert cross_entropy(p, labels, weight=weight)[0] == pytest.approx(value, rel=1e-14)
    assert nll(np.log(p), labels, weight=weight)[0] == pytest.approx(value, rel=1e-14)
    dense, _ = softmax_cross_entropy_dense(logits, np.eye(3)[labels], weight=weight)
    assert dense == pytest.approx(value, rel=1e-14)


@given(st.integers(0, 99), st.floats(-1e3, 1e3))
def test_adding_a_constant_to_all_logits_changes_nothing(seed, shift):
    logits, labels, _ = example("softmax_cross_entropy", (3, 4), seed=seed)
    value, dlogits = softmax_cross_entropy(logits, labels)
    moved, dmoved = softmax_cross_entropy(logits + shift, labels)
    assert moved == pytest.approx(value, abs=1e-11)
    np.testing.assert_allclose(dmoved, dlogits, atol=1e-12)
    np.testing.assert_allclose(dlogits.sum(-1), 0, atol=1e-15)


def test_losses_fit_the_protocol():
    losses: list[Loss] = [LOSSES[name] for name in LOSSES]
    assert all(callable(loss) for loss in losses)
