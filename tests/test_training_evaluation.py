"""Evaluation, prediction and gradients by themselves: exact, and honest about bad input."""

import attrs
import numpy as np
import pytest

import fnn
from fnn import tree
from fnn.errors import DataError, DTypeError, OptionError, ShapeError

KEY = fnn.Key.of(0)
NET = fnn.serial(fnn.Dense(8), fnn.BatchNorm(), fnn.Tanh(), fnn.Dropout(0.5), fnn.Dense(4))


def examples(n=103, dtype=np.float32):
    rng = np.random.default_rng(n)
    return fnn.Dataset(rng.normal(size=(n, 5)).astype(dtype), rng.integers(0, 4, n))


def start(net=NET, shape=(5,), dtype=np.float32):
    now = fnn.init_train_state(net, fnn.sgd(0.1), shape, KEY)
    return attrs.evolve(now, params=tree.cast(now.params, dtype), state=tree.cast(now.state, dtype))


def macro_f1(pred, target):
    return fnn.classification_report(pred, target).macro.f1


# --- evaluate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 50, 102, 103, 5000])
def test_every_metric_is_exact_whatever_the_batch_size(size):
    data, now = examples(dtype=np.float64), start(dtype=np.float64)
    metrics = {
        "accuracy": fnn.accuracy,
        "f1": macro_f1,
        "loss": fnn.softmax_cross_entropy,
        "sum": fnn.summed(fnn.softmax_cross_entropy),
    }
    found = fnn.evaluate(NET, now, data, metrics, batch_size=size)
    pred, _ = NET.apply(now.params, now.state, data.x)
    assert found["accuracy"] == fnn.accuracy(pred, data.y)
    assert found["f1"] == macro_f1(pred, data.y)
    assert found["loss"] == pytest.approx(float(fnn.softmax_cross_entropy(pred, data.y)[0]), rel=1e-13)
    assert found["sum"] == pytest.approx(103 * found["loss"], rel=1e-13)
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize(
    "metrics", [fnn.accuracy, [fnn.accuracy], {"accuracy": fnn.accuracy}, iter([fnn.accuracy])]
)
def test_metrics_come_as_a_function_an_iterable_or_a_mapping(metrics):
    assert list(fnn.evaluate(NET, start(), examples(), metrics)) == ["accuracy"]


def test_evaluation_moves_nothing_and_refuses_what_is_no_metric_or_data():
    now, data = start(), examples()
    before = tree.digest({"params": now.params, "state": now.state})
    fnn.evaluate(NET, now, data, fnn.accuracy)
    assert tree.digest({"params": now.params, "state": now.state}) == before
    with pytest.raises(OptionError, match="expected distinct names"):
        fnn.evaluate(NET, now, data, [lambda p, t: 0, lambda p, t: 1])
    with pytest.raises(
        OptionError, match=r"expected a number from 'confusion_matrix', got shape \(4, 4\)"
    ):
        fnn.evaluate(NET, now, data, fnn.confusion_matrix)
    with pytest.raises(OptionError, match="from 'classification_report', got ClassReport"):
        fnn.evaluate(NET, now, data, fnn.classification_report)
    with pytest.raises(DataError, match="evaluate: expected a Dataset, got tuple"):
        fnn.evaluate(NET, now, (data.x, data.y), fnn.accuracy)
    with pytest.raises(OptionError, match="evaluate: batch_size: expected 1 or more"):
        fnn.evaluate(NET, now, data, fnn.accuracy, batch_size=0)


# --- predict --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 99, 100, 101, 1000])
def test_prediction_in_batches_is_the_networks_output(size):
    now, x = start(dtype=np.float64), examples(100, np.float64).x
    pred = fnn.predict(NET, now, x, batch_size=size)
    np.testing.assert_allclose(pred, NET.apply(now.params, now.state, x)[0], rtol=1e-12, atol=1e-14)
    assert pred.shape == (100, 4)


@pytest.mark.parametrize(("in_shape", "most"), [((6,), 1000), ((1, 4, 4), 128), ((2, 3), 128)])
def test_by_default_a_thousand_vectors_or_fewer_images_are_taken_at_a_time(in_shape, most, monkeypatch):
    monkeypatch.setenv("FNN_EXECUTOR", "plain")  # A network that is recorded is called once more.
    seen = []
    spy = fnn.elementwise("spy", lambda x: seen.append(len(x)) or x, lambda x, y, dy: dy)
    now = fnn.init_train_state(spy, fnn.sgd(0.1), in_shape, fnn.Key.of(0))
    x = np.ones((2 * most + 1, *in_shape), "float32")
    assert fnn.predict(spy, now, x).shape == x.shape
    fnn.evaluate(spy, now, fnn.Dataset(x, x), fnn.half_squared_error)
    assert seen == [most, most, 1] * 2


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (NET, (5,)),
        (
            fnn.serial(
                fnn.Conv(3, 3), fnn.MaxPool(2), fnn.BatchNorm(), fnn.Relu(), fnn.Flatten(), fnn.Dense(4)
            ),
            (1, 8, 8),
        ),
    ],
)
def test_no_examples_give_no_predictions(net, shape):
    pred = fnn.predict(net, start(net, shape), np.zeros((0, *shape), np.float32))
    assert (pred.shape, pred.dtype) == ((0, 4), np.float32)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_not_finite_are_refused_with_their_place(bad):
    x = examples().x.copy()
    x[70, 2] = bad
    with pytest.raises(DataError, match=rf"predict: expected finite inputs, got x\[70, 2\] = {bad}"):
        fnn.predict(NET, start(), x, batch_size=10)


