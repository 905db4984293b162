"""Datasets as values, their standardisation, their batches, and the one-hot codec."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnn.datasets import (
    Dataset,
    OneHot,
    batches,
    digits,
)
from fnn.datasets.scaling import Scaling
from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.keys import Key

KEY = Key.of(7)


def ramp(n: int, *shape: int) -> Dataset:
    """Examples that all differ, with their own number as label."""
    x = np.arange(n * int(np.prod(shape)), dtype=np.float32).reshape(n, *shape)
    return Dataset(x, np.arange(n))


# --- Dataset


def test_a_dataset_prints_its_dtypes_and_shapes():
    assert repr(digits()) == "Dataset(x: float32[1797, 64], y: int64[1797])"


def test_an_array_that_its_owner_can_write_to_is_copied_and_stays_writable():
    x, y = np.ones((3, 2)), np.zeros(3)
    dataset = Dataset(x, y)
    x[0, 0] = 5
    assert dataset.x[0, 0] == 1
    assert x.flags.writeable
    assert not dataset.x.flags.writeable
    assert not dataset.y.flags.writeable


def test_a_read_only_array_is_shared():
    x = np.ones((3, 2))
    x.setflags(write=False)
    assert Dataset(x, [1, 2, 3]).x is x


def test_a_read_only_view_of_a_writable_array_is_copied():
    x = np.ones((3, 2))
    view = x[:]
    view.setflags(write=False)
    dataset = Dataset(view, [1, 2, 3])
    x[:] = 9
    assert dataset.x.max() == 1


def test_a_dataset_is_frozen_and_survives_pickle_and_copy_read_only():
    dataset = ramp(4, 2)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        dataset.x = dataset.y
    for other in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset), copy.copy(dataset)):
        np.testing.assert_array_equal(other.x, dataset.x)
        assert not other.x.flags.writeable
        assert not other.y.flags.writeable


def test_foreign_byte_orders_become_the_machines():
    x = np.arange(3, dtype=np.float32)
    swapped = Dataset(x.astype(x.dtype.newbyteorder()), [1, 2, 3])
    assert swapped.x.dtype.isnative
    np.testing.assert_array_equal(swapped.x, x)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([], [], DataError, r"Dataset: expected at least one example, got x of shape \(0,\)"),
        ([1.0, 2.0], [1], DataError, "Dataset: expected x and y of equal length, got 2 and 1"),
        ([[1.0, np.nan]], [1], DataError, r"Dataset: x\[0, 1\] is nan"),
        ([1.0, 2.0], [0.0, -np.inf], DataError, r"Dataset: y\[1\] is -inf"),
        ([1.0 + 1j * np.inf], [0], DataError, r"Dataset: x\[0\] is "),
        ([[1.0], [1.0, 2.0]], [0, 1], DataError, "Dataset: x: expected rows of equal shapes"),
        (np.array([None, 1]), [0, 1], DTypeError, "Dataset: x: expected numbers, got dtype object"),
        ([1.0], ["cat"], DTypeError, "Dataset: y: expected numbers, got dtype <U3"),
        (1.0, [1], ShapeError, "Dataset: x: expected at least one axis, got a scalar"),
    ],
)
def test_what_is_no_data_is_refused(x, y, error, message):
    with pytest.raises(error, match=message):
        Dataset(x, y)


def test_the_first_bad_number_is_named_by_its_index():
    x = np.zeros((5, 20), np.float32)
    x[3, 17] = x[4, 0] = np.nan
    with pytest.raises(DataError, match=re.escape("x[3, 17] is nan")):
        Dataset(x, np.zeros(5))


def test_take_gives_the_first_examples_and_shares_their_memory():
    dataset = ramp(5, 2)
    first = dataset.take(3)
    np.testing.assert_array_equal(first.y, [0, 1, 2])
    assert first.x.base is dataset.x
    assert len(dataset.take(5)) == 5
    with pytest.raises(DataError, match=r"Dataset.take: expected at most 5 examples, got n = 6"):
        dataset.take(6)
    for n in (0, -1, 2.0, True):
        with pytest.raises(OptionError, match=r"Dataset.take: n: expected"):
            dataset.take(n)


@pytest.mark.parametrize(
    ("cut", "sizes"), [(3, (3, 7)), (0.25, (2, 8)), (0.96, (10, 0)), (np.int64(9), (9, 1))]
)
def test_split_cuts_by_count_or_rounded_fraction(cut, sizes):
    if 0 in sizes:
        with pytest.raises(OptionError, match="expected two parts with examples in each"):
            ramp(10).split(cut)
        return
    left, right = ramp(10).split(cut)
    assert (len(left), len(right)) == sizes
    np.testing.assert_array_equal(np.concatenate([left.y, right.y]), np.arange(10))


@given(n=st.integers(2, 50), cut=st.floats(0.1, 0.9), seed=st.integers(0, 9))
def test_a_split_with_a_key_is_a_permutation_that_depends_on_the_key_alone(n, cut, seed):
    dataset = ramp(n, 2)
    if not 0 < round(cut * n) < n:
        return
    left, right = dataset.split(cut, key=Key.of(seed))
    again = dataset.split(cut, key=Key.of(seed))[0]
    np.testing.assert_array_equal(left.y, again.y)
    np.testing.assert_array_equal(np.sort(np.concatenate([left.y, right.y])), np.arange(n))
    np.testing.assert_array_equal(left.x, dataset.x[left.y])
    np.testing.assert_array_equal(right.x, dataset.x[right.y])


@pytest.mark.parametrize("cut", [0, -1, 10, 0.0, 1.0, np.nan, True, "half", None])
def test_a_split_that_leaves_a_part_empty_is_refused(cut):
    with pytest.raises(OptionError, match=r"Dataset.split: "):
        ramp(10).split(cut)


def test_a_seed_is_no_key():
    for use in (lambda: ramp(4).split(2, key=3), lambda: batches(ramp(4), 2, key=3)):
        with pytest.raises(OptionError, match=r"key: expected a Key, e.g. Key.of\(0\), got 3"):
            use()


# --- standardise


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardised_features_have_mean_0_and_deviation_1_even_far_from_0(dtype):
    rows = np.random.Generator(np.random.Philox(key=1)).normal(size=(9000, 3, 2))
    x = (1e4 + rows * [[1, 2], [3, 4], [5, 6]]).astype(dtype)
    y = Dataset(x, np.zeros(9000)).standardize()
    assert y.x.dtype == dtype
    wide = x.astype(np.float64)
    np.testing.assert_allclose(y.x, (wide - wide.mean(0)) / wide.std(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(y.x.astype(np.float64).std(0), 1, rtol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1e4 + 0.1, -1e-30, 1e200])
def test_a_constant_feature_becomes_exactly_0(value):
    x = np.full((1001, 2), value)
    x[:, 1] = np.arange(1001)
    standard = Dataset(x, np.zeros(1001)).standardize().x
    assert (standard[:, 0] == 0).all()
    np.testing.assert_allclose(standard[:, 1].std(), 1)


def test_a_test_set_is_standardised_like_the_training_set():
    train = Dataset([[0.0, 5.0], [4.0, 5.0]], [0, 1])
    test = Dataset([[6.0, 8.0]], [0])
    np.testing.assert_array_equal(test.standardize(like=train).x, [[2.0, 3.0]])


def test_huge_and_tiny_features_are_standardised_without_overflow():
    x = np.array([[1e300, 1e-300], [-1e300, 3e-300]])
    np.testing.assert_allclose(Dataset(x, [0, 1]).standardize().x, [[1, -1], [-1, 1]])


def test_scales_are_values_that_can_be_applied_elsewhere_and_undone():
    x = np.array([[1e9, 3.0], [1e9 + 2, 3.0]])
    scaling = Scaling.of(x)
    assert scaling.apply(x).tolist() == [[-1, 0], [1, 0]]
    assert scaling.apply(x[:1] + 1).tolist() == [[0, 1]]
    assert scaling.undo(np.array([[0.0, 0.0], [2.0, 1.0]])).tolist() == [[1e9 + 1, 3], [1e9 + 3, 4]]
    assert scaling.undo(np.zeros((1, 2), "float32")).dtype == "float64"
    weighed = Scaling.of(x, np.array([3.0, 1.0]))
    assert weighed.undo(np.zeros((1, 2))).tolist() == [[1e9 + 0.5, 3]]
    with pytest.raises(ShapeError, match=r"examples of shape \(2,\), got \(3,\)"):
        scaling.apply(np.zeros((1, 3)))
    with pytest.raises(DTypeError, match="x of floats, got int64"):
        Scaling.of(np.zeros((2, 2), "int64"))


def test_examples_of_a_single_number_are_standardised_too():
    assert Dataset(np.array([1.0, 3.0]), [0, 1]).standardize().x.tolist() == [-1, 1]
    assert Dataset(np.array([2.0, 2.0]), [0, 1]).standardize().x.tolist() == [0, 0]


def test_what_cannot_be_standardised_is_refused():
    with pytest.raises(DTypeError, match=r"Dataset.standardize: expected x of floats, got int64"):
        Dataset([[1], [2]], [0, 1]).standardize()
    with pytest.raises(ShapeError, match=r"expected examples of shape \(3,\), got \(2,\)"):
        ramp(4, 2).standardize(like=ramp(4, 3))
    narrow = Dataset(np.array([[0], [1e-38]], np.float32), [0, 1])
    with pytest.raises(DataError, match=r"x\[0, 0\] is inf"):
        Dataset(np.array([[1e38]], np.float32), [0]).standardize(like=narrow)


# --- batches


@given(
    n=st.integers(1, 40),
    size=st.integers(1, 50),
    drop=st.booleans(),
    seed=st.none() | st.integers(0, 5),
)
def test_batches_hold_every_example_once_and_their_number_is_their_length(n, size, drop, seed):
    dataset, key = ramp(n, 2), None if seed is None else Key.of(seed)
    if drop and size > n:
        with pytest.raises(DataError, match=f"got size {size} of {n} examples"):
            batches(dataset, size, key=key, drop_last=drop)
        return
    made = batches(dataset, size, key=key, drop_last=drop)
    parts = list(made)
    assert len(parts) == len(made)
    assert all(len(x) == len(y) == size for x, y in parts[:-1])
    labels = np.concatenate([y for _, y in parts])
    assert len(labels) == (n - n % size if drop else n)
    assert len(set(labels.tolist())) == len(labels)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in parts]), dataset.x[labels])
    if key is None:
        np.testing.assert_array_equal(labels, np.arange(len(labels)))
    for (x, y), (x_again, y_again) in zip(parts, made, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)
        assert not x.flags.writeable
        assert not y.flags.writeable


def test_the_order_is_that_of_the_keys_generator_and_differs_between_keys():
    labels = np.concatenate([y for _, y in batches(ramp(100), 7, key=KEY)])
    np.testing.assert_array_equal(labels, KEY.generator().permutation(100))
    other = np.concatenate([y for _, y in batches(ramp(100), 7, key=Key.of(8))])
    assert not np.array_equal(labels, other)


def test_batches_in_order_are_views_and_two_iterations_do_not_disturb_each_other():
    dataset = ramp(6, 2)
    made = batches(dataset, 4)
    assert next(iter(made))[0].base is dataset.x
    one, two = iter(batches(dataset, 2, key=KEY)), iter(batches(dataset, 2, key=KEY))
    next(one)
    np.testing.assert_array_equal(next(one)[1], [next(two), next(two)][1][1])


@pytest.mark.parametrize("size", [0, -3, 2.5, True, "8", None])
def test_a_batch_size_is_a_positive_integer(size):
    with pytest.raises(OptionError, match="batches: size: expected"):
        batches(ramp(4), size)


# --- one-hot


@given(st.lists(st.integers(-5, 5), min_size=1) | st.lists(st.text("abcé", max_size=3), min_size=1))
def test_one_hot_decodes_what_it_encoded(labels):
    codec = OneHot.fit(labels)
    assert codec.classes.tolist() == sorted(set(labels))
    rows = codec.encode(labels)
    assert rows.dtype == np.float32
    assert rows.shape == (len(labels), len(codec.classes))
    np.testing.assert_array_equal(rows.sum(axis=1), 1)
    assert codec.decode(rows).tolist() == labels
    assert OneHot.fit(list(reversed(labels))) == codec


def test_one_hot_is_immutable_also_after_pickling():
    codec = OneHot.fit(["b", "a"])
    assert repr(codec) == "OneHot(['a', 'b'])"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        codec.classes = np.arange(2)
    for other in (codec, pickle.loads(pickle.dumps(codec))):
        assert other == codec
        assert hash(other) == hash(codec)
        with pytest.raises(ValueError, match="read-only"):
            other.classes[0] = "c"
    assert len(repr(OneHot.fit(range(1000)))) < 80


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([3, 5, 4], "OneHot.encode: expected one of [1, 3, 5], got labels[2] = 4"),
        ([9], "expected one of [1, 3, 5], got labels[0] = 9"),
        (["1"], "expected one of [1, 3, 5], got labels[0] = '1'"),
        (
            np.array(["1970-01-02"], "M8[D]"),
            "expected one of [1, 3, 5], got labels[0] = datetime.date(1970",
        ),
        ([3, 1.5], "expected one of [1, 3, 5], got labels[1] = 1.5"),
        ([3, np.nan], "OneHot.encode: labels[1] is nan"),
    ],
)
def test_an_unknown_label_is_named_with_its_index(labels, message):
    with pytest.raises(DataError, match=re.escape(message)):
        OneHot.fit([5, 1, 3, 3]).encode(labels)


def test_what_the_codec_cannot_learn_or_decode_is_refused():
    with pytest.raises(DataError, match=r"OneHot.fit: expected at least one label, got none"):
        OneHot.fit([])
    with pytest.raises(DataError, match="strings among others"):
        OneHot.fit(["a", 1])
    with pytest.raises(DataError, match=r"labels\[1\] is nan"):
        OneHot.fit([1.0, np.nan])
    with pytest.raises(DTypeError, match="expected labels that sort, got dtype object"):
        OneHot.fit([None, None])
    with pytest.raises(ShapeError, match=r"expected labels on one axis, got shape \(1, 2\)"):
        OneHot.fit([[1, 2]])
    codec = OneHot.fit([1, 2])
    for rows in (np.zeros((3, 3)), np.zeros(2)):
        with pytest.raises(ShapeError, match=r"OneHot.decode: expected shape \(n, 2\)"):
            codec.decode(rows)
    with pytest.raises(DataError, match=r"rows\[0, 1\] is nan"):
        codec.decode([[0.0, np.nan]])
    with pytest.raises(DTypeError, match="expected rows of real numbers, got dtype complex128"):
        codec.decode([[1j, 0]])


# --- the module


def test_importing_the_datasets_loads_no_optional_package_and_nothing_slow():
    heavy = "PIL, pooch, requests, sklearn, gzip, tempfile, argparse, urllib.request"
    code = (
        "import sys, numpy, attrs; before = set(sys.modules); import fnn.datasets\n"
        f"sys.stdout.write(repr([m for m in {heavy.split(', ')} if m in set(sys.modules) - before]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]", "")
