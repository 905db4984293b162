"""Estimators of scikit-learn: networks, losses and optimizers by value and by name; weights, scales."""

from __future__ import annotations

import functools

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression

import fnn
from fnn import errors
from fnn.interop.sklearn import FnnClassifier, FnnRegressor
from fnn.interop.sklearn.targets import class_coding
from fnn.losses.robust import gaussian_nll

X, Y = load_iris(return_X_y=True)
R, T = make_regression(200, 5, n_informative=5, noise=1.0, random_state=0)


def quick(net=(16,), **options):
    return FnnClassifier(net, **{"epochs": 30, "random_state": 0, "learning_rate": 0.02, **options})


def numbers(net=(16,), **options):
    return FnnRegressor(net, **{"epochs": 60, "random_state": 0, "learning_rate": 0.02, **options})


def two_layers(in_shape, n_outputs):
    assert in_shape == (4,)
    return fnn.mlp((16, n_outputs))


def of_shape(in_shape):
    return fnn.mlp((4 * in_shape[0], 3))


# --- networks


@pytest.mark.parametrize(
    "net",
    [[16], 16, np.array([16]), fnn.mlp((16, 3)), two_layers, of_shape],
    ids=["list", "number", "array", "layer", "function of two", "function of one"],
)
def test_a_network_is_widths_or_a_layer_or_a_function_of_shapes(net):
    made = clone(quick(net)).fit(X, Y)
    assert made.net_ == fnn.mlp((16, 3))
    assert np.array_equal(made.predict_proba(X), quick().fit(X, Y).predict_proba(X))


def test_without_hidden_layers_it_is_logistic_regression():
    made = quick((), epochs=100).fit(X, Y)
    assert [name for name, _ in made.net_.children] == ["dense_0"]
    assert made.score(X, Y) > 0.9


def test_images_may_keep_their_axes():
    digits = fnn.digits("train").take(300)
    images = digits.x.reshape(-1, 1, 8, 8)
    net = fnn.serial(fnn.Conv(4, 3), fnn.Relu(), fnn.Flatten(), fnn.Dense(10))
    made = quick(net, epochs=8, scale=None).fit(images, digits.y)
    assert made.in_shape_ == (1, 8, 8)
    assert made.score(images, digits.y) > 0.8
    assert quick((8,), epochs=1).fit(images, digits.y).net_.children[0][1] == fnn.Flatten()
    with pytest.raises(errors.ShapeError, match=r"examples of shape \(1, 8, 8\), got \(1, 4, 16\)"):
        made.predict(images.reshape(-1, 1, 4, 16))


def test_integers_go_as_they_are_to_a_network_that_takes_them():
    tokens = np.arange(60).reshape(20, 3) % 7
    labels = tokens[:, 0] > 2
    net = fnn.serial(fnn.Embedding(7, 4), fnn.Flatten(), fnn.Dense(2))
    made = quick(net, epochs=60).fit(tokens, labels)
    assert made.scaling_ is None
    assert made.score(tokens, labels) == 1


def test_a_network_with_state_and_masks_predicts_in_evaluation_mode():
    net = fnn.mlp((16, 3), norm=fnn.BatchNorm(), dropout=0.2)
    made = quick(net).fit(X, Y)
    assert made.state_.state
    assert np.array_equal(made.predict_proba(X), made.predict_proba(X))
    assert np.allclose(made.predict_proba(X[:1]), made.predict_proba(X)[:1], atol=1e-6)
    again = numbers(fnn.mlp((16, 1), norm=fnn.BatchNorm())).fit(R, T)
    assert again.score(R, T) > 0.9


# --- losses


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("loss", "end"),
    [
        ("softmax_cross_entropy", None),
        ("softmax_cross_entropy_dense", None),
        ("smoothed_cross_entropy", None),
        (fnn.focal(1.0), None),
        ("cross_entropy", None),
        ("nll", None),
        ("kl_divergence", None),
        ("cross_entropy", fnn.Softmax()),
        ("nll", fnn.LogSoftmax()),
        ("kl_divergence", fnn.LogSoftmax()),
        ("sigmoid_cross_entropy", None),
        ("binary_focal", None),
        (functools.partial(fnn.softmax_cross_entropy, reduction="mean"), None),
    ],
    ids=str,
)
def test_a_loss_for_classes_brings_probabilities(loss, end, classes):
    at = classes > Y
    net = (16,) if end is None else fnn.serial(fnn.Dense(16), fnn.Relu(), fnn.Dense(classes), end)
    made = quick(net, loss=loss).fit(X[at], Y[at])
    p = made.predict_proba(X[at])
    assert p.shape == (at.sum(), classes)
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert p.min() >= 0
    assert np.array_equal(made.predict(X[at]), p.argmax(axis=1))
    assert made.score(X[at], Y[at]) > 0.9
    assert not hasattr(made, "decision_function")


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "multiclass_hinge"])
def test_a_loss_of_margins_brings_scores_alone(loss, classes):
    at = classes > Y
    made = quick(loss=loss).fit(X[at], Y[at])
    scores = made.decision_function(X[at])
    assert not hasattr(made, "predict_proba")
    assert scores.shape == ((at.sum(),) if classes == 2 else (at.sum(), classes))
    best = scores > 0 if classes == 2 else scores.argmax(axis=1)
    assert np.array_equal(made.predict(X[at]), best)
    assert made.score(X[at], Y[at]) > 0.9


