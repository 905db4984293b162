"""Errors, R², areas under curves, calibration and perplexity: by hand, by loops and by scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fnn
from fnn.metrics import binary_calibration_error_in, calibration_error_in

ERRORS = [fnn.mean_absolute_error, fnn.mean_squared_error, fnn.root_mean_squared_error, fnn.r2]
AREAS = [fnn.roc_auc, fnn.average_precision]
CURVES = [fnn.roc_curve, fnn.precision_recall_curve]


def weights(rng, n, weighted):
    weight = rng.random(n)
    weight[::5] = 0
    return weight if weighted else None


# --- by hand


def test_errors_of_a_small_example_are_right_by_hand():
    pred, target = np.array([1.0, 2.0, 5.0]), np.array([1, 4, 4])
    assert fnn.mean_absolute_error(pred, target) == 1
    assert fnn.mean_squared_error(pred, target) == 5 / 3
    assert fnn.root_mean_squared_error(pred, target) == math.sqrt(5 / 3)
    assert fnn.r2(pred, target) == pytest.approx(1 - 5 / 6)
    weight = np.array([0, 1, 3])
    assert fnn.mean_absolute_error(pred, target, weight=weight) == 5 / 4
    assert fnn.mean_squared_error(pred, target, weight=weight) == 7 / 4


def test_r2_is_one_for_the_truth_and_zero_for_the_mean_and_does_not_see_where_zero_is():
    rng = np.random.default_rng(0)
    target, weight = rng.normal(size=(30, 2)), rng.random(30)
    mean = np.broadcast_to(np.average(target, axis=0, weights=weight), target.shape)
    assert fnn.r2(target, target) == 1
    assert fnn.r2(mean, target, weight=weight) == pytest.approx(0, abs=1e-14)
    pred = target + 0.3 * rng.normal(size=target.shape)
    want = fnn.r2(pred, target)
    far, stream = 2.0**26, fnn.streaming(fnn.r2)
    total = stream.start()
    for i in range(30):
        total = stream.add(total, pred[i : i + 1] + far, target[i : i + 1] + far)
    # A sum of squares would keep none of these digits.
    assert stream.value(total) == pytest.approx(want, rel=1e-6)


def test_areas_of_a_small_example_are_right_by_hand():
    pred, target = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    assert fnn.roc_auc(pred, target) == 3 / 4
    assert fnn.average_precision(pred, target) == pytest.approx(1 / 2 + (2 / 3) / 2)
    assert fnn.roc_auc(-pred, target) == 1 / 4
    # All alike: chance, and the share of ones.
    same = np.zeros(4)
    assert (fnn.roc_auc(same, target), fnn.average_precision(same, target)) == (0.5, 0.5)
    assert fnn.roc_auc(np.array([-np.inf, 0, np.inf]), np.array([0, 1, 1])) == 1


def test_curves_of_a_small_example_are_right_by_hand():
    pred, target = np.array([0.1, 0.4, 0.35, 0.8, 0.4]), np.array([0, 0, 1, 1, 1])
    wrong, found, thresholds = fnn.roc_curve(pred, target)
    np.testing.assert_array_equal(thresholds, [np.inf, 0.8, 0.4, 0.35, 0.1])
    np.testing.assert_array_equal(wrong, [0, 0, 0.5, 0.5, 1])
    np.testing.assert_array_equal(found, np.array([0, 1, 2, 3, 3]) / 3)
    precision, recall, thresholds = fnn.precision_recall_curve(pred, target)
    np.testing.assert_array_equal(thresholds, [0.8, 0.4, 0.35, 0.1])
    np.testing.assert_array_equal(recall, found[1:])
    np.testing.assert_array_equal(precision, [1, 2 / 3, 3 / 4, 3 / 5])


@pytest.mark.parametrize("weighted", [False, True])
def test_areas_are_what_lies_under_the_curves(weighted):
    rng = np.random.default_rng(0)
    pred, target = rng.normal(size=60).round(1), rng.integers(0, 2, 60)
    weight = weights(rng, 60, weighted)
    wrong, found, _ = fnn.roc_curve(pred, target, weight=weight)
    area = np.sum(np.diff(wrong) * (found[1:] + found[:-1]) / 2)
    assert area == pytest.approx(fnn.roc_auc(pred, target, weight=weight), rel=1e-13)
    precision, recall, _ = fnn.precision_recall_curve(pred, target, weight=weight)
    area = np.sum(np.diff(recall, prepend=0) * precision)
    assert area == pytest.approx(fnn.average_precision(pred, target, weight=weight), rel=1e-13)


@pytest.mark.parametrize("metric", AREAS, ids=lambda metric: metric.__name__)
def test_only_the_order_of_the_scores_counts(metric):
    rng = np.random.default_rng(0)
    pred, target = rng.normal(size=40).round(1), rng.integers(0, 2, 40)
    assert metric(np.exp(pred), target) == metric(pred, target) == metric(pred, target == 1)
    # Of entries of several axes all are ranked together.
    assert metric(pred.reshape(10, 4), target.reshape(10, 4)) == metric(pred, target)


def test_the_roc_area_is_how_often_a_one_is_above_a_zero():
    rng = np.random.default_rng(3)
    pred, target, weight = rng.integers(0, 5, 25), rng.integers(0, 2, 25), rng.random(25)
    won = pairs = 0.0
    for i in np.flatnonzero(target == 1):
        for j in np.flatnonzero(target == 0):
            by = weight[i] * weight[j]
            won += by * ((pred[i] > pred[j]) + (pred[i] == pred[j]) / 2)
            pairs += by
    assert fnn.roc_auc(pred, target, weight=weight) == pytest.approx(won / pairs, rel=1e-13)


def test_a_calibration_error_of_a_small_example_is_right_by_hand():
    pred = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    labels = np.array([0, 0, 0, 1])
    # Above 2/3 one of two is right, said to be 0.85; below one of two, said to be 0.55.
    want = 0.5 * abs(0.5 - 0.85) + 0.5 * abs(0.5 - 0.55)
    assert calibration_error_in(3)(pred, labels) == pytest.approx(want)
    want = 0.5 * abs(0.5 - 0.85) + 0.25 * abs(1 - 0.6) + 0.25 * abs(0 - 0.5)
    assert calibration_error_in(4)(pred, labels) == pytest.approx(want)
    assert calibration_error_in(1)(pred, labels) == pytest.approx(abs(0.5 - 0.7))
    assert calibration_error_in(15)(pred, labels) == fnn.calibration_error(pred, labels)
    assert fnn.calibration_error(np.eye(3), np.arange(3)) == 0
    assert fnn.calibration_error(np.eye(3), np.array([1, 2, 0])) == 1


def test_an_edge_belongs_to_the_bin_below_it():
    said, came = np.array([0.5, 0.75, 0.0, 1.0]), np.array([1, 0, 0, 1])
    # [0, 0.5] holds 0.5 and 0.0, (0.5, 1] the others.
    want = 0.5 * abs(0.5 - 0.25) + 0.5 * abs(0.5 - 0.875)
    assert binary_calibration_error_in(2)(said, came) == pytest.approx(want)


def test_chances_that_come_true_as_often_as_said_are_calibrated():
    said = np.repeat([0.25, 0.5, 0.75], [4, 4, 4])
    came = np.array([1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0])
    assert fnn.binary_calibration_error(said, came) == 0


def test_perplexity_counts_equally_likely_classes():
    labels = np.array([[0, 3], [2, 1]])
    assert fnn.perplexity(np.zeros((2, 2, 5)), labels) == pytest.approx(5, rel=1e-14)
    sure = 50 * np.eye(4)[labels]
    assert fnn.perplexity(sure, labels) == pytest.approx(1, rel=1e-14)
    assert fnn.perplexity(-1e4 * np.eye(4)[labels], labels) == math.inf
    masked = np.array([[0.0, 0.0, -np.inf]])
    assert fnn.perplexity(masked, np.array([1])) == pytest.approx(2)
    assert fnn.perplexity(masked, np.array([2])) == math.inf
    # What does not count may be impossible.
    both = np.repeat(masked, 2, axis=0)
    assert fnn.perplexity(both, np.array([1, 2]), weight=np.array([1, 0])) == pytest.approx(2)


def test_perplexity_is_exp_of_the_loss_of_logits_and_of_log_probabilities_alike():
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.normal(size=(6, 4, 9)), rng.integers(0, 9, (6, 4))
    weight = rng.random(6)
    loss, _ = fnn.softmax_cross_entropy(logits, labels, weight=weight)
    assert fnn.perplexity(logits, labels, weight=weight) == pytest.approx(np.exp(loss), rel=1e-13)
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    assert fnn.perplexity(logs, labels) == pytest.approx(fnn.perplexity(logits, labels), rel=1e-13)


# --- scikit-learn


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(20,), (20, 3)])
def test_errors_agree_with_scikit_learns(seed, weighted, shape):
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    target = rng.normal(size=shape) * 10 ** rng.uniform(-6, 6)
    pred = target + rng.normal(size=shape) * np.std(target) * rng.uniform(0.1, 2)
    weight = weights(rng, 20, weighted)
    given = {"sample_weight": weight}
    squared = theirs.mean_squared_error(target, pred, **given)
    want = [
        theirs.mean_absolute_error(target, pred, **given),
        squared,
        math.sqrt(squared),  # Theirs is the mean of the roots of the outputs.
        theirs.r2_score(target, pred, **given),
    ]
    got = [metric(pred, target, weight=weight) for metric in ERRORS]
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_areas_agree_with_scikit_learns(seed, weighted, ties):
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    pred, target = rng.normal(size=50), rng.integers(0, 2, 50)
    target[1:3] = 0, 1
    pred = pred.round(1 if ties else 9)
    weight = weights(rng, 50, weighted)
    want = theirs.roc_auc_score(target, pred, sample_weight=weight)
    assert fnn.roc_auc(pred, target, weight=weight) == pytest.approx(want, rel=1e-13)
    want = theirs.average_precision_score(target, pred, sample_weight=weight)
    assert fnn.average_precision(pred, target, weight=weight) == pytest.approx(want, rel=1e-13)
    want = theirs.roc_auc_score(target.reshape(25, 2), pred.reshape(25, 2), average="micro")
    assert fnn.roc_auc(pred.reshape(25, 2), target.reshape(25, 2)) == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
def test_curves_agree_with_scikit_learns(seed, weighted):
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    pred, target = rng.normal(size=50).round(1), rng.integers(0, 2, 50)
    weight = weights(rng, 50, weighted)
    given = {"sample_weight": weight, "drop_intermediate": False}
    want = theirs.roc_curve(target, pred, **given)
    for a, b in zip(fnn.roc_curve(pred, target, weight=weight), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)
    # Theirs begins at the lowest threshold, and adds a point that no threshold has.
    precision, recall, thresholds = theirs.precision_recall_curve(target, pred, **given)
    want = precision[-2::-1], recall[-2::-1], thresholds[::-1]
    for a, b in zip(fnn.precision_recall_curve(pred, target, weight=weight), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bins", [1, 5, 15])
def test_binary_calibration_agrees_with_scikit_learns_curve(seed, bins):
    calibration = pytest.importorskip("sklearn.calibration")
    rng = np.random.default_rng(seed)
    said = rng.random(60)
    said[:4] = 0, 1, 0.2, 0.4
    came = (rng.random(60) < said**2).astype(int)
    true, meant = calibration.calibration_curve(came, said, n_bins=bins)
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    count = np.bincount(np.searchsorted(edges, said), minlength=bins)
    want = np.sum(count[count > 0] * np.abs(true - meant)) / 60
    assert binary_calibration_error_in(bins)(said, came) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_perplexity_agrees_with_scikit_learns_log_loss(weighted):
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(30, 5)), rng.integers(0, 5, 30)
    weight = weights(rng, 30, weighted)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    want = np.exp(theirs.log_loss(labels, p, labels=range(5), sample_weight=weight))
    assert fnn.perplexity(logits, labels, weight=weight) == pytest.approx(want, rel=1e-12)


# --- messages


@pytest.mark.parametrize("metric", [*ERRORS, *AREAS, *CURVES, fnn.binary_calibration_error])
def test_what_does_not_fit_together_is_refused_by_name(metric):
    ones, name = np.array([0.0, 1.0, 1.0]), metric.__name__
    for pred, target, kind, message in (
        (ones, ones[:2], fnn.ShapeError, r"expected target of shape \(3,\), got \(2,\)"),
        (ones[:, None], ones, fnn.ShapeError, r"expected target of shape \(3, 1\), got \(3,\)"),
        (ones[:0], ones[:0], fnn.DataError, "expected one example or more"),
        (ones + 0j, ones, fnn.DTypeError, "expected real pred, got complex128"),
        (ones, ones + 0j, fnn.DTypeError, "expected real target, got complex128"),
        (ones.tolist(), ones, fnn.DTypeError, "expected pred as an array, got list"),
        (ones * np.nan, ones, fnn.DataError, r"pred\[0\] = nan is no score"),
    ):
        with pytest.raises(kind, match=rf"^{name}: {message}"):
            metric(pred, target)


@pytest.mark.parametrize("metric", ERRORS)
def test_numbers_that_are_not_finite_have_no_error(metric):
    good, bad = np.array([0.0, 1.0]), np.array([0.0, -np.inf])
    for pred, target, name in ((bad, good, "pred"), (good, bad, "target")):
        with pytest.raises(
            fnn.DataError, match=rf"{metric.__name__}: {name}\[1\] = -inf is not finite"
        ):
            metric(pred, target)


@pytest.mark.parametrize("metric", [*AREAS, *CURVES])
def test_one_class_alone_has_no_area_and_no_curve(metric):
    pred = np.array([0.1, 0.2, 0.3])
    message = f"^{metric.__name__}: expected both zeros and ones in target, got"
    for target, weight, got in (
        (np.ones(3), None, 1),
        (np.zeros(3, bool), None, 0),
        (np.array([0, 1, 1]), np.array([0, 1, 1]), 1),
    ):
        with pytest.raises(fnn.DataError, match=f"{message} {got} for all that count"):
            metric(pred, target, weight=weight)
    with pytest.raises(fnn.DataError, match=r"target\[1\] = 2 is neither 0 nor 1"):
        metric(pred, np.array([0, 2, 1]))


def test_targets_without_spread_have_no_r2():
    pred, still = np.arange(4.0), np.full(4, 0.1)
    message = "^r2: expected targets that differ, got 0.1 for all that count"
    with pytest.raises(fnn.DataError, match=message):
        fnn.r2(pred, still)
    with pytest.raises(fnn.DataError, match=message):
        fnn.r2(pred, np.array([0.1, 0.1, 7, 8]), weight=np.array([1, 1, 0, 0]))
    pair = np.stack([pred, still], axis=1)
    with pytest.raises(fnn.DataError, match=r"expected targets of output 1 that differ, got 0\.1"):
        fnn.r2(pair, pair)
    # Batches without spread are none.
    stream = fnn.streaming(fnn.r2)
    total = stream.add(stream.start(), pred, still)
    with pytest.raises(fnn.DataError, match=message):
        stream.value(stream.add(total, pred, still))
    total = stream.add(total, pred, still + 1)
    want = fnn.r2(np.tile(pred, 2), np.repeat([0.1, 1.1], 4))
    assert stream.value(total) == pytest.approx(want, rel=1e-13)


def test_what_is_no_probability_has_no_calibration():
    labels = np.array([0, 1])
    for pred, message in (
        ([[0.5, 0.5], [1.5, -0.5]], r"pred\[1, 0\] = 1.5 is no probability, which lies in \[0, 1\]"),
        ([[0.5, 0.5], [0.5, 0.1]], r"sum of pred\[1\] = 0.6 is not 1, as of probabilities"),
    ):
        with pytest.raises(fnn.DataError, match=f"^calibration_error: {message}"):
            fnn.calibration_error(np.array(pred), labels)
    with pytest.raises(fnn.DataError, match=r"^binary_calibration_error: pred\[0\] = -0.5 is no prob"):
        fnn.binary_calibration_error(np.array([-0.5, 0.5]), labels)
    with pytest.raises(fnn.DataError, match=r"labels\[0\] = 2 is not in \[0, 2\)"):
        fnn.calibration_error(np.eye(2), np.array([2, 0]))
    for made in (calibration_error_in, binary_calibration_error_in):
        assert made(3) == made(3) != made(4)
        with pytest.raises(fnn.OptionError, match=f"^{made.__name__}: bins: expected 1 or more, got 0"):
            made(0)


def test_a_softmax_in_half_precision_sums_to_one_well_enough():
    scores = np.random.default_rng(0).normal(size=(50, 1000))
    p = (np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)).astype(np.float16)
    assert 0 <= fnn.calibration_error(p, np.zeros(50, int)) <= 1


def test_a_row_of_logits_says_something():
    labels = np.array([0, 1])
    for pred, message in (
        ([[0, 0], [np.inf, 0]], r"pred\[1, 0\] = inf is no logit"),
        ([[0, 0], [-np.inf, -np.inf]], r"highest of pred\[1\] = -inf leaves no class possible"),
        ([[0, np.nan], [0, 0]], r"pred\[0, 1\] = nan is no score"),
    ):
        with pytest.raises(fnn.DataError, match=f"^perplexity: {message}"):
            fnn.perplexity(np.array(pred, float), labels)
    with pytest.raises(fnn.ShapeError, match=r"^perplexity: expected labels of shape \(1, 2\)"):
        fnn.perplexity(np.zeros((1, 2, 2)), labels)


def test_they_measure_networks_in_evaluation_and_in_training():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    data = fnn.Dataset(x, x @ np.ones((3, 1)), weight=rng.random(40), dtype="float64")
    result = fnn.fit(
        fnn.Dense(1), fnn.squared_error, fnn.sgd(0.3), data, epochs=40, batch_size=20,
        key=fnn.Key.of(0), metrics=ERRORS, validation=data, progress=False, dtype="float64",
    )  # fmt: skip
    assert result.history[-1]["validation_r2"] > 0.999
    last = result.history[-1]["validation_mean_squared_error"]
    assert last == pytest.approx(result.history[-1]["validation_loss"], rel=1e-12)
