"""What layers take and give: tuples and integers from the data to the whole run."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from value_cases import IMAGES, KEY, LABELS, RNG, TOKENS, Join, both_nets, words

import fnn
from fnn import DataError, Dataset, DTypeError, OptionError, ShapeError, Traits, tree
from fnn.runs.checkpoint import load_tree
from fnn.runs.experiment import Run
from fnn.training.derivatives import jvp, per_example_grads

# --- data ------------------------------------------------------------------------------------


def test_a_dataset_of_tuples_cuts_all_its_arrays_alike():
    data = Dataset((TOKENS, IMAGES), (LABELS, IMAGES[:, 0]))
    assert len(data) == 20
    assert data.in_shape == ((3,), (4,))
    assert data.x[0].dtype == TOKENS.dtype
    assert repr(data) == (
        "Dataset(x[0]: int64[20, 3], x[1]: float32[20, 4], y[0]: int64[20], y[1]: float32[20])"
    )
    left, right = data.split(0.5, key=KEY)
    order = KEY.generator().permutation(20)
    for i, whole in enumerate((TOKENS, IMAGES)):
        np.testing.assert_array_equal(np.concatenate([left.x[i], right.x[i]]), whole[order])
        np.testing.assert_array_equal(data.take(3).x[i], whole[:3])
        np.testing.assert_array_equal(data.split(5)[1].x[i], whole[5:])
    np.testing.assert_array_equal(right.y[0], LABELS[order[10:]])
    for key in (None, KEY):
        parts = list(fnn.batches(data, 6, key=key))
        assert [len(x[0]) for x, _ in parts] == [6, 6, 6, 2]
        seen = np.concatenate([x[0] for x, _ in parts])
        np.testing.assert_array_equal(seen, TOKENS if key is None else TOKENS[order])
        assert not any(part.flags.writeable for x, y in parts for part in (*x, *y))
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.x[1], IMAGES)
    assert Dataset(IMAGES, LABELS).in_shape == (4,)


def test_a_tuple_of_numbers_or_lists_is_one_array():
    assert Dataset((1.0, 2.0), (0, 1)).x.shape == (2,)
    for rows in (([1.0, 2.0], [3.0, 4.0]), ((1.0, 2.0), (3.0, 4.0)), (np.float64(1), 2.0)):
        assert Dataset(rows, [0, 1]).x.shape in ((2, 2), (2,))


def test_weights_casts_and_digests_take_tuples():
    weight = np.arange(20)
    data = Dataset((TOKENS, IMAGES), (LABELS, IMAGES[:, 0]), weight=weight, dtype="float64")
    assert [part.dtype.name for part in (*data.x, *data.y)] == ["int64", "float64", "int64", "float64"]
    x, y, by = next(iter(fnn.batches(data, 4)))
    np.testing.assert_array_equal(by, [1, 2, 3, 4])
    np.testing.assert_array_equal(x[0], TOKENS[1:5])
    np.testing.assert_array_equal(y[0], LABELS[1:5])
    alone = Dataset(IMAGES, LABELS, weight=weight, dtype="float64")
    np.testing.assert_array_equal(data.standardize().x[1], alone.standardize().x)
    other = Dataset((TOKENS, IMAGES), (1 - LABELS, IMAGES[:, 0]), weight=weight, dtype="float64")
    assert data.digest() == pickle.loads(pickle.dumps(data)).digest() != other.digest()


def test_standardising_leaves_the_integers_of_a_tuple():
    data = Dataset((TOKENS, IMAGES), LABELS)
    done = data.standardize(like=data)
    np.testing.assert_array_equal(done.x[0], TOKENS)
    np.testing.assert_array_equal(done.x[1], Dataset(IMAGES, LABELS).standardize().x)
    with pytest.raises(DTypeError, match=r"Dataset.standardize: expected x of floats in a tuple"):
        Dataset((TOKENS, TOKENS), LABELS).standardize()
    for like in (Dataset(IMAGES, LABELS), Dataset((TOKENS, IMAGES, IMAGES), LABELS)):
        with pytest.raises(ShapeError, match=r"Dataset.standardize: expected \d arrays as x, got 2"):
            data.standardize(like)


def test_what_is_wrong_in_a_tuple_of_data_is_named():
    bad = IMAGES.copy()
    bad[3, 1] = np.nan
    with pytest.raises(DataError, match=r"Dataset: x\[1\]\[3, 1\] is nan"):
        Dataset((TOKENS, bad), LABELS)
    with pytest.raises(DataError, match=r"Dataset: .*arrays of x .*equal length, got \[20, 19\]"):
        Dataset((TOKENS, IMAGES[1:]), LABELS)
    with pytest.raises(DataError, match="expected x and y of equal length, got 20 and 19"):
        Dataset((TOKENS, IMAGES), LABELS[1:])
    with pytest.raises(DTypeError, match=r"x\[0\]: expected numbers"):
        Dataset((np.array(["a"]), IMAGES), LABELS)


# --- training --------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1])
def test_tokens_and_tuples_go_through_fit_evaluate_and_predict(which):
    net, data = both_nets()[which]
    fit = fnn.fit(
        net,
        fnn.softmax_cross_entropy,
        fnn.adam(0.05),
        data,
        epochs=30,
        batch_size=6,
        key=KEY,
        validation=data,
        metrics=fnn.accuracy,
        progress=False,
    )
    assert fit.history[-1]["loss"] < 0.5 * fit.history[0]["loss"]
    assert fnn.evaluate(net, fit.last, data, fnn.accuracy, batch_size=7) == fnn.evaluate(
        net, fit.last, data, fnn.accuracy
    )
    whole = fnn.predict(net, fit.last, data.x)
    np.testing.assert_allclose(
        fnn.predict(net, fit.last, data.x, batch_size=7), whole, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("which", [0, 1])
def test_jit_and_scan_take_the_steps_of_the_plain_step(which):
    net, data = both_nets()[which]
    optimizer = fnn.adam(0.05)
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    start = plain = fast = fnn.init_train_state(net, optimizer, data.in_shape, KEY)
    jitted = fnn.jit(step)
    for batch in fnn.batches(data, 6):
        plain, _ = step(plain, batch)
        fast, _ = jitted(fast, batch)
    assert plain == fast == fnn.scan(step, start, fnn.batches(data, 6))[0]


def test_a_network_of_several_outputs_trains_against_several_targets():
    """y and dy are tuples, with the lengths handed on."""
    net, x = Join(), (RNG.normal(size=(20, 3, 2)).astype("float32"), IMAGES, np.arange(20))
    scale = fnn.make_layer(
        "scale",
        lambda key, shape: (shape, {"w": np.ones(2, "float32")}, {}),
        lambda params, state, x, train, key: (
            (x[0] * params["w"][:1], x[1]),
            state,
            lambda dy: (
                {"w": np.array([(dy[0] * x[0]).sum(), 0], "float32")},
                (dy[0] * params["w"][:1], None),
            ),
        ),
        traits=Traits(takes_integers=True),
    )
    net = fnn.serial(net, scale)
    data = Dataset(x, (np.zeros((20, 6), "float32"), np.arange(20)))

    def loss(pred, target):
        np.testing.assert_array_equal(pred[1] >= 0, target[1] >= 0)
        value, dy = fnn.squared_error(pred[0], target[0])
        return value, (dy, None)

    fit = fnn.fit(net, loss, fnn.sgd(0.1), data, epochs=5, batch_size=8, key=KEY, progress=False)
    assert 0 < fit.history[-1]["loss"] < fit.history[0]["loss"]
    y, lengths = fnn.predict(net, fit.last, data.x, batch_size=8)
    assert y.shape == (20, 6)
    np.testing.assert_array_equal(lengths, np.arange(20))
    assert fnn.evaluate(net, fit.last, data, {"loss": loss})["loss"] < fit.history[0]["loss"]


def test_what_is_not_finite_in_a_tuple_is_named():
    net, data = both_nets()[1]
    now = fnn.init_train_state(net, fnn.sgd(0.1), data.in_shape, KEY)
    bad = IMAGES.copy()
    bad[2, 3] = np.inf
    with pytest.raises(DataError, match=r"predict: expected finite inputs, got x\[1\]\[2, 3\] = inf"):
        fnn.predict(net, now, (TOKENS, bad))
    step = fnn.train_step(net, fnn.softmax_cross_entropy, fnn.sgd(0.1))
    with pytest.raises(fnn.DivergedError, match=r"first bad leaf 'x\[1\]'"):
        step(now, ((TOKENS, bad * np.float32(np.nan)), LABELS))


def test_a_shape_of_shapes_is_checked_before_anything_is_drawn():
    for shape in (((3,), 4), ((3,), (2.5,)), ((3,), (-1,)), 3):
        with pytest.raises(OptionError, match="init_train_state: in_shape"):
            fnn.init_train_state(words(), fnn.sgd(0.1), shape, KEY)


# --- derivatives and summaries ---------------------------------------------------------------


def test_derivatives_of_tuples_and_integers():
    net, data = both_nets()[1]
    _, params, state = net.init(KEY, data.in_shape)
    wide, x = tree.cast(params, "float64"), (TOKENS, IMAGES.astype("float64"))
    along = np.ones_like(x[1])
    y, dy = jvp(net, wide, state, x, None, (None, along))
    _, _, back = net.vjp(wide, state, x)
    _, dx = back(np.ones_like(y))
    np.testing.assert_allclose(dy.sum(), (dx[1] * along).sum(), rtol=1e-12)
    with pytest.raises(DTypeError, match=r"jvp: expected float32 or float64 as x\[0\], got int64"):
        jvp(net, wide, state, x, None, (TOKENS, along))
    each = per_example_grads(net, fnn.softmax_cross_entropy, params, state, (data.x, LABELS))
    _, whole = fnn.value_and_grad(net, fnn.softmax_cross_entropy)(params, state, (data.x, LABELS))
    for (_, a), (_, b) in zip(tree.items(each), tree.items(whole), strict=True):
        np.testing.assert_allclose(a.mean(axis=0), b, rtol=1e-4, atol=1e-7)


def test_the_derivative_in_lengths_handed_on_is_none():
    x = RNG.normal(size=(2, 3, 2)), np.ones((2, 4)), np.arange(2)
    (_, lengths), (dy, none) = jvp(Join(), {}, {}, x, None, (np.ones((2, 3, 2)), np.ones((2, 4)), None))
    assert none is None
    assert lengths.tolist() == [0, 1]
    np.testing.assert_allclose(dy, 1.0)


def test_a_summary_shows_layers_of_ones_own_and_shapes_of_tuples():
    net, data = both_nets()[1]
    found = fnn.summary(net, data.in_shape)
    assert [(row.path, row.kind, row.out_shape, row.parameters) for row in found.rows] == [
        ("two_0", "Two(3)", (3,), 14 + 21),
        ("relu_0", "Relu()", (3,), 0),
        ("dense_0", "Dense(2)", (2,), 8),
    ]
    assert repr(found).startswith("input 3, 4\n")
    shown = repr(fnn.summary(Join(), ((3, 2), (4,), ())))
    assert "input 3×2, 4, ()" in shown
    assert "6, ()" in shown


def test_a_run_keeps_what_it_said_of_tuples(tmp_path):
    run = Run(tmp_path)
    labels = np.arange(20) % 2
    run.evaluated((IMAGES, TOKENS), labels, 1 - labels, shown=4)
    kept = load_tree(tmp_path / "evaluation.npz")
    np.testing.assert_array_equal(kept["x"], IMAGES[kept["index"]])
