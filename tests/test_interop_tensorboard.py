"""Runs as event files: every number by its name, at its epoch."""

from __future__ import annotations

import json
import struct

import pytest

import fnn

pytest.importorskip("tensorboardX")
room = pytest.importorskip("fnn.interop.tensorboard")


def events(folder):
    """Return the scalars and texts of all event files of a folder."""
    from tensorboardX.proto.event_pb2 import Event

    scalars, texts = [], {}
    for path in sorted(folder.glob("events*")):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            event, data = Event.FromString(data[12 : 12 + size]), data[16 + size :]
            for value in event.summary.value:
                if value.HasField("tensor"):
                    texts[value.tag] = value.tensor.string_val[0].decode()
                else:
                    scalars.append((value.tag, event.step, value.simple_value))
    return scalars, texts


def fitted(**options):
    data = fnn.digits("train").take(100)
    net = fnn.serial(fnn.Dense(4), fnn.Relu(), fnn.Dense(10))
    return fnn.fit(
        net, fnn.softmax_cross_entropy, fnn.sgd(0.1), data, epochs=3, batch_size=20,
        key=fnn.Key.of(0), validation=data, metrics=fnn.accuracy, progress=False, **options,
    )  # fmt: skip


def test_a_training_writes_its_numbers_epoch_by_epoch(tmp_path):
    board = room.TensorBoard(tmp_path / "now")
    fit = fitted(callbacks=board)
    board.close()
    scalars, _ = events(tmp_path / "now")
    losses = [value for tag, _, value in scalars if tag == "loss"]
    assert losses == pytest.approx(fit.history["loss"], rel=1e-6)
    assert [step for tag, step, _ in scalars if tag == "validation_accuracy"] == [1, 2, 3]
    assert fit.last == fitted().last


def run_folder(folder, records):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"format": 1, "config": {"width": 3}}), "utf-8")
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "metrics.jsonl").write_text(text, "utf-8")
    return folder


def test_the_records_of_runs_become_scalars_and_their_configs_texts(tmp_path, capsys):
    records = [{"epoch": 1, "loss": 0.5, "name": "a", "good": True}, {"epoch": 2, "loss": 0.25}]
    run = run_folder(tmp_path / "runs/mine", records)
    other = run_folder(tmp_path / "more/mine", [{"loss": 1.0}])
    room.main([str(run), str(other), "-o", str(tmp_path / "board")])
    said = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[2].split(" in ")[0] for line in said] == ["2 records", "1 records"]
    folders = sorted((tmp_path / "board").iterdir())
    assert len(folders) == 2
    found = {tuple(events(folder)[0]) for folder in folders}
    assert found == {(("loss", 1, 0.5), ("loss", 2, 0.25)), (("loss", 1, 1.0),)}
    texts = events(folders[0])[1]
    assert '"width": 3' in next(iter(texts.values()))


def test_what_is_no_run_is_said_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        room.main([str(tmp_path / "nothing"), "-o", str(tmp_path / "board")])
    assert stopped.value.code == 1
    assert "nothing" in capsys.readouterr().err
