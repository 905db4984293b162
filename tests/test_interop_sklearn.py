"""Networks as scikit-learn estimators: its own checks, its own tools, and the bits of `fnn.fit`."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_iris, make_regression
from sklearn.utils.estimator_checks import parametrize_with_checks

import fnn
from fnn.interop.sklearn import FnnClassifier, FnnRegressor
from fnn.kernels.softmax import softmax

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
R, T = make_regression(300, 5, n_informative=5, noise=1.0, random_state=0)


def quick(**options):
    return FnnClassifier((16,), **{"epochs": 20, "random_state": 0, "learning_rate": 0.01, **options})


def numbers(**options):
    return FnnRegressor((16,), **{"epochs": 20, "random_state": 0, "learning_rate": 0.01, **options})


def same(a, b, x=X):
    """Return whether two estimators have the same weights and say the same, to the bit."""
    method = "predict_proba" if hasattr(a, "predict_proba") else "predict"
    says = np.array_equal(getattr(a, method)(x), getattr(b, method)(x))
    return says and a.state_.params == b.state_.params


def noting(seen):
    """Return a loss that notes the targets that it gets."""

    def loss(pred, target, *, weight=None):
        seen.append(target)
        return fnn.softmax_cross_entropy(pred, target, weight=weight)

    return loss


# --- scikit-learn's own checks


CHECKS = parametrize_with_checks([FnnClassifier(), FnnRegressor()])


# scikit-learn 1.6 hands over a generator, which the pytest of today refuses.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_every_check_of_scikit_learn_passes(estimator, check):
    check(estimator)


EVERYTHING = """
from sklearn.utils.estimator_checks import check_estimator
from fnn.interop.sklearn import FnnClassifier, FnnRegressor

for made in (FnnClassifier(dtype="float64"), FnnRegressor(dtype="float64", scale=None)):
    found = check_estimator(made, on_skip=None)
    print({each["status"] for each in found}, len(found) > 50)
