"""Everything that ships is replayed as a program, with the bits of the plain step."""

from __future__ import annotations

import loss_cases
import numpy as np
import optimizer_cases
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import CASES, VALUE_CASES
from replay_cases import assert_replayed, bits, gain, inputs, squares

import fnn
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


@st.composite
def steps(draw):
    in_shape = draw(shapes())
    net = draw(networks(in_shape, 4))
    optimizer = draw(st.sampled_from([*optimizer_cases.ELEMENTWISE, fnn.clip_by_global_norm(0.5)]))
    return net, in_shape, optimizer


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(steps())
def test_random_networks_are_replayed_with_two_batch_sizes_in_turn(case):
    net, in_shape, optimizer = case
    now = fnn.init_train_state(net, optimizer, in_shape, fnn.Key.of(0))
    step = fnn.train_step(net, squares, optimizer)
    sizes = [5, 3]
    batches = [
        (inputs(net, in_shape, sizes[i % 2], i), np.zeros(sizes[i % 2], np.float32)) for i in range(20)
    ]
    jitted, expected, told = fnn.jit(step), now, None
    for batch in batches:
        try:
            expected, _ = step(expected, batch)
        except fnn.DivergedError as error:
            told = str(error)
            break
    if told is not None:
        with pytest.raises(fnn.DivergedError) as found:
            fnn.scan(jitted, now, batches)
        assert str(found.value) == told
        return
    reached, _ = fnn.scan(jitted, now, batches)
    assert bits(reached) == bits(expected)
