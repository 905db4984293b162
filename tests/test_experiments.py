"""The scripts in experiments/: they run, replay to the bit, and keep to their form."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fnn import experiment
from fnn.datasets import digits, find_mnist, write_idx
from fnn.runs.report import write

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((REPOSITORY / "experiments").glob("*.py"))
# Small enough for a test, and every option that a reference system has.
RUNS = {
    "mnist_mlp": ["--epochs", "2", "--batch-size", "50"],
    "mnist_mlp raw": [
        "--epochs",
        "1",
        "--raw",
        "--init",
        "normal",
        "--first",
        "200",
        "--batch-size",
        "50",
    ],
    "mnist_cnn": ["--epochs", "1", "--train-images", "300", "--test-images", "100"],
    "sigmoid_overfit": ["--steps", "20"],
    "parity": ["--n", "3", "--epochs", "50"],
    "parity classical": ["--n", "2", "--epochs", "50", "--optimizer", "sgd"],
    "mnist_dense": ["--epochs", "1", "--batch-size", "50"],
    "mnist_best": ["--epochs", "1"],
    "autoencoder": ["--epochs", "1", "--width", "16"],
    "vae": ["--epochs", "1", "--width", "16", "--draws", "1"],
    "resnet": ["--epochs", "1", "--width", "4"],
    "char_lstm": [
        "--steps",
        "1",
        "--units",
        "8",
        "--length",
        "256",
        "--batch-size",
        "64",
        "--sample",
        "20",
    ],
    "char_transformer": [
        *("--blocks", "1", "--heads", "1", "--width", "8", "--length", "128"),
        *("--steps", "1", "--batch-size", "64", "--sample", "20"),
    ],
    "tabular": ["--epochs", "3", "--folds", "2", "--widths", "8"],
    "tabular machines": ["--table", "machines", "--epochs", "2", "--folds", "2", "--widths", "8"],
    "mnist_dense simple": ["--model", "simple", "--epochs", "1", "--frozen", "dense_0/b"],
}
PICTURES = {
    "mnist_mlp": {"accuracy.png", "evaluation.npz", "loss.png", "predictions.png"},
    "mnist_cnn": {
        "accuracy.png",
        "confusion.png",
        "evaluation.npz",
        "filters.png",
        "loss.png",
        "classes.md",
        "right_and_wrong.png",
    },
    "sigmoid_overfit": {"loss.png"},
    "parity": {"loss.png"},
    "char_lstm": {"loss.png", "samples.txt"},
    "char_transformer": {"loss.png", "samples.txt"},
    "tabular": {"checkpoints-2", "checkpoints-3", "loss.png", "predicted.png"},
    "tabular machines": {
        "checkpoints-2",
        "checkpoints-3",
        "evaluation.npz",
        "loss.png",
        "ranking.png",
    },
    "mnist_dense": {"accuracy.png", "evaluation.npz", "loss.png", "right_and_wrong.png"},
    "autoencoder": {"error.png", "images.png"},
    "vae": {"images.png", "loss.png", "samples.png"},
    "resnet": {"accuracy.png", "evaluation.npz", "learning_rate.png", "right_and_wrong.png"},
    "mnist_best": {"accuracy.png", "evaluation.npz", "filters.png", "right_and_wrong.png"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The bundled digits in MNIST's format, so that no test depends on what lies on the machine."""
    folder = tmp_path_factory.mktemp("mnist")
    for stem, split, n in (("train", "train", 600), ("t10k", "test", 200)):
        some = digits(split, size=28).take(n)
        pixels = np.round(some.x.reshape(-1, 28, 28) * 255).astype(np.uint8)
        write_idx(folder / f"{stem}-images-idx3-ubyte.gz", pixels)
        write_idx(folder / f"{stem}-labels-idx1-ubyte.gz", some.y.astype(np.uint8))
    return folder


