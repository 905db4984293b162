"""Estimators of scikit-learn: what is refused, in whose name, and what a refusal leaves behind."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression
from sklearn.exceptions import NotFittedError

import fnn
from fnn import errors
from fnn.interop.sklearn import FnnClassifier, FnnRegressor

X, Y = load_iris(return_X_y=True)
R, T = make_regression(200, 5, n_informative=5, noise=1.0, random_state=0)


def quick(**options):
    return FnnClassifier(
        **{"net": (16,), "epochs": 5, "random_state": 0, "learning_rate": 0.02, **options}
    )


def numbers(**options):
    return FnnRegressor(
        **{"net": (16,), "epochs": 5, "random_state": 0, "learning_rate": 0.02, **options}
    )


REFUSED = [
    ({"net": "abc"}, "net: expected a Layer, widths of hidden layers, or a function"),
    ({"net": (3.5,)}, "net: expected a Layer, widths"),
    ({"net": fnn.Dense(5)}, r"net: expected outputs of shape \(3,\), one per class, got \(5,\)"),
    ({"net": lambda shape: None}, "expected the function to return a Layer, got None"),
    ({"loss": "sigmoid_cros_entropy"}, "loss.*did you mean 'sigmoid_cross_entropy'"),
    ({"loss": "squared_error"}, "loss: expected one for classes"),
    ({"loss": 3}, "loss: expected a name or a function, got 3"),
    ({"optimizer": "adm"}, "optimizer: .*did you mean"),
    ({"optimizer": 3}, "optimizer: expected a name, a Transform, or a function"),
    ({"optimizer": fnn.sgd(0.1)}, r"learning_rate: expected None beside sgd\(.*0.1\)"),
    ({"optimizer": "lbfgs"}, "learning_rate: expected None beside 'lbfgs', which has none, got 0.02"),
    ({"learning_rate": "high"}, "learning_rate: expected a number, got 'high'"),
    ({"epochs": 0}, "epochs: expected 1 or more, got 0"),
    ({"batch_size": 2.0}, "batch_size: expected an integer, got 2.0"),
    ({"scale": "minmax"}, "scale: expected 'standard' or None, got 'minmax'"),
    ({"validation_fraction": 1.5}, "validation_fraction: expected a number in"),
    ({"validation_fraction": 0}, "validation_fraction: expected a number in"),
    ({"validation_fraction": 0.001}, "expected two parts with examples in each"),
    ({"early_stopping": True}, "early_stopping: expected an integer, got True"),
    ({"monitor": "accuracy"}, "monitor: expected one of"),
    ({"metrics": "acuracy"}, "did you mean 'accuracy'"),
    ({"callbacks": 3}, "callbacks: expected functions, got 3"),
    ({"plateau": 3}, "plateau: expected what"),
    ({"class_weight": {"tulip": 1.0}}, "class_weight: expected labels of the classes .* got 'tulip'"),
    ({"class_weight": "equal"}, "class_weight: expected 'balanced' or"),
    ({"warm_start": "yes"}, "warm_start: expected True or False, got 'yes'"),
    ({"dtype": "int8"}, "dtype: expected 'float32' or 'float64', got 'int8'"),
    ({"dtype": None}, "dtype: expected 'float32' or 'float64', got None"),
    ({"random_state": "x"}, "random_state: expected None, an integer, a Key or a RandomState"),
    ({"verbose": "loud"}, "verbose: expected True, False or 'bar', got 'loud'"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[str(each)[:40] for each, _ in REFUSED])
def test_an_option_out_of_its_range_is_refused_by_name(options, message):
    with pytest.raises((errors.OptionError, errors.ShapeError), match=f"^FnnClassifier.*{message}"):
        quick(**options).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"target_scale": "log"}, T, "target_scale: expected 'standard' or None, got 'log'"),
        ({"loss": "poisson"}, T, "target_scale: expected None with the loss 'poisson'"),
        ({"net": fnn.Dense(2)}, T, r"net: expected outputs of shape \(1,\).* got \(2,\)"),
        ({}, np.full(200, "a"), "y: expected numbers, got dtype <U1"),
        ({"target_scale": None}, T * 1e300, "y.* is beyond float32"),
    ],
)
def test_a_regressor_refuses_targets_and_options_that_do_not_fit(options, y, message):
    with pytest.raises(errors.FnnError, match=f"^FnnRegressor.*{message}"):
        numbers(**options).fit(R, y)


@pytest.mark.parametrize(
    ("weight", "message"),
    [(-1.0, "weight.* is not 0 or more"), (np.nan, "weight.* is nan"), (0.0, "zero for all")],
)
def test_weights_that_are_none_are_refused(weight, message):
    with pytest.raises(errors.DataError, match=message):
        quick().fit(X, Y, sample_weight=np.full(len(X), weight))


@pytest.mark.parametrize("made", [quick(), numbers()])
def test_masks_are_not_lost_without_a_word(made):
    masked = np.ma.masked_array(X, X > 5)
    with pytest.raises(errors.DataError, match="expected X without a mask"):
        made.fit(masked, Y)
    with pytest.raises(errors.DataError, match="expected y without a mask"):
        made.fit(X, np.ma.masked_array(Y, Y == 1))
    with pytest.raises(errors.DataError, match="expected sample_weight without a mask"):
        made.fit(X, Y, sample_weight=np.ma.masked_array(np.ones(150), X[:, 0] > 5))
    with pytest.raises(errors.DataError, match="expected X without a mask"):
        made.fit(X, Y).predict(masked)


def test_labels_that_were_not_announced_are_refused():
    with pytest.raises(errors.OptionError, match="classes: expected all labels at the first"):
        quick().partial_fit(X, Y)
    with pytest.raises(errors.DataError, match=r"y: expected labels of the classes \[0 1\], got 2"):
        quick().partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(errors.DataError, match=r"classes: .* got strings among others"):
        quick().partial_fit(X, Y, classes=[0, 1, "two"])
    made = quick().partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(errors.OptionError, match=r"classes: expected \[0 1 2\] as before"):
        made.partial_fit(X, Y, classes=[0, 1, 2, 3])
    with pytest.raises(errors.OptionError, match=r"class_weight: .* with partial_fit"):
        quick(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


@pytest.mark.parametrize("made", [quick(), numbers()])
def test_a_training_that_fails_says_why_and_leaves_the_estimator_as_it_was(made):
    before = clone(made).fit(X, Y)
    made = clone(made).fit(X, Y)
    made.set_params(optimizer="sgd", learning_rate=1e30)
    with pytest.raises(errors.DivergedError, match=rf"^{type(made).__name__}: expected a finite loss"):
        made.fit(1e3 * X[:, :3], np.where(Y == 2, 5, 4))
    assert np.array_equal(made.predict(X), before.predict(X))
    assert vars(made).keys() == vars(before).keys()
    with pytest.raises(NotFittedError):
        clone(made).predict(X)


def test_a_warm_start_refuses_another_network():
    made = quick(warm_start=True).fit(X, Y)
    with pytest.raises(
        errors.DataError,
        match=r"does not fit:\n  now/params/dense_0/b: expected float32\[8\], got float32\[16\]",
    ):
        pickle.loads(pickle.dumps(made)).set_params(net=(8,)).fit(X, Y)
