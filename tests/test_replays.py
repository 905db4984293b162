"""Everything that ships is replayed as a program, with the bits of the plain step."""

from __future__ import annotations

from importlib.util import find_spec

import law_cases
import loss_cases
import numpy as np
import optimizer_cases
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from layer_cases import CASES, VALUE_CASES
from replay_cases import assert_replayed, bits, gain, inputs, squares

import fnn
from fnn.kernels.values import is_tuple_of_shapes
from fnn.losses import LOSSES
from fnn.testing.strategies import networks, shapes

ROWS = [*CASES, *VALUE_CASES]
# Cells of the tests, whose way back asks NumPy for an array in C.
REFUSED = ("MeanCell",)


@pytest.mark.parametrize(
    ("layer", "in_shape"), ROWS, ids=[f"{i}-{layer.name}" for i, (layer, _) in enumerate(ROWS)]
)
def test_every_layer_is_replayed(layer, in_shape):
    if any(name in repr(layer) for name in REFUSED):
        pytest.skip("a cell of the tests that cannot be recorded; see test_course")
    optimizer = fnn.sgd(0.01)
    now = fnn.init_train_state(layer, optimizer, in_shape, fnn.Key.of(0))
    batches = [(inputs(layer, in_shape, 6, seed), np.zeros(6, np.float32)) for seed in range(10)]
    assert_replayed(fnn.train_step(layer, squares, optimizer), now, batches)


def test_a_wide_recurrence_is_replayed_whose_weights_are_turned_once():
    layer, optimizer = fnn.RNN(420, init_w_state=fnn.glorot_uniform), fnn.sgd(0.01)
    now = fnn.init_train_state(layer, optimizer, (2, 3), fnn.Key.of(0))
    batches = [(inputs(layer, (2, 3), 6, seed), np.zeros(6, np.float32)) for seed in range(8)]
    assert_replayed(fnn.train_step(layer, squares, optimizer), now, batches)


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name, shape in loss_cases.CASES if shape[0] > 1]
)
def test_every_loss_is_replayed(name, shape, weighed):
    batches = []
    for seed in range(10):
        pred, target, weight = loss_cases.example(name, shape, "float32", seed)
        pred = pred * np.float32(0.9)  # Probabilities stay below 1 while they are trained.
        weight = weight.astype(np.float32)
        weight[0] *= seed < 6  # An example that does not count, from the seventh batch on.
        batches.append((pred, target, weight) if weighed else (pred, target))
    net, optimizer = gain(), fnn.sgd(1e-3)
    now = fnn.init_train_state(net, optimizer, shape[1:], fnn.Key.of(0))
    assert_replayed(fnn.train_step(net, LOSSES[name], optimizer), now, batches)


RNG = np.random.default_rng(0)


def rows(*shape):
    return RNG.normal(size=shape).astype(np.float32)