def run_script(name, *flags, data, cwd):
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-W", "error", str(REPOSITORY / "experiments" / f"{name}.py"), *flags]
    environment = {**os.environ, "FNN_DATA": str(data)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def run_here(name, *flags):
    """Run a script in this process, which has done much else before."""
    path = REPOSITORY / "experiments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # attrs looks for a class's module there.
    spec.loader.exec_module(module)
    experiment.main(module.train, module.Config, [*flags])


@pytest.mark.parametrize("run", RUNS)
def test_a_script_run_in_two_processes_gives_the_same_bits(run, data, tmp_path, monkeypatch):
    name = run.split()[0]
    printed = run_script(name, *RUNS[run], "--out", "a", data=data, cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FNN_DATA", str(data))
    monkeypatch.syspath_prepend(str(REPOSITORY / "experiments"))
    run_here(name, *RUNS[run], "--out", "b")
    first, second = (json.loads((tmp_path / out / "run.json").read_text()) for out in ("a", "b"))
    assert re.fullmatch("[0-9a-f]{64}", first["result"]["digest"])
    assert first["result"] == second["result"]
    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (tmp_path / "b/metrics.jsonl").read_bytes()
    assert first["result"]["digest"] in printed
    made = {path.name for path in (tmp_path / "a").iterdir()}
    codec = {"codec.json"} if name in ("char_lstm", "char_transformer", "tabular") else set()
    assert made == PICTURES.get(run, PICTURES[name]) | codec | {
        "checkpoints",
        "log.txt",
        "metrics.jsonl",
        "model.npz",
        "run.json",
    }
    assert first["data"].keys() <= {"train", "test"}
    assert re.fullmatch("[0-9a-f]{64}", first["data"]["train"])


def test_the_page_of_a_run_says_on_which_data_it_was_and_what_open_options_came_to(tmp_path):
    if find_mnist() is not None:
        pytest.skip("MNIST is here, so that nothing stands in for it")
    few = "--batch-size", "100", "--train-images", "100"
    run_script("mnist_cnn", *few, "--out", "run", data="", cwd=tmp_path)
    _, markdown_file = write([tmp_path / "run"])
    page = markdown_file.read_text("utf-8")
    assert "Data: the bundled digits, 8×8 scaled to 28×28, for MNIST is not in" in page.split("##")[0]
    assert "| epochs | – | 60 |" in page
    assert "| test images | 5000 | 360 |" in page
    assert "| validation set | test |" in page
    html = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "Data: the bundled digits" in html
    assert ">test</text>" in html
    assert ">validation</text>" not in html


def test_another_seed_gives_other_bits(data, tmp_path):
    found = set()
    for seed in ("0", "1"):
        run_script(
            "parity",
            "--n",
            "2",
            "--epochs",
            "3",
            "--seed",
            seed,
            "--out",
            seed,
            data=data,
            cwd=tmp_path,
        )
        found.add(json.loads((tmp_path / seed / "run.json").read_text())["result"]["digest"])
    assert len(found) == 2


def test_a_trained_run_reads_an_image_file(data, tmp_path):
    image = pytest.importorskip("PIL.Image")
    flags = ["--epochs", "6", "--batch-size", "50", "--out", "run"]
    run_script("mnist_dense", *flags, data=data, cwd=tmp_path)
    right = 0
    test = digits("test", size=28)
    for i in range(5):
        ink = np.round(test.x[i].reshape(28, 28) * 255).astype(np.uint8)
        # Dark on light paper.
        image.fromarray(230 - (ink * 0.8).astype(np.uint8)).save(tmp_path / "digit.png")
        run_script("predict", "--run", "run", "--image", "digit.png", data=data, cwd=tmp_path)
        folder = tmp_path / "out" / ("predict" if i == 0 else f"predict-{i + 1}")
        answer = json.loads((folder / "run.json").read_text())["result"]
        right += answer["class"] == test.y[i]
        assert (folder / "prediction.png").stat().st_size > 1000
    assert right >= 4


def test_ink_anywhere_on_a_large_sheet_is_centred_as_in_mnist(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.syspath_prepend(str(REPOSITORY / "experiments"))
    predict = importlib.import_module("predict")
    seen = []
    for top, left, scale in ((10, 20, 1), (150, 60, 1), (30, 30, 2)):
        sheet = np.full((300, 200), 235, np.uint8)
        sheet[top : top + 60 * scale, left : left + 15 * scale] = 20
        sheet[top : top + 15 * scale, left : left + 40 * scale] = 20
        image.fromarray(sheet).save(tmp_path / "sheet.png")
        seen.append(predict.read(tmp_path / "sheet.png"))
    for one in seen:
        assert one.shape == (28, 28)
        np.testing.assert_allclose(one, seen[0], atol=0.15)
        assert np.ptp(np.flatnonzero(one.any(axis=1))) == 19
        mass = [(one.sum(axis=1 - axis) @ (np.arange(28) + 0.5)) / one.sum() for axis in (0, 1)]
        assert np.abs(np.array(mass) - 14).max() < 0.6
        assert one.min() == 0
        assert one.max() > 0.99


def test_a_run_of_something_else_is_refused_in_one_line(data, tmp_path):
    pytest.importorskip("PIL")
    run_script("parity", "--n", "2", "--epochs", "3", "--out", "run", data=data, cwd=tmp_path)
    (tmp_path / "no.png").write_bytes(b"<html>")
    script = str(REPOSITORY / "experiments" / "predict.py")
    for run, image, expected in (("run", "no.png", "no.png"), ("nowhere", "no.png", "nowhere")):
        command = [sys.executable, script, "--run", run, "--image", image]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert expected in done.stderr
        assert done.stderr.count("\n") == 1


def test_one_s_own_pictures_in_folders_can_be_learnt(data, tmp_path):
    image = pytest.importorskip("PIL.Image")
    test = digits("all", size=28)
    for split, start in (("train", 0), ("test", 300)):
        for i in range(start, start + 60):
            folder = tmp_path / "own" / split / f"class {test.y[i] % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.round(test.x[i].reshape(28, 28) * 255).astype(np.uint8)
            image.fromarray(pixels).save(folder / f"{i}.png")
    flags = ["--images", "own", "--classes", "2", "--epochs", "1", "--batch-size", "20"]
    printed = run_script("mnist_cnn", *flags, data=data, cwd=tmp_path)
    assert "class 0, class 1" in printed


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_says_its_command_result_and_minutes(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    description = ast.get_docstring(ast.parse(text))
    assert f"python experiments/{path.name}" in description
    if path.stem != "predict":
        assert re.search(r"Result: .*minute", description, re.DOTALL)
