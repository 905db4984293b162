"""What a report says of a network: the table that the run recorded, and pictures of its first layer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from report_cases import Parsed, make_run
from test_run_record import Scaled

import fnn
from fnn.runs.checkpoint import save_tree
from fnn.runs.experiment.network_table import network_table
from fnn.runs.report import page_of, read, write
from fnn.runs.report.network import first_weights, summarize


def Patches():
    """Lay four quarters of an image side by side: no weights, but no image any more."""

    def init(key, in_shape):
        return (1, 14, 56), {}, {}

    def fwd(params, state, x, train, key):
        y = np.concatenate(np.split(x.reshape(-1, 1, 28, 28), 2, axis=2), axis=3)
        return y, state, lambda dy: ({}, dy)

    return fnn.make_layer("patches", init, fwd)


def saved(folder, net, in_shape, *, table=True):
    """Write a run of this network, with its table or with its recipe alone."""
    make_run(folder, model=False, seen=False)
    _, params, state = net.init(fnn.Key.of(0), in_shape)
    leaves = {"params": params, "state": state, "in_shape": np.array(in_shape)}
    save_tree(folder / "model.npz", leaves)
    content = json.loads((folder / "run.json").read_text())
    content["network"] = repr(net)
    if table:
        content["layers"] = network_table(net, in_shape)
    (folder / "run.json").write_text(json.dumps(content))
    return folder


IMAGE = (1, 28, 28)


def test_a_network_with_a_layer_of_ones_own_has_its_table_and_no_note(tmp_path):
    net = fnn.serial(fnn.Flatten(), Scaled(), fnn.Dense(10))
    html_file, markdown_file = write([saved(tmp_path / "run", net, IMAGE)])
    page = Parsed(html_file.read_text("utf-8"))
    assert "make_layer" not in html_file.read_text("utf-8")
    assert not [text for text in page.words("p") if "left out" in text]
    assert "| scaled_0 | scaled | 784 | 784 | – | 0 |" in markdown_file.read_text("utf-8")
    # The weights of the output layer are no filters of the first.
    assert "Filters of the first layer" not in page.words("h2")


@pytest.mark.parametrize("table", [True, False], ids=["with its table", "by its recipe"])
@pytest.mark.parametrize(
    ("net", "in_shape", "shape"),
    [
        (fnn.serial(fnn.Conv(4, 5), fnn.Relu()), IMAGE, (4, 5, 5)),
        (fnn.serial(fnn.BatchNorm(), fnn.MaxPool(2), fnn.Conv(4, 3)), (3, 28, 28), (12, 3, 3)),
        (fnn.serial(fnn.residual(fnn.Conv(1, 3, padding=1)), fnn.Conv(2, 5)), IMAGE, (1, 3, 3)),
        (fnn.serial(fnn.Flatten(), fnn.Dropout(0.2), fnn.Dense(7)), IMAGE, (7, 28, 28)),
        (fnn.serial(fnn.Flatten(), fnn.Dense(7)), (3, 8, 6), (21, 8, 6)),
        (fnn.serial(fnn.named("first", fnn.Dense(3)), fnn.Dense(2)), (64,), (3, 8, 8)),
        (fnn.Dense(3), (64,), (3, 8, 8)),
        (fnn.serial(fnn.frozen(fnn.Conv(4, 5)), fnn.Relu()), IMAGE, (4, 5, 5)),
        (fnn.serial(fnn.frozen(fnn.residual(fnn.Conv(1, 3, padding=1)))), IMAGE, (1, 3, 3)),
        # These see no image, or none any more.
        (fnn.serial(fnn.Conv(4, 1), fnn.Relu()), IMAGE, None),
        (fnn.serial(fnn.MaxPool(7), fnn.Flatten(), fnn.Dense(3)), IMAGE, None),
        (fnn.serial(fnn.Flatten(), fnn.Dense(9), fnn.Dense(16)), (5, 7, 1), None),
        (fnn.serial(fnn.Dense(25), fnn.Relu(), fnn.Dense(2)), (6,), None),
        (fnn.serial(fnn.Dense(25), fnn.Dense(2)), (9,), None),
        (fnn.serial(fnn.Reshape((16,)), fnn.Dense(2)), (2, 8), None),
        (fnn.serial(fnn.Softmax(), fnn.Dense(2)), (16,), None),
    ],
    ids=range(16),
)
def test_filters_are_drawn_of_a_first_layer_that_sees_the_image(tmp_path, net, in_shape, shape, table):
    kernels = first_weights(read(saved(tmp_path / "run", net, in_shape, table=table)))
    assert (None if kernels is None else kernels.shape) == shape


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize(
    "net",
    [
        fnn.serial(Scaled(), fnn.Flatten(), fnn.Dense(4)),
        fnn.serial(Patches(), fnn.Conv(4, 3)),
        fnn.serial(Patches(), fnn.Flatten(), fnn.Dense(4)),
        fnn.serial(Scaled(), fnn.Conv(4, 3), fnn.Flatten(), fnn.Dense(4)),
    ],
    ids=range(4),
)
def test_nothing_is_drawn_behind_a_layer_of_ones_own(tmp_path, net, table):
    assert first_weights(read(saved(tmp_path / "run", net, IMAGE, table=table))) is None


def test_columns_of_a_dense_layer_are_laid_out_as_the_examples_are(tmp_path):
    net = fnn.serial(fnn.Flatten(), fnn.Dense(2))
    folder = saved(tmp_path / "run", net, (3, 8, 6))
    w = np.asarray(read(folder).params["dense_0"]["w"])
    np.testing.assert_array_equal(first_weights(read(folder)), w.T.reshape(2 * 3, 8, 6))


def test_a_run_without_a_model_shows_the_table_that_it_recorded(tmp_path):
    folder = saved(tmp_path / "run", fnn.serial(fnn.Conv(4, 5), fnn.Relu()), IMAGE)
    (folder / "model.npz").unlink()
    notes = []
    assert summarize(read(folder), notes).parameters == 104
    assert notes == []


@pytest.mark.parametrize(
    "table", [3, {}, {"in_shape": [1], "rows": []}, network_table(fnn.Dense(3), (4,))], ids=range(4)
)
def test_a_recorded_table_that_makes_no_sense_gives_way_to_the_recipe(tmp_path, table):
    folder = saved(tmp_path / "run", fnn.serial(fnn.Conv(4, 5), fnn.Relu()), IMAGE)
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, "layers": table}))
    notes = []
    assert summarize(read(folder), notes).parameters == 104
    assert len(notes) == 1
    assert notes[0].startswith("The recorded table of the network is not shown: ")


def test_an_older_run_of_a_layer_of_ones_own_says_why_it_has_no_table(tmp_path):
    net = fnn.serial(fnn.Flatten(), Scaled(), fnn.Dense(4))
    page = page_of([read(saved(tmp_path / "run", net, IMAGE, table=False))])
    assert [note[:35] for note in page.notes] == ["The table of the network is left out"[:35]]


def test_the_model_of_a_network_that_takes_tuples_is_read(tmp_path):
    def init(key, in_shape):
        return in_shape[0], {"w": np.ones(2, "float32")}, {}

    def fwd(params, state, x, train, key):
        return x[0], state, lambda dy: ({"w": np.zeros(2, "float32")}, (dy, np.zeros_like(x[1])))

    net = fnn.serial(fnn.make_layer("first_of", init, fwd), fnn.Dense(2))
    in_shape = (3,), (1, 8, 8)
    folder = saved(tmp_path / "run", fnn.Dense(1), (3,))
    _, params, state = net.init(fnn.Key.of(0), in_shape)
    fnn.save_model(folder / "model.npz", net, params, state, in_shape)
    content = json.loads((folder / "run.json").read_text())
    content |= {"network": repr(net), "layers": network_table(net, in_shape)}
    (folder / "run.json").write_text(json.dumps(content))
    record = read(folder)
    assert record.in_shape == in_shape
    assert record.params == params
    notes = []
    assert summarize(record, notes).in_shape == in_shape
    assert notes == []
    assert first_weights(record) is None
    write([folder])
