"""The demo: runs are read, questions answered, and the command serves until it is ended."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from demo_cases import CNN, DIGITS, MLP, make_run, trained

import fnn
from fnn.demo.answering import answer, described
from fnn.demo.asking import Question
from fnn.demo.handling import _ASSETS
from fnn.demo.strokes import drawn
from fnn.demo.subject import read_subject
from fnn.errors import DataError, OptionError
from fnn.experiment import Run
from fnn.runs.checkpoint import load_tree, save_tree
from fnn.runs.experiment.codecs import read_codec, write_codec

ROOT = Path(__file__).resolve().parents[1]


def asked(subject, **question):
    return answer(subject, Question(json.dumps(question).encode()))


def values(coded):
    """Return numbers as the page decodes them, to a 254th of the largest."""
    bytes_ = np.frombuffer(base64.b64decode(coded["bytes"]), np.int8)
    return bytes_.reshape(coded["size"]) * (coded["most"] / 127)


# --- runs


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """Return a run's folder as `Run.fit` leaves it, with all of its epochs."""
    run = Run(make_run(tmp_path_factory.mktemp("runs") / "run", MLP, (64,), model=False))
    data = fnn.digits("train")
    fit = run.fit(
        MLP, fnn.softmax_cross_entropy, fnn.adam(0.003), data, epochs=6, batch_size=50,
        key=fnn.Key.of(0), keep_epochs=2, progress=False, validation=fnn.digits("test"),
    )  # fmt: skip
    run.keep(MLP, fit.last, (64,))
    about = {"format": 2, "experiment": "digits", "config": {}, **run.about}
    (run.folder / "run.json").write_text(json.dumps(about), "utf-8")
    return run.folder


def test_the_moments_of_a_run_are_in_the_order_of_training(digits_run):
    subject = read_subject(digits_run)
    labels = [each.label for each in subject.moments]
    assert labels[-1] == "as kept, epoch 6"
    assert [each for each in labels if each in ("epoch 2", "epoch 4")] == ["epoch 2", "epoch 4"]
    steps = [each.step for each in subject.moments]
    assert steps == sorted(set(steps))
    # Each is what the network was then.
    first = load_tree(digits_run / "epochs" / "epoch-000002.npz")
    assert next(each for each in subject.moments if each.label == "epoch 2").params == first["params"]
    strokes = DIGITS[0]
    early = asked(subject, strokes=strokes, moment=0)["probabilities"]
    late = asked(subject, strokes=strokes)["probabilities"]
    assert early != late
    assert late == asked(subject, strokes=strokes, moment=len(labels) - 1)["probabilities"]
    assert np.argmax(late) == 0
    assert sum(late) == pytest.approx(1)


def test_the_answer_is_what_the_network_says_of_the_image(digits_run):
    subject = read_subject(digits_run)
    found = asked(subject, strokes=DIGITS[3])
    net, params, state, _ = fnn.load_model(digits_run / "model.npz")
    image = drawn(DIGITS[3], 8, "small")
    np.testing.assert_allclose(values(found["image"]), image, atol=1 / 250)
    y, _ = net.apply(params, state, image.reshape(1, 64).astype("float32"))
    want = fnn.Softmax().apply({}, {}, y)[0][0]
    np.testing.assert_allclose(found["probabilities"], want, rtol=1e-5)
    assert [each["path"] for each in found["layers"]] == ["dense_0", "relu_0", "dense_1"]
    np.testing.assert_allclose(values(found["layers"][-1]), y[0], atol=np.abs(y).max() / 250)


