"""Metrics: closed forms by loops, scikit-learn, PyTorch, uneven batches and messages."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.metrics import (
    METRICS,
    Metric,
    accuracy,
    binary_accuracy,
    binary_accuracy_at,
    categorical_accuracy,
    classification_report,
    confusion_matrix,
    top_k,
)


def example(n=50, n_classes=4, seed=0, *, ties=True):
    """Return scores, with many ties if wanted, and labels."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, n_classes)).astype("float32")
    return (scores.round() if ties else scores), rng.integers(0, n_classes, n)


@st.composite
def classified(draw):
    """Draw scores from few values, so that ties are common, and labels; some classes may be absent."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=5))
    scores = draw(hnp.arrays("float64", shape, elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])))
    labels = draw(hnp.arrays("int64", shape[:-1], elements=st.integers(0, shape[-1] - 1)))
    return scores, labels


# --- closed forms ---------------------------------------------------------------------------------


@given(classified())
def test_accuracies_are_their_definitions_computed_by_loops(example):
    scores, labels = example
    rows, flat = scores.reshape(-1, scores.shape[-1]).tolist(), labels.reshape(-1).tolist()
    pairs = list(zip(rows, flat, strict=True))
    assert accuracy(scores, labels) == sum(row.index(max(row)) == i for row, i in pairs) / len(pairs)
    for k in range(1, scores.shape[-1] + 1):
        # Stable sorting by falling score: equal ones stay in the order of their classes.
        right = [i in sorted(range(len(row)), key=lambda j, row=row: -row[j])[:k] for row, i in pairs]
        assert top_k(k)(scores, labels) == sum(right) / len(pairs)
    assert top_k(1)(scores, labels) == accuracy(scores, labels)
    assert top_k(scores.shape[-1])(scores, labels) == 1
    one_hot = np.eye(scores.shape[-1])[labels]
    assert categorical_accuracy(scores, one_hot) == accuracy(scores, labels)


@given(classified())
def test_the_confusion_matrix_counts_pairs_of_true_and_predicted(example):
    scores, labels = example
    expected = np.zeros((scores.shape[-1],) * 2, int)
    for true, predicted in zip(labels.reshape(-1), scores.argmax(-1).reshape(-1), strict=True):
        expected[true, predicted] += 1
    counts = confusion_matrix(scores, labels)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, expected)
    by_class = confusion_matrix(scores.argmax(-1), labels, n_classes=scores.shape[-1])
    np.testing.assert_array_equal(by_class, expected)
    assert counts.trace() / counts.sum() == accuracy(scores, labels)


def test_rows_are_true_and_columns_predicted():
    counts = confusion_matrix(np.array([1, 1, 2], "uint8"), np.array([0, 1, 1], "int32"))
    np.testing.assert_array_equal(counts, [[0, 1, 0], [0, 1, 1], [0, 0, 0]])
    assert confusion_matrix(np.array([1]), np.array([0]), n_classes=4).shape == (4, 4)


def test_of_equal_scores_the_first_counts_as_the_highest():
    scores = np.array([[1.0, 1.0, 0.0]] * 3)
    labels = np.array([0, 1, 2])
    assert accuracy(scores, labels) == 1 / 3
    assert top_k(1)(scores, labels) == 1 / 3
    assert top_k(2)(scores, labels) == 2 / 3


def test_a_probability_of_exactly_one_half_is_a_no():
    pred = np.array([[0.5], [0.5], [0.51], [0.2]])
    target = np.array([[0], [1], [1], [1]])
    assert binary_accuracy(pred, target) == 0.5
    assert binary_accuracy(pred, target.astype(bool)) == 0.5
    assert binary_accuracy(pred, target.astype("float32")) == 0.5
    assert binary_accuracy_at(0.1)(pred, target) == 0.75
    assert binary_accuracy_at(0)(np.array([-1.0, 0.0, 1.0]), np.array([0, 0, 1])) == 1


ACCURACIES = sorted(name for name in METRICS if name.endswith("accuracy"))


@pytest.mark.parametrize("name", ACCURACIES)
def test_metrics_are_python_floats_and_exact_over_uneven_batches(name):
    scores, labels = example(101, 7)
    if name == "binary_accuracy":
        labels = (scores > 1).astype(int) ^ (np.arange(7) == 2)
    elif name == "categorical_accuracy":
        labels = np.eye(7)[labels]
    metric = METRICS[name]
    whole = metric(scores, labels)
    assert type(whole) is float
    assert 0 < whole < 1
    parts = [slice(0, 64), slice(64, 100), slice(100, 101)]
    counted = [metric(scores[part], labels[part]) * len(scores[part]) for part in parts]
    assert sum(counted) / 101 == pytest.approx(whole, rel=1e-15)


def test_the_report_of_a_small_example_is_right_by_hand():
    report = classification_report(
        np.array([0, 0, 1, 1, 1, 3]), np.array([0, 1, 1, 1, 0, 0]), n_classes=5
    )
    np.testing.assert_array_equal(report.support, [3, 3, 0, 0, 0])
    np.testing.assert_array_equal(report.precision, [1 / 2, 2 / 3, 0, 0, 0])
    np.testing.assert_array_equal(report.recall, [1 / 3, 2 / 3, 0, 0, 0])
    np.testing.assert_array_equal(report.f1, [2 / 5, 2 / 3, 0, 0, 0])
    assert report.accuracy == 0.5
    assert report.macro.precision == pytest.approx((1 / 2 + 2 / 3) / 5)
    assert report.macro.recall == pytest.approx(1 / 5)
    assert report.weighted.recall == pytest.approx(0.5)
    assert report.weighted.f1 == pytest.approx((2 / 5 + 2 / 3) / 2)


def test_a_report_is_a_value():
    report = classification_report(*example())
    assert report == classification_report(*example())
    assert report != classification_report(*example(seed=1))
    assert pickle.loads(pickle.dumps(report)) == report
    with pytest.raises(ValueError, match="read-only"):
        report.f1[0] = 1
    with pytest.raises(AttributeError):
        report.accuracy = 1.0


# --- the table --------------------------------------------------------------------------------------


def test_the_table_reads_well():
    pred, labels = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 2])
    report = classification_report(pred, labels)
    expected = """
                  precision  recall      F1  support
