"""Estimators among scikit-learn's tools: pipelines, grids, folds, ensembles, processes, frames."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.ensemble import AdaBoostClassifier, BaggingRegressor, VotingClassifier
from sklearn.metrics import classification_report, log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score, train_test_split
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

import fnn
from fnn.interop.sklearn import FnnClassifier, FnnRegressor

X, Y = load_iris(return_X_y=True)
SICK, PROGRESS = load_diabetes(return_X_y=True)


def quick(net=(16,), **options):
    return FnnClassifier(net, **{"epochs": 30, "random_state": 0, "learning_rate": 0.02, **options})


# --- the guide's own examples


def test_a_grid_over_rate_and_width_finds_a_good_digit_classifier():
    # As "Custom refit strategy of a grid search with cross-validation" of scikit-learn's guide.
    digits = load_digits()
    images = digits.images.reshape(len(digits.images), -1)
    train, test, y_train, y_test = train_test_split(
        images, digits.target, test_size=0.5, random_state=0
    )
    grid = {"learning_rate": [0.0001, 0.003], "net": [(8,), (64,)]}
    search = GridSearchCV(quick(epochs=15, learning_rate=None), grid, scoring="accuracy", cv=3)
    search.fit(train, y_train)
    assert search.best_params_ == {"learning_rate": 0.003, "net": (64,)}
    assert search.score(test, y_test) > 0.95
    assert list(search.cv_results_["param_net"]) == [(8,), (64,)] * 2
    report = classification_report(y_test, search.predict(test), output_dict=True)
    assert report["weighted avg"]["f1-score"] > 0.95


def test_a_pipeline_scales_searches_and_pickles():
    pipe = make_pipeline(MinMaxScaler(), quick(scale=None))
    search = GridSearchCV(pipe, {"fnnclassifier__net": [(4,), (16,)]}, cv=2).fit(X, Y)
    assert search.score(X, Y) > 0.9
    again = pickle.loads(pickle.dumps(search))
    assert np.array_equal(again.predict_proba(X), search.predict_proba(X))


def test_folds_score_alike_in_one_process_and_in_two():
    scores = cross_val_score(quick(), X, Y, cv=3)
    assert scores.mean() > 0.9
    assert np.array_equal(scores, cross_val_score(quick(), X, Y, cv=3, n_jobs=2))


def test_a_regressor_beats_the_mean_on_real_data():
    made = FnnRegressor((16,), epochs=40, random_state=0, validation_fraction=0.2, early_stopping=5)
    assert cross_val_score(made, SICK, PROGRESS, cv=3).mean() > 0.35


# --- copies


@pytest.mark.parametrize("made", [quick(), FnnRegressor((4,), epochs=2, random_state=1)])
def test_copies_by_pickle_and_joblib_say_the_same_and_train_on_alike(made, tmp_path):
    made = clone(made).fit(X, Y)
    joblib.dump(made, tmp_path / "made.joblib")
    for again in (pickle.loads(pickle.dumps(made)), joblib.load(tmp_path / "made.joblib")):
        assert np.array_equal(again.predict(X), made.predict(X))
        assert (
            again.partial_fit(X, Y).state_ == pickle.loads(pickle.dumps(made)).partial_fit(X, Y).state_
        )


def test_a_clone_has_the_options_by_value_and_none_of_what_was_learned():
    net = fnn.mlp((8, 3), activation="tanh")
    made = quick(net, loss=fnn.focal(1.0), optimizer=fnn.sgd(0.1), learning_rate=None).fit(X, Y)
    again = clone(made)
    assert again.get_params() == made.get_params()
    assert again.net is not made.net
    assert not hasattr(again, "state_")


def test_an_estimator_shows_what_was_chosen():
    assert repr(FnnClassifier((32,), epochs=5)) == "FnnClassifier(epochs=5, net=(32,))"
    assert "FnnRegressor" in FnnRegressor()._repr_html_()


# --- ensembles and measures


@pytest.mark.parametrize(
    "around",
    [
        lambda made: AdaBoostClassifier(made, n_estimators=2),
        lambda made: VotingClassifier([("a", made), ("b", clone(made))], voting="soft"),
        lambda made: CalibratedClassifierCV(made, cv=2),
    ],
    ids=["boosting", "voting", "calibration"],
)
def test_what_is_built_of_classifiers_takes_a_network(around):
    assert around(quick()).fit(X, Y).score(X, Y) > 0.85


def test_several_labels_and_bags_take_networks_too():
    several = np.stack([Y == 0, Y == 2], axis=1)
    assert MultiOutputClassifier(quick()).fit(X, several).score(X, several) > 0.85
    bag = BaggingRegressor(
        FnnRegressor((8,), epochs=30, learning_rate=0.02), n_estimators=2, random_state=0
    )
    assert bag.fit(SICK, PROGRESS).score(SICK, PROGRESS) > 0.3


def test_measures_take_probabilities_and_scores():
    made = quick().fit(X, Y)
    assert log_loss(Y, made.predict_proba(X)) < 0.3
    margin = quick(loss="hinge").fit(X, Y == 1)
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    assert cross_val_score(margin, X, Y == 1, scoring="roc_auc", cv=folds).mean() > 0.8
    assert roc_auc_score(Y == 1, margin.decision_function(X)) > 0.9


# --- labels and targets of every type


@pytest.mark.parametrize(
    "classes",
    [
        ["a", "bb", "ccc"], [False, True, True], [-1, 0, 5], [1.0, 2.0, 3.0],
        np.array(["x", "y", "z"], object), np.array([1, 2, 3], np.uint8),
    ],
    ids=["strings", "booleans", "integers", "whole floats", "objects", "bytes"],
)  # fmt: skip
def test_labels_of_any_type_come_back_as_they_were(classes):
    y = np.asarray(classes)[Y]
    made = quick().fit(X, y)
    assert np.array_equal(made.classes_, np.unique(y))
    assert made.predict(X).dtype == y.dtype
    assert made.score(X, y) > 0.9
    assert quick().fit(X.tolist(), y.tolist()).score(X, y) > 0.9


def test_a_regressor_predicts_several_numbers_in_the_shape_that_they_had():
    two = np.stack([PROGRESS, PROGRESS.max() - 10 * PROGRESS], axis=1)
    made = FnnRegressor((16,), epochs=60, learning_rate=0.01, random_state=0).fit(SICK, two)
    assert made.predict(SICK).shape == two.shape
    assert made.score(SICK, two) > 0.4
    column = clone(made).fit(SICK, two[:, :1])
    assert column.predict(SICK).shape == (len(SICK), 1)
    flat = clone(made).fit(SICK, two[:, 0])
    assert np.array_equal(flat.predict(SICK), column.predict(SICK)[:, 0])


# --- data frames


def test_data_frames_and_series_go_in_and_names_are_held_to():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    labels = pandas.Series(np.array(["s", "ve", "vi"])[Y])
    weight = pandas.Series(np.linspace(0.5, 1.5, len(X)))
    made = quick().fit(frame, labels, sample_weight=weight)
    plain = quick().fit(X, labels.to_numpy(), sample_weight=weight.to_numpy())
    assert made.state_ == plain.state_
    assert list(made.feature_names_in_) == ["a", "b", "c", "d"]
    assert np.array_equal(made.predict(frame), plain.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        made.predict(frame[["b", "a", "c", "d"]])


def test_columns_of_every_kind_go_through_a_pipeline():
    pandas = pytest.importorskip("pandas")
    from sklearn.compose import make_column_transformer

    frame = pandas.DataFrame(
        {"size": X[:, 2], "kind": pandas.Categorical(np.where(X[:, 3] > 1, "w", "n"))}
    )
    columns = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    labels = pandas.Categorical(np.array(["s", "ve", "vi"])[Y])
    made = make_pipeline(columns, quick()).fit(frame, labels)
    assert made.score(frame, labels) > 0.85
    numbers = make_pipeline(columns, FnnRegressor((8,), epochs=40, learning_rate=0.02))
    assert numbers.fit(frame, pandas.DataFrame(X[:, :2])).score(frame, X[:, :2]) > 0.3


# --- on its own


def test_verbose_says_every_epoch_on_stderr_alone(capsys):
    quick(epochs=2, verbose=True).fit(X, Y)
    said = capsys.readouterr()
    assert said.out == ""
    assert "2/2" in said.err
    quick(epochs=2).fit(X, Y)
    assert capsys.readouterr().err == ""


def test_a_fit_neither_warns_nor_writes_to_what_it_is_given():
    x, y = X.copy(), Y.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick().fit(x, y).predict_proba(x)
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)


def test_without_scikit_learn_the_bridge_says_how_to_install_it():
    code = "import sys; sys.modules['sklearn'] = None; import fnn; import fnn.interop.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'sklearn is not installed: pip install "fnn[sklearn]"' in done.stderr


def test_a_trained_network_goes_back_to_the_library(tmp_path):
    made = quick().fit(X, Y)
    now = made.state_
    fnn.save_model(tmp_path / "iris.npz", made.net_, now.params, now.state, made.in_shape_)
    net, params, state, _ = fnn.load_model(tmp_path / "iris.npz")
    outputs = fnn.predict(net, (params, state), made.scaling_.apply(X).astype("float32"))
    assert np.array_equal(made.classes_[outputs.argmax(axis=1)], made.predict(X))
