"""Weights of examples and of classes in data sets, and the precision that they are cast to."""

import copy
import pickle

import attrs
import numpy as np
import pytest

import fnn

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 0, 0, 1, 1, 2])
W = np.array([1.0, 2.0, 0.5, 0.0, 3.0, 1.0])


def test_weights_go_wherever_the_examples_go():
    data = fnn.Dataset(X, Y, weight=W)
    assert data.weight.dtype == np.float64
    assert not data.weight.flags.writeable
    assert repr(data).endswith("weight: float64[6])")
    assert data.take(2).weight.tolist() == [1, 2]
    left, right = data.split(2)
    assert (left.weight.tolist(), right.weight.tolist()) == ([1, 2], [0.5, 0, 3, 1])
    for part in data.split(3, key=fnn.Key.of(0)):
        assert [W[int(x[0]) // 2] for x in part.x] == part.weight.tolist()
    assert data.standardize().weight.tolist() == W.tolist()
    for again in (pickle.loads(pickle.dumps(data)), copy.deepcopy(data), attrs.evolve(data, x=X + 1)):
        assert again.weight.tolist() == W.tolist()
    assert fnn.Dataset(X, Y).weight is None
    assert data.digest() != fnn.Dataset(X, Y).digest()


def test_weights_of_integers_and_lists_are_numbers_too():
    assert fnn.Dataset(X, Y, weight=[1, 2, 3, 4, 5, 6]).weight.dtype == np.float64
    assert fnn.Dataset(X, Y, weight=np.ones(6, "f4")).weight.dtype == np.float64


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (W[:5], r"weight: expected one per example, shape \(6,\), got \(5,\)"),
        (W[:, None], r"shape \(6,\), got \(6, 1\)"),
        (-W, r"weight\[0\] = -1.0 is not 0 or more"),
        (np.where(W == 0, np.nan, W), r"weight\[3\] is nan"),
        (0 * W, "a finite sum above 0, got 0.0"),
        (np.full(6, 1e308), "a finite sum above 0, got inf"),
        (W * 1j, "expected real numbers, got dtype complex128"),
        (["a"] * 6, "weight: expected numbers"),
        (np.ma.masked_equal(W, 0), "weight without a mask"),
    ],
)
def test_weights_that_are_none_are_refused_by_name(weight, message):
    with pytest.raises(fnn.FnnError, match=f"^Dataset: .*{message}"):
        fnn.Dataset(X, Y, weight=weight)


def test_batches_of_weighted_examples_bring_the_weights():
    data = fnn.Dataset(X, Y, weight=W)
    (first, *_), (_, _, last) = fnn.batches(data, 3)
    assert first.tolist() == X[:3].tolist()
    assert last.tolist() == [3, 1]  # The example of weight 0 counts for nothing and is left out.
    assert len(fnn.batches(data, 5)) == 1
    for x, y, weight in fnn.batches(data, 2, key=fnn.Key.of(1)):
        at = [int(row[0]) // 2 for row in x]
        assert (Y[at].tolist(), W[at].tolist()) == (y.tolist(), weight.tolist())
        assert not weight.flags.writeable
    assert all(len(batch) == 2 for batch in fnn.batches(fnn.Dataset(X, Y), 2))


def test_standardising_counts_weights_as_so_many_examples():
    rng = np.random.default_rng(0)
    x, counts = rng.normal(3, 2, (50, 4)), rng.integers(0, 4, 50)
    weighted = fnn.Dataset(x, np.zeros(50), weight=counts)
    repeated = fnn.Dataset(np.repeat(x, counts, axis=0), np.zeros(counts.sum()))
    got, want = (weighted.standardize(like=each).x for each in (weighted, repeated))
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-14)


def test_balanced_class_weights_let_all_classes_count_alike():
    weights = fnn.class_weights(Y)
    np.testing.assert_allclose(weights, [6 / 9, 1, 2], rtol=1e-15)
    assert fnn.class_weights(Y, 5).tolist()[3:] == [0, 0]
    data = fnn.Dataset(X, Y).weighted("balanced")
    np.testing.assert_allclose([data.weight[k == Y].sum() for k in range(3)], 2, rtol=1e-15)
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    want = sklearn.compute_class_weight("balanced", classes=np.arange(3), y=Y)
    np.testing.assert_allclose(weights, want, rtol=1e-15)


def test_class_weights_multiply_those_there_are():
    data = fnn.Dataset(X, Y, weight=W).weighted({2: 10, 0: 0.5})
    assert data.weight.tolist() == [0.5, 1, 0.25, 0, 3, 10]
    assert fnn.Dataset(X, Y).weighted({1: np.float32(2)}).weight.tolist() == [1, 1, 1, 2, 2, 1]


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ("balance", "expected 'balanced' or {label: weight}, got 'balance'"),
        ([1, 2, 3], "expected 'balanced' or"),
        ({7: 1.0}, r"labels that occur, \[0, 1, 2\], got 7"),
        ({0: -1.0}, r"class_weight\[0\]: expected a number in \[0.0, inf\), got -1.0"),
        ({"0": 1.0}, "expected an integer, got '0'"),
    ],
)
def test_class_weights_that_make_no_sense_are_refused(class_weight, message):
    with pytest.raises(fnn.OptionError, match=message):
        fnn.Dataset(X, Y).weighted(class_weight)


def test_class_weights_need_labels():
    with pytest.raises(fnn.DTypeError, match=r"Dataset\.weighted: expected labels of an integer dtype"):
        fnn.Dataset(X, X[:, 0]).weighted("balanced")
    with pytest.raises(fnn.ShapeError, match="labels on one axis"):
        fnn.Dataset(X, np.eye(6, dtype=int)).weighted("balanced")
    with pytest.raises(fnn.DataError, match=r"labels\[5\] = 2 is not in \[0, 2\)"):
        fnn.class_weights(Y, 2)


# --- precision


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("f4")])
def test_a_dtype_casts_floating_numbers_and_leaves_labels(dtype):
    data = fnn.Dataset(X, Y, dtype=dtype)
    assert (data.x.dtype, data.y.dtype) == (np.float32, np.int64)
    assert fnn.Dataset(X, X, dtype=dtype).y.dtype == np.float32
    assert fnn.Dataset(Y, X[:, 0], dtype=dtype).x.dtype == np.int64
    assert fnn.Dataset(X * 1j, Y, dtype=dtype).x.dtype == np.complex64
    assert not data.x.flags.writeable


def test_a_cast_to_the_dtype_that_is_there_copies_nothing():
    x = X.copy()
    x.setflags(write=False)
    assert fnn.Dataset(x, Y, dtype="float64").x is x


def test_a_number_beyond_the_dtype_is_named():
    with pytest.raises(fnn.DataError, match=r"Dataset: x\[1, 0\] = 1e\+300 is beyond float32"):
        fnn.Dataset(np.array([[1.0], [1e300]]), [0, 1], dtype="float32")


@pytest.mark.parametrize("dtype", ["float16", "int64", "f8x", 5, "double precision"])
def test_another_dtype_is_refused(dtype):
    with pytest.raises(fnn.OptionError, match="Dataset: dtype: expected 'float32' or 'float64'"):
        fnn.Dataset(X, Y, dtype=dtype)
