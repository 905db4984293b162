"""A diagnosis names what is wrong with networks made ill on purpose, and nothing of healthy ones."""

from __future__ import annotations

import importlib
from pathlib import Path

import attrs
import numpy as np
import pytest

import fnn
from fnn import Key, tree

DIGITS = fnn.digits("train")
IMAGES = fnn.digits("train", flat=False)
CROSS = fnn.softmax_cross_entropy


def batch_of(data, n=60):
    return data.x[:n], data.y[:n]


def looked_at(net, data=DIGITS, *, optimizer=None, change=None, batch=None, steps=0, loss=CROSS):
    optimizer = optimizer or fnn.adam(0.003)
    now = fnn.init_train_state(net, optimizer, data.in_shape, Key.of(0))
    if change is not None:
        now = attrs.evolve(now, params=tree.update(now.params, change(now.params)))
    step = fnn.jit(fnn.train_step(net, loss, optimizer))
    for i in range(steps):
        now, _ = step(now, (data.x[50 * i % 1000 :][:50], data.y[50 * i % 1000 :][:50]))
    return fnn.diagnose(net, now, batch or batch_of(data), loss, optimizer=optimizer)


def kinds(found):
    return [(each.what, each.path) for each in found.findings]


MLP = fnn.serial(fnn.Dense(32), fnn.Relu(), fnn.Dense(32), fnn.Relu(), fnn.Dense(10))


def test_units_that_never_fire_are_counted_and_named():
    def change(params):
        b = np.array(params["dense_1"]["b"])
        b[:24] = -100.0
        return {"dense_1": {"w": params["dense_1"]["w"], "b": b}}

    found = looked_at(MLP, change=change)
    assert kinds(found) == [("dead", "relu_1")]
    (row,) = [each for each in found.layers if each.path == "relu_1"]
    assert 0.75 <= row.dead < 0.9
    assert str(found.findings[0]).startswith(f"relu_1: {row.dead:.0%} of units never fire")
    assert "LeakyRelu" in str(found)


@pytest.mark.parametrize("activation", [fnn.Sigmoid, fnn.Tanh, fnn.HardSigmoid, fnn.HardTanh])
def test_saturated_activations_are_named(activation):
    net = fnn.serial(fnn.Dense(32, init_w=fnn.normal(30.0)), activation(), fnn.Dense(10))
    found = looked_at(net)
    assert kinds(found)[0] == ("saturated", f"{net.children[1][0]}")
    assert found.layers[1].saturated > 0.8


def test_gradients_that_vanish_and_explode_are_named():
    deep = [layer for _ in range(8) for layer in (fnn.Dense(30), fnn.Sigmoid())]
    vanishing = looked_at(fnn.serial(*deep, fnn.Dense(10)))
    assert ("vanishing", "dense_0/w") in kinds(vanishing)
    deep = [fnn.Dense(30, init_w=fnn.normal(1.5)) for _ in range(8)]
    exploding = looked_at(fnn.serial(fnn.Dense(30, init_w=fnn.normal(1e-5)), *deep, fnn.Dense(10)))
    assert "exploding" in dict(kinds(exploding))


def test_updates_that_are_too_large_or_too_small_are_named():
    assert "large updates" in dict(kinds(looked_at(MLP, optimizer=fnn.sgd(500.0))))
    assert kinds(looked_at(MLP, optimizer=fnn.sgd(1e-9))) == [("small updates", "")]


def test_inputs_that_are_not_scaled_are_named():
    x, y = batch_of(DIGITS)
    found = looked_at(MLP, batch=(x * np.float32(255), y))
    assert kinds(found)[0] == ("unscaled inputs", "")
    assert "standardize" in str(found)


def test_moments_of_few_examples_are_named():
    net = fnn.serial(fnn.Dense(16), fnn.BatchNorm(), fnn.Relu(), fnn.Dense(10))
    assert ("few examples", "batch_norm_0") in kinds(looked_at(net, batch=batch_of(DIGITS, 3)))
    assert not looked_at(net).findings


