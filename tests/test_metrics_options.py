"""Weights, chosen classes and 0/0 in metrics, beside scikit-learn's, and as laws."""

import warnings

import numpy as np
import pytest

import fnn
from fnn.metrics import binary_accuracy_at

RNG = np.random.default_rng(0)
LAWS = [
    fnn.accuracy,
    fnn.top_k(2),
    fnn.binary_accuracy,
    binary_accuracy_at(0.3),
    fnn.categorical_accuracy,
]


def example(metric, shape, rng):
    pred = rng.random(shape)
    if metric in (fnn.accuracy, LAWS[1]):
        return pred, rng.integers(0, shape[-1], shape[:-1])
    return pred, rng.integers(0, 2, shape)


@pytest.mark.parametrize("metric", LAWS, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize("shape", [(7, 4), (5, 2, 3)])
def test_a_weight_of_two_counts_an_example_twice_and_one_of_zero_not_at_all(metric, shape):
    pred, target = example(metric, shape, np.random.default_rng(1))
    counts = RNG.integers(0, 4, shape[0])
    counts[0] = 2
    again = np.repeat(np.arange(shape[0]), counts)
    want = metric(pred[again], target[again])
    assert metric(pred, target, weight=counts) == pytest.approx(want, rel=1e-14)
    assert metric(pred, target, weight=np.full(shape[0], 0.1)) == pytest.approx(metric(pred, target))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(6), r"expected weight of shape \(7,\), got \(6,\)"),
        (np.zeros(7), "a finite sum above 0"),
        (-np.ones(7), r"weight\[0\] = -1.0 is not"),
    ],
)
@pytest.mark.parametrize("metric", [*LAWS, fnn.confusion_matrix, fnn.classification_report])
def test_bad_weights_are_refused(metric, weight, message):
    name = metric if metric in LAWS else fnn.accuracy
    pred, target = example(name, (7, 4), np.random.default_rng(1))
    with pytest.raises(fnn.FnnError, match=rf"^{metric.__name__}: .*{message}"):
        metric(pred, target, weight=weight)