OTHERS = {
    "ctc": (
        fnn.ctc(),
        lambda: (
            rows(6, 8, 5),
            (RNG.integers(1, 5, (6, 3)), RNG.integers(1, 4, 6), RNG.integers(6, 9, 6)),
        ),
    ),
    "gaussian_nll": (fnn.gaussian_nll, lambda: (rows(6, 2, 2), rows(6, 2))),
    "triplet": (fnn.triplet(), lambda: (rows(6, 3, 4), np.zeros(6, np.float32))),
    "contrastive": (fnn.contrastive(), lambda: (rows(6, 2, 4), np.zeros(6, np.float32))),
    "dice": (fnn.dice(), lambda: (rows(6, 4), (rows(6, 4) > 0).astype(np.float32))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_losses_with_targets_of_their_own_are_replayed(name):
    loss, draw = OTHERS[name]
    batches = [draw() for _ in range(10)]
    net, optimizer = gain(), fnn.sgd(1e-3)
    now = fnn.init_train_state(net, optimizer, batches[0][0].shape[1:], fnn.Key.of(0))
    assert_replayed(fnn.train_step(net, loss, optimizer), now, batches)


NET = fnn.serial(fnn.Dense(8), fnn.BatchNorm(), fnn.Tanh(), fnn.named("scale", fnn.Dense(3)))
OPTIMIZERS = [*optimizer_cases.ALL, fnn.chain(fnn.sam(0.05), fnn.sgd(0.1))]


def batch_at(i, n=8):
    rng = np.random.default_rng(i)
    return rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=[f"{i}" for i in range(len(OPTIMIZERS))])
def test_every_optimizer_is_replayed(optimizer, dtype):
    step = fnn.train_step(NET, fnn.softmax_cross_entropy, optimizer)
    now = fnn.init_train_state(NET, optimizer, (4,), fnn.Key.of(0))
    batches = [(x.astype(dtype), target) for x, target in map(batch_at, range(14))]
    assert_replayed(step, fnn.training.state.cast(now, dtype), batches)


def test_metrics_penalties_and_what_is_frozen_are_replayed():
    net = fnn.serial(fnn.frozen(fnn.Dense(6)), fnn.Dropout(0.2), fnn.Tanh(), fnn.Dense(3))
    optimizer = fnn.adam(fnn.cosine_schedule(0.01, 20))
    step = fnn.train_step(
        net,
        fnn.softmax_cross_entropy,
        optimizer,
        metrics=[fnn.accuracy],
        penalty=[fnn.l2_penalty(1e-3), fnn.l1_penalty(1e-3)],
    )
    now = fnn.init_train_state(net, optimizer, (4,), fnn.Key.of(0))
    jitted = assert_replayed(step, now, [batch_at(i) for i in range(12)])
    _, logs = fnn.scan(jitted, now, [batch_at(i) for i in range(12)])
    plain = []
    for i in range(12):
        now, log = step(now, batch_at(i))
        plain.append(log["accuracy"])
    assert logs["accuracy"].tolist() == plain


EXECUTORS = ["list", *(["machine"] if find_spec("llvmlite") else [])]
ELEMENTWISE = [
    fnn.squared_error, fnn.absolute_error, fnn.half_squared_error, fnn.huber(0.5), fnn.log_cosh,
    fnn.quantile(0.3),
]  # fmt: skip
OF_CLASSES = [
    fnn.softmax_cross_entropy, fnn.smoothed_cross_entropy(0.1), fnn.focal(2.0), fnn.multiclass_hinge,
]  # fmt: skip


@st.composite
def steps(draw):
    """Draw a network, a loss with targets for it, and an optimizer."""
    in_shape = draw(shapes())
    net = draw(networks(in_shape, 4))
    optimizer = draw(st.sampled_from([case.transform for case in law_cases.TRANSFORM_CASES]))
    out_shape, losses = net.init(fnn.Key.of(0), in_shape)[0], [squares]
    if not is_tuple_of_shapes(out_shape):
        losses += ELEMENTWISE if not net.traits.takes_integers else []
        losses += OF_CLASSES if len(out_shape) == 1 and out_shape[0] > 1 else []
    return net, in_shape, out_shape, draw(st.sampled_from(losses)), optimizer


def batches_of(net, in_shape, out_shape, loss):
    """Return twenty batches of two sizes in turn."""
    rng, found = np.random.default_rng(0), []
    for i in range(20):
        n = 5 if i % 2 else 3
        target = np.zeros(n, np.float32)
        if loss in ELEMENTWISE:
            target = rng.normal(size=(n, *out_shape)).astype(np.float32)
        if loss in OF_CLASSES:
            target = rng.integers(0, out_shape[0], n)
        found.append((inputs(net, in_shape, n, i), target))
    return found


def plainly(step, now, batches):
    """Return the state after all steps as they are written, or what the first says that fails."""
    for batch in batches:
        try:
            now, _ = step(now, batch)
        except fnn.FnnError as error:
            return None, str(error)
    return now, None


def assert_every_executor_agrees(case):
    *parts, loss, optimizer = case
    try:
        now = fnn.init_train_state(parts[0], optimizer, parts[1], fnn.Key.of(0))
    except fnn.FnnError:  # It is for parameters of another network.
        assume(condition=False)
    step, batches = fnn.train_step(parts[0], loss, optimizer), batches_of(*parts, loss)
    expected, told = plainly(step, now, batches)
    for executor in EXECUTORS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FNN_EXECUTOR", executor)
            if told is None:
                assert bits(fnn.scan(fnn.jit(step), now, batches)[0]) == bits(expected)
            else:
                with pytest.raises(fnn.FnnError) as found:
                    fnn.scan(fnn.jit(step), now, batches)
                assert str(found.value) == told


@settings(max_examples=30, derandomize=True, deadline=None, database=None)
@given(steps())
def test_random_networks_have_the_same_bits_in_every_executor(case):
    assert_every_executor_agrees(case)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, database=None, suppress_health_check=[*HealthCheck])
@given(steps())
def test_five_hundred_random_networks_have_the_same_bits_in_every_executor(case):
    assert_every_executor_agrees(case)