def test_an_answer_that_is_the_same_for_all_is_named():
    def change(params):
        return {"dense_2": {"w": 0 * params["dense_2"]["w"], "b": params["dense_2"]["b"]}}

    assert ("constant", "") in kinds(looked_at(MLP, change=change))


def test_a_loss_that_never_fell_below_that_of_a_constant_is_named():
    rng = np.random.default_rng(0)
    noise = fnn.Dataset(DIGITS.x, rng.integers(0, 10, len(DIGITS)))
    found = looked_at(MLP, noise, steps=60, optimizer=fnn.adam(0.001))
    assert kinds(found) == [("no better than a constant", "")]
    assert not looked_at(MLP, steps=60, optimizer=fnn.adam(0.001)).findings


def test_numbers_that_are_not_finite_are_named_first_and_alone():
    def change(params):
        return {"dense_1": {"w": params["dense_1"]["w"] * np.inf, "b": params["dense_1"]["b"]}}

    assert kinds(looked_at(MLP, change=change)) == [("not finite", "dense_1")]


# --- healthy networks ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [0, 40])
@pytest.mark.parametrize("name", ["mnist_mlp", "mnist_cnn", "mnist_dense", "mnist_best", "resnet"])
def test_nothing_is_said_of_the_networks_of_the_experiments(name, steps, seed, monkeypatch):
    folder = Path(__file__).resolve().parents[1] / "experiments"
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module(name)
    net = module.network(module.Config())
    flat = name in ("mnist_mlp", "mnist_dense")
    data = fnn.digits("train", size=28, flat=flat).take(600)
    optimizer = fnn.adam(0.001)
    now = fnn.init_train_state(net, optimizer, data.in_shape, Key.of(seed))
    step = fnn.jit(fnn.train_step(net, CROSS, optimizer))
    for i in range(steps if name != "resnet" else steps // 8):
        now, _ = step(now, (data.x[50 * i % 550 :][:50], data.y[50 * i % 550 :][:50]))
    found = fnn.diagnose(net, now, batch_of(data, 50), CROSS, optimizer=optimizer)
    assert not found.findings, str(found)


@pytest.mark.parametrize("name", ["char_lstm", "char_transformer"])
def test_nothing_is_said_of_the_networks_for_texts(name, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "experiments"))
    module = importlib.import_module(name)
    net = module.network(attrs.evolve(module.Config(), length=16), 30)
    optimizer = fnn.adam(0.001)
    now = fnn.init_train_state(net, optimizer, (16,), Key.of(0))
    tokens = np.random.default_rng(0).integers(0, 30, (8, 17))
    found = fnn.diagnose(net, now, (tokens[:, :-1], tokens[:, 1:]), CROSS, optimizer=optimizer)
    assert not found.findings, str(found)
    assert found.layers[0].path == "embedding_0"


# --- what it is --------------------------------------------------------------------------------------


def test_every_layer_and_leaf_has_a_row_with_its_own_numbers():
    net = fnn.serial(
        fnn.Dense(6), fnn.named("trunk", fnn.residual(fnn.Dense(6), fnn.Tanh())), fnn.Dropout(0.5),
        fnn.Dense(10),
    )  # fmt: skip
    optimizer = fnn.sgd(0.1)
    now = fnn.init_train_state(net, optimizer, (64,), Key.of(0))
    x, y = batch_of(DIGITS)
    found = fnn.diagnose(net, now, (x, y), CROSS, optimizer=optimizer)
    paths = [each.path for each in found.layers]
    assert paths == ["dense_0", "trunk/dense_0", "trunk/tanh_0", "dropout_0", "dense_1"]
    first = x @ now.params["dense_0"]["w"]
    assert found.layers[0].mean == pytest.approx(first.mean(dtype="f8"), rel=1e-5)
    assert found.layers[0].spread == pytest.approx(first.std(dtype="f8"), rel=1e-5)
    value, grads = fnn.value_and_grad(net, CROSS)(
        now.params, now.state, (x, y), train=True, key=now.key.fold("step", 0)
    )
    assert found.loss == float(value)
    pulls = {each.path: each for each in found.pulls}
    for path, grad in tree.items(grads):
        size = np.sqrt((grad.astype("f8") ** 2).mean())
        assert pulls[path].gradient == pytest.approx(size, rel=1e-6)
        assert pulls[path].update == pytest.approx(0.1 * size, rel=1e-5)
    lines = str(found).splitlines()
    assert lines[0].split() == ["layer", "kind", "mean", "spread", "dead", "saturated"]
    assert lines[-1] == "nothing is wrong"


