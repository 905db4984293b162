"""Training on weighted examples, and in float64."""

import functools

import numpy as np
import pytest

import fnn
from fnn import tree

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3))
LABELS = RNG.integers(0, 3, 24)
COUNTS = RNG.integers(0, 4, 24)
REPEATED = np.repeat(np.arange(24), COUNTS)
NET = fnn.serial(fnn.Dense(5), fnn.Tanh(), fnn.Dense(3))
TARGETS = {
    "softmax_cross_entropy": LABELS,
    "softmax_cross_entropy_dense": np.eye(3)[LABELS],
    "sigmoid_cross_entropy": np.eye(3)[LABELS],
    "squared_error": np.eye(3)[LABELS],
    "absolute_error": np.eye(3)[LABELS],
    "half_squared_error": np.eye(3)[LABELS],
    "nll": LABELS,
    "cross_entropy": LABELS,
    **dict.fromkeys(["focal", "multiclass_hinge", "smoothed_cross_entropy"], LABELS),
    **dict.fromkeys(["hinge", "squared_hinge"], 2 * np.eye(3)[LABELS] - 1),
    **dict.fromkeys(["binary_focal", "huber", "log_cosh", "poisson", "quantile"], np.eye(3)[LABELS]),
    **dict.fromkeys(["cosine_distance", "kl_divergence"], np.eye(3)[LABELS]),
}
METRICS = {
    "accuracy": LABELS,
    "categorical_accuracy": np.eye(3)[LABELS],
    "binary_accuracy": np.eye(3)[LABELS],
}
fit = functools.partial(fnn.fit, batch_size=1000, key=fnn.Key.of(0), epochs=5, progress=False)


def networks(name):
    logs = [fnn.LogSoftmax()]
    last = {"nll": logs, "kl_divergence": logs, "cross_entropy": [fnn.Softmax()]}.get(name, [])
    return fnn.serial(NET, *last)


@pytest.mark.parametrize("name", sorted(fnn.LOSSES))
def test_full_batches_of_weighted_examples_train_as_repeated_ones_do(name):
    y, net = TARGETS[name], networks(name)
    sgd, loss = fnn.sgd(0.01), fnn.LOSSES[name]
    weighted = fnn.Dataset(X, y, weight=COUNTS)
    repeated = fnn.Dataset(X[REPEATED], y[REPEATED])
    a = fit(net, loss, sgd, weighted, validation=weighted, dtype="float64")
    b = fit(net, loss, sgd, repeated, validation=repeated, dtype="float64")
    for path, leaf in tree.items(a.last.params):
        np.testing.assert_allclose(leaf, tree.get(b.last.params, path), rtol=1e-11, atol=1e-13)
    for ours, theirs in zip(a.history, b.history, strict=True):
        assert dict(ours) == pytest.approx(dict(theirs), rel=1e-11)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_metrics_count_weighted_examples_as_repeated_ones(name):
    y, now = METRICS[name], fnn.init_train_state(NET, fnn.sgd(0.1), (3,), fnn.Key.of(1))
    given = {"x": X, "dtype": "float32"}
    weighted = fnn.Dataset(y=y, weight=COUNTS, **given)
    repeated = fnn.Dataset(X[REPEATED], y[REPEATED], dtype="float32")
    metrics = [fnn.METRICS[name]]
    got, want = (fnn.evaluate(NET, now, data, metrics) for data in (weighted, repeated))
    assert got == pytest.approx(want, rel=1e-14)


def test_an_epochs_columns_are_averages_by_weight_whatever_the_batches():
    data = fnn.Dataset(X, LABELS, weight=COUNTS + 0.5, dtype="float32")
    runs = [
        fnn.fit(
            NET, fnn.softmax_cross_entropy, fnn.sgd(0.0), data, epochs=1, batch_size=size,
            key=fnn.Key.of(0), metrics=fnn.accuracy, validation=data, progress=False,
        ).history[0]
        for size in (1000, 5, 7)
    ]  # fmt: skip
    for run in runs:
        assert run["loss"] == pytest.approx(run["validation_loss"], rel=1e-6)
        assert run["accuracy"] == pytest.approx(run["validation_accuracy"], rel=1e-12)
        assert run["loss"] == pytest.approx(runs[0]["loss"], rel=1e-6)


def test_a_weighted_run_goes_on_from_any_batch_with_the_same_bits():
    data = fnn.Dataset(X, LABELS, weight=COUNTS + 1 / 3, dtype="float32")
    kept = []
    call = functools.partial(
        fnn.fit, NET, fnn.softmax_cross_entropy, fnn.adam(0.01), data, epochs=2, batch_size=5,
        key=fnn.Key.of(0), metrics=fnn.accuracy, progress=False,
    )  # fmt: skip
    whole = call(save=kept.append, save_every=1)
    for progress in kept:
        again = call(start=progress)
        assert again.history == whole.history
        assert tree.digest(again.last.params) == tree.digest(whole.last.params)


def test_examples_of_weight_zero_are_left_out_of_training():
    weight = np.zeros(24)
    weight[[3, 17]] = 1
    data = fnn.Dataset(X, LABELS, weight=weight, dtype="float32")
    done = fnn.fit(
        NET, fnn.softmax_cross_entropy, fnn.sgd(0.1), data, epochs=1, batch_size=1, key=fnn.Key.of(0),
        validation=data, progress=False,
    )  # fmt: skip
    assert done.last.step == 2


