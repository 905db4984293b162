"""What the script that predicts does with a stranger's run: one typed error, and little memory."""

import importlib
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fnn
from fnn.runs.checkpoint import save_tree

SCRIPTS = Path(__file__).resolve().parents[1] / "experiments"


@pytest.fixture
def predict(monkeypatch):
    pytest.importorskip("PIL")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("predict")


@pytest.fixture
def digit(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((28, 28), np.uint8)
    pixels[5:20, 12:15] = 255
    image.fromarray(pixels).save(tmp_path / "digit.png")
    return tmp_path / "digit.png"


def run_of(tmp_path, recipe, in_shape=(784,), params=None, **about):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"format": 2, "experiment": "x", "config": {}} | about))
    leaves = {"in_shape": np.array(in_shape), "recipe": np.frombuffer(recipe.encode(), np.uint8)}
    save_tree(folder / "model.npz", {"params": params or {}, "state": {}, **leaves})
    return folder


def zeros(*shape):
    return np.zeros(shape, "float32")


SMALL = {"dense_0": {"w": zeros(784, 2), "b": zeros(2)}}


@pytest.mark.parametrize("raw", [True, False, "yes", None])
def test_a_run_of_any_name_predicts_without_its_script(predict, digit, tmp_path, raw):
    weights = {"dense_0": {"w": zeros(784, 2) + np.float32(1e-3), "b": np.array([1, 0], "float32")}}
    folder = run_of(
        tmp_path, "serial(Dense(2))", params=weights, config={"raw": raw}, experiment="../../x"
    )
    _, scores = predict.probabilities(folder, digit)
    np.testing.assert_allclose(scores, np.exp([1, 0]) / np.exp([1, 0]).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "in_shape", "params", "message"),
    [
        ("serial(Dense(16000000), Dense(2))", (784,), SMALL, "weights do not fit the network"),
        ("serial(Dense(2))", (16000000,), SMALL, "weights do not fit the network"),
        ("serial(Dense(2))", (2, 784), SMALL, "expected a network of 28×28 images"),
        ("serial(Dense(2))", (1,) * 20 + (784,), SMALL, "expected a network of 28×28 images"),
        (
            "serial(Dense(2), Flatten(), Reshape((2, 1)))",
            (784,),
            SMALL,
            "expected a network that classifies",
        ),
        ("serial(Dense(2), Flatten(), Reshape((1, 2)), GlobalAvgPool())", (784,), SMALL, "network"),
        (
            "serial(Conv(1, 1, padding=40000), Flatten())",
            (1, 28, 28),
            {"conv_0": {"w": zeros(1, 1, 1, 1), "b": zeros(1)}},
            "expected at most 1048576 numbers per example",
        ),
        (
            "serial(Conv(1, 2, dilation=20000, padding=10000), Flatten())",
            (1, 28, 28),
            {"conv_0": {"w": zeros(1, 1, 2, 2), "b": zeros(1)}},
            "conv_0: expected at most 1048576 numbers per example, got",
        ),
        (
            "serial(MaxPool(1500, padding=1400, stride=1400), Flatten())",
            (1, 28, 28),
            {},
            "max_pool_0: expected at most 1048576 numbers",
        ),
        ("serial(AvgPool(3000, padding='same', stride=1))", (1, 28, 28), {}, "avg_pool_0: expected"),
        (
            f"serial({'MaxPool(99, padding=98, stride=1), ' * 4}Flatten())",
            (1, 28, 28),
            {},
            "expected at most 1073741824 operations",
        ),
        ("serial()", (784,), {}, None),
    ],
)
def test_a_stranger_s_network_is_one_typed_error_and_little_memory(
    predict, digit, tmp_path, recipe, in_shape, params, message
):
    folder = run_of(tmp_path, recipe, in_shape, params)
    tracemalloc.start()
    try:
        if message is None:
            predict.probabilities(folder, digit)
        else:
            with pytest.raises(fnn.FnnError, match=message):
                predict.probabilities(folder, digit)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
