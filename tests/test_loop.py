"""The loop: replayable, never half-done, and never surprised after the first step."""

import math
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

import fnn
from fnn import tree
from fnn.errors import DataError, DivergedError, DTypeError, FnnError, OptionError, ShapeError
from fnn.training.loop import Fit


def examples(n=50, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(dtype)
    return fnn.Dataset(x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0))


NET = fnn.serial(fnn.Dense(8), fnn.BatchNorm(), fnn.Tanh(), fnn.Dropout(0.1), fnn.Dense(3))


def fit(train=None, net=NET, loss=fnn.softmax_cross_entropy, optimizer=None, **options):
    options = {"epochs": 3, "batch_size": 16, "key": fnn.Key.of(0)} | options
    return fnn.fit(
        net, loss, optimizer or fnn.adam(0.02), examples() if train is None else train, **options
    )


def digest(now):
    return tree.digest({"params": now.params, "state": now.state, "opt_state": now.opt_state})


# --- what it computes ---------------------------------------------------------------------------


def test_fit_is_the_fold_of_the_step_over_the_epochs_batches_bit_for_bit():
    train, key = examples(), fnn.Key.of(0)
    step = fnn.train_step(NET, fnn.softmax_cross_entropy, fnn.adam(0.02))
    now = fnn.init_train_state(NET, fnn.adam(0.02), (4,), key)
    for epoch in range(3):
        now, _ = fnn.scan(step, now, fnn.batches(train, 16, key=key.fold("epoch", epoch)))
    assert fit().last == now
    assert digest(fit().last) == digest(now)


def test_the_same_key_gives_the_same_fit_and_another_key_another_one():
    assert fit() == fit()
    assert digest(fit().last) != digest(fit(key=fnn.Key.of(1)).last)


def test_two_processes_give_the_same_bits():
    code = (
        "import importlib.util; "
        f"spec = importlib.util.spec_from_file_location('loops', {__file__!r}); "
        "m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m); "
        "print(m.digest(m.fit().last), list(m.fit().history))"
    )
    ran = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
        for _ in range(2)
    ]
    here = f"{digest(fit().last)} {list(fit().history)}"
    assert [each.stdout.strip() for each in ran] == [here, here]


def test_every_epoch_goes_through_all_examples_in_an_order_of_its_own():
    seen = []

    def watching(key, x):
        seen.append(x[:, 0].copy())
        return x

    n = 40
    data = fnn.Dataset(np.arange(n, dtype=np.float32)[:, None], np.zeros((n, 1), np.float32))
    net = fnn.serial(fnn.Dense(1))
    fit(data, net, fnn.squared_error, fnn.sgd(0.0), epochs=3, augment=watching)
    steps = np.concatenate(seen)[-3 * n :].reshape(3, n)
    assert all(sorted(order) == list(range(n)) for order in steps.tolist())
    assert len({tuple(order) for order in steps.tolist()}) == 3


def test_a_record_weighs_batches_by_their_sizes_and_validation_is_exact():
    train, validation = examples(50), examples(33, seed=1)
    net = fnn.serial(fnn.Dense(3))
    given = {"right": fnn.accuracy}
    result = fit(train, net, optimizer=fnn.sgd(0.0), validation=validation, metrics=given)
    measured = fnn.evaluate(net, result.last, train, {"loss": fnn.softmax_cross_entropy, **given})
    exact = fnn.evaluate(net, result.last, validation, {"loss": fnn.softmax_cross_entropy, **given})
    for i, record in enumerate(result.history):
        assert list(record) == [
            "epoch", "step", "loss", "right", "validation_loss", "validation_right",
        ]  # fmt: skip
        assert (record["epoch"], record["step"]) == (i + 1, 4 * (i + 1))
        assert record["loss"] == pytest.approx(measured["loss"], rel=1e-6)
        assert record["right"] == pytest.approx(measured["right"], rel=1e-12)
        assert record["validation_loss"] == exact["loss"]
        assert record["validation_right"] == exact["right"]


def test_drop_last_leaves_out_the_smaller_batch():
    assert fit().last.step == 12
    assert fit(drop_last=True).last.step == 9


