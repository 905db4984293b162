"""A replay compares all that a run's folder claims, and says what it did not."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from experiment_cases import Config, train

from fnn.experiment import execute, main, read_run, replay
from fnn.runs.checkpoint import load_tree, save_tree


def train_and_evaluate(config, run):
    result = train(config, run)
    run.note(remark={"a": 1, "b": [0.0]})
    run.evaluated(np.eye(4, dtype=np.float32), [0, 1, 2, 3], [0, 1, 2, 0])
    save_tree(run.path("more/moments.npz"), {"mean": np.arange(3.0), "count": np.array(3)})
    run.path("notes.txt").write_text("as always")
    return {**result, "wrong": 1, "ratio": 0.5, "nothing": None, "worst": math.inf}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    execute(train_and_evaluate, Config(out=folder, epochs=2, examples=40))
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it to alter."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def said(run):
    """Return whether the replay is identical, and what it says."""
    done = replay(train_and_evaluate, Config, run)
    return done.identical, done.lines


def edit(run, change):
    path = run / "run.json"
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))


def assign(*path, value):
    def change(about):
        *way, last = path
        for name in way:
            about = about[name]
        about[last] = value

    return change


def drop(*path):
    def change(about):
        *way, last = path
        for name in way:
            about = about[name]
        del about[last]

    return change


def test_an_unaltered_run_is_identical_and_what_was_not_compared_is_said(run):
    identical, lines = said(run)
    assert identical
    assert lines[:-1] == ("unchecked: command, started, ended, seconds, log.txt, checkpoints",)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (assign("result", "best", value=0.25), "result.best: 0.25 -> "),
        (assign("result", "wrong", value=1.0), "result.wrong: 1.0 -> 1"),
        (assign("result", "worst", value=None), "result.worst: None -> inf"),
        (assign("result", "more", value=None), "result.more: None -> absent"),
        (drop("result", "nothing"), "result.nothing: absent -> None"),
        (drop("result", "digest"), "result.digest: absent -> "),
        (assign("result", value={}), "result: {} -> "),
        (drop("result"), "result: absent -> {"),
        (assign("digest", value="0" * 64), f"digest: {'0' * 64} -> "),
        (drop("digest"), "digest: absent -> "),
        (assign("parameters", value=1), "parameters: 1 -> "),
        (drop("parameters"), "parameters: absent -> "),
        (assign("network", value="serial(Dense(12))"), "network: serial(Dense(12)) -> serial("),
        (drop("network"), "network: absent -> serial("),
        (assign("data", "test", value="0" * 64), f"data.test: {'0' * 64} -> "),
        (drop("data", "test"), "data.test: absent -> "),
        (drop("data"), "data: absent -> {"),
        (assign("seed", value=1), "seed: 1 -> 0"),
        (assign("seed", value=False), "seed: False -> 0"),
        (drop("seed"), "seed: absent -> 0"),
        (assign("layers", "rows", value=[]), "layers.rows: [] -> "),
        (drop("layers"), "layers: absent -> "),
        (assign("fits", value=[]), "fits: [] -> "),
        (drop("fits"), "fits: absent -> "),
        (assign("remark", "a", value=2), "remark.a: 2 -> 1"),
        (assign("remark", "b", 0, value=-0.0), "remark.b: [-0.0] -> [0.0]"),
        (assign("another", value=3), "another: 3 -> absent"),
    ],
)
def test_an_entry_of_run_json_that_was_altered_or_is_missing_is_a_difference(run, change, line):
    edit(run, change)
    identical, lines = said(run)
    assert not identical
    assert [each for each in lines if each.startswith(line)], lines


def altered(name, path, change):
    """Change a leaf of a saved tree, or take it away."""

    def alter(run):
        members = dict(load_tree(run / name))
        *way, last = path.split("/")
        node = members
        for each in way:
            node[each] = dict(node[each])
            node = node[each]
        if change is None:
            del node[last]
        else:
            node[last] = change(np.array(node[last]))
        save_tree(run / name, members)
        return name

    return alter


def bump(leaf):
    leaf = leaf.copy()
    leaf.flat[0] += 1
    return leaf


@pytest.mark.parametrize(
    ("alter", "line"),
    [
        (altered("model.npz", "params/dense_0/w", bump), "params/dense_0/w: differs by up to "),
        (altered("model.npz", "state/batch_norm_0/mean", bump), "state/batch_norm_0/mean: differs by"),
        (altered("model.npz", "in_shape", bump), "in_shape: 1 of 1 entries differ"),
        (altered("model.npz", "params/dense_1/b", None), "params/dense_1/b: absent -> float32[10]"),
        (altered("model.npz", "recipe", None), "recipe: absent -> uint8["),
        (
            altered("model.npz", "params/dense_1/b", lambda b: b.astype(np.float64)),
            "params/dense_1/b: float64[10] -> float32[10]",
        ),
        (altered("evaluation.npz", "predicted", bump), "predicted: 1 of 4"),
        (altered("evaluation.npz", "x", bump), "x: differs by up to 1"),
        (altered("more/moments.npz", "mean", bump), "mean: differs by"),
    ],
)
def test_a_leaf_of_a_file_that_was_altered_or_is_missing_is_a_difference(run, alter, line):
    name = alter(run)
    identical, lines = said(run)
    assert not identical
    assert [each for each in lines if each.startswith(f"{name}: first leaf: {line}")], lines


@pytest.mark.parametrize(
    ("alter", "line"),
    [
        (lambda run: (run / "model.npz").unlink(), "model.npz: absent -> there"),
        (lambda run: (run / "evaluation.npz").unlink(), "evaluation.npz: absent -> there"),
        (lambda run: (run / "model.npz").write_bytes(b"PK"), "model.npz: "),
        (lambda run: (run / "metrics.jsonl").unlink(), "records: 0 -> 4"),
    ],
)
def test_a_file_that_was_altered_or_is_missing_is_a_difference(run, alter, line):
    alter(run)
    identical, lines = said(run)
    assert not identical
    assert [each for each in lines if each.startswith(line)], lines


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"nothing": "nan"', '"nothing": "inf"', "first at record 1: nothing inf -> nan"),
        (', "nothing": "nan"', "", "first at record 1: nothing absent -> nan"),
        ('{"epoch": 1,', '{"epoch": 1.0,', "first at record 2 (epoch 1.0, step 5): epoch 1.0 -> 1"),
        (
            '{"epoch": 1,',
            '{"more": null, "epoch": 1,',
            "first at record 2 (epoch 1, step 5): more None -> ",
        ),
        ('"loss": ', f'"loss": 1{"0" * 400}, "more": ', "largest relative difference of loss: inf"),
    ],
)
def test_a_record_that_was_altered_in_the_least_is_a_difference(run, old, new, line):
    path = run / "metrics.jsonl"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    identical, lines = said(run)
    assert not identical
    assert [each for each in lines if each.startswith(line)], lines


def test_other_files_are_compared_byte_by_byte_and_what_differs_is_said_to_be_unchecked(run):
    (run / "notes.txt").write_text("altered")
    (run / "curve.png").write_bytes(b"only here")
    (run / "more" / "moments.npz").unlink()
    (run / "link.txt").symlink_to("/etc/hostname")
    identical, lines = said(run)
    assert identical
    names = lines[0].removeprefix("unchecked: ").split(", ")
    expected = {"curve.png", "notes.txt (has other bytes)", "more/moments.npz (absent)"}
    assert expected <= set(names)
    assert "link.txt" not in names


def test_what_an_older_library_did_not_write_is_said_to_be_unchecked(run):
    def make_old(about):
        for name in ("layers", "fits", "fnn", "modules", "train"):
            del about[name]
        del about["config"]["rate"]

    edit(run, make_old)
    altered("model.npz", "recipe", None)(run)
    identical, lines = said(run)
    assert identical
    names = lines[0].removeprefix("unchecked: ")
    for name in ("layers", "fits", "fnn", "modules", "train", "model.npz: recipe"):
        assert f"{name}, " in f"{names}, "
    assert "config.rate (absent, taken as 0.01), " in names
    # What even the first of them wrote is missed.
    edit(run, drop("digest"))
    assert not said(run)[0]


def test_a_config_that_was_altered_shows_in_what_it_trains(run):
    edit(run, assign("config", "epochs", value=3))
    identical, lines = said(run)
    assert not identical
    assert "records: 4 -> 5" in lines


def test_many_differences_are_cut(run):
    edit(run, assign("remark", value={f"n{i}": i for i in range(100)}))
    _, lines = said(run)
    assert "and 94 more" in lines
    assert len(lines) < 30


def test_a_replay_that_differs_by_its_result_alone_ends_with_status_1(run, capsys):
    edit(run, assign("result", "ratio", value=0.25))
    with pytest.raises(SystemExit) as ended:
        main(train_and_evaluate, Config, ["replay", str(run)])
    assert ended.value.code == 1
    assert "result.ratio: 0.25 -> 0.5\n" in capsys.readouterr().out
    assert read_run(f"{run}-replay")["result"]["ratio"] == 0.5