def test_it_changes_nothing_and_takes_frozen_layers_and_weights():
    net = fnn.serial(fnn.frozen(fnn.Dense(8)), fnn.Relu(), fnn.BatchNorm(), fnn.Dense(10))
    optimizer = fnn.adam(0.01)
    now = fnn.init_train_state(net, optimizer, (64,), Key.of(0))
    before = tree.digest({"params": now.params, "state": now.state, "opt": now.opt_state})
    x, y = batch_of(DIGITS)
    found = fnn.diagnose(net, now, (x, y, np.ones(60, "f4")), CROSS, optimizer=optimizer)
    assert tree.digest({"params": now.params, "state": now.state, "opt": now.opt_state}) == before
    paths = {each.path for each in found.pulls}
    assert paths == {"batch_norm_0/scale", "batch_norm_0/shift", "dense_1/b", "dense_1/w"}


@pytest.mark.parametrize(
    ("net", "batch", "error"),
    [
        ("net", (1, 2), fnn.OptionError),
        (MLP, 3, fnn.DataError),
        (MLP, (np.ones((2, 3), "f4"), np.array([0, 1])), fnn.ShapeError),
    ],
)
def test_what_does_not_fit_is_refused(net, batch, error):
    now = fnn.init_train_state(MLP, fnn.sgd(0.1), (64,), Key.of(0))
    with pytest.raises(error):
        fnn.diagnose(net, now, batch, CROSS)


# --- watching ----------------------------------------------------------------------------------------


def fitted(optimizer, **options):
    data = DIGITS.take(200)
    return fnn.fit(
        MLP, CROSS, optimizer, data, epochs=4, batch_size=50, key=Key.of(0), progress=False, **options
    )


def test_watching_changes_no_number_and_says_nothing_of_what_is_well():
    plain, watched = fitted(fnn.adam(0.003)), fitted(fnn.adam(0.003), watch=True)
    assert watched.last == plain.last
    assert watched.history == plain.history
    assert plain.health == ()
    assert len(watched.health) == 4
    assert watched.advice() == []
    assert str(watched) == str(plain)


def test_what_is_wrong_is_said_with_the_epoch_since_which_it_has_been():
    def schedule(step):
        return 0.003 if step < 8 else 1e-9  # From the third epoch on.

    watched = fitted(fnn.sgd(schedule), watch=True)
    (said,) = watched.advice()
    assert "since epoch 2" in said or "since epoch 3" in said
    assert said.endswith("raise the learning rate")
    assert str(watched).endswith(said)


def test_a_run_says_and_notes_what_is_wrong(tmp_path, capsys):
    import json

    from fnn import experiment

    @attrs.frozen
    class Config:
        """Of a test."""

        out: Path = experiment.option(Path("out"), "folder")

    def train(config, run):
        run.fit(
            MLP,
            CROSS,
            fnn.sgd(1e-9),
            DIGITS.take(100),
            epochs=2,
            batch_size=50,
            key=Key.of(0),
            watch=True,
        )
        return {}

    experiment.main(train, Config, ["--out", str(tmp_path / "run")])
    (noted,) = json.loads((tmp_path / "run/run.json").read_text("utf-8"))["health"]
    assert noted.endswith("since epoch 1; raise the learning rate")
    assert noted in capsys.readouterr().out


def test_watch_is_true_or_false():
    with pytest.raises(fnn.OptionError, match="fit: watch: expected True or False, got 3"):
        fitted(fnn.adam(0.003), watch=3)
