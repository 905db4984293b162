"""Learning from tables: the network beside PyTorch's, the linear model beside scikit-learn's."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fnn
from fnn import Key
from fnn.experiment import Run

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
TABLES = ["flats", "machines"]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module("tabular")


@pytest.fixture
def torch():
    """PyTorch with one thread: two wait for each other where matrices are so small."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)


def prepared(script, name, fold=0):
    """Return what a fold of the script learns from, as it does it."""
    config = script.Config(table=name)
    table, target = script.read(config)
    labels = None if table[target].categories is None else table[target].values
    weight = np.ones(1) if labels is None else fnn.class_weights(labels)
    key = Key.of(config.seed)
    learn, test = fnn.folds(table, config.folds, key=key, stratify=labels)[fold]
    own = key.fold("fold", fold + 1)
    made = script.examples(table.select(learn), target, weight, own.fold("stop"))
    return config, table, target, test, weight, own, made


def torch_twin(torch, params):
    """Return PyTorch's network with the weights of ours."""
    layers = []
    for name in sorted(params):
        w, b = (np.asarray(params[name][each]) for each in "wb")
        linear = torch.nn.Linear(*w.shape, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(w.T.copy()))
            linear.bias.copy_(torch.tensor(b.copy()))
        layers += [linear, torch.nn.SiLU()]
    return torch.nn.Sequential(*layers[:-1])


def torch_history(torch, net, config, n, most, rest, key, epochs):
    """Return the loss of the rest after every epoch of PyTorch's network, until it stops."""
    first = fnn.init_train_state(net, fnn.adam(1.0), most.in_shape, key)
    twin = torch_twin(torch, fnn.tree.cast(first.params, "float64"))
    adam = torch.optim.Adam(twin.parameters(), config.learning_rate)

    def loss_of(x, y, weight=None):
        out = twin(torch.tensor(x))
        if n == 1:
            return torch.nn.functional.mse_loss(out, torch.tensor(y))
        each = torch.nn.functional.cross_entropy(out, torch.tensor(y), reduction="none")
        by = torch.tensor(weight)
        return (each * by).sum() / by.sum()

    history, best = [], 0
    for epoch in range(epochs):
        for batch in fnn.batches(most, config.batch_size, key=key.fold("epoch", epoch)):
            adam.zero_grad()
            loss_of(*batch).backward()
            adam.step()
        with torch.no_grad():
            held = (rest.x, rest.y) if rest.weight is None else (rest.x, rest.y, rest.weight)
            history.append(float(loss_of(*held)))
        best = epoch if history[epoch] < history[best] else best
        if epoch - best >= config.patience:
            break
    return history


def both(torch, script, name, epochs):
    """Return the losses of the part that says when to stop, and seconds: ours and PyTorch's."""
    config, _, _, _, weight, key, (_, _, most, rest) = prepared(script, name)
    most, rest = most.cast("float64"), rest.cast("float64")
    n = len(weight)
    net = script.network(config, n)
    loss = fnn.squared_error if n == 1 else fnn.softmax_cross_entropy
    start = time.perf_counter()
    fit = fnn.fit(
        net, loss, fnn.adam(config.learning_rate), most, epochs=epochs, batch_size=config.batch_size,
        key=key, validation=rest, callbacks=fnn.early_stopping(config.patience), progress=False,
        dtype="float64",
    )  # fmt: skip
    middle = time.perf_counter()
    theirs = torch_history(torch, net, config, n, most, rest, key, epochs)
    seconds = middle - start, time.perf_counter() - middle
    return fit.history["validation_loss"], theirs, seconds


