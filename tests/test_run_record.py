"""What run.json says of the network, the training and the data, for reports to come."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn.runs.experiment import Run, option
from fnn.runs.experiment.execution import execute
from fnn.runs.experiment.network_table import network_table, read_table

X = np.linspace(-1, 1, 48, dtype=np.float32).reshape(12, 4)
SETS = {"train": fnn.Dataset(X, np.arange(12) % 2), "test": fnn.Dataset(-X, np.arange(12) % 2)}


def Scaled():
    """Multiply by one trained number per feature."""

    def init(key, in_shape):
        return in_shape, {"scale": np.ones(in_shape, np.float32)}, {}

    def fwd(params, state, x, train, key):
        def pullback(dy):
            return {"scale": (dy * x).sum(axis=0)}, dy * params["scale"]

        return x * params["scale"], state, pullback

    return fnn.make_layer("scaled", init, fwd)


NET = fnn.serial(Scaled(), fnn.residual(fnn.Dense(4), fnn.Relu()), fnn.Dense(2))


@attrs.frozen
class Config:
    epochs: int | None = option(None, "passes; 2", least=1)
    out: Path = option(Path("out"), "where to")


def trained(folder, *, validation="test", source=None):
    def train(config, run):
        run.data(source, **SETS)
        run.used(width=2)
        fit = run.fit(
            NET, fnn.softmax_cross_entropy, fnn.sgd(0.1), SETS["train"],
            epochs=config.epochs or 2, batch_size=4, key=fnn.Key.of(0),
            validation=SETS.get(validation),
        )  # fmt: skip
        run.keep(NET, fit.last, (4,))

    execute(train, Config(out=folder))
    return json.loads((folder / "run.json").read_text())


def test_a_run_records_the_table_of_its_network_with_layers_of_ones_own(tmp_path):
    about = trained(tmp_path / "run")
    table = read_table(about["layers"])
    assert table == fnn.summary(NET, (4,))
    assert [row.path for row in table.rows][:2] == ["scaled_0", "residual_0"]


def test_a_run_records_what_it_was_trained_with_and_what_its_validation_set_was(tmp_path):
    about = trained(tmp_path / "run", source="Data: a line of numbers")
    told = {"loss": "softmax_cross_entropy", "optimizer": "sgd(0.1)", "epochs": 2, "batch_size": 4}
    assert about["fits"] == [{**told, "validation": "test"}]
    assert about["used"] == {"width": 2}
    assert about["source"] == "Data: a line of numbers"
    assert (tmp_path / "run" / "log.txt").read_text().startswith("Data: a line of numbers\n")
    assert trained(tmp_path / "other", validation="none")["fits"] == [{**told, "validation": None}]


@pytest.mark.parametrize("entry", ["used", "fits", "data", "layers"])
@pytest.mark.parametrize("value", [3, "text", [1], {"a": []}, None])
def test_a_run_that_is_taken_up_writes_over_what_makes_no_sense(tmp_path, entry, value):
    run = Run(tmp_path, about={"format": 2, entry: value})
    if entry != "data":
        run.data(**SETS)
    run.used(width=2)
    run.fit(
        NET, fnn.softmax_cross_entropy, fnn.sgd(0.1), SETS["train"],
        epochs=1, batch_size=6, key=fnn.Key.of(0), validation=SETS["test"],
    )  # fmt: skip
    assert run.about["used"]["width"] == 2
    assert run.about["fits"][0]["epochs"] == 1
    assert read_table(run.about["layers"]).parameters == 4 + 20 + 10


def test_a_network_that_takes_no_such_examples_has_no_table():
    assert network_table(fnn.Conv(1, 3), (2,)) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["path", "depth", "kind", "out_shape", "parameters", "flops", "state"]))
def test_whatever_stands_for_a_table_is_read_or_refused_with_a_typed_error(value, name):
    row = {
        "path": "a",
        "depth": 0,
        "kind": "A",
        "out_shape": [2],
        "parameters": 1,
        "flops": 2,
        "state": 0,
    }
    good = {"in_shape": [4], "rows": [row]}
    for table in (
        value,
        {**good, "in_shape": value},
        {**good, "rows": value},
        {**good, "rows": [value]},
    ):
        refused(table)
    refused({**good, "rows": [{**row, name: value}]})
    assert read_table(good).parameters == 1


def refused(table):
    with contextlib.suppress(fnn.DataError):
        read_table(table).cells()
