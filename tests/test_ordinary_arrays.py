"""The door for arrays from outside: masks, matrices, objects, and maps of files that stay on disk."""

import subprocess
import sys

import numpy as np
import pytest

import fnn

X = np.arange(6.0).reshape(3, 2)
MASKED = np.ma.masked_equal(X, 0.0)
Y = np.array([0, 1, 1])


class Metres(np.ndarray):
    """An array whose numbers mean more than they say."""


# --- data sets and codecs


@pytest.mark.parametrize(
    "call",
    [
        lambda: fnn.Dataset(MASKED, Y),
        lambda: fnn.Dataset(X, np.ma.masked_equal(Y, 0)),
        lambda: fnn.Dataset([MASKED[0], X[1], X[2]], Y),
        lambda: fnn.Dataset([[MASKED[0]], [X[1]], [X[2]]], Y),
        lambda: fnn.Dataset(np.ma.masked_array(X), Y),  # Nothing is masked, but something may be.
        lambda: fnn.OneHot.fit(np.ma.masked_equal(Y, 0)),
        lambda: fnn.OneHot.fit(Y).encode(np.ma.masked_equal(Y, 0)),
        lambda: fnn.OneHot.fit(Y).decode(MASKED),
        lambda: fnn.class_weights(np.ma.masked_equal(Y, 0)),
        lambda: fnn.OneHot.fit([0, np.ma.masked, 1]),
        lambda: fnn.Dataset((X, MASKED), Y),
        lambda: fnn.write_idx("nowhere.idx", np.ma.masked_equal(Y.astype(np.uint8), 0)),
    ],
)
def test_data_that_are_masked_are_to_be_filled_first(call):
    with pytest.raises(fnn.DataError, match=r"without a mask, got .*fill it first, e\.g\. .*\.filled"):
        call()


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_matrix_becomes_the_array_that_it_is():
    x = np.asmatrix(X)
    data = fnn.Dataset(x, x)
    assert type(data.x) is np.ndarray
    assert data.x.tolist() == X.tolist()
    assert fnn.OneHot.fit([0, 1]).decode(np.asmatrix(X)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("call", [lambda x: fnn.Dataset(x, Y), lambda x: fnn.Dataset(X, x)])
def test_an_array_with_a_meaning_of_its_own_is_to_be_converted_first(call):
    with pytest.raises(
        fnn.DTypeError, match=r"expected . as an ordinary array, got Metres; np.asarray"
    ):
        call(X.view(Metres))


@pytest.mark.parametrize(
    "x",
    [
        np.array([[1], [None], ["a"]], object),
        np.array(["a", "b", "c"]),
        np.array(["2020-01-01"] * 3, "M8[D]"),
        np.array([1, 2, 3], "m8[s]"),
        np.zeros(3, [("a", "f8")]),
        np.array([b"a"] * 3),
    ],
)
def test_what_holds_no_numbers_is_refused_with_its_dtype(x):
    with pytest.raises(fnn.DTypeError, match="Dataset: x: expected numbers, got dtype"):
        fnn.Dataset(x, Y)


# --- networks, losses and metrics

NET = fnn.serial(fnn.Dense(2), fnn.Tanh(), fnn.Dense(2))
NOW = fnn.init_train_state(NET, fnn.sgd(0.1), (2,), fnn.Key.of(0))
PRED, INPUT = X.astype(np.float32), MASKED.astype(np.float32)
STEP = fnn.train_step(NET, fnn.softmax_cross_entropy, fnn.sgd(0.1))


@pytest.mark.parametrize(
    "call",
    [
        lambda: fnn.predict(NET, NOW, INPUT),
        lambda: NET.apply(NOW.params, {}, INPUT),
        lambda: fnn.Relu().vjp({}, {}, INPUT),
        lambda: fnn.Dense(2).vjp({"w": np.ones((2, 2)), "b": np.ones(2)}, {}, X)[2](MASKED),
        lambda: fnn.Dense(2).apply({"w": MASKED[1:], "b": np.ones(2)}, {}, X),
        lambda: STEP(NOW, (INPUT, Y)),
        lambda: STEP(NOW, (PRED, np.ma.masked_equal(Y, 0))),
        lambda: STEP(NOW, (PRED, Y, np.ma.masked_equal([1.0, 2.0, 3.0], 2.0))),
        *[
            lambda loss=loss, args=args: loss(*args)
            for loss in (fnn.squared_error, fnn.absolute_error, fnn.half_squared_error)
            for args in ((MASKED, X), (X, MASKED))
        ],
        lambda: fnn.softmax_cross_entropy(MASKED, Y),
        lambda: fnn.softmax_cross_entropy(X, np.ma.masked_equal(Y, 0)),
        lambda: fnn.sigmoid_cross_entropy(X, np.ma.masked_equal(X / 5, 0)),
        lambda: fnn.accuracy(MASKED, Y),
        lambda: fnn.accuracy(X, np.ma.masked_equal(Y, 0)),
        lambda: fnn.confusion_matrix(np.ma.masked_equal(Y, 0), Y),
        lambda: fnn.classification_report(Y, np.ma.masked_equal(Y, 0)),
        lambda: fnn.binary_accuracy(X, np.ma.masked_equal(X > 1, True)),
        lambda: fnn.top_k(1)(X, np.ma.masked_equal(Y, 0)),
        lambda: fnn.losses.make_loss("mine", lambda p, t: (p, p))(X, MASKED),
        lambda: fnn.losses.make_loss("mine", lambda p, t: (p[:, 0], p), per_example=True)(X, MASKED),
    ],
)
def test_no_mask_is_lost_on_the_way_into_a_network_a_loss_or_a_metric(call):
    with pytest.raises(fnn.DataError, match="without a mask, got MaskedArray; fill it first"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: fnn.tree.map(np.square, {"w": MASKED}),
        lambda: fnn.tree.leaves({"w": MASKED}),
        lambda: fnn.tree.digest({"w": MASKED}),
        lambda: fnn.global_norm({"w": MASKED}),
        lambda: fnn.apply_updates({"w": X}, {"w": MASKED}),
        lambda: fnn.apply_updates({"w": MASKED}, {"w": X}),
        lambda: fnn.sgd(0.1).update({"w": MASKED}, {}, {"w": X}, 0),
        lambda: fnn.adam(0.1).update({"w": MASKED}, fnn.adam(0.1).init({"w": X}), {"w": X}, 0),
        lambda: fnn.Tree({"w": MASKED}),
    ],
)
def test_no_mask_is_lost_in_a_tree(call):
    with pytest.raises(fnn.DTypeError, match="got MaskedArray; fill it first"):
        call()