def test_no_epochs_give_the_first_state():
    result = fit(epochs=0)
    start = fnn.init_train_state(NET, fnn.adam(0.02), (4,), fnn.Key.of(0))
    assert result == Fit(start, start, fnn.History())


# --- best, stopping, callbacks ------------------------------------------------------------------


def scripted(values, **options):
    """Fit with a metric that takes these values on the validation set, epoch by epoch."""
    calls = iter(values)

    def score(pred, target):
        return next(calls) if len(target) == 33 else 0.0

    states = []
    callbacks = [lambda now, history: states.append(now), *options.pop("callbacks", [])]
    result = fit(
        validation=examples(33, seed=1),
        metrics=[score],
        epochs=len(values),
        callbacks=callbacks,
        **options,
    )
    return result, states


@pytest.mark.parametrize(
    ("mode", "values", "at"),
    [
        ("min", [3, 1, 2, 1], 1),
        ("max", [3, 1, 5, 5], 2),
        ("min", [math.nan, 4, math.nan, 2], 3),
        ("max", [math.nan, math.nan], 0),
        ("max", [-math.inf, 1], 1),
    ],
)
def test_best_is_the_first_epoch_in_which_the_monitored_number_was_best(mode, values, at):
    result, states = scripted(values, monitor="validation_score", mode=mode)
    assert result.best is states[at]
    assert result.last is states[-1]


def stops_at(values, patience, **options):
    stop = fnn.early_stopping(patience, monitor="v", **{"mode": "min", **options})
    told = [stop(None, fnn.History([{"v": v} for v in values[: i + 1]])) for i in range(len(values))]
    # A callback that saw nothing before says the same: it is a function of the history alone.
    fresh = fnn.early_stopping(patience, monitor="v", **{"mode": "min", **options})
    assert [fresh(None, fnn.History([{"v": v} for v in values]))] == told[-1:]
    return told.index(True) + 1 if True in told else None


@pytest.mark.parametrize(
    ("values", "patience", "options", "epoch"),
    [
        ([3, 2, 1, 0], 1, {}, None),
        ([3, 2, 2, 2], 1, {}, 3),
        ([3, 2, 2, 2], 2, {}, 4),
        ([1, 5, 4, 3, 2], 3, {}, 4),
        ([1, 2, 3], 1, {"mode": "max"}, None),
        ([3, 2.9, 2.8, 2.7], 2, {"min_delta": 0.15}, None),
        ([3, 2.9, 2.8, 2.7], 2, {"min_delta": 0.5}, 3),
        ([math.nan, math.nan, math.nan], 2, {}, 3),
        ([math.nan, 3, math.nan, math.nan], 2, {}, 4),
        ([math.inf, 3, 2], 1, {}, None),
    ],
)
def test_early_stopping_waits_that_many_epochs_after_the_best_one(values, patience, options, epoch):
    assert stops_at(values, patience, **options) == epoch


def test_early_stopping_is_a_pure_function_of_the_history():
    stop = fnn.early_stopping(1, monitor="v", mode="min")
    rising = fnn.History([{"v": 1}, {"v": 2}])
    falling = fnn.History([{"v": 2}, {"v": 1}])
    told = [stop(None, each) for each in (rising, falling, rising, rising[:1], fnn.History(), falling)]
    assert told == [True, False, True, False, False, False]
    assert stop == fnn.early_stopping(1, monitor="v", mode="min")
    assert pickle.loads(pickle.dumps(stop)) == stop


def test_early_stopping_ends_fit_after_all_callbacks_were_called():
    seen = []
    result, states = scripted(
        [1, 2, 3, 4],
        callbacks=[
            fnn.early_stopping(1, monitor="validation_score", mode="min"),
            lambda now, history: seen.append(len(history)),
        ],
    )
    assert seen == [1, 2]
    assert len(result.history) == len(states) == 2
    assert not result.interrupted


def test_a_callback_sees_the_state_and_the_history_and_may_stop():
    seen = []

    def callback(now, history):
        seen.append((now.step, history[-1]["step"], len(history)))
        return len(history) == 2

    result = fit(epochs=9, callbacks=callback)
    assert seen == [(4, 4, 1), (8, 8, 2)]
    assert result.last.step == 8


