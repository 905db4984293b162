"""Networks in JAX: random ones, those of the experiments, and what JAX does with them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax_cases import agrees, close, close_trees, expressible, inputs

import fnn
from fnn import Key, tree
from fnn.testing.strategies import inputs_for, networks, params_for

jax = pytest.importorskip("jax")
room = pytest.importorskip("fnn.interop.jax")
jnp, lax, rules, to_jax = jax.numpy, jax.lax, room.rules, room.to_jax

ROOT = Path(__file__).resolve().parents[1]
SHAPES = [(4,), (2, 5, 4), (3, 4)]


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_random_networks_are_what_they_are_in_numpy(data):
    in_shape = data.draw(st.sampled_from(SHAPES))
    of_numpy = (fnn.elementwise, fnn.make_layer, fnn.Lambda)
    net = expressible(data.draw(networks(in_shape, 4)), of_numpy=of_numpy)
    params, state = data.draw(params_for(net, in_shape))
    x = data.draw(inputs_for(net, in_shape))
    with jax.enable_x64(True):
        for train in (False, True) if state else (False,):
            agrees(net, params, state, x, "float64", train=train)


# --- the experiments ---------------------------------------------------------------------------


@pytest.fixture
def experiment(monkeypatch):
    """Return what loads a script of an experiment, which may import those beside it."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    before = set(sys.modules)
    yield loaded
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(ROOT / "experiments")):
            del sys.modules[name]


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"jax_{name}", ROOT / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # attrs looks for a class's module there.
    spec.loader.exec_module(module)
    return module


def config(module, **changes):
    return attrs.evolve(module.Config(), **changes)


EXPERIMENTS = {
    "autoencoder": (lambda m: m.network(config(m, width=12), 20), (20,)),
    "char_lstm": (lambda m: m.network(config(m, width=4, units=6), 9), (5,)),
    "char_transformer": (lambda m: m.network(config(m), 9), (5,)),
    "mnist_best": (lambda m: m.network(m.Config()), (1, 28, 28)),
    "mnist_cnn": (lambda m: m.network(m.Config()), (1, 28, 28)),
    "mnist_dense": (lambda m: m.network(m.Config()), (784,)),
    "mnist_mlp": (lambda m: m.network(m.Config()), (784,)),
    "parity": (lambda m: m.network(m.Config()), (8,)),
    "resnet": (lambda m: m.network(config(m, width=4)), (1, 28, 28)),
    "sigmoid_overfit": (lambda m: m.network(m.Config()), (784,)),
    "tabular": (lambda m: m.network(m.Config(), 3), (6,)),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_networks_of_the_experiments_are_what_they_are_in_numpy(experiment, name):
    make, in_shape = EXPERIMENTS[name]
    net = expressible(make(experiment(name)))
    _, params, state = net.init(Key.of(0), in_shape)
    x = inputs(net, in_shape, "float32", batch=8)
    agrees(net, params, state, x, "float32", train=bool(state))


def test_a_network_with_a_layer_of_ones_own_goes_with_a_rule_for_it(experiment):
    vae = experiment("vae")
    net = vae.network(config(vae, width=8), 12)
    with pytest.raises(fnn.OptionError, match=r"drawn_code_0 \(vae.py:\d+\).*rules.of\(drawn_code\)"):
        to_jax(net)

    @rules.of(vae.drawn_code)
    def drawn_code(layer):
        def run(params, state, x, train, key):
            mean, log_var = x
            noise = jax.random.normal(key, mean.shape, mean.dtype) if train else 0
            return (mean + jnp.exp(log_var / 2) * noise, mean, log_var), state

        return run

    _, params, state = net.init(Key.of(0), (12,))
    agrees(net, params, state, inputs(net, (12,), "float32"), "float32", train=False)
    drawn = [
        to_jax(net)(params, state, np.ones((2, 12), "float32"), train=True, key=k)[0] for k in (0, 1)
    ]
    assert not np.array_equal(drawn[0][0], drawn[1][0])
    assert np.array_equal(drawn[0][1], drawn[1][1])


# --- what JAX does with them -------------------------------------------------------------------

NET = fnn.serial(fnn.Dense(8), fnn.BatchNorm(), fnn.Relu(), fnn.Dense(3))


def some_data(n=32, width=4):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, width)).astype("float32")
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


