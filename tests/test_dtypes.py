"""Equal dtypes that are two objects: pickled arrays bring them, and dtypes with metadata."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from layer_cases import CASES, IDS, digest, like, make

import fnn
from fnn import tree
from fnn.kernels import memory
from fnn.kernels.memory import Arena, recycled


def unpickled(array):
    return pickle.loads(pickle.dumps(array))


def described(array):
    return array.astype(np.dtype(array.dtype, metadata={"unit": "m"}))


STRANGE = pytest.mark.parametrize("strange", [unpickled, described])
NET = fnn.serial(fnn.Conv(3, 3), fnn.BatchNorm(), fnn.Relu(), fnn.Flatten(), fnn.Dense(4))


def begun(optimizer):
    return fnn.init_train_state(NET, optimizer, (2, 8, 8), fnn.Key.of(0))


def batch_at(i):
    rng = np.random.default_rng(i)
    return rng.normal(size=(32, 2, 8, 8)).astype("float32"), rng.integers(0, 4, 32)


def bits(now):
    return tree.digest({"params": now.params, "state": now.state, "opt_state": now.opt_state})


@STRANGE
def test_these_dtypes_are_equal_and_others(strange):
    array = np.ones(3, "float32")
    assert strange(array).dtype == array.dtype
    assert strange(array).dtype is not array.dtype


@STRANGE
def test_a_state_of_equal_dtypes_is_replayed_by_the_same_programs(strange):
    optimizer = fnn.adam(0.01)
    step = fnn.jit(fnn.train_step(NET, fnn.softmax_cross_entropy, optimizer))
    native = expected = begun(optimizer)
    foreign = fnn.TrainState(
        0, native.key, *(tree.map(strange, part) for part in (native.params, native.state)),
        {role: tree.map(strange, part) for role, part in native.opt_state.items()},
    )  # fmt: skip
    for i in range(6):
        expected, _ = step.step(expected, batch_at(i))
        foreign, _ = step(foreign, batch_at(i))
        native, _ = step(native, batch_at(i))
        assert bits(native) == bits(foreign) == bits(expected)
    (programs,) = step._programs()
    assert all(kind.is_ready for kind in programs.kinds.values())
    scanned, _ = fnn.scan(step, pickle.loads(pickle.dumps(begun(optimizer))), map(batch_at, range(6)))
    assert bits(scanned) == bits(expected)


@STRANGE
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_layer_takes_equal_dtypes_for_equal_and_draws_from_the_arena_as_ever(
    case, strange, monkeypatch
):
    monkeypatch.setattr(memory, "SMALL", 1)
    made = make(case, dtype="float32")
    dy = like(made.vjp(train=True)[0], np.random.default_rng(0), "float32")
    params, state = (tree.map(strange, part) for part in (made.params, made.state))

    def run(params, state, x, dy):
        arena = Arena()
        with recycled(arena):
            y, moved, pullback = made.layer.vjp(params, state, x, train=True, key=made.key)
            found = digest(y, moved, *pullback(dy))
        return found, arena.size()

    native = run(made.params, made.state, made.x, dy)
    x = tuple(map(strange, made.x)) if isinstance(made.x, tuple) else strange(made.x)
    dy = tuple(map(strange, dy)) if isinstance(dy, tuple) else strange(dy)
    assert run(params, state, x, dy) == native