# --- Ctrl-C and divergence ----------------------------------------------------------------------


def interrupting(at, where):
    """Press Ctrl-C at that call of a loss, of a metric (validation's is told by its size)."""
    calls = [0]

    def press():
        calls[0] += 1
        if calls[0] == at:
            signal.raise_signal(signal.SIGINT)

    def loss(pred, target, *, weight=None):
        if where == "step" and pred.shape[0] not in (2, 33):
            press()
        return fnn.softmax_cross_entropy(pred, target, weight=weight)

    def metric(pred, target):
        if where == "evaluate" and len(target) == 33:
            press()
        if where == "replayed step" and len(target) not in (2, 33):
            press()
        return fnn.accuracy(pred, target)

    def callback(now, history):
        if where == "callback":
            press()

    return {"loss": loss, "metrics": [metric], "callbacks": [callback]}


@pytest.mark.parametrize(
    ("where", "at", "epochs", "steps"),
    [
        ("step", 1, 0, 0),
        ("step", 10, 0, 2),  # While it is recorded; the step itself was taken.
        ("replayed step", 14, 3, None),
        ("evaluate", 2, 1, 8),
        ("callback", 2, 2, 8),
    ],
)
def test_ctrl_c_ends_fit_with_what_was_reached(where, at, epochs, steps):
    kept = []
    options = interrupting(at, where)
    options["callbacks"].insert(0, lambda now, history: kept.append((now, history)))
    result = fit(epochs=5, validation=examples(33, seed=1), **options)
    assert result.interrupted
    assert len(result.history) == epochs
    assert steps is None or result.last.step == steps
    whole = fit(epochs=5, validation=examples(33, seed=1), metrics=fnn.accuracy)
    assert result.history["loss"] == whole.history[:epochs]["loss"]
    if epochs:
        assert result.history == kept[-1][1]
        assert result.best in [now for now, _ in kept]
    else:
        assert result.best == result.last


def test_divergence_in_fit_raises_with_the_epoch_in_a_note_and_callbacks_keep_the_epochs_before():
    kept = []

    def rate(step):
        return 3e38 if step >= 9 else 0.01

    net = fnn.serial(fnn.Dense(3))
    with pytest.raises(DivergedError) as caught:
        fit(net=net, optimizer=fnn.sgd(rate), epochs=5, callbacks=lambda now, history: kept.append(now))
    assert caught.value.step in (9, 10)
    assert caught.value.learning_rate == 3e38
    assert caught.value.__notes__ == ["in epoch 3 of 5"]
    assert [now.step for now in kept] == [4, 8]


def test_a_huge_learning_rate_never_ends_in_a_state_that_is_not_finite():
    with pytest.raises(DivergedError):
        fit(
            fnn.Dataset(examples().x * np.float32(30), examples().y),
            net=fnn.serial(fnn.Dense(3)),
            optimizer=fnn.sgd(3e38),
            epochs=1,
            batch_size=50,
        )


# --- bad arguments, before anything is trained --------------------------------------------------


