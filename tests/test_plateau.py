"""Cutting the learning rate on a plateau, and the learning rate in the history."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from optimizer_cases import draw, run, same_bits

import fnn
from fnn.errors import OptionError
from fnn.optimizers.rescaling import rescaled
from fnn.training.plateau import Pace

NET = fnn.serial(fnn.Dense(4), fnn.Tanh(), fnn.Dense(2))


def data(n=40, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)).astype("float32")
    return fnn.Dataset(x, (x[:, 0] * x[:, 1] > 0).astype(np.int64))


def trained(optimizer, epochs=8, **options):
    given = {"batch_size": 10, "key": fnn.Key.of(0), "validation": data(20, 1), "progress": False}
    loss = fnn.softmax_cross_entropy
    return fnn.fit(NET, loss, optimizer, data(), epochs=epochs, **{**given, **options})


def scales(plateau, values):
    pace, found = Pace(), []
    for value in values:
        pace = plateau.after(pace, {"validation_loss": value})
        found.append(pace.scale)
    return found


def test_the_rate_is_cut_after_so_many_epochs_without_improvement():
    cut = fnn.reduce_on_plateau(2, factor=0.5)
    assert scales(cut, [3, 2, 1, 1, 1, 1, 1]) == [1, 1, 1, 1, 0.5, 0.5, 0.25]
    assert scales(cut, [3, math.nan, math.nan, 2]) == [1, 1, 0.5, 0.5]
    assert scales(cut, [math.nan, 3, 2, 1]) == [1, 1, 1, 1]
    resting = fnn.reduce_on_plateau(1, factor=0.5, cooldown=2, least=0.2)
    assert scales(resting, [1] * 9) == [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2]
    small = fnn.reduce_on_plateau(2, factor=0.5, min_delta=0.5)
    assert scales(small, [3, 2.9, 2.8, 2.0]) == [1, 1, 0.5, 0.5]


@pytest.mark.parametrize("cooldown", [0, 3])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_cuts_follow_pytorch_whose_patience_is_one_less(mode, cooldown):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(size=120)) * 0.1
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, 0.7, 3, 0.05, "abs", cooldown, min_lr=0.01, eps=0.0
    )
    ours = fnn.reduce_on_plateau(
        4, factor=0.7, mode=mode, min_delta=0.05, cooldown=cooldown, least=0.01
    )
    expected = []
    for value in values:
        theirs.step(float(value))
        expected.append(optimizer.param_groups[0]["lr"])
    assert scales(ours, map(float, values)) == pytest.approx(expected, rel=1e-13)
    assert len(set(expected)) > 5


def test_a_cut_multiplies_every_learning_rate_and_keeps_the_memory():
    params, grads = draw(0), [draw(1), draw(2)]
    rate = fnn.cosine_schedule(0.1, 9)
    pairs = [
        (fnn.momentum(0.1), fnn.momentum(0.05)),
        (fnn.adam(), fnn.adam(0.0005)),
        (fnn.adamw(rate), fnn.adamw(lambda step: 0.5 * rate(step))),
        (
            fnn.chain(fnn.scale_by_adam(), fnn.scale_by_learning_rate(0.1)),
            fnn.chain(fnn.scale_by_adam(), fnn.scale_by_learning_rate(0.05)),
        ),
        (
            fnn.accumulate(fnn.partition({"a": fnn.sgd(0.1), "b": fnn.sgd(0.2)}, {"": "a"}), 2),
            fnn.accumulate(fnn.partition({"a": fnn.sgd(0.05), "b": fnn.sgd(0.1)}, {"": "a"}), 2),
        ),
        (fnn.lookahead(fnn.lion(0.1), 2), fnn.lookahead(fnn.lion(0.05), 2)),
    ]
    for whole, half in pairs:
        slow = rescaled(whole, 0.5)
        a, b = run(slow, params, grads), run(half, params, grads)
        assert same_bits(a[0], b[0])
        assert same_bits(a[1], b[1])
        assert slow.where == whole.where


def test_fit_cuts_the_rate_and_shows_it():
    cut = fnn.reduce_on_plateau(1, factor=0.5, min_delta=10.0)
    reached = trained(fnn.adam(0.01), plateau=cut)
    rates = [0.01, 0.01, 0.005, 0.0025, 0.00125, 0.000625, 0.0003125, 0.00015625]
    assert reached.history["learning_rate"] == rates
    # By hand: the same steps with the rates of their epochs.
    by_epoch = fnn.piecewise_schedule(rates, [4 * i for i in range(1, 8)])
    same = trained(fnn.adam(by_epoch))
    assert same_bits(same.last.params, reached.last.params)
    assert same.history["learning_rate"] == rates
    never = trained(fnn.adam(0.01), plateau=fnn.reduce_on_plateau(99))
    assert same_bits(never.last.params, trained(fnn.adam(0.01)).last.params)


@pytest.mark.parametrize("at", [3, 7, 8, 9, 14, 20, 31])
def test_a_run_stopped_anywhere_goes_on_at_the_same_rate(at):
    cut = fnn.reduce_on_plateau(1, factor=0.5, min_delta=10.0)
    kept = []

    def save(progress):
        if progress.now.step == at and not kept:
            kept.append(progress)

    whole = trained(fnn.momentum(0.1), plateau=cut, save=save, save_every=1)
    again = trained(fnn.momentum(0.1), plateau=cut, start=kept[0])
    assert same_bits(again.last.params, whole.last.params)
    assert again.history == whole.history


def test_only_rates_that_change_by_the_library_are_shown():
    assert "learning_rate" not in trained(fnn.adam(), 1).history[0]
    assert "learning_rate" not in trained(fnn.adam(lambda step: 0.1), 1).history[0]
    shown = trained(
        fnn.chain(fnn.scale_by_adam(), fnn.scale_by_learning_rate(fnn.constant_schedule(0.1))), 1
    )
    assert shown.history["learning_rate"] == [0.1]
    line = fnn.linear_schedule(0.1, 0.0, 16)
    assert trained(fnn.sgd(line), 2).history["learning_rate"] == [line(3), line(7)]
    assert "learning_rate" in str(shown.history).replace(" ", "_")


def test_bad_plateaus_are_refused():
    bare = fnn.Transform("bare", fnn.sgd(0.1).core.init, fnn.sgd(0.1).core.update)
    for given, optimizer, message in [
        (3, fnn.adam(), "fit: plateau: expected what reduce_on_plateau(...) makes, got 3"),
        (
            fnn.reduce_on_plateau(1, monitor="accuracy", mode="max"),
            fnn.adam(),
            "fit: plateau: expected a monitor of ['loss', 'validation_loss'], got 'accuracy'",
        ),
        (fnn.reduce_on_plateau(1), bare, "expected an optimizer with a learning_rate, got Transform("),
        (fnn.reduce_on_plateau(1), fnn.centralize(), "with a learning_rate, got centralize()"),
    ]:
        with pytest.raises(OptionError, match=re.escape(message)):
            trained(optimizer, plateau=given)
    with pytest.raises(OptionError, match="expected another name than 'learning_rate'"):
        trained(fnn.adam(), plateau=fnn.reduce_on_plateau(1), metrics={"learning_rate": fnn.accuracy})
    for options, message in [
        ({"patience": 0}, "patience: expected 1 or more, got 0"),
        ({"patience": 1, "factor": 1.0}, "factor: expected a number in [0.0, 1.0), got 1.0"),
        ({"patience": 1, "monitor": "accuracy"}, "mode: expected 'min' or 'max' for 'accuracy'"),
        ({"patience": 1, "cooldown": -1}, "cooldown: expected 0 or more, got -1"),
        ({"patience": 1, "least": 2}, "least: expected a number in [0.0, 1.0], got 2"),
        ({"patience": 1, "min_delta": -1}, "min_delta: expected a number in [0.0, inf), got -1"),
    ]:
        with pytest.raises(OptionError, match=re.escape(f"reduce_on_plateau: {message}")):
            fnn.reduce_on_plateau(**options)