def test_answers_of_yes_and_no_become_probabilities_that_add_up_to_1():
    coding = class_coding(fnn.sigmoid_cross_entropy)
    one = np.array([[-0.5], [0.5]], np.float32)
    assert coding.decode(one, 2).tolist() == [0, 1]
    assert np.allclose(coding.probabilities(one), [[0.622459, 0.377541], [0.377541, 0.622459]])
    three = np.array([[0, 0, -np.inf], [-np.inf] * 3], np.float32)
    with np.errstate(over="ignore"):
        assert np.allclose(coding.probabilities(three), [[0.5, 0.5, 0], [1 / 3] * 3])
    assert coding.encode(np.array([0, 2]), 3).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert class_coding(fnn.hinge).encode(np.array([0, 1]), 2).tolist() == [[-1], [1]]


def test_a_loss_of_ones_own_gets_labels_and_trains_scores():
    def own(pred, target, *, weight=None):
        assert target.dtype.kind == "i"
        return fnn.softmax_cross_entropy(pred, target, weight=weight)

    assert np.array_equal(
        quick(loss=own).fit(X, Y).predict_proba(X), quick().fit(X, Y).predict_proba(X)
    )


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "log_cosh", fnn.huber(0.5)])
def test_a_regressor_learns_with_any_loss_of_numbers(loss):
    assert numbers(loss=loss).fit(R, T).score(R, T) > 0.95


def test_a_quantile_is_above_as_many_targets_as_it_says():
    made = numbers((), loss=fnn.quantile(0.9), epochs=200).fit(R, T + np.sin(1e3 * T) * 50)
    above = np.mean(made.predict(R) > T + np.sin(1e3 * T) * 50)
    assert 0.85 < above < 0.95


def test_poisson_predicts_rates_of_counts_as_they_are():
    rates = np.exp(R[:, 0] + 1)
    counts = fnn.Key.of(0).generator().poisson(rates)
    made = numbers((), loss="poisson", target_scale=None, epochs=300).fit(R, counts)
    assert np.corrcoef(np.log(made.predict(R)), np.log(rates))[0, 1] > 0.98
    assert abs(made.predict(R).mean() / counts.mean() - 1) < 0.05


def test_gaussian_nll_predicts_means():
    one = numbers(loss=gaussian_nll).fit(R, T)
    assert one.state_.params["dense_1"]["b"].shape == (2,)
    assert one.score(R, T) > 0.95
    two = numbers(loss=gaussian_nll).fit(R, np.stack([T, -T], axis=1))
    assert two.predict(R).shape == (200, 2)
    assert two.score(R, np.stack([T, -T], axis=1)) > 0.95


# --- optimizers and randomness


@pytest.mark.parametrize("name", list(fnn.OPTIMIZERS))
def test_every_optimizer_goes_by_its_name(name):
    made = quick(optimizer=name, learning_rate=None, epochs=2).fit(X, Y)
    _, before, _ = made.net_.init(fnn.Key.of(0).fold("init"), (4,))
    assert made.state_.step == 6
    assert made.state_.params != before


@pytest.mark.parametrize(
    "optimizer", ["adam", fnn.adam, fnn.adam(0.02), functools.partial(fnn.adam, b1=0.9)]
)
def test_an_optimizer_is_a_name_or_a_function_or_a_value(optimizer):
    rate = None if isinstance(optimizer, fnn.optimizers.transform.Transform) else 0.02
    made = clone(quick(optimizer=optimizer, learning_rate=rate)).fit(X, Y)
    assert made.state_ == quick().fit(X, Y).state_