def drawn(seed):
    """Return labels and predictions in which a class may be missing, and weights."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 6))
    there = rng.permutation(k)[: rng.integers(1, k + 1)]
    return k, rng.choice(there, 12), rng.choice(rng.permutation(k)[: rng.integers(1, k + 1)], 12), rng


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("weighted", [False, True])
def test_the_confusion_matrix_agrees_with_scikit_learns(seed, weighted):
    theirs = pytest.importorskip("sklearn.metrics")
    k, true, pred, rng = drawn(seed)
    weight = rng.random(12) if weighted else None
    chosen = [None, rng.permutation(k)[: rng.integers(1, k + 1)].tolist()]
    for classes in chosen:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It warns of matrices with a single class.
            labels = range(k) if classes is None else classes
            if not np.isin(labels, true).any():
                continue  # That it refuses.
            want = theirs.confusion_matrix(true, pred, labels=list(labels), sample_weight=weight)
        got = fnn.confusion_matrix(pred, true, n_classes=k, classes=classes, weight=weight)
        np.testing.assert_allclose(got, want, rtol=1e-14)
        assert got.dtype == (np.float64 if weighted else np.int64)


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("zero_division", [0.0, 1.0, np.nan])
def test_reports_agree_with_scikit_learns(seed, weighted, zero_division):
    theirs = pytest.importorskip("sklearn.metrics")
    k, true, pred, rng = drawn(seed)
    weight = rng.random(12) if weighted else None
    for classes in (None, rng.permutation(k)[: rng.integers(1, k + 1)].tolist()):
        labels = list(range(k)) if classes is None else classes
        report = fnn.classification_report(
            pred, true, n_classes=k, classes=classes, weight=weight, zero_division=zero_division
        )
        options = {"labels": labels, "sample_weight": weight, "zero_division": zero_division}
        own = theirs.precision_recall_fscore_support(true, pred, **options)
        for ours, each in zip((report.precision, report.recall, report.f1), own, strict=False):
            np.testing.assert_allclose(ours, each, rtol=1e-12)
        np.testing.assert_allclose(report.support, own[3], rtol=1e-12)
        macro = theirs.precision_recall_fscore_support(true, pred, average="macro", **options)
        shown = report.macro.precision, report.macro.recall, report.macro.f1
        np.testing.assert_allclose(shown, np.array(macro[:3], float), rtol=1e-12)
        each = theirs.precision_recall_fscore_support(true, pred, average="weighted", **options)
        shown = report.weighted.precision, report.weighted.recall, report.weighted.f1
        np.testing.assert_allclose(shown, np.array(each[:3], float), rtol=1e-12)
        accuracy = theirs.accuracy_score(true, pred, sample_weight=weight)
        assert report.accuracy == pytest.approx(accuracy, rel=1e-14)


def test_what_would_be_zero_over_zero_is_what_was_asked_for():
    true, pred = np.array([0, 0, 1]), np.array([0, 1, 1])
    for value in (0, 1, np.nan):
        report = fnn.classification_report(pred, true, n_classes=3, zero_division=value)
        np.testing.assert_array_equal([report.precision[2], report.recall[2], report.f1[2]], value)
    assert report.macro.precision == pytest.approx((1 + 0.5) / 2)  # The class of nan is left out.
    assert "nan" in str(report)


def test_a_report_of_some_classes_names_them_and_averages_over_them_alone():
    true, pred = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 2, 1, 2, 1, 2])
    report = fnn.classification_report(pred, true, classes=[2, 0])
    assert report.classes == (2, 0)
    np.testing.assert_allclose(report.precision, [2 / 3, 1])
    assert report.macro.precision == pytest.approx(5 / 6)
    assert report.accuracy == pytest.approx(4 / 6)
    rows = [line.split() for line in str(report).splitlines()[2:4]]
    assert [(row[0], row[-1]) for row in rows] == [("2", "3"), ("0", "2")]


def test_a_table_of_weighted_examples_shows_sums_of_weights():
    true, pred = np.array([0, 1]), np.array([0, 1])
    table = str(fnn.classification_report(pred, true, weight=np.array([0.5, 1.25])))
    assert [line.split()[-1] for line in table.splitlines()[2:4]] == ["0.5", "1.25"]
    assert table.splitlines()[-1].split()[-1] == "1.75"


@pytest.mark.parametrize("metric", [fnn.confusion_matrix, fnn.classification_report])
@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 3], r"distinct classes in \[0, 3\), got \[0, 3\]"),
        ([1, 1], r"distinct classes in \[0, 3\), got \[1, 1\]"),
        ([], "distinct classes"),
        ([-1], "expected 0 or more, got -1"),
        (["a"], "expected an integer"),
        ("01", "expected integers, got '01'"),
        (2, "expected integers, got 2"),
    ],
)
def test_classes_that_are_not_there_are_refused(metric, classes, message):
    labels = np.array([0, 1, 2])
    with pytest.raises(fnn.OptionError, match=f"{metric.__name__}: classes: {message}|{message}"):
        metric(labels, labels, classes=classes)


@pytest.mark.parametrize("value", ["warn", 0.5, None, True, -1])
def test_another_zero_division_is_refused(value):
    labels = np.array([0, 1, 2])
    with pytest.raises(fnn.OptionError, match="zero_division: expected 0, 1 or nan, got"):
        fnn.classification_report(labels, labels, zero_division=value)


def test_metrics_of_members_take_the_weights_too():
    pred = RNG.random((6, 2, 3))
    labels, weight = RNG.integers(0, 3, 6), RNG.random(6)
    for i, metric in enumerate(fnn.ensemble.member_metrics(fnn.accuracy, 2).values()):
        want = fnn.accuracy(pred[:, i], labels, weight=weight)
        assert metric(pred, labels, weight=weight) == want