@pytest.mark.parametrize("labels", [5, None, 1.5])
def test_labels_that_are_no_sequence_are_refused(labels):
    with pytest.raises(fnn.ShapeError, match=r"OneHot\.fit: expected labels on one axis, got"):
        fnn.OneHot.fit(labels)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize(
    "call",
    [
        lambda x: NET.apply(NOW.params, {}, x(PRED)),
        lambda x: fnn.squared_error(x(X), X),
        lambda x: fnn.squared_error(X, x(X)),
        lambda x: fnn.accuracy(x(X), Y),
        lambda x: fnn.Dense(2).apply({"w": x(X[:2]), "b": np.ones(2)}, {}, X),
    ],
)
@pytest.mark.parametrize("kind", [np.asmatrix, lambda x: x.view(Metres)], ids=["matrix", "own"])
def test_other_kinds_of_arrays_are_refused_with_what_makes_them_ordinary(call, kind):
    with pytest.raises(
        fnn.DTypeError, match=r"as an ordinary array, got \w+; np.asarray\(\w+\) makes one"
    ):
        call(kind)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_predict_takes_a_matrix_for_the_array_that_it_is():
    got = fnn.predict(NET, NOW, np.asmatrix(PRED))
    assert np.array_equal(got, fnn.predict(NET, NOW, PRED))


