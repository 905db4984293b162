"""Networks in PyTorch: random ones, those of the experiments, and what PyTorch does with them."""

from __future__ import annotations

import copy
import importlib
import io
import pickle
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_cases import agrees, close, close_trees, expressible, inputs, items_of, to_torch, trees

import fnn
from fnn import Key
from fnn.testing.strategies import inputs_for, networks, params_for

torch = pytest.importorskip("torch")
room = pytest.importorskip("fnn.interop.torch")
EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
SHAPES = [(4,), (2, 5, 4), (3, 4)]
# Without a bias before the norm, whose gradient would be nothing but rounding, which Adam makes large.
NET = fnn.serial(fnn.Dense(8, bias=False), fnn.BatchNorm(), fnn.Relu(), fnn.Dense(3))


@settings(max_examples=40, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.data())
def test_random_networks_are_what_they_are_in_numpy(data):
    in_shape = data.draw(st.sampled_from(SHAPES))
    of_numpy = (fnn.elementwise, fnn.make_layer, fnn.Lambda)
    net = expressible(data.draw(networks(in_shape, 4)), of_numpy=of_numpy)
    params, state = data.draw(params_for(net, in_shape))
    x = data.draw(inputs_for(net, in_shape))
    for train in (False, True) if state else (False,):
        agrees(net, params, state, x, "float64", train=train)


NETWORKS = {
    "autoencoder": (lambda m, c: m.network(c(width=12), 20), (20,)),
    "char_lstm": (lambda m, c: m.network(c(width=4, units=6), 9), (5,)),
    "char_transformer": (lambda m, c: m.network(c(width=8, blocks=2, length=6), 9), (5,)),
    "mnist_best": (lambda m, c: m.network(c()), (1, 28, 28)),
    "mnist_cnn": (lambda m, c: m.network(c()), (1, 28, 28)),
    "mnist_dense": (lambda m, c: m.network(c()), (784,)),
    "mnist_mlp": (lambda m, c: m.network(c()), (784,)),
    "parity": (lambda m, c: m.network(c()), (8,)),
    "resnet": (lambda m, c: m.network(c(width=4)), (1, 28, 28)),
    "sigmoid_overfit": (lambda m, c: m.network(c()), (784,)),
    "tabular": (lambda m, c: m.network(c(), 3), (6,)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_of_the_experiments_are_what_they_are_in_numpy(name, monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    module = importlib.import_module(name)
    make, in_shape = NETWORKS[name]
    net = expressible(make(module, lambda **options: attrs.evolve(module.Config(), **options)))
    _, params, state = net.init(Key.of(0), in_shape)
    x = inputs(net, in_shape, "float32", batch=4)
    agrees(net, params, state, x, "float32", train=bool(state))


# --- what PyTorch does with them ---------------------------------------------------------------


def some_data(n=64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4))
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (fnn.sgd(0.1), lambda p: torch.optim.SGD(p, 0.1)),
        (fnn.adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
    ],
    ids=["sgd", "adam"],
)
def test_twenty_steps_of_training_are_those_of_ours(ours, theirs):
    x, labels = some_data()
    params, state = trees(NET, (4,), "float64")
    module = to_torch(NET, params, state).train()
    optimizer = theirs(module.parameters())
    now = fnn.TrainState(0, Key.of(0), params, state, ours.init(params))
    step = fnn.train_step(NET, fnn.softmax_cross_entropy, ours)
    for i in range(20):
        rows = slice(8 * (i % 8), 8 * (i % 8) + 8)
        now, logs = step(now, (x[rows], labels[rows]))
        optimizer.zero_grad()
        scores = module(torch.tensor(x[rows]))
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(labels[rows]))
        loss.backward()
        optimizer.step()
        assert float(logs["loss"]) == pytest.approx(float(loss.detach()), rel=1e-9)
    trained, moved = module.trees()
    close_trees(trained, now.params, "float64", "params")
    close_trees(moved, now.state, "float64", "state")


def again(module, way):
    if way == "copied":
        return copy.deepcopy(module)
    if way == "pickled":
        return pickle.loads(pickle.dumps(module))
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("way", ["copied", "pickled", "saved"])
def test_a_module_that_was_copied_pickled_or_saved_computes_the_same(way):
    params, state = trees(NET, (4,), "float32")
    module = to_torch(NET, params, state).eval()
    x = torch.tensor(some_data()[0], dtype=torch.float32)
    other = again(module, way)
    assert torch.equal(other(x), module(x))
    with torch.no_grad():
        next(other.parameters()).add_(1)
    assert not torch.equal(other(x), module(x))