def loss_of(apply):
    def loss(params, state, x, labels, key=None):
        scores, moved = apply(params, state, x, train=True, key=key)
        logs = jax.nn.log_softmax(scores)
        return -jnp.take_along_axis(logs, labels[:, None], 1).mean(), moved

    return loss


def test_a_training_in_a_scan_takes_the_steps_of_ours():
    x, labels = some_data()
    step = fnn.train_step(NET, fnn.softmax_cross_entropy, fnn.sgd(0.1))
    now = fnn.init_train_state(NET, fnn.sgd(0.1), (4,), Key.of(0))
    for at in range(0, 32, 8):
        now, _ = step(now, (x[at : at + 8], labels[at : at + 8]))
    grad = jax.value_and_grad(loss_of(to_jax(NET)), has_aux=True)

    def theirs(carry, batch):
        (value, moved), grads = grad(*carry, *batch)
        return (jax.tree.map(lambda p, g: p - 0.1 * g, carry[0], grads), moved), value

    batches = x.reshape(4, 8, 4), labels.reshape(4, 8)
    start = fnn.init_train_state(NET, fnn.sgd(0.1), (4,), Key.of(0))
    scanned = jax.jit(lambda *given: lax.scan(theirs, *given))
    (got, moved), losses = scanned((start.params, start.state), batches)
    assert type(got) is tree.Tree
    close_trees(got, now.params, "float32", "params")
    close_trees(moved, now.state, "float32", "state")
    assert losses.shape == (4,)
    # And back: NumPy goes on with what JAX has trained.
    back = jax.device_get((got, moved))
    scores, _ = NET.apply(*back, x)
    close(to_jax(NET)(got, moved, x)[0], scores, "float32")


def test_optimizers_of_optax_take_our_trees():
    optax = pytest.importorskip("optax")
    x, labels = some_data()
    _, params, state = NET.init(Key.of(0), (4,))
    is_weight = jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.03, mask=is_weight))
    grad = jax.value_and_grad(loss_of(to_jax(NET)), has_aux=True)

    @jax.jit
    def step(params, state, memory):
        (value, moved), grads = grad(params, state, x, labels)
        updates, memory = optimizer.update(grads, memory, params)
        return optax.apply_updates(params, updates), moved, memory, value

    memory, losses = optimizer.init(params), []
    for _ in range(30):
        params, state, memory, value = step(params, state, memory)
        losses.append(float(value))
    assert losses[-1] < losses[0] / 3
    assert type(params) is tree.Tree


def test_members_are_mapped_over_their_trees():
    keys = Key.of(0).split(3)
    drawn = [NET.init(key, (4,))[1:] for key in keys]
    params, state = (fnn.ensemble.stack([each[k] for each in drawn]) for k in (0, 1))
    x, _ = some_data()
    got, moved = jax.jit(jax.vmap(lambda p, s: to_jax(NET)(p, s, x, train=True)))(params, state)
    for i, (own, own_state) in enumerate(drawn):
        y, want = NET.apply(own, own_state, x, train=True)
        close(got[i], y, "float32")
        close_trees(jax.tree.map(lambda leaf, i=i: leaf[i], moved), want, "float32", "state")


def test_a_batch_is_shared_by_several_devices():
    program = """
import jax, numpy as np, fnn
from fnn.interop.jax import to_jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
net = fnn.serial(fnn.Dense(8), fnn.BatchNorm(), fnn.Relu(), fnn.Dense(3))
_, params, state = net.init(fnn.Key.of(0), (4,))
x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
mesh = Mesh(np.array(jax.devices()), ("batch",))
split = jax.device_put(x, NamedSharding(mesh, P("batch")))
y, moved = jax.jit(to_jax(net), static_argnames="train")(params, state, split, train=True)
want, after = net.apply(params, state, x, train=True)
assert len(y.sharding.device_set) == len(jax.devices()) == 4
np.testing.assert_allclose(y, want, atol=1e-5)
np.testing.assert_allclose(moved["batch_norm_0"]["var"], after["batch_norm_0"]["var"], atol=1e-5)
"""
    flags = "--xla_force_host_platform_device_count=4 --xla_cpu_multi_thread_eigen=false"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