def test_damaged_and_foreign_files_beside_a_model_are_passed_over(digits_run, tmp_path):
    net = fnn.serial(fnn.Dense(10))
    folder = make_run(tmp_path / "run", net, (64,))
    (folder / "epochs").mkdir()
    (folder / "checkpoints").mkdir()
    for i, file in enumerate(sorted((digits_run / "epochs").iterdir())):
        (folder / "epochs" / f"epoch-{i}.npz").write_bytes(file.read_bytes())  # Of another network.
    (folder / "epochs" / "x.npz").write_bytes(b"no tree")
    (folder / "checkpoints" / "step-000000009.npz").write_bytes(b"")
    save_tree(folder / "epochs" / "odd.npz", {"place": {"epoch": np.zeros((2, 2))}})
    os.symlink(digits_run / "model.npz", folder / "epochs" / "link.npz")
    assert [each.label for each in read_subject(folder).moments] == ["as kept"]


def test_a_text_network_says_what_comes_next_and_goes_on(tmp_path):
    codec = fnn.Characters.fit("abc\n")
    net = fnn.serial(fnn.Embedding(4, 8), fnn.LSTM(16), fnn.Dense(4))
    data = fnn.text_windows(codec.encode("abcabcabc\n" * 60), 10)
    run = Run(make_run(tmp_path / "run", net, (10,), model=False))
    now = trained(net, data, epochs=3, rate=0.02).last
    run.keep(net, now, (10,), codec=codec)
    make = {"format": 2, "config": {"text": "elsewhere.txt"}}
    (run.folder / "run.json").write_text(json.dumps(make), "utf-8")
    subject = read_subject(run.folder)
    assert (subject.kind, subject.codec) == ("text", codec)
    assert described(subject)["window"] == 10
    found = asked(subject, text="abcab", temperature=0, steps=5, seed=3)
    assert found["more"] == "cabca"
    assert found["next"][0] == ["c", 1.0]
    warm = asked(subject, text="abcab", temperature=1, steps=30, seed=3)
    assert warm == asked(subject, text="abcab", temperature=1, steps=30, seed=3)
    assert warm["more"] != asked(subject, text="abcab", temperature=1, steps=30, seed=4)["more"]
    scores, _ = net.apply(now.params, now.state, codec.encode("abcab")[None])
    want = fnn.Softmax().apply({}, {}, scores[0, -1:].astype("float64"))[0][0]
    said = dict(warm["next"])
    assert [said[each] for each in codec.characters] == pytest.approx(list(want))
    assert asked(subject, text="zyx")["unknown"] == ["x", "y", "z"]
    assert asked(subject, text="")["unknown"] == []
    # What is drawn does not depend on how much is asked for.
    part = asked(subject, text="abcab", temperature=1, steps=1, seed=3)["more"]
    assert warm["more"].startswith(part)


@pytest.mark.parametrize("target", ["price", "failed"])
def test_a_table_has_a_form_of_its_columns(tmp_path, target):
    table = fnn.flats() if target == "price" else fnn.machines()
    codec = fnn.TableCodec.fit(table, target=target, missing="fill", standardize_target=True)
    data = codec.dataset(table)
    n = 1 if codec.classes is None else len(codec.classes)
    net = fnn.serial(fnn.Dense(8), fnn.Tanh(), fnn.Dense(n))
    loss = "squared_error" if n == 1 else "softmax_cross_entropy"
    folder = make_run(tmp_path / "run", net, data.x.shape[1:], fits=[{"loss": loss}])
    now = fnn.init_train_state(net, fnn.sgd(0.1), data.x.shape[1:], fnn.Key.of(0))
    Run(folder).keep(net, now, data.x.shape[1:], codec=codec)
    subject = read_subject(folder)
    about = described(subject)
    assert (about["kind"], about["target"]) == ("numbers", target)
    # What the page makes of the form's entries is what the codec makes of the row.
    row = table.select(np.array([7]))
    x = []
    for field in about["fields"]:
        column = row[field["name"]]
        if field["choices"]:
            x += [float(column.categories[column.values[0]] == each) for each in field["choices"]]
        else:
            x.append((float(column.values[0]) - field["mean"]) / field["std"])
    np.testing.assert_allclose(x, codec.encode(row)[0], rtol=1e-5, atol=1e-6)
    found = asked(subject, x=x)
    out = fnn.predict(net, now, codec.encode(row))
    if n == 1:
        np.testing.assert_allclose(found["values"], codec.decode(out)[0], rtol=1e-4)
    else:
        want = fnn.Softmax().apply({}, {}, out)[0][0]
        np.testing.assert_allclose(found["probabilities"], want, rtol=1e-4)
        assert about["classes"] == list(codec.classes)


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "7", "{}", '{"characters": "ba"}', '{"characters": ["a"]}', '{"characters": 3}',
        '{"features": [["a", {"fill": 0, "mean": 0, "std": 0}]], "target": null, "classes": null, '
        '"one_hot": true, "missing": "fill", "dtype": "float32", "target_scale": null}',
        '{"features": [["a", {"categories": "ab"}]], "target": null, "classes": null, '
        '"one_hot": true, "missing": "fill", "dtype": "float32", "target_scale": null}',
    ],
)  # fmt: skip
def test_a_codec_that_is_none_is_refused_by_name(tmp_path, text):
    folder = make_run(tmp_path / "run", MLP, (64,))
    (folder / "codec.json").write_text(text, "utf-8")
    with pytest.raises(DataError, match=r"codec\.json: expected"):
        read_subject(folder)