def test_a_module_may_be_cast_and_its_state_dict_loaded():
    params, state = trees(NET, (4,), "float32")
    module = to_torch(NET, params, state).eval()
    x = some_data()[0]
    wide = copy.deepcopy(module).to(torch.float64)
    y = NET.apply(*(fnn.tree.cast(each, "float64") for each in (params, state)), x)[0]
    close(wide(torch.tensor(x)), y, "float64", "y")
    names = set(module.state_dict())
    assert names >= {"params.dense_0.w", "params.batch_norm_0.scale", "state.batch_norm_0.mean"}
    _, fresh, fresh_state = NET.init(Key.of(5), (4,))
    other = to_torch(NET, fresh, fresh_state).eval()
    other.load_state_dict(module.state_dict())
    x32 = torch.tensor(x, dtype=torch.float32)
    assert torch.equal(other(x32), module(x32))


def test_the_numbers_are_copies_and_those_of_the_caller_stay():
    _, params, state = NET.init(Key.of(0), (4,))
    before = fnn.tree.digest(params)
    module = to_torch(NET, params, state)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert fnn.tree.digest(params) == before
    kept = module.trees()[0]
    with torch.no_grad():
        next(module.parameters()).add_(1)
    assert fnn.tree.digest(kept) == fnn.tree.digest(fnn.tree.map(np.zeros_like, params))


def test_what_is_frozen_asks_for_no_gradient():
    net = fnn.serial(fnn.frozen(fnn.Dense(3)), fnn.Dense(2))
    _, params, state = net.init(Key.of(0), (4,))
    asked = {path: t.requires_grad for path, t in items_of(to_torch(net, params, state).params.tree())}
    assert asked == {"dense_0/w": False, "dense_0/b": False, "dense_1/w": True, "dense_1/b": True}


def test_dropout_draws_in_training_alone_and_from_the_generator_of_the_module():
    net = fnn.serial(fnn.Dropout(0.5), fnn.GaussianNoise(0.1))
    module = to_torch(net, {}, {})
    x = torch.ones(200, 50)
    assert torch.equal(module.eval()(x), x)
    drawn = []
    for seed in (0, 0, 1):
        module.generator = torch.Generator().manual_seed(seed)
        drawn.append(module.train()(x))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert float((drawn[0] < 1).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float(drawn[0].mean()) == pytest.approx(1, abs=0.03)


# --- refusals ------------------------------------------------------------------------------------


@fnn.constructor
def Mine():
    return fnn.elementwise("mine", np.sin, lambda x, y, dy: dy * np.cos(x))


def test_what_has_no_rule_is_refused_by_path_and_goes_with_one():
    net = fnn.serial(fnn.Dense(3), fnn.residual(Mine()))
    _, params, state = net.init(Key.of(0), (3,))
    with pytest.raises(fnn.OptionError, match=r"serial/residual_0/mine_0 .*torch\.rules\.of\(Mine\)"):
        to_torch(net, params, state)
    room.rules.of(Mine)(lambda layer: lambda params, state, x, train, key: (torch.sin(x), state))
    agrees(net, params, state, inputs(net, (3,), "float32"), "float32", train=False)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.ones(2, 5), fnn.ShapeError, r"serial/dense_0 .*w of shape \(5, 8\), got \(4, 8\)"),
        (torch.ones(2, 4, dtype=torch.int64), fnn.DTypeError, "floating numbers, got torch.int64"),
        (torch.ones(2, 4, dtype=torch.float64), fnn.DTypeError, "torch.float64"),
        (np.ones((2, 4), "f4"), fnn.DTypeError, "serial .*: expected tensors of PyTorch, got ndarray"),
    ],
)
def test_what_does_not_fit_is_said_by_path(x, error, message):
    _, params, state = NET.init(Key.of(0), (4,))
    with pytest.raises(error, match=message):
        to_torch(NET, params, state)(x)


def test_what_is_no_network_or_no_tree_is_refused():
    with pytest.raises(fnn.OptionError, match="to_torch"):
        to_torch("net", {}, {})
    with pytest.raises(fnn.TreeError, match="params and state as init returns them, got int"):
        to_torch(NET, 3, {})
