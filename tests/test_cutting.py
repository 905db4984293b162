"""Folds, stratified parts and selections of data sets: every example once, every class by its share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnn
from fnn.errors import DataError, OptionError, ShapeError

KEY = fnn.Key.of(3)
labels = st.lists(st.integers(0, 4), min_size=2, max_size=60)


@settings(max_examples=60, deadline=None)
@given(labels=labels, k=st.integers(2, 6), seed=st.none() | st.integers(0, 9), stratify=st.booleans())
def test_every_example_is_tested_on_once_in_folds_of_even_sizes_and_classes(labels, k, seed, stratify):
    n, y = len(labels), np.array(labels)
    if k > n:
        return
    key = None if seed is None else fnn.Key.of(seed)
    found = fnn.folds(n, k, key=key, stratify=y if stratify else None)
    assert len(found) == k
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in found])), np.arange(n))
    for train, test in found:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n))
        assert (np.diff(train) > 0).all()
    sizes = [len(test) for _, test in found]
    assert max(sizes) - min(sizes) <= 1
    if stratify:
        counts = np.array([np.bincount(y[test], minlength=5) for _, test in found])
        assert (np.ptp(counts, axis=0) <= 1).all()


def test_folds_depend_on_the_key_alone_and_without_one_follow_each_other():
    one, again = (fnn.folds(30, 4, key=KEY) for _ in range(2))
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a[1], b[1])
    assert not np.array_equal(fnn.folds(30, 4, key=fnn.Key.of(4))[0][1], one[0][1])
    np.testing.assert_array_equal(np.concatenate([test for _, test in fnn.folds(30, 4)]), np.arange(30))
    shuffled = np.concatenate([test for _, test in one])
    assert not np.array_equal(shuffled, np.arange(30))


def test_folds_of_a_dataset_train_and_validate():
    data = fnn.two_moons(24, key=KEY)
    for train, test in fnn.folds(data, 3, key=KEY, stratify=data.y):
        assert np.bincount(data.select(test).y).tolist() == [4, 4]
        assert len(data.select(train)) == 16
    first, second = fnn.folds(4, 2, stratify=["b", "a", "b", "a"])
    assert (first[1].tolist(), second[1].tolist()) == ([0, 1], [2, 3])


@settings(max_examples=60, deadline=None)
@given(labels=labels, fraction=st.floats(0.05, 0.95), seed=st.none() | st.integers(0, 9))
def test_a_stratified_split_has_of_each_class_its_share(labels, fraction, seed):
    y = np.array(labels)
    n = len(y)
    first = round(fraction * n)
    if not 0 < first < n:
        return
    data = fnn.Dataset(np.arange(n), y)
    left, right = data.split(fraction, key=None if seed is None else fnn.Key.of(seed), stratify=y)
    assert (len(left), len(right)) == (first, n - first)
    np.testing.assert_array_equal(np.sort(np.concatenate([left.x, right.x])), np.arange(n))
    for label in set(labels):
        share = first / n * np.count_nonzero(y == label)
        assert abs(np.count_nonzero(left.y == label) - share) < 1
    if seed is None:
        assert (np.diff(left.x) > 0).all()
        assert (np.diff(right.x) > 0).all()


def test_stratified_parts_are_drawn_and_not_the_first_of_each_class():
    y = np.arange(40) % 2
    data = fnn.Dataset(np.arange(40), y)
    left, _ = data.split(10, key=KEY, stratify=y)
    other, _ = data.split(10, key=fnn.Key.of(4), stratify=y)
    assert set(left.x) != set(other.x)
    assert (np.diff(left.x) < 0).any(), "in a drawn order"
    words, _ = data.split(10, key=KEY, stratify=np.where(y, "yes", "no"))
    assert np.bincount(words.y).tolist() == [5, 5]


def test_scikit_learns_folds_have_the_same_counts():
    model_selection = pytest.importorskip("sklearn.model_selection")
    y = np.array([0] * 33 + [1] * 13 + [2] * 4)
    theirs = model_selection.StratifiedKFold(4).split(np.zeros(50), y)
    mine = fnn.folds(50, 4, stratify=y)
    ours, sklearns = (np.array([np.bincount(y[test]) for _, test in found]) for found in (mine, theirs))
    np.testing.assert_array_equal(np.sort(ours, axis=0), np.sort(sklearns, axis=0))


def test_a_selection_is_in_the_order_of_its_indices_with_weights():
    data = fnn.Dataset((np.arange(5.0), np.eye(5)), np.arange(5), weight=[1, 2, 3, 4, 5])
    got = data.select([3, 0, 3])
    np.testing.assert_array_equal(got.y, [3, 0, 3])
    np.testing.assert_array_equal(got.weight, [4, 1, 4])
    np.testing.assert_array_equal(got.x[1], np.eye(5)[[3, 0, 3]])


DATA = fnn.Dataset(np.arange(5.0), np.arange(5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fnn.folds(3, 4), OptionError, "folds: k: expected at most 3, one per example, got 4"),
        (lambda: fnn.folds(3, 1), OptionError, "folds: k: expected 2 or more, got 1"),
        (lambda: fnn.folds("3", 2), OptionError, "folds: n: expected an integer, got '3'"),
        (lambda: fnn.folds(2.5, 2), OptionError, "folds: n: expected an integer, got 2.5"),
        (lambda: fnn.folds(4, 2, key=3), OptionError, "folds: key: expected a Key"),
        (lambda: fnn.folds(4, 2, stratify=[0, 1]), ShapeError, "folds: stratify: .* got 2 for 4"),
        (lambda: fnn.folds(2, 2, stratify=[0, float("nan")]), DataError, r"folds: labels\[1\] is nan"),
        (
            lambda: DATA.split(2, stratify=[1]),
            ShapeError,
            "Dataset.split: stratify: expected",
        ),
        (
            lambda: DATA.select([0, 5]),
            DataError,
            r"select: indices\[1\] = 5 is not in \[0, 5\)",
        ),
        (lambda: DATA.select([-1]), DataError, r"indices\[0\] = -1 is not in"),
        (lambda: DATA.select([]), DataError, "indices: expected at least one"),
        (lambda: DATA.select([0.5]), ShapeError, r"integers on one axis, got float64\[1\]"),
        (lambda: DATA.select([True, False, True, True, True]), ShapeError, "got bool"),
        (lambda: DATA.select(3), ShapeError, r"got int64\[\]"),
        (lambda: DATA.select([[0], [1, 2]]), ShapeError, "integers on one axis"),
    ],
)
def test_what_cannot_be_cut_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
