"""Every metric with weights, and metrics taken batch by batch: the laws that all of them keep."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import CASES, EXAMPLES, IDS, STREAM_IDS, STREAMS

import fnn
from fnn.metrics import Total

SHAPES = [(17, 6), (9, 2, 7)]
all_metrics = pytest.mark.parametrize(("metric", "make"), CASES, ids=IDS)
all_streams = pytest.mark.parametrize(("metric", "make"), STREAMS, ids=STREAM_IDS)
close = {"rtol": 1e-12, "atol": 1e-14}


def example(make, seed=0, shape=SHAPES[0]):
    return make(np.random.default_rng(seed), shape)


def total_of(stream, parts, pred, target, weight=None):
    """Return the total of the examples at `parts`, one batch after the other."""
    total = stream.start()
    for part in parts:
        by = () if weight is None else (weight[part],)
        total = stream.add(total, pred[part], target[part], *by)
    return total


def test_every_metric_of_the_registry_is_in_the_table():
    assert sorted(EXAMPLES) == list(fnn.METRICS)


# --- weights


@all_metrics
@pytest.mark.parametrize("shape", SHAPES)
def test_a_weight_of_two_is_the_row_twice_and_one_of_zero_its_absence(metric, make, shape):
    pred, target = example(make, 1, shape)
    counts = np.random.default_rng(2).integers(0, 4, shape[0])
    counts[:2] = 2, 0
    again = np.repeat(np.arange(shape[0]), counts)
    want = metric(pred[again], target[again])
    assert type(want) is float
    np.testing.assert_allclose(metric(pred, target, weight=counts), want, **close)
    same = metric(pred, target, weight=np.full(shape[0], 0.1, np.float32))
    np.testing.assert_allclose(same, metric(pred, target), **close)


@all_metrics
def test_the_order_of_the_examples_changes_nothing(metric, make):
    pred, target = example(make, 3)
    order = np.random.default_rng(0).permutation(len(pred))
    np.testing.assert_allclose(metric(pred[order], target[order]), metric(pred, target), **close)


@all_metrics
def test_bad_weights_are_refused_by_the_metrics_name(metric, make):
    pred, target = example(make)
    n, name = len(pred), metric.__name__
    for weight, kind, message in (
        (np.ones(n - 1), fnn.ShapeError, r"expected weight of shape \(17,\), got \(16,\)"),
        (np.zeros(n), fnn.DataError, "expected weights with a finite sum above 0, got 0.0"),
        (-np.ones(n), fnn.DataError, r"weight\[0\] = -1.0 is not a finite number of 0 or more"),
        (np.full(n, np.inf), fnn.DataError, r"weight\[0\] = inf is not"),
        (np.full(n, 1e308), fnn.DataError, "a finite sum above 0, got inf"),
        ([1.0] * n, fnn.DTypeError, "expected weight as an array, got list"),
    ):
        with pytest.raises(kind, match=f"^{name}: .*{message}|^{name}: {message}"):
            metric(pred, target, weight=weight)


@all_metrics
def test_a_metric_says_its_arguments_and_what_it_is(metric, make):
    assert str(inspect.signature(metric)).startswith("(pred: 'Array', target: 'Array', *, weight:")
    assert pickle.loads(pickle.dumps(metric)) == metric == copy.deepcopy(metric)


@all_metrics
def test_arguments_stay_untouched_and_float32_is_summed_in_float64(metric, make):
    pred, target = example(make)
    small = pred.astype(np.float32)
    kept = small.copy(), target.copy()
    for array in (small, target):
        array.setflags(write=False)
    assert type(metric(small, target)) is float
    np.testing.assert_array_equal(small, kept[0])
    np.testing.assert_array_equal(target, kept[1])
    want = metric(small.astype(np.float64), target)
    np.testing.assert_allclose(metric(small, target), want, rtol=1e-12)


# --- streams


@all_streams
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_batches_in_any_cut_and_merges_in_any_order_give_the_wholes_value(metric, make, data):
    n = 14
    pred, target = example(make, data.draw(st.integers(0, 99)), (n, 6))
    is_weighted = data.draw(st.booleans())
    weight = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), float)
    weight[:2] = 1, 2
    pred[0], target[0] = pred[1], target[1]
    weight = weight if is_weighted else None
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1))))
    edges = [0, *cuts, n]
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    stream = fnn.streaming(metric)
    want = _value(lambda: metric(pred, target, weight=weight))
    assert _value(lambda: stream.value(total_of(stream, parts, pred, target, weight))) == want
    totals = [total_of(stream, [part], pred, target, weight) for part in parts] + [stream.start()]
    while len(totals) > 1:
        totals = data.draw(st.permutations(totals))
        totals = [stream.merge(totals[0], totals[1]), *totals[2:]]
    assert _value(lambda: stream.value(totals[0])) == want


def _value(compute):
    """Return the value to rounding, or what is said where there is none."""
    try:
        return pytest.approx(compute(), rel=1e-11, abs=1e-13)
    except fnn.DataError as error:
        return str(error)


@all_streams
def test_a_batch_of_no_weight_changes_nothing_and_one_without_weights_counts_once_each(metric, make):
    pred, target = example(make, 5, SHAPES[1])
    stream = fnn.streaming(metric)
    total = stream.add(stream.start(), pred[:4], target[:4])
    same = stream.add(total, pred[4:], target[4:], np.zeros(5))
    assert stream.value(same) == stream.value(total)
    mixed = stream.add(total, pred[4:], target[4:], np.full(5, 2.0))
    weight = np.repeat([1.0, 2.0], [4, 5])
    np.testing.assert_allclose(stream.value(mixed), metric(pred, target, weight=weight), **close)


@all_streams
def test_totals_pickle_stay_as_they_are_and_say_whose_they_are(metric, make):
    pred, target = example(make)
    stream = fnn.streaming(metric)
    total = stream.add(stream.start(), pred, target)
    before = stream.value(total)
    for each in (total, pickle.loads(pickle.dumps(total)), copy.deepcopy(total)):
        for part in each.parts:
            assert not isinstance(part, np.ndarray) or not part.flags.writeable
    stream.add(total, pred, target)
    stream.merge(total, total)
    assert stream.value(total) == before
    assert stream.value(pickle.loads(pickle.dumps(total))) == before
    assert f"metric='{metric.__name__}'" in repr(total)
    with pytest.raises(AttributeError):
        total.metric = "other"


@all_streams
def test_what_is_no_total_of_the_metric_is_refused(metric, make):
    stream, name = fnn.streaming(metric), metric.__name__
    for other, got in ((Total("other"), "one of other"), (3, "3"), ((), r"\(\)")):
        with pytest.raises(fnn.OptionError, match=f"^{name}: expected a total that .*, got {got}"):
            stream.merge(stream.start(), other)
        with pytest.raises(fnn.OptionError, match=f"^{name}: .*, got {got}"):
            stream.value(other)
    with pytest.raises(fnn.DataError, match=f"^{name}: expected weights with a finite sum above 0"):
        stream.value(stream.start())


def test_totals_of_examples_of_another_shape_are_refused():
    stream, rng = fnn.streaming(fnn.r2), np.random.default_rng(0)
    two = stream.add(stream.start(), rng.random((5, 2)), rng.random((5, 2)))
    with pytest.raises(fnn.ShapeError, match=r"^r2: expected totals of examples of one shape, got"):
        stream.add(two, rng.random((5, 3)), rng.random((5, 3)))


@pytest.mark.parametrize("metric", [fnn.roc_auc, fnn.average_precision, len, "accuracy", None])
def test_what_is_no_sum_has_no_stream(metric):
    with pytest.raises(fnn.OptionError, match=r"^streaming: expected a metric that is computed from"):
        fnn.streaming(metric)


def test_a_metric_of_ones_own_brings_its_stream_along():
    class Largest:
        """The largest error."""

        stream = None

        def __call__(self, pred, target, *, weight=None):
            return float(np.abs(pred - target).max())

        def start(self):
            return 0.0

        def add(self, total, pred, target, weight=None):
            return max(total, self(pred, target))

        def merge(self, a, b):
            return max(a, b)

        def value(self, total):
            return total

    largest = Largest()
    largest.stream = largest
    stream = fnn.streaming(largest)
    assert stream.value(stream.add(stream.start(), np.zeros(2), np.array([1.0, 3.0]))) == 3


def test_a_sequence_counts_by_its_tokens():
    """Batches of shorter sequences count less, as if all tokens stood in one row."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4, 5)), rng.normal(size=(2, 9, 5))
    labels = rng.integers(0, 5, (3, 4)), rng.integers(0, 5, (2, 9))
    stream = fnn.streaming(fnn.perplexity)
    total = stream.add(stream.add(stream.start(), a, labels[0]), b, labels[1])
    flat = np.concatenate([a.reshape(-1, 5), b.reshape(-1, 5)])
    want = fnn.perplexity(flat, np.concatenate([each.reshape(-1) for each in labels]))
    assert stream.value(total) == pytest.approx(want, rel=1e-13)