----------------------------------------------------
cat                  0.5000  0.5000  0.5000        2
dog                  0.6667  0.6667  0.6667        3
hippopotamus         1.0000  1.0000  1.0000        1
----------------------------------------------------
accuracy                             0.6667        6
macro average        0.7222  0.7222  0.7222        6
weighted average     0.6667  0.6667  0.6667        6"""
    assert report.table(names=["cat", "dog", "hippopotamus"]) == expected[1:]
    assert str(report) == report.table()
    assert str(report).splitlines()[2].startswith("0    ")


def test_every_line_of_the_table_is_equally_long_whatever_stands_in_it():
    report = classification_report(*example())
    for names in (None, ["a", "b", "c", "a very long name of a class"], [1, 2, 3, 4]):
        for digits in (1, 4, 12):
            lines = report.table(names=names, digits=digits).splitlines()
            assert len({len(line) for line in lines}) == 1
            assert len(lines) == 4 + 3 + 1 + 2
    with pytest.raises(OptionError, match="table: names: expected 4, got 3"):
        report.table(names=["a", "b", "c"])
    with pytest.raises(OptionError, match="table: digits: expected 1 or more, got 0"):
        report.table(digits=0)


# --- oracles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_accuracies_agree_with_scikit_learn(seed):
    theirs = pytest.importorskip("sklearn.metrics")
    scores, labels = example(200, 6, seed, ties=False)
    assert accuracy(scores, labels) == theirs.accuracy_score(labels, scores.argmax(1))
    for k in range(1, 6):
        expected = theirs.top_k_accuracy_score(labels, scores, k=k, labels=range(6))
        assert top_k(k)(scores, labels) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("n_classes", [2, 6, 10])
@pytest.mark.parametrize("absent", [False, True])
def test_reports_agree_with_scikit_learn_also_where_classes_never_occur(n_classes, absent):
    theirs = pytest.importorskip("sklearn.metrics")
    scores, labels = example(80, n_classes)
    if absent:
        labels[labels == n_classes - 1] = 0
        scores[:, n_classes // 2] = -9
    classes, predicted = range(n_classes), scores.argmax(1)
    counts = theirs.confusion_matrix(labels, predicted, labels=classes)
    np.testing.assert_array_equal(confusion_matrix(scores, labels), counts)
    report = classification_report(scores, labels)
    options = {"labels": classes, "zero_division": 0}
    expected = theirs.precision_recall_fscore_support(labels, predicted, **options)
    ours = (report.precision, report.recall, report.f1, report.support)
    for mine, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-15)
    for name in ("macro", "weighted"):
        average = getattr(report, name)
        other = theirs.precision_recall_fscore_support(labels, predicted, average=name, **options)
        assert (average.precision, average.recall, average.f1) == pytest.approx(other[:3], rel=1e-14)
    assert report.accuracy == theirs.accuracy_score(labels, predicted)
    assert report == classification_report(predicted, labels, n_classes=n_classes)


def test_top_k_agrees_with_pytorchs_sorting():
    torch = pytest.importorskip("torch")
    scores, labels = example(300, 8, ties=False)
    for k in (1, 3, 8):
        best = torch.tensor(scores).topk(k, dim=1).indices.numpy()
        assert top_k(k)(scores, labels) == np.mean((best == labels[:, None]).any(axis=1))


# --- names and messages ----------------------------------------------------------------------------


def test_metrics_know_their_names_compare_and_pickle():
    named = {"accuracy", "binary_accuracy", "categorical_accuracy", "top_5_accuracy"}
    assert named <= {*METRICS}
    metrics: list[Metric] = [METRICS[name] for name in METRICS]
    for name, metric in zip(METRICS, metrics, strict=True):
        assert metric.__name__ == name
        assert pickle.loads(pickle.dumps(metric)) == metric
    assert top_k(5) == METRICS["top_5_accuracy"] != top_k(4)
    assert binary_accuracy_at(0.25).__name__ == "binary_accuracy_at_0.25"


@pytest.mark.parametrize("metric", [accuracy, top_k(2), confusion_matrix, classification_report])
def test_wrong_scores_and_labels_are_refused_by_name(metric):
    scores, labels = example(5, 4)
    name = metric.__name__
    for pred, target, kind, message in (
        (scores, labels[:4], ShapeError, r"expected labels of shape \(5,\), got \(4,\)"),
        (scores, labels.astype(float), DTypeError, "expected labels of an integer dtype, got float64"),
        (scores, np.array([0, 1, 4, 0, 0]), DataError, r"labels\[2\] = 4 is not in \[0, 4\)"),
        (scores, np.array([0, -1, 4, 0, 0]), DataError, r"labels\[1\] = -1 is not in \[0, 4\)"),
        (scores[:0], labels[:0], DataError, "expected one example or more, got"),
        (scores + 0j, labels, DTypeError, "expected real pred, got complex64"),
        (scores + np.float32("nan"), labels, DataError, r"pred\[0, 0\] = nan is no score"),
        (scores.tolist(), labels, DTypeError, "expected pred as an array, got list"),
        (scores, labels.tolist(), DTypeError, "expected labels as an array, got list"),
    ):
        with pytest.raises(kind, match=rf"^{name}: {message}"):
            metric(pred, target)


@pytest.mark.parametrize("metric", [accuracy, top_k(2), categorical_accuracy])
def test_scores_without_an_axis_of_classes_are_refused(metric):
    with pytest.raises(ShapeError, match=r"of shape \(batch, ..., n_classes\), got \(3,\)"):
        metric(np.zeros(3), np.zeros(3, int))


@pytest.mark.parametrize("metric", [binary_accuracy, binary_accuracy_at(0.3), categorical_accuracy])
def test_targets_of_another_shape_than_pred_are_refused_by_name(metric):
    pred = np.ones((3, 1))
    name = metric.__name__
    for target, got in ((np.ones(3), r"\(3,\)"), (np.ones((1, 3)), r"\(1, 3\)"), ([[1]] * 3, "list")):
        with pytest.raises(ShapeError, match=rf"^{name}: expected target of shape \(3, 1\), got {got}"):
            metric(pred, target)
    with pytest.raises(DataError, match=rf"^{name}: expected one example or more"):
        metric(pred[:0], pred[:0])
    with pytest.raises(DTypeError, match=rf"^{name}: expected real target, got complex128"):
        metric(pred, pred + 0j)


def test_binary_targets_are_zeros_and_ones():
    for bad, message in ((0.5, "0.5 is neither 0 nor 1"), (np.nan, "nan is no score")):
        target = np.array([0, 1, bad])
        with pytest.raises(DataError, match=rf"^binary_accuracy: target\[2\] = {message}"):
            binary_accuracy(np.zeros(3), target)


def test_options_out_of_range_are_refused():
    scores, labels = example(5, 4)
    with pytest.raises(
        ShapeError, match=r"^top_5_accuracy: expected 5 classes or more, got .*\(5, 4\)"
    ):
        top_k(5)(scores, labels)
    with pytest.raises(OptionError, match="top_k: k: expected 1 or more, got 0"):
        top_k(0)
    with pytest.raises(OptionError, match=r"top_k: k: expected an integer, got 2\.0"):
        top_k(2.0)
    with pytest.raises(OptionError, match="threshold: expected a number"):
        binary_accuracy_at(np.nan)
    with pytest.raises(
        ShapeError, match=r"confusion_matrix: expected scores of 3 classes, got .*\(5, 4\)"
    ):
        confusion_matrix(scores, labels, n_classes=3)
    with pytest.raises(OptionError, match="n_classes: expected 1 or more, got 0"):
        confusion_matrix(scores, labels, n_classes=0)


def test_predicted_classes_are_checked_like_labels():
    labels = np.array([0, 1, 2])
    for pred, kind, message in (
        (np.array([0, 1, 3]), DataError, r"pred\[2\] = 3 is not in \[0, 3\)"),
        (np.array([0, 1]), ShapeError, r"expected pred of shape \(3,\), got \(2,\)"),
        (np.array([0.0, 1, 2]), DTypeError, "expected pred of an integer dtype, got float64"),
    ):
        with pytest.raises(kind, match=rf"^confusion_matrix: {message}"):
            confusion_matrix(pred, labels, n_classes=3)
    with pytest.raises(DataError, match=r"pred\[1\] = -1 is not in \[0, 3\)"):
        confusion_matrix(np.array([0, -1, 2]), labels)
    with pytest.raises(DTypeError, match="expected labels of an integer dtype, got float64"):
        confusion_matrix(labels, labels * np.nan)


def test_arguments_stay_untouched():
    scores, labels = example(6, 5)
    copies = scores.copy(), labels.copy()
    for array in (scores, labels):
        array.setflags(write=False)
    for metric in (accuracy, top_k(5), confusion_matrix, classification_report):
        metric(scores, labels)
    np.testing.assert_array_equal(scores, copies[0])
    np.testing.assert_array_equal(labels, copies[1])