def test_predict_names_the_place_of_nan_in_any_order_of_memory():
    x = np.asfortranarray(PRED.copy())
    x[2, 1] = np.nan
    with pytest.raises(fnn.DataError, match=r"predict: expected finite inputs, got x\[2, 1\] = nan"):
        fnn.predict(NET, NOW, x)


# --- maps of files


@pytest.fixture
def saved(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 7))
    np.save(tmp_path / "x.npy", x)
    return x, tmp_path / "x.npy"


def test_a_map_opened_for_reading_is_shared(saved):
    x, path = saved
    held = np.load(path, mmap_mode="r")
    data = fnn.Dataset(held, np.zeros(300))
    assert np.shares_memory(data.x, held)
    assert type(data.x) is np.ndarray
    left, right = data.split(100)
    assert np.shares_memory(left.x, held)
    assert np.shares_memory(right.take(5).x, held)
    for batch in (
        next(iter(fnn.batches(data, 32))),
        next(iter(fnn.batches(data, 32, key=fnn.Key.of(0)))),
    ):
        assert type(batch[0]) is np.ndarray
        assert not batch[0].flags.writeable
    assert next(iter(fnn.batches(data, 32)))[0].tolist() == x[:32].tolist()
    raw = np.memmap(path, np.float64, "r", offset=128, shape=(300, 7))
    assert np.shares_memory(fnn.Dataset(raw, np.zeros(300)).x, raw)


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_a_map_that_can_be_written_to_is_copied(saved, mode):
    held = np.load(saved[1], mmap_mode=mode)
    data = fnn.Dataset(held, np.zeros(300))
    assert not np.shares_memory(data.x, held)
    sealed = np.load(saved[1], mmap_mode=mode)
    sealed.setflags(write=False)  # Others may still write to the file through the map below it.
    assert not np.shares_memory(fnn.Dataset(sealed, np.zeros(300)).x, sealed)


def test_a_map_that_is_cast_is_a_copy_and_one_that_is_not_finite_names_its_place(tmp_path):
    x = np.ones((3_000_000, 1))
    x[2_999_998] = np.nan
    np.save(tmp_path / "x.npy", x)
    held = np.load(tmp_path / "x.npy", mmap_mode="r")
    with pytest.raises(fnn.DataError, match=r"Dataset: x\[2999998, 0\] is nan"):
        fnn.Dataset(held, np.zeros(len(x)))
    data = fnn.Dataset(held[:10], np.zeros(10), dtype="float32")
    assert not np.shares_memory(data.x, held)


def test_a_network_takes_a_map_and_its_batches(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    held = np.load(tmp_path / "x.npy", mmap_mode="r")
    net = fnn.serial(fnn.Dense(3), fnn.Tanh(), fnn.Dense(1))
    data, sgd = fnn.Dataset(held, x[:, :1]), fnn.sgd(0.1)
    done = fnn.fit(net, fnn.squared_error, sgd, data, epochs=1, batch_size=50, key=fnn.Key.of(0))
    got = fnn.predict(net, done.last, held)
    assert type(got) is np.ndarray
    assert np.array_equal(got, fnn.predict(net, done.last, x))


PEAK = """
import sys, tracemalloc
import numpy as np
import fnn
x = np.load(sys.argv[1], mmap_mode="r")
y = np.zeros(len(x), np.int64)
fnn.Dataset(np.zeros((2, 2)), [0, 1])
tracemalloc.start()
data = fnn.Dataset(x, y)
for batch in fnn.batches(data, 100): pass
for batch in fnn.batches(data, 100, key=fnn.Key.of(0)): pass
sys.stdout.write(str(tracemalloc.get_traced_memory()[1]))
"""


def test_a_map_of_many_numbers_is_never_copied_whole(tmp_path):
    x = np.zeros((200_000, 50))  # 80 MB
    np.save(tmp_path / "x.npy", x)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "x.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < x.nbytes / 10