"""


def test_no_check_is_skipped_where_arrays_of_other_libraries_are_let_in_and_in_float64():
    pytest.importorskip("pandas")  # Some checks are about its frames.
    command = [sys.executable, "-W", "ignore", "-c", EVERYTHING]
    env = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["{'passed'} True"] * 2, done.stderr


# --- the bits of fnn.fit


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_classifier_is_what_fit_makes_to_the_bit(dtype):
    made = quick(dtype=dtype, batch_size=20).fit(X, NAMES)
    data = fnn.Dataset(X, Y).standardize()
    fit = fnn.fit(
        fnn.mlp((16, 3)), fnn.softmax_cross_entropy, fnn.adam(0.01), data, epochs=20, batch_size=20,
        key=fnn.Key.of(0), dtype=dtype, progress=False,
    )  # fmt: skip
    assert made.state_ == fit.last
    assert made.history_ == fit.history
    outputs = fnn.predict(fnn.mlp((16, 3)), fit.last, data.cast(dtype).x)
    assert np.array_equal(made.predict_proba(X), softmax(outputs))
    assert made.predict_proba(X).dtype == dtype
    assert np.array_equal(made.predict(X), np.unique(NAMES)[outputs.argmax(axis=1)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_regressor_is_what_fit_makes_to_the_bit(dtype):
    made = numbers(dtype=dtype, target_scale=None).fit(R, T)
    data = fnn.Dataset(R, T[:, None]).standardize()
    fit = fnn.fit(
        fnn.mlp((16, 1)), fnn.squared_error, fnn.adam(0.01), data, epochs=20, batch_size=64,
        key=fnn.Key.of(0), dtype=dtype, progress=False,
    )  # fmt: skip
    assert made.state_ == fit.last
    weights = fnn.tree.cast(fit.last.params, "float64"), {}
    assert np.array_equal(made.predict(R), fnn.predict(fnn.mlp((16, 1)), weights, data.x)[:, 0])


def test_what_is_held_out_is_a_stratified_part_and_the_best_epoch_counts():
    made = quick(validation_fraction=0.2, batch_size=20, metrics="accuracy").fit(X, Y)
    data = fnn.Dataset(X, Y)
    train, held = data.split(0.8, key=fnn.Key.of(0).fold("validation"), stratify=Y)
    assert np.bincount(held.y).tolist() == [10, 10, 10]
    fit = fnn.fit(
        fnn.mlp((16, 3)), fnn.softmax_cross_entropy, fnn.adam(0.01), train.standardize(),
        validation=held.standardize(like=train), epochs=20, batch_size=20, key=fnn.Key.of(0),
        metrics=fnn.accuracy, dtype="float32", progress=False,
    )  # fmt: skip
    assert made.state_ == fit.best
    assert made.history_ == fit.history


def test_weights_of_examples_and_classes_are_those_of_a_data_set():
    weight = np.linspace(0.0, 2.0, len(X))
    made = quick(class_weight={"setosa": 3.0}, batch_size=20, scale=None)
    made.fit(X, NAMES, sample_weight=weight)
    data = fnn.Dataset(X, Y, weight=weight).weighted({0: 3.0})
    fit = fnn.fit(
        fnn.mlp((16, 3)), fnn.softmax_cross_entropy, fnn.adam(0.01), data, epochs=20, batch_size=20,
        key=fnn.Key.of(0), dtype="float32", progress=False,
    )  # fmt: skip
    assert made.state_ == fit.last


# --- training further


@pytest.mark.parametrize("make", [quick, numbers])
def test_partial_fits_of_all_examples_are_epochs_to_the_bit(make):
    part, whole = make(), make(epochs=3).fit(X, Y)
    classes = {"classes": [0, 1, 2]} if make is quick else {}
    for _ in range(3):
        part.partial_fit(X, Y, **classes)
    assert same(part, whole)
    assert part.history_ == whole.history_
    assert part.n_iter_ == 3


@pytest.mark.parametrize("options", [{}, {"validation_fraction": 0.2}])
def test_a_warm_start_goes_on_for_further_epochs_to_the_bit(options):
    warm, whole = quick(epochs=5, warm_start=True, **options), quick(epochs=10, **options).fit(X, Y)
    warm.fit(X, Y)
    warm = pickle.loads(pickle.dumps(warm)).fit(X, Y)
    assert same(warm, whole)
    assert warm.history_ == whole.history_


def test_a_fit_is_a_fifth_epoch_away_from_a_partial_fit():
    made = quick(epochs=4).fit(X, Y).partial_fit(X, Y)
    assert same(made, quick(epochs=5).fit(X, Y))


def test_a_warm_start_with_another_optimizer_goes_on_from_the_weights():
    made = quick(warm_start=True).fit(X, Y)
    before = made.state_.params
    made.set_params(learning_rate=1e-9, epochs=1).fit(X, Y)
    assert made.n_iter_ == 1
    gap = fnn.tree.ravel(before)[0] - fnn.tree.ravel(made.state_.params)[0]
    assert 0 < np.abs(gap).max() < 1e-6


def test_a_warm_start_in_another_precision_goes_on_from_the_weights():
    made = quick(warm_start=True).fit(X, Y).set_params(dtype="float64", epochs=1).fit(X, Y)
    assert made.n_iter_ == 1
    assert made.predict_proba(X).dtype == "float64"


def test_what_is_held_out_stays_so_when_a_training_goes_on_otherwise():
    seen = []
    made = quick(warm_start=True, validation_fraction=0.2, loss=noting(seen)).fit(X, Y)
    for rate in (0.001, 0.002):
        made.set_params(learning_rate=rate).fit(X, Y)
    sets = {part.tobytes() for part in seen if len(part) == 30}
    assert len(sets) == 1


def test_without_a_warm_start_a_second_fit_forgets_the_first():
    made = quick().fit(R, T > 0).fit(X, NAMES)
    assert same(made, quick().fit(X, NAMES))


def test_a_partial_fit_may_see_some_of_the_classes():
    made = quick(class_weight={"virginica": 2.0})
    for at in (Y == 0, Y == 1, Y == 2):
        made.partial_fit(X[at], NAMES[at], classes=np.unique(NAMES))
    assert made.predict_proba(X).shape == (150, 3)


# --- stopping


def test_a_training_stops_early_where_nothing_improves():
    made = quick(epochs=500, early_stopping=3, validation_fraction=0.2, learning_rate=0.1).fit(X, Y)
    losses = made.history_["validation_loss"]
    assert made.n_iter_ == len(losses) < 500
    assert made.n_iter_ == np.argmin(losses) + 1 + 3
    assert made.state_.step == made.history_[int(np.argmin(losses))]["step"]


def test_what_is_monitored_may_be_a_metric():
    made = quick(
        epochs=500, early_stopping=2, validation_fraction=0.2, metrics=["accuracy"],
        monitor="validation_accuracy", mode="max",
    ).fit(X, Y)  # fmt: skip
    assert made.n_iter_ == np.argmax(made.history_["validation_accuracy"]) + 1 + 2


def test_callbacks_are_asked_and_a_plateau_cuts_the_rate():
    seen = []
    made = quick(
        epochs=30, callbacks=lambda now, history: seen.append(now.step) or len(history) == 12,
        plateau=fnn.reduce_on_plateau(1, monitor="loss", min_delta=10.0),
    ).fit(X, Y)  # fmt: skip
    assert seen == made.history_["step"]
    assert len(seen) == 12
    assert made.history_[-1]["learning_rate"] < 0.01


def test_ctrl_c_keeps_what_was_reached_and_goes_on_to_the_caller():
    def interrupt(now, history):
        if len(history) == 3:
            raise KeyboardInterrupt

    made = quick(callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt):
        made.fit(X, Y)
    assert made.n_iter_ >= 2
    assert made.score(X, Y) > 0.3
