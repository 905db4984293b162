"""A replay says that a run came out the same, or what differs first and which conditions changed."""

import json
import math

import attrs
import experiment_cases
import numpy as np
import pytest
from experiment_cases import Config, train

import fnn
from fnn.errors import DataError
from fnn.experiment import execute, main, read_metrics, read_run, replay
from fnn.runs.checkpoint import load_tree, save_tree


@pytest.fixture
def run(tmp_path):
    """A finished run."""
    execute(train, Config(out=tmp_path / "run", epochs=3, examples=44))
    return tmp_path / "run"


def edit_json(path, **changed):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def edit_metrics(folder, number, **changed):
    records = read_metrics(folder)
    records[number - 1].update(changed)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_replay_of_an_unchanged_run_is_identical(run, capsys):
    digest = read_run(run)["digest"]
    result = main(train, Config, ["replay", str(run)])
    assert result == read_run(run)["result"]
    assert capsys.readouterr().out.splitlines()[-1] == f"identical: 5 records, digest {digest}"
    assert read_run(f"{run}-replay")["status"] == "finished"
    done = replay(train, Config, run)
    assert done.folder.name == "run-replay-2"
    assert done.identical


def test_a_replay_goes_where_it_is_told_and_into_no_other_run(run, tmp_path, capsys):
    main(train, Config, ["replay", str(run), "--out", str(tmp_path / "again")])
    assert read_run(tmp_path / "again")["config"]["epochs"] == 3
    with pytest.raises(SystemExit) as stopped:
        main(train, Config, ["replay", str(run), "--out", str(tmp_path / "again")])
    assert stopped.value.code == 1
    assert "again: holds a run already" in capsys.readouterr().err


def test_a_folder_spelt_by_a_dot_is_replayed_beside_itself(run, monkeypatch):
    monkeypatch.chdir(run)
    assert replay(train, Config, ".").folder == run.with_name("run-replay")
    monkeypatch.chdir(run.parent)
    assert str(replay(train, Config, "run").folder) == "run-replay-2"


def test_the_first_record_and_column_that_differ_are_named(run, capsys):
    loss = read_metrics(run)[2]["loss"]
    edit_metrics(run, 3, loss=loss * 1.5)
    with pytest.raises(SystemExit) as stopped:
        main(train, Config, ["replay", str(run)])
    assert stopped.value.code == 1
    *_, different, first, largest, unchecked, why = capsys.readouterr().out.splitlines()
    assert unchecked == "unchecked: command, started, ended, seconds, log.txt, checkpoints"
    assert different == "different"
    assert first == f"first at record 3 (epoch 2, step 12): loss {loss * 1.5} -> {loss}"
    assert largest == "largest relative difference of loss: 0.33"
    assert why == "no recorded condition changed"


def test_the_first_leaf_that_differs_is_named_with_its_largest_difference(run):
    model = load_tree(run / "model.npz")
    params = {name: dict(leaves) for name, leaves in model["params"].items()}
    w = np.array(params["dense_1"]["w"])
    w[3, 4] += 0.5
    params["dense_1"]["w"] = w
    save_tree(run / "model.npz", {**model, "params": params})
    edit_json(run / "run.json", digest=fnn.tree.digest(params))
    lines = replay(train, Config, run).lines
    expected = "model.npz: first leaf: params/dense_1/w: differs by up to 0.5, its largest entry is "
    assert lines[1].startswith(expected)
    assert lines[2].startswith("digest: ")


def test_leaves_of_another_network_are_named_by_shape(run, monkeypatch):
    monkeypatch.setattr(experiment_cases, "network", lambda: fnn.serial(fnn.Dense(10)))
    lines = replay(train, Config, run).lines
    names = sorted(load_tree(run / "model.npz")["params"]["batch_norm_0"])
    expected = f"model.npz: first leaf: params/batch_norm_0/{names[0]}: float32[12] -> absent"
    assert expected in lines


def test_conditions_that_changed_are_listed_beside_what_differs(run):
    blas = {**read_run(run)["blas"], "threads": 99}
    edit_json(run / "run.json", blas=blas, cpu="another")
    edit_metrics(run, 2, loss=math.pi)
    lines = replay(train, Config, run).lines
    at = lines.index("conditions that changed:")
    assert [line.split(": ")[0] for line in lines[at + 1 :]] == ["blas.threads", "cpu"]


def test_changed_conditions_alone_are_no_difference(run):
    edit_json(run / "run.json", cpu="another", git={"commit": "0" * 40, "dirty": False})
    assert replay(train, Config, run).identical


def test_other_data_are_named_as_the_reason(run):
    def on_other_data(config, run):
        return train(attrs.evolve(config, examples=45), run)

    on_other_data.__module__ = train.__module__
    lines = replay(on_other_data, Config, run).lines
    assert lines[1] == "first at record 1: examples 44 -> 45"
    assert {"data.train", "data.test"} <= {line.split(": ")[0] for line in lines}


def test_a_record_that_is_missing_or_not_a_number_is_a_difference(run):
    path = run / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    lines = replay(train, Config, run).lines
    assert lines[:2] == ("different", "records: 4 -> 5")
    edit_metrics(run, 3, loss="nan")
    lines = replay(train, Config, run).lines
    assert "largest relative difference of loss: inf" in lines


def test_runs_without_a_network_are_compared_by_their_records(tmp_path):
    def count(config, run):
        for i in range(config.epochs):
            run.record(i=i)

    execute(count, Config(out=tmp_path / "run"))
    *_, last = replay(count, Config, tmp_path / "run").lines
    assert last == "identical: 8 records, no parameters"


@pytest.mark.parametrize("status", ["running", "interrupted", "failed", None, 3])
def test_only_finished_runs_are_replayed(run, status):
    edit_json(run / "run.json", status=status)
    with pytest.raises(DataError, match=rf"expected a finished run, got {status!r}; resume it"):
        replay(train, Config, run)