WIDE = fnn.Dataset(np.zeros((5, 7), np.float32), np.zeros(5, np.int64))
FAR = fnn.Dataset(np.zeros((5, 4), np.float32), np.array([0, 1, 2, 3, 0]))
MATRIX = fnn.Dataset(np.zeros((5, 4), np.float32), np.zeros((5, 1), np.int64))
INTEGERS = fnn.Dataset(np.zeros((5, 4), np.int64), np.zeros(5, np.int64))
LATE = fnn.Dataset(np.zeros((40, 4), np.float32), np.array([0] * 39 + [3]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, OptionError, "batches: size: expected 1 or more"),
        ({"batch_size": 2.5}, OptionError, "expected an integer"),
        ({"batch_size": 0, "epochs": 0}, OptionError, "expected 1 or more"),
        ({"epochs": -1}, OptionError, "fit: epochs: expected 0 or more"),
        ({"key": 0}, OptionError, "expected a Key"),
        ({"monitor": "accuracy"}, OptionError, "monitor: expected one of .'loss'., got 'accuracy'"),
        ({"monitor": "validation_loss"}, OptionError, "monitor: expected one of"),
        ({"monitor": "step"}, OptionError, "monitor: expected one of"),
        ({"monitor": "accuracy", "metrics": fnn.accuracy}, OptionError, "'max' for 'accuracy'"),
        ({"mode": "auto"}, OptionError, "expected 'min' or 'max', got 'auto'"),
        ({"metrics": [fnn.accuracy, fnn.accuracy]}, OptionError, "distinct names"),
        ({"metrics": {"epoch": fnn.accuracy}}, OptionError, "got 'epoch'"),
        (
            {
                "metrics": {"a": fnn.accuracy, "validation_a": fnn.accuracy},
                "validation": examples(),
            },
            OptionError,
            "expected distinct columns",
        ),
        ({"callbacks": [3]}, OptionError, "callbacks: expected functions, got 3"),
        ({"callbacks": fnn.early_stopping(2)}, OptionError, "got 'validation_loss'"),
        ({"drop_last": True, "batch_size": 51}, DataError, "whole batch with drop_last"),
        ({"validation": (1, 2)}, DataError, "validation: expected a Dataset, got tuple"),
        ({"validation": WIDE}, ShapeError, r"serial/dense_0.*expected last axis 4, got \(1, 7\)"),
        ({"validation": FAR}, DataError, r"labels\[3\] = 3 is not in \[0, 3\)"),
        ({"validation": MATRIX}, ShapeError, "labels"),
        ({"validation": INTEGERS}, DTypeError, "serial/dense_0.*int64"),
        ({"train": INTEGERS}, DTypeError, "serial/dense_0.*int64"),
        ({"train": examples(dtype=np.float64)}, DTypeError, "serial/dense_0.*float64"),
        ({"train": LATE}, DataError, "is not in"),
        ({"train": MATRIX}, ShapeError, "labels"),
        ({"train": examples(49)}, ShapeError, "serial/batch_norm_0"),
        ({"train": examples().x}, DataError, "train: expected a Dataset, got ndarray"),
        ({"net": fnn.Dense}, OptionError, "net: expected a Layer"),
        ({"optimizer": fnn.sgd}, OptionError, "optimizer: expected a Transform"),
        ({"loss": "mse"}, OptionError, "loss: expected a function"),
    ],
)
def test_bad_arguments_raise_before_anything_is_trained(options, error, message):
    asked = []

    def rate(step):
        asked.append(step)
        return 0.1

    options = {"net": NET, "optimizer": fnn.sgd(rate)} | options
    with pytest.raises(error, match=message) as caught:
        fit(**options)
    assert isinstance(caught.value, FnnError)
    assert asked == []


def test_drop_last_saves_batch_norm_from_a_last_batch_of_one():
    assert fit(examples(49), drop_last=True).last.step == 9


def test_early_stopping_refuses_what_makes_no_sense():
    for given, message in (
        ({"patience": 0}, "patience: expected 1 or more"),
        ({"patience": 2, "min_delta": -1}, "min_delta"),
        ({"patience": 2, "mode": "up"}, "expected 'min' or 'max'"),
        ({"patience": 2, "monitor": "validation_accuracy"}, "for 'validation_accuracy'"),
    ):
        with pytest.raises(OptionError, match=message):
            fnn.early_stopping(**given)
    with pytest.raises(OptionError, match=r"expected one of .'v'., got 'w'"):
        fnn.early_stopping(1, monitor="w", mode="min")(None, fnn.History([{"v": 1}]))


def test_callbacks_that_are_none_are_refused_by_name():
    data = fnn.Dataset(np.zeros((4, 2), "f4"), np.zeros((4, 1), "f4"))
    with pytest.raises(fnn.OptionError, match="fit: callbacks: expected functions, got 3"):
        fnn.fit(
            fnn.Dense(1), fnn.squared_error, fnn.sgd(0.1), data,
            epochs=1, batch_size=2, key=fnn.Key.of(0), callbacks=3,
        )  # fmt: skip
