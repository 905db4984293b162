"""Optimizers, clipping and schedules beside optax's, step after step in float64.

Three are PyTorch's here and tested beside it: `amsgrad` takes the maximum before the correction of the
bias, `radam` adds its eps elsewhere, one cycle ends at its last step and not after it.
"""

from __future__ import annotations

import numpy as np
import pytest

import fnn

optax = pytest.importorskip("optax")
jax = pytest.importorskip("jax")

RATE = 0.03


@pytest.fixture(autouse=True)
def _in_float64():
    with jax.enable_x64(True):
        yield


def drawn(seed):
    rng = np.random.default_rng(seed)
    return {"a": {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}, "c": rng.normal(size=5)}


def updates_of(transform, steps):
    params, found = drawn(0), []
    opt_state = transform.init(params)
    for step in range(steps):
        updates, opt_state = transform.update(drawn(step + 1), opt_state, params, step)
        params = fnn.apply_updates(params, updates)
        found.append(updates)
    return found


def theirs_of(transform, steps):
    # Without `jit`: a sum that it contracts or reorders is another one.
    params, found = drawn(0), []
    opt_state = transform.init(params)
    for step in range(steps):
        updates, opt_state = transform.update(drawn(step + 1), opt_state, params)
        params = optax.apply_updates(params, updates)
        found.append(updates)
    return found


def rate(step):
    return RATE / (1 + step)


PAIRS = {
    "sgd": lambda: (fnn.sgd(RATE), optax.sgd(RATE)),
    "a schedule": lambda: (fnn.sgd(rate), optax.sgd(rate)),
    "momentum": lambda: (fnn.momentum(RATE, 0.8), optax.sgd(RATE, 0.8)),
    "nesterov": lambda: (fnn.nesterov(RATE, 0.8), optax.sgd(RATE, 0.8, nesterov=True)),
    "adam": lambda: (fnn.adam(RATE), optax.adam(RATE)),
    "adam of a schedule": lambda: (fnn.adam(rate, b1=0.7), optax.adam(rate, b1=0.7)),
    "adamw": lambda: (fnn.adamw(RATE, weight_decay=0.1), optax.adamw(RATE, weight_decay=0.1)),
    "adamax": lambda: (fnn.adamax(RATE), optax.adamax(RATE)),
    "adabelief": lambda: (fnn.adabelief(RATE), optax.adabelief(RATE, eps_root=1e-16)),
    "lion": lambda: (fnn.lion(RATE, weight_decay=0.1), optax.lion(RATE, weight_decay=0.1)),
    "adagrad": lambda: (
        fnn.adagrad(RATE, eps=1e-18),
        optax.adagrad(RATE, initial_accumulator_value=0.0, eps=0.0),
    ),
    "adadelta": lambda: (fnn.adadelta(RATE, 0.9), optax.adadelta(RATE, 0.9)),
    "rmsprop": lambda: (
        fnn.rmsprop(RATE, 0.8, eps=1e-5),
        optax.rmsprop(RATE, 0.8, 1e-5, eps_in_sqrt=False),
    ),
    "lamb": lambda: (fnn.lamb(RATE, weight_decay=0.1), optax.lamb(RATE, weight_decay=0.1)),
    "sign_sgd": lambda: (fnn.sign_sgd(RATE), optax.sign_sgd(RATE)),
    "clipped": lambda: (
        fnn.chain(fnn.clip_by_global_norm(1.5), fnn.sgd(RATE)),
        optax.chain(optax.clip_by_global_norm(1.5), optax.sgd(RATE)),
    ),
    "clipped by value": lambda: (
        fnn.chain(fnn.clip_by_value(0.7), fnn.sgd(RATE)),
        optax.chain(optax.clip(0.7), optax.sgd(RATE)),
    ),
    "clipped by blocks": lambda: (
        fnn.chain(fnn.clip_by_block_rms(0.7), fnn.sgd(RATE)),
        optax.chain(optax.clip_by_block_rms(0.7), optax.sgd(RATE)),
    ),
    "decayed": lambda: (
        fnn.chain(fnn.add_decayed_weights(0.1), fnn.sgd(RATE)),
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(RATE)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_ten_steps_are_those_of_optax(name):
    ours, theirs = PAIRS[name]()
    for mine, other in zip(updates_of(ours, 10), theirs_of(theirs, 10), strict=True):
        for (path, a), (_, b) in zip(
            fnn.tree.items(mine), fnn.tree.items(jax.tree.map(np.asarray, other)), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15, err_msg=path)


SCHEDULES = {
    "exponential": lambda: (
        fnn.exponential_schedule(0.3, 20, 0.5),
        optax.exponential_decay(0.3, 20, 0.5),
    ),
    "stairs": lambda: (
        fnn.exponential_schedule(0.3, 20, 0.5, staircase=True, end_value=0.1),
        optax.exponential_decay(0.3, 20, 0.5, staircase=True, end_value=0.1),
    ),
    "cosine": lambda: (
        fnn.cosine_schedule(0.3, 40, alpha=0.1, exponent=1.5),
        optax.cosine_decay_schedule(0.3, 40, 0.1, 1.5),
    ),
    "warmup": lambda: (
        fnn.warmup_cosine_schedule(0.01, 0.3, 10, 60, end_value=0.02),
        optax.warmup_cosine_decay_schedule(0.01, 0.3, 10, 60, 0.02),
    ),
    "linear": lambda: (
        fnn.linear_schedule(0.3, 0.1, 30, transition_begin=5),
        optax.linear_schedule(0.3, 0.1, 30, 5),
    ),
    "polynomial": lambda: (
        fnn.polynomial_schedule(0.3, 0.1, 2.0, 30),
        optax.polynomial_schedule(0.3, 0.1, 2.0, 30),
    ),
    "piecewise": lambda: (
        fnn.piecewise_schedule([0.3, 0.15, 0.015], [10, 30]),
        optax.piecewise_constant_schedule(0.3, {10: 0.5, 30: 0.1}),
    ),
    "joined": lambda: (
        fnn.join_schedules([fnn.constant_schedule(0.3), fnn.cosine_schedule(0.3, 30)], [12]),
        optax.join_schedules(
            [optax.constant_schedule(0.3), optax.cosine_decay_schedule(0.3, 30)], [12]
        ),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_optax(name):
    ours, theirs = SCHEDULES[name]()
    steps = range(70)
    expected = [float(theirs(step)) for step in steps]
    np.testing.assert_allclose([ours(step) for step in steps], expected, rtol=1e-6, err_msg=name)