def test_equal_states_of_randomness_give_equal_bits_and_none_another_each_time():
    def probabilities(state):
        return quick(epochs=1, random_state=state).fit(X, Y).predict_proba(X)

    first = probabilities(0)
    for state in (0, np.int64(0), fnn.Key.of(0)):
        assert np.array_equal(probabilities(state), first)
    source = np.random.RandomState
    assert np.array_equal(probabilities(source(3)), probabilities(source(3)))
    shared = source(3)
    assert not np.array_equal(probabilities(shared), probabilities(shared))
    assert not np.array_equal(probabilities(None), probabilities(None))


# --- what scaling means


def test_scaled_targets_keep_the_digits_of_large_offsets():
    made = numbers(epochs=200).fit(R, T + 1e9)
    assert made.predict(R).dtype == "float64"
    assert made.score(R, T + 1e9) > 0.95
    assert np.allclose(made.target_scaling_.undo(made.target_scaling_.apply(T[:, None])), T[:, None])


def test_scales_are_of_what_is_trained_on():
    made = quick(validation_fraction=0.2).fit(X, Y)
    train, _ = fnn.Dataset(X, Y).split(0.8, key=fnn.Key.of(0).fold("validation"), stratify=Y)
    assert np.array_equal(made.scaling_.apply(train.x), train.standardize().x)


@pytest.mark.parametrize("made", [quick(), numbers()])
def test_whether_an_example_is_there_twice_or_weighs_twice_changes_no_bit_of_a_whole_batch(made):
    weight = 1 + np.arange(len(X)) % 3
    order = fnn.Key.of(0).generator().permutation(weight.sum())
    repeated = clone(made).set_params(batch_size=1000)
    repeated.fit(X.repeat(weight, 0)[order], Y.repeat(weight)[order])
    weighed = clone(repeated).fit(X, Y, sample_weight=weight)
    assert repeated.state_ == weighed.state_


def test_weights_that_are_all_2_double_a_loss_that_is_a_sum():
    made = numbers(loss="half_squared_error", optimizer="sgd", learning_rate=0.001, batch_size=500)
    twice = clone(made).fit(np.concatenate([R, R]), np.concatenate([T, T]))
    assert twice.state_ == clone(made).fit(R, T, sample_weight=np.full(200, 2.0)).state_
    once = made.fit(R, T)
    assert np.isclose(twice.history_[0]["loss"], 2 * once.history_[0]["loss"])


@pytest.mark.parametrize("made", [quick(class_weight="balanced"), numbers()])
def test_an_example_of_weight_0_is_as_if_it_were_not_there(made):
    there = np.arange(150) % 3 > 0
    far = np.where(there[:, None], X, 1e5)
    whole = clone(made).fit(far, Y, sample_weight=np.where(there, 1 + Y, 0))
    part = clone(made).fit(X[there], Y[there], sample_weight=1 + Y[there])
    assert whole.state_ == part.state_


def without_weights(pred, target):
    return fnn.softmax_cross_entropy(pred, target)


def test_weights_of_1_are_none():
    made = quick(loss=without_weights)
    equal = clone(made).fit(X, Y, sample_weight=np.ones(150))
    assert equal.state_ == made.fit(X, Y).state_
    with pytest.raises(errors.OptionError, match="got one that takes none"):
        made.fit(X, Y, sample_weight=1 + Y)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": without_weights},
        {"metrics": {"own": lambda pred, target: 0.0}},
        {"net": fnn.mlp((16, 3), norm=fnn.BatchNorm())},
        {"net": fnn.mlp((16, 3), dropout=0.5)},
        {"augment": fnn.gaussian_noise(0.1)},
    ],
    ids=["loss", "metric", "norm", "dropout", "augmentation"],
)
def test_equal_examples_stay_several_where_that_makes_a_difference(options):
    x, y = np.concatenate([X[::5], X[::10]]), np.concatenate([Y[::5], Y[::10]])
    made = quick(**options, epochs=2).fit(x, y)
    key = fnn.Key.of(0)
    options = {"loss": fnn.softmax_cross_entropy, "net": fnn.mlp((16, 3)), **options}
    fit = fnn.fit(
        options.pop("net"), options.pop("loss"), fnn.adam(0.02), fnn.Dataset(x, y).standardize(),
        epochs=2, batch_size=64, key=key, dtype="float32", progress=False, **options,
    )  # fmt: skip
    assert made.state_ == fit.last


def test_targets_are_scaled_by_the_weights_of_their_examples():
    weight = np.linspace(0.1, 2.0, 200)
    scaling = numbers(epochs=1).fit(R, T, sample_weight=weight).target_scaling_
    mean = np.average(T, weights=weight)
    assert np.allclose(scaling.undo(np.zeros((1, 1))), mean)
    assert np.allclose(
        scaling.undo(np.ones((1, 1))) - mean, np.sqrt(np.cov(T, aweights=weight, ddof=0))
    )