def test_codecs_come_back_as_they_were(tmp_path):
    folder = make_run(tmp_path / "run", MLP, (64,))
    assert read_codec(folder) is None
    tables = [
        fnn.TableCodec.fit(fnn.flats(), target="price", missing="fill", standardize_target=True),
        fnn.TableCodec.fit(fnn.machines(), target="failed", missing="fill", one_hot=False),
        fnn.TableCodec.fit(fnn.flats(), missing="fill", dtype="float64", standardize=False),
    ]
    for codec in (fnn.Characters.fit("äß€\n\"'\\"), *tables):
        write_codec(folder, codec)
        assert read_codec(folder) == codec
    for other in (fnn.Bytes(), "abc"):
        with pytest.raises(OptionError, match=r"Run\.keep: codec: expected Characters or a TableCodec"):
            write_codec(folder, other)


def test_epochs_are_kept_one_or_more_apart(tmp_path):
    run = Run(make_run(tmp_path / "run", MLP, (64,), model=False))
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(OptionError, match=r"Run\.fit: keep_epochs"):
            run.fit(
                MLP, fnn.softmax_cross_entropy, fnn.sgd(0.1), fnn.digits(), epochs=1, batch_size=50,
                key=fnn.Key.of(0), keep_epochs=wrong,
            )  # fmt: skip


def test_what_would_change_the_answer_is_what_does_change_it(tmp_path):
    table = fnn.flats()
    codec = fnn.TableCodec.fit(table, target="price", missing="fill", standardize_target=True)
    data = codec.dataset(table)
    in_shape = data.x.shape[1:]
    net = fnn.serial(fnn.Dense(8), fnn.Tanh(), fnn.Dense(1))
    folder = make_run(tmp_path / "run", net, in_shape, fits=[{"loss": "squared_error"}])
    now = fnn.init_train_state(net, fnn.sgd(0.1), in_shape, fnn.Key.of(0))
    Run(folder).keep(net, now, in_shape, codec=codec)
    subject = read_subject(folder)
    x = data.x[5].tolist()
    found = asked(subject, x=x)
    assert [each["name"] for each in found["effects"]] != [each.name for each in subject.fields]
    assert {each["name"] for each in found["effects"]} == {each.name for each in subject.fields}
    sizes = [abs(each["change"]) for each in found["effects"]]
    assert sizes == sorted(sizes, reverse=True)
    for each in found["effects"]:
        other, start = list(x), 0
        for field in subject.fields:
            width = len(field.choices) or 1
            if field.name == each["name"] and field.choices:
                other[start : start + width] = [float(c == each["step"]) for c in field.choices]
            elif field.name == each["name"]:
                other[start] += 1
            start += width
        change = asked(subject, x=other)["values"][0] - found["values"][0]
        assert change == pytest.approx(each["change"], rel=1e-3, abs=1e-4)