def test_balanced_classes_pull_a_network_to_the_rare_class():
    x = np.concatenate([RNG.normal(-0.5, 1, (300, 1)), RNG.normal(0.5, 1, (10, 1))])
    data = fnn.Dataset(x, np.repeat([0, 1], [300, 10]), dtype="float32")
    net, recalls = fnn.serial(fnn.Dense(2)), []
    for train in (data, data.weighted("balanced")):
        done = fit(net, fnn.softmax_cross_entropy, fnn.adam(0.1), train, epochs=200)
        recalls.append(fnn.classification_report(fnn.predict(net, done.last, data.x), data.y).recall[1])
    assert recalls[0] < 0.3 < 0.6 < recalls[1]


@pytest.mark.parametrize("where", ["loss", "mine"])
@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_loss_or_metric_that_takes_no_weights_is_named_before_the_first_step(where, part):
    plain = fnn.Dataset(X, LABELS, dtype="float32")
    weighted = fnn.Dataset(X, LABELS, weight=COUNTS, dtype="float32")
    sets = {"train": plain, "validation": plain} | {part: weighted}
    loss, metrics = fnn.softmax_cross_entropy, {"mine": lambda pred, target: 0.0}
    if where == "loss":
        loss, metrics = (lambda pred, target: fnn.softmax_cross_entropy(pred, target)), {}
    with pytest.raises(
        fnn.OptionError, match=rf"{where}: expected a function of \(pred, target, \*, w"
    ):
        fit(NET, loss, fnn.sgd(0.1), sets["train"], validation=sets["validation"], metrics=metrics)
    now = fnn.init_train_state(NET, fnn.sgd(0.1), (3,), fnn.Key.of(0))
    with pytest.raises(fnn.OptionError, match="'mine': expected a function of"):
        fnn.evaluate(NET, now, weighted, {"mine": lambda pred, target: 0.0})


def test_a_metric_that_fails_for_its_own_reasons_fails_as_it_is():
    def broken(pred, target, *, weight=None):
        raise TypeError("mine")

    now = fnn.init_train_state(NET, fnn.sgd(0.1), (3,), fnn.Key.of(0))
    with pytest.raises(TypeError, match="mine"):
        fnn.evaluate(NET, now, fnn.Dataset(X, LABELS, weight=COUNTS, dtype="float32"), [broken])


# --- precision


@pytest.mark.parametrize("dtype", ["float64", np.float64, np.dtype("f8")])
def test_fit_trains_in_float64_from_the_weights_drawn_in_float32(dtype):
    net = fnn.serial(fnn.Dense(4), fnn.BatchNorm(), fnn.Dense(3))
    data = fnn.Dataset(X, LABELS)
    done = fit(net, fnn.softmax_cross_entropy, fnn.adam(0.01), data, validation=data, dtype=dtype)
    for part in (done.last.params, done.last.state, done.last.opt_state):
        assert {leaf.dtype for leaf in tree.leaves(part) if leaf.dtype.kind == "f"} == {np.dtype("f8")}
    assert fnn.predict(net, done.last, X).dtype == np.float64
    start = fit(net, fnn.softmax_cross_entropy, fnn.adam(0.01), data, epochs=0, dtype=dtype).last
    drawn = fnn.init_train_state(net, fnn.adam(0.01), (3,), fnn.Key.of(0))
    assert start.params == tree.cast(drawn.params, "float64")


def test_fit_in_float32_takes_float64_data_and_weights():
    data = fnn.Dataset(X, X[:, :1])
    net = fnn.serial(fnn.Dense(1))
    _, params, state = net.init(fnn.Key.of(3), (3,))
    wide = tree.cast(params, "float64")
    done = fit(net, fnn.squared_error, fnn.sgd(0.1), data, dtype="float32", params=wide, state=state)
    assert done.last.params["dense_0"]["w"].dtype == np.float32


def test_a_run_in_float64_goes_on_with_the_same_bits():
    data, kept = fnn.Dataset(X, LABELS), []
    call = functools.partial(
        fit, NET, fnn.softmax_cross_entropy, fnn.momentum(0.1), data, dtype="float64"
    )
    whole = call(save=kept.append)
    again = call(start=kept[1])
    assert tree.digest(again.last.params) == tree.digest(whole.last.params)


def test_messages_about_a_mixture_say_how_to_cast():
    message = r"cast one of them: Dataset\(\.\.\., dtype='float32'\) or fit\(\.\.\., dtype='float64'\)"
    with pytest.raises(fnn.DTypeError, match=message):
        fit(NET, fnn.softmax_cross_entropy, fnn.sgd(0.1), fnn.Dataset(X, LABELS))
    with pytest.raises(fnn.DTypeError, match=r"got float16; Dataset\(\.\.\., dtype='float32'\) casts"):
        fit(NET, fnn.softmax_cross_entropy, fnn.sgd(0.1), fnn.Dataset(X.astype("f2"), LABELS))
    with pytest.raises(
        fnn.OptionError, match="fit: dtype: expected 'float32' or 'float64', got 'half'"
    ):
        fit(NET, fnn.softmax_cross_entropy, fnn.sgd(0.1), fnn.Dataset(X, LABELS), dtype="half")
