"""Whole networks in ONNX: random ones, those of the experiments, and those of run folders."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from experiment_cases import network as small_network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interop_onnx_cases import assert_alike, drawn, flat, in_reference, in_runtime, inputs

import fnn
from fnn import Key
from fnn.testing.strategies import inputs_for, networks, params_for, shapes

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
bridge = pytest.importorskip("fnn.interop.onnx")
command = pytest.importorskip("fnn.interop.onnx.__main__")

NIGHTLY = settings.get_current_profile_name() == "fnn-nightly"
EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"


# --- random networks --------------------------------------------------------------------------


@st.composite
def cases(draw):
    in_shape = draw(shapes())
    net = draw(networks(in_shape, 5))
    params, state = draw(params_for(net, in_shape, "float32"))
    x = draw(inputs_for(net, in_shape, st.integers(1, 3), dtype="float32", away_from_kinks=False))
    return net, params, state, in_shape, x


def bend(graph, part, x):
    """Write √(1 + x²), which is among the random layers as one of somebody's own."""
    return graph.op("Sqrt", graph.op("Add", graph.op("Mul", x, x), 1))


def gain(graph, part, x):
    """Write a product with a factor for every number, another of those."""
    return graph.op("Mul", x, graph.weight("gain", part.params["gain"]))


@settings(
    max_examples=1000 if NIGHTLY else 200,
    derandomize=not NIGHTLY,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(cases())
def test_random_networks_predict_the_same_there_and_when_they_are_back(case):
    net, params, state, in_shape, x = case
    model = bridge.to_onnx(net, params, state, in_shape, rules={"bend": bend, "gain": gain})
    y = net.apply(params, state, x)[0]
    # Rounding grows from layer to layer; what one of them loses is tested by itself.
    assert_alike(y, in_runtime(model, runtime)(x), atol=1e-4)
    back, *weights = bridge.from_onnx(model)
    assert_alike(y, flat(back.apply(*weights, x)[0]), atol=1e-4)


# --- the experiments --------------------------------------------------------------------------


def experiment(name, monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    pytest.importorskip("matplotlib")
    return importlib.import_module(name)


NETWORKS = {
    "mnist_mlp": lambda e: (e.network(e.Config()), (784,)),
    "mnist_dense": lambda e: (e.network(e.Config()), (784,)),
    "mnist_cnn": lambda e: (e.network(e.Config()), (1, 28, 28)),
    "mnist_best": lambda e: (e.network(e.Config()), (1, 28, 28)),
    "parity": lambda e: (e.network(e.Config()), (5,)),
    "resnet": lambda e: (e.network(e.Config()), (1, 28, 28)),
    "sigmoid_overfit": lambda e: (e.network(e.Config()), (784,)),
    "char_lstm": lambda e: (e.network(e.Config(), 30), (20,)),
    "char_transformer": lambda e: (e.network(e.Config(), 30), (20,)),
    "tabular": lambda e: (e.network(e.Config(), 3), (11,)),
    "autoencoder": lambda e: (e.network(e.Config(), 784), (784,)),
    "vae": lambda e: (e.network(e.Config(), 784), (784,)),
}


def mean_code(graph, part, x):
    """Write what the code of a variational autoencoder is in evaluation: its mean."""
    mean, log_var = x
    return mean, mean, log_var


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_of_the_experiments_predict_the_same(name, monkeypatch):
    net, in_shape = NETWORKS[name](experiment(name, monkeypatch))
    params, state = drawn(net, in_shape)
    # Weights as they are at first, moved a little: far off they would make numbers of any size.
    first = net.init(Key.of(0), in_shape)[1]
    params = fnn.tree.map(lambda a, b: (0.9 * a + 0.1 * b).astype("float32"), first, params)
    x = inputs(net, in_shape)
    model = bridge.to_onnx(net, params, state, in_shape, rules={"drawn_code": mean_code})
    y = net.apply(params, state, x)[0]
    assert_alike(y, in_runtime(model, runtime)(x))
    assert_alike(y, in_reference(model)(x))
    back, *weights = bridge.from_onnx(model)
    assert_alike(y, flat(back.apply(*weights, x)[0]))


# --- run folders ------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """Return the folder of a run with a network."""
    net = small_network()
    _, params, state = net.init(Key.of(0), (784,))
    fnn.save_model(tmp_path / "run" / "model.npz", net, params, state, (784,))
    return tmp_path / "run", net, params, state


def test_the_command_writes_the_network_of_a_run(saved, capsys):
    folder, net, params, state = saved
    assert command.main([str(folder)]) == 0
    target = folder / "model.onnx"
    said = capsys.readouterr().out
    assert said.startswith(f"{target}: serial for examples of 784, opset 21, ")
    assert f"{target.stat().st_size:,} bytes" in said
    model = onnx.load(target)
    x = inputs(net, (784,))
    assert_alike(net.apply(params, state, x)[0], in_runtime(model, runtime)(x))
    assert sorted(path.name for path in folder.iterdir()) == ["model.npz", "model.onnx"]


def test_the_command_writes_where_it_is_told_to(saved, tmp_path, capsys):
    folder, *_ = saved
    target = tmp_path / "new" / "digits.onnx"
    assert command.main([str(folder / "model.npz"), "-o", str(target)]) == 0
    assert target.exists()
    assert not (folder / "model.onnx").exists()


def test_the_command_says_what_is_wrong_and_leaves_no_file(tmp_path, capsys):
    for run in (tmp_path / "nothing", tmp_path):
        assert command.main([str(run)]) == 1
        assert str(run) in capsys.readouterr().err
    net = fnn.Dense(2)
    fnn.save_model(tmp_path / "model.npz", net, *net.init(Key.of(0), (3,))[1:], (3,))
    (tmp_path / "taken").mkdir()
    assert command.main([str(tmp_path), "-o", str(tmp_path / "taken")]) == 1
    assert "taken" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.npz", "taken"]


def test_the_command_runs_as_a_module(saved):
    folder, *_ = saved
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "fnn.interop.onnx", str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "model.onnx" in done.stdout


def test_without_the_package_it_is_said_how_to_install_it():
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "try:\n    import fnn.interop.onnx\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "fnn[onnx]"' in done.stdout


def test_nobody_who_does_not_ask_imports_it():
    code = "import sys, fnn, fnn.experiment, fnn.checkpoint; print('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