def test_an_autoencoder_gives_its_image_back(tmp_path):
    net = fnn.serial(fnn.Dense(784), fnn.Sigmoid())
    subject = read_subject(make_run(tmp_path / "run", net, (784,)))
    found = asked(subject, strokes=DIGITS[1])
    assert found["picture"]["size"] == [28, 28]
    assert "probabilities" not in found


def test_a_training_that_diverged_is_told(tmp_path):
    net = fnn.serial(fnn.Dense(10))
    now = fnn.init_train_state(net, fnn.sgd(0.1), (64,), fnn.Key.of(0))
    params = fnn.tree.map(lambda leaf: leaf * np.float32("nan"), now.params)
    folder = make_run(tmp_path / "run", net, (64,))
    fnn.save_model(folder / "model.npz", net, params, {}, (64,))
    with pytest.raises(DataError, match="as kept: expected finite outputs; this training has diverged"):
        asked(read_subject(folder), strokes=DIGITS[1])


@pytest.mark.parametrize(
    ("net", "in_shape", "message"),
    [
        (
            fnn.serial(fnn.Conv(2, 3), fnn.Flatten(), fnn.Dense(3)),
            (3, 9, 9),
            "of one channel and 4 to 64",
        ),
        (fnn.serial(fnn.Dense(2)), (1000,), "200 numbers at most"),
        (fnn.serial(fnn.Embedding(5, 3), fnn.LSTM(4), fnn.Dense(5)), (7,), "characters"),
        (fnn.parallel(fnn.Dense(2), fnn.Dense(2)), ((3,), (4,)), "one array to one array"),
    ],
)
def test_a_network_that_no_page_can_try_is_told(tmp_path, net, in_shape, message):
    with pytest.raises(DataError, match=message):
        read_subject(make_run(tmp_path / "run", net, in_shape))


def test_a_network_that_computes_too_much_is_refused(tmp_path):
    net = fnn.serial(*[fnn.Conv(64, 3, padding="same")] * 8, fnn.Flatten(), fnn.Dense(10))
    with pytest.raises(DataError, match="at most 1,073,741,824 operations"):
        read_subject(make_run(tmp_path / "run", net, (1, 64, 64)))


# --- the command


def command(*words, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-m", "fnn.demo", *map(str, words)], text=True, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_the_command_serves_until_ctrl_c_which_ends_it_quietly(tmp_path):
    with command(make_run(tmp_path / "run", CNN, (1, 28, 28)), "--port", "0", "--no-open") as process:
        url = process.stdout.readline().split()[-1]
        assert url.startswith("http://127.0.0.1:")
        assert process.stdout.readline() == "Ctrl-C ends it.\n"
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1].strip("/")))):
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    run = make_run(tmp_path / "run", CNN, (1, 28, 28))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = {
            (tmp_path / "nowhere",): "no run can be read here",
            (make_run(tmp_path / "bare", CNN, (1, 28, 28), model=False),): "model.npz",
            (run, "--port", port): f"127.0.0.1 port {port}: is taken",
            (run, "--port", 70000): "expected a port from 0 to 65535, got 70000",
            (run, "--port", -1): "expected",
            (run, "--host", "no.such.host.invalid"): "cannot listen there",
        }
        running = [(command(*words, "--no-open"), part) for words, part in cases.items()]
        for process, part in running:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 1
            assert out == ""
            assert err.startswith("error: ")
            assert err.count("\n") == 1
            assert part in err


def test_the_wheel_contains_the_page(tmp_path, monkeypatch):
    hatchling = pytest.importorskip("hatchling.build")
    monkeypatch.chdir(ROOT)
    name = hatchling.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as wheel:
        for asset, _ in _ASSETS.values():
            assert wheel.read(f"fnn/demo/{asset}") == (ROOT / "fnn" / "demo" / asset).read_bytes()
