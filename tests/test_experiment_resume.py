"""A run that stopped anywhere is taken up again, and what does not belong together is refused."""

import json
import re

import attrs
import experiment_cases
import numpy as np
import pytest
from experiment_cases import Config, train

import fnn
from fnn.errors import DataError, DivergedError
from fnn.experiment import Run, execute, main, read_metrics, read_run, resume
from fnn.runs.checkpoint import Checkpoints
from fnn.runs.experiment import runs, saver

SIZES = {"epochs": 3, "examples": 44}


def config(folder, **changed):
    return Config(out=folder, **{**SIZES, **changed})


def ending(folder):
    about = read_run(folder)
    assert about["status"] == "finished"
    files = [(folder / name).read_bytes() for name in ("metrics.jsonl", "model.npz")]
    return [about["digest"], about["result"], *files]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an undisturbed run ends with."""
    folder = tmp_path_factory.mktemp("whole")
    execute(train, config(folder))
    return ending(folder)


def stop(monkeypatch, where, call, *, after=False):
    """Let the call of that number end by Ctrl-C, before or after it has done its work."""
    owner, name = where
    original, calls = getattr(owner, name), []

    def stopping(*words, **named):
        calls.append(1)
        if len(calls) == call and not after:
            raise KeyboardInterrupt
        result = original(*words, **named)
        if len(calls) == call:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, name, stopping)


@pytest.mark.parametrize(
    ("where", "call", "after"),
    [
        ((Run, "data"), 1, False),
        ((Run, "fit"), 1, False),
        ((runs, "fit"), 1, False),
        ((Checkpoints, "save"), 1, False),
        ((Checkpoints, "save"), 1, True),
        ((Checkpoints, "save"), 3, False),
        ((Checkpoints, "save"), 3, True),
        ((runs.Lines, "add"), 1, True),
        ((runs.Lines, "add"), 2, False),
        ((runs.Lines, "add"), 3, True),
        ((Run, "say"), 3, True),
        ((Run, "keep"), 1, False),
        ((Run, "keep"), 1, True),
        ((runs.Lines, "add"), 5, True),
        ((Run, "close"), 1, False),
        ((fnn.Batches, "since"), 2, False),
    ],
)
def test_a_stop_anywhere_leaves_a_run_that_ends_as_if_there_had_been_none(
    tmp_path, monkeypatch, whole, where, call, after
):
    with monkeypatch.context() as patch:
        stop(patch, where, call, after=after)
        with pytest.raises(KeyboardInterrupt):
            execute(train, config(tmp_path))
    assert read_run(tmp_path)["status"] == "interrupted"
    assert not (tmp_path / "lock").exists()
    result = resume(train, Config, tmp_path)
    assert ending(tmp_path) == whole
    assert result == whole[1]


@pytest.mark.parametrize("step", range(18))
def test_a_stop_at_any_step_changes_no_bit(tmp_path, monkeypatch, whole, step):
    with monkeypatch.context() as patch:
        # Two draws for the weights and two masks to try, then one for the order of each epoch of six
        # steps and one for the mask of each step; a step that is recorded would draw once more.
        patch.setenv("FNN_EXECUTOR", "plain")
        stop(patch, (fnn.Key, "generator"), 5 + step + step // 6)
        with pytest.raises(KeyboardInterrupt):
            execute(train, config(tmp_path, save_seconds=1000))
    assert Checkpoints(tmp_path / "checkpoints").latest().now.step == step
    resume(train, Config, tmp_path)
    assert ending(tmp_path) == whole


def test_a_stop_while_the_last_state_is_written_loses_nothing(tmp_path, monkeypatch, whole):
    with monkeypatch.context() as patch:
        stop(patch, (Checkpoints, "save"), 1)
        with pytest.raises(KeyboardInterrupt):
            execute(train, config(tmp_path, save_seconds=1000))
    assert Checkpoints(tmp_path / "checkpoints").latest().now.step == 18
    resume(train, Config, tmp_path)
    assert ending(tmp_path) == whole


def test_when_checkpoints_are_saved_shows_in_no_number(tmp_path, whole):
    execute(train, config(tmp_path, save_seconds=1000))
    assert ending(tmp_path)[2:] == whole[2:]


def test_saving_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    clock, saved = [0.0], []

    class Slow:
        def save(self, progress):
            saved.append(progress)
            clock[0] += 2

    monkeypatch.setattr(saver.time, "monotonic", lambda: clock[0])
    saving = saver.Saver(Slow(), 5.0)
    for second in range(1000):
        clock[0] += 1
        saving(second)
    # First after 5 seconds, then 100 seconds after each that took 2.
    assert saved[:2] == [4, 104]
    assert len(saved) == 10
    saving.flush()
    saving.flush()
    assert saved[-1] == 999
    assert len(saved) == 11


def stopped(folder, monkeypatch, call=4):
    """Leave an interrupted run with two checkpoints."""
    with monkeypatch.context() as patch:
        stop(patch, (runs.Lines, "add"), call, after=True)
        with pytest.raises(KeyboardInterrupt):
            execute(train, config(folder))


def test_metrics_beyond_the_checkpoint_are_cut(tmp_path, monkeypatch, whole):
    stopped(tmp_path, monkeypatch)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"epoch": 9, "step": 9, "loss": 9.0}\n{"epo')
    assert len(read_metrics(tmp_path)) == 5
    with monkeypatch.context() as patch:
        stop(patch, (runs, "fit"), 1)
        with pytest.raises(KeyboardInterrupt):
            resume(train, Config, tmp_path)
    assert path.read_bytes() == b"".join(whole[2].splitlines(keepends=True)[:3])
    resume(train, Config, tmp_path)
    assert ending(tmp_path) == whole


def test_a_damaged_checkpoint_is_passed_over_and_said(tmp_path, monkeypatch, whole):
    stopped(tmp_path, monkeypatch)
    newest = max((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-40])
    resume(train, Config, tmp_path)
    assert f"passed over {newest}: " in (tmp_path / "log.txt").read_text("utf-8")
    assert ending(tmp_path) == whole


def test_run_json_says_when_a_run_was_resumed_and_what_had_changed(tmp_path, monkeypatch):
    stopped(tmp_path, monkeypatch)
    about = read_run(tmp_path)
    assert about["error"].startswith("KeyboardInterrupt")
    (tmp_path / "run.json").write_text(json.dumps({**about, "cpu": "an older one", "seconds": 100.0}))
    resume(train, Config, tmp_path)
    after = read_run(tmp_path)
    (again,) = after["resumed"]
    assert len(again["changed"]) == 1
    assert again["changed"][0].startswith("cpu: an older one -> ")
    assert after["started"] == about["started"]
    assert after["seconds"] > 100
    assert "error" not in after


def test_a_run_that_failed_can_be_resumed_too(tmp_path, monkeypatch, whole):
    def full(*words):
        raise DataError("model.npz: cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "keep", full)
        with pytest.raises(DataError):
            execute(train, config(tmp_path))
    resume(train, Config, tmp_path)
    assert ending(tmp_path) == whole


def test_a_finished_run_is_left_alone(tmp_path, monkeypatch, capsys):
    execute(train, config(tmp_path))
    before = (tmp_path / "run.json").read_bytes()
    assert resume(train, Config, tmp_path) == read_run(tmp_path)["result"]
    main(train, Config, ["resume", str(tmp_path)])
    assert f"{tmp_path} is finished\n" in capsys.readouterr().out
    assert (tmp_path / "run.json").read_bytes() == before


def test_a_folder_that_was_left_before_run_json_takes_a_run(tmp_path, whole):
    (tmp_path / "lock").write_text("")
    with pytest.raises(DataError, match=r"run\.json: no run can be read here"):
        resume(train, Config, tmp_path)
    execute(train, config(tmp_path))
    assert ending(tmp_path) == whole


def test_a_folder_may_move_before_it_is_resumed(tmp_path, monkeypatch, whole):
    stopped(tmp_path / "here", monkeypatch)
    (tmp_path / "here").rename(tmp_path / "there")
    resume(train, Config, tmp_path / "there")
    assert ending(tmp_path / "there") == whole
    assert not (tmp_path / "here").exists()


def test_other_data_are_refused(tmp_path, monkeypatch):
    stopped(tmp_path, monkeypatch)
    about = read_run(tmp_path)
    about["data"]["test"] = "0" * 64
    (tmp_path / "run.json").write_text(json.dumps(about))
    expected = r"test: expected the data that the run began with, sha256 000000000000, got [0-9a-f]{12}"
    with pytest.raises(DataError, match=expected):
        resume(train, Config, tmp_path)


def test_checkpoints_of_another_network_are_refused_by_path(tmp_path, monkeypatch):
    stopped(tmp_path, monkeypatch)
    monkeypatch.setattr(experiment_cases, "network", lambda: fnn.serial(fnn.Dense(10)))
    with pytest.raises(DataError, match=r"params/dense_0/w: expected float32\[64, 10\]"):
        resume(train, Config, tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config": {"speed": 1}}, r"Config: unknown \['speed'\]"),
        ({"config": {"epochs": "3"}}, "epochs: expected INT, got '3'"),
        ({"config": {"epochs": -1}}, "epochs: expected a value in"),
        ({"config": 3}, "expected a config, got 3"),
        ({"format": 3}, "expected format 2 or older, got 3; of a newer fnn"),
        ({"experiment": "mnist_cnn"}, "expected a run of experiment_cases, got 'mnist_cnn'"),
        ({"data": 3}, "data: expected a dict, got 3"),
        ({"resumed": {}}, "resumed: expected a list, got {}"),
        ({"seconds": "long"}, "seconds: expected a number, got 'long'"),
    ],
)
def test_a_run_json_that_was_changed_is_refused_by_its_path(tmp_path, monkeypatch, changed, message):
    stopped(tmp_path, monkeypatch)
    about = {**read_run(tmp_path), **changed}
    (tmp_path / "run.json").write_text(json.dumps(about))
    expected = rf"{re.escape(str(tmp_path / 'run.json'))}: {message}"
    with pytest.raises(DataError, match=expected):
        resume(train, Config, tmp_path)


def test_several_fits_of_a_run_are_kept_apart(tmp_path, monkeypatch):
    def twice(config, run):
        last = None
        for rate in (0.1, 0.01):
            last = run.fit(
                fnn.Dense(10),
                fnn.softmax_cross_entropy,
                fnn.sgd(rate),
                fnn.digits("train").take(40),
                epochs=2,
                batch_size=20,
                key=fnn.Key.of(0),
                save_seconds=0,
            ).last
            run.record(rate=rate, size=float(np.abs(last.params["w"]).sum()))
        return {}

    whole, run = (Config(out=tmp_path / name) for name in ("whole", "run"))
    execute(twice, whole)
    for call in (4, 5):
        with monkeypatch.context() as patch:
            stop(patch, (runs.Lines, "add"), call, after=True)
            with pytest.raises(KeyboardInterrupt):
                resume(twice, Config, run.out) if run.out.exists() else execute(twice, run)
    resume(twice, Config, run.out)
    assert read_run(run.out)["digest"] == read_run(whole.out)["digest"]
    assert len(read_metrics(run.out)) == 6
    for name in ("metrics.jsonl", "checkpoints", "checkpoints-2"):
        assert (run.out / name).exists()
    assert (run.out / "metrics.jsonl").read_bytes() == (whole.out / "metrics.jsonl").read_bytes()


def test_a_training_that_diverges_keeps_what_was_good(tmp_path):
    def wild(config, run):
        return train(attrs.evolve(config, rate=1e30), run)

    with pytest.raises(DivergedError):
        execute(wild, config(tmp_path))
    assert read_run(tmp_path)["status"] == "failed"
    progress = Checkpoints(tmp_path / "checkpoints").latest()
    assert progress is None or np.isfinite(fnn.tree.ravel(progress.now.params)[0]).all()