def test_inputs_of_another_nature_are_refused_by_the_layer_they_reach():
    now, x = start(), examples().x
    with pytest.raises(DTypeError, match=r"serial/dense_0 \(.*expected float32.*got int64"):
        fnn.predict(NET, now, np.zeros((3, 5), np.int64))
    with pytest.raises(DTypeError, match=r"serial/dense_0.*got float64"):
        fnn.predict(NET, now, x.astype(np.float64))
    with pytest.raises(DTypeError, match=r"serial/dense_0.*expected an array, got list"):
        fnn.predict(NET, now, x.tolist())
    for wrong in (np.zeros((3, 6), np.float32), np.zeros((), np.float32), np.zeros(5, np.float32)):
        with pytest.raises(ShapeError, match="serial/dense_0"):
            fnn.predict(NET, now, wrong)
    with pytest.raises(OptionError, match="predict: batch_size: expected 1 or more, got 0"):
        fnn.predict(NET, now, x, batch_size=0)


def test_predictions_that_overflow_do_not_warn():
    net, data = fnn.serial(fnn.Dense(8), fnn.Dense(4)), examples()
    now = start(net)
    huge = attrs.evolve(now, params=tree.map(lambda leaf: leaf * np.float32(1e30), now.params))
    assert not np.isfinite(fnn.predict(net, huge, data.x)).all()
    assert not np.isfinite(
        fnn.evaluate(net, huge, data, fnn.softmax_cross_entropy)["softmax_cross_entropy"]
    )


def test_a_network_of_several_outputs_gives_them_all():
    def fwd(params, state, x, train, key):
        return (x, 2 * x), state, None

    net = fnn.make_layer("twice", lambda key, shape: (shape, {}, {}), fwd)
    x = examples(10).x
    one, two = fnn.predict(net, start(net), x, batch_size=3)
    np.testing.assert_array_equal(one, x)
    np.testing.assert_array_equal(two, 2 * x)


# --- value_and_grad -------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_equals_the_complex_step_in_every_entry(train, weighted):
    now, data = start(dtype=np.float64), examples(12, np.float64)
    batch = (data.x, data.y, *([np.linspace(0, 1, 12)] if weighted else []))
    at = fnn.value_and_grad(NET, fnn.softmax_cross_entropy)
    options = {"train": train, "key": KEY if train else None}
    value, grads = at(now.params, now.state, batch, **options)
    vector, unravel = tree.ravel(now.params)
    steps = []
    for i in range(vector.size):
        moved = vector.astype(np.complex128)
        moved[i] += 1e-30j
        steps.append(at(unravel(moved), now.state, batch, **options)[0].imag / 1e-30)
    np.testing.assert_allclose(tree.ravel(grads)[0], steps, rtol=1e-11, atol=1e-14)
    y = NET.apply(now.params, now.state, data.x, **options)[0]
    weight = {"weight": batch[2]} if weighted else {}
    assert value == fnn.softmax_cross_entropy(y, data.y, **weight)[0]


def test_the_gradient_is_a_tree_like_the_parameters_and_nothing_is_touched():
    now, data = start(), examples()
    before = tree.digest(now.params)
    at = fnn.value_and_grad(NET, fnn.softmax_cross_entropy)
    plain = {name: dict(layer) for name, layer in now.params.items()}
    value, grads = at(plain, now.state, (data.x, data.y))
    again, same = at(now.params, now.state, (data.x, data.y))
    assert (value, grads) == (again, same)
    assert isinstance(grads, tree.Tree)
    shapes = [(path, leaf.shape, leaf.dtype) for path, leaf in tree.items(now.params)]
    assert [(path, leaf.shape, leaf.dtype) for path, leaf in tree.items(grads)] == shapes
    assert tree.digest(now.params) == before


def test_a_loss_that_overflows_gives_its_number_without_a_warning():
    net = fnn.serial(fnn.Dense(1))
    x = np.full((3, 5), 1e30, np.float32)
    at = fnn.value_and_grad(net, fnn.squared_error)
    value, _ = at(start(net).params, {}, (x, np.zeros((3, 1), np.float32)))
    assert value == np.inf