@pytest.mark.parametrize("name", TABLES)
def test_the_first_epochs_go_where_torch_goes(torch, script, name):
    ours, theirs, _ = both(torch, script, name, 3)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert ours[-1] < ours[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_it_stops_where_torch_stops_with_the_same_loss(torch, script, name, capsys):
    ours, theirs, seconds = both(torch, script, name, script.Config().epochs)
    with capsys.disabled():
        line = f"{name}: {len(ours)} and {len(theirs)} epochs, loss {min(ours)!r} and {min(theirs)!r}"
        sys.stdout.write(f"\n{line}, {seconds[0]:.1f} s and {seconds[1]:.1f} s\n")
    assert len(ours) == len(theirs)
    assert min(ours) == pytest.approx(min(theirs), rel=1e-9)


# --- what goes into the folds, and what comes out


@pytest.mark.parametrize("name", TABLES)
def test_the_linear_model_is_that_of_scikit_learn(script, name):
    linear_model = pytest.importorskip("sklearn.linear_model")
    _, table, _, test, weight, key, (codec, data, _, _) = prepared(script, name)
    n = len(weight)
    loss = fnn.squared_error if n == 1 else fnn.softmax_cross_entropy
    net, size = fnn.Dense(n), len(data)
    fit = fnn.fit(
        net, loss, fnn.lbfgs(), data, epochs=100, batch_size=size, key=key, progress=False
    )  # fmt: skip
    x = codec.encode(table.select(test))
    out = fnn.predict(net, fit.last, x)
    if n == 1:
        theirs = linear_model.LinearRegression().fit(data.x, data.y).predict(x)
    else:
        model = linear_model.LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
        theirs = model.fit(data.x, data.y, sample_weight=data.weight).decision_function(x)
        out = out[:, 1] - out[:, 0]
    np.testing.assert_allclose(out, theirs, atol=2e-3)


def test_nothing_of_a_fold_s_test_rows_is_learnt_from_but_their_number(script):
    config, table, target, test, weight, key, (codec, data, most, rest) = prepared(script, "flats")
    columns = {name: np.array(each.values) for name, each in table.columns.items()}
    columns["price"][test], columns["area_m2"][test] = 1e6, -1e6
    texts = {
        name: np.array(column.categories)[columns[name]]
        for name, column in table.columns.items()
        if column.categories
    }
    spoilt = fnn.Table.of({**columns, **texts})
    learn, _ = fnn.folds(table, config.folds, key=Key.of(config.seed))[0]
    again = script.examples(spoilt.select(learn), target, weight, key.fold("stop"))
    assert again[0] == codec
    assert [each.digest() for each in again[1:]] == [each.digest() for each in (data, most, rest)]
    assert len(most) + len(rest) == len(data) == len(table) - len(test)
    np.testing.assert_allclose(data.y.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(data.y.std(), 1, atol=1e-6)


@pytest.mark.parametrize("flag", [True, False])
def test_probabilities_are_right_whether_classes_are_weighed_or_not(script, tmp_path, flag):
    pytest.importorskip("matplotlib")
    config = script.Config(table="machines", balanced=flag, folds=2, widths=(8,), epochs=1)
    result = script.train(config, Run(tmp_path))
    # The linear model is the one that is trained to its end here.
    assert result["linear_calibration_error"] < 0.03
    assert result["linear_balanced_accuracy"] > 0.7
    assert result["linear_roc_auc"] > 0.75


def test_a_table_of_one_s_own_is_learnt(script, tmp_path):
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 2))
    kind = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)
    rows = [f"{a},{b},{c}" for (a, b), c in zip(x, kind, strict=True)]
    (tmp_path / "own.csv").write_text("a,b,kind\n" + "\n".join(rows) + "\n")
    given = {"csv": tmp_path / "own.csv", "target": "kind", "folds": 3, "epochs": 60}
    results = []
    for categories in ((), ("kind",)):
        run = Run(tmp_path / f"{len(categories)}")
        run.folder.mkdir()
        results.append(script.train(script.Config(categories=categories, **given), run))
    numbers, classes = results
    assert min(numbers["r2"], numbers["linear_r2"]) > 0.5
    assert classes["balanced_accuracy"] > 0.8
    assert "roc_auc" not in classes
    assert (tmp_path / "0" / "predicted.png").exists()
    assert {path.name for path in (tmp_path / "1").glob("*.png")} == {"loss.png"}


def test_what_cannot_be_learnt_is_refused_before_the_first_step(script, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "few.csv").write_text("a,b\n" + "1,x\n" * 20 + "2,y\n" * 3)
    run = Run(tmp_path)
    few = {"csv": tmp_path / "few.csv"}
    for given, error, message in (
        (few, fnn.OptionError, "target: expected a column of the CSV, got None"),
        ({**few, "target": "c"}, fnn.OptionError, r"expected columns among \['a', 'b'\], got 'c'"),
        ({**few, "target": "b"}, fnn.DataError, "b: expected 5 rows per class or more, got 3"),
    ):
        with pytest.raises(error, match=message):
            script.train(script.Config(**given), run)
    assert not (tmp_path / "checkpoints").exists()
