"""When steps are recorded, trusted and replayed, what goes back to the step itself, and purity."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from replay_cases import bits, kinds

import fnn
from fnn import tree
from fnn.compile import trust

NET = fnn.serial(fnn.Dense(8), fnn.BatchNorm(), fnn.Tanh(), fnn.Dropout(0.2), fnn.Dense(3))
OPTIMIZER = fnn.adam(0.01)


def batch_at(i, n=8):
    rng = np.random.default_rng(i)
    return rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n)


def made(net=NET, loss=fnn.softmax_cross_entropy, optimizer=OPTIMIZER, seed=0, **options):
    step = fnn.train_step(net, loss, optimizer, **options)
    return step, fnn.init_train_state(net, optimizer, (4,), fnn.Key.of(seed))


def plain(step, now, batches):
    for batch in batches:
        now, _ = step(now, batch)
    return now


# --- when -------------------------------------------------------------------------------------


def test_a_step_runs_as_it_is_written_five_times_and_is_recorded_twice():
    calls = []

    def watched(pred, target, *, weight=None):
        calls.append(type(pred) is np.ndarray)
        return fnn.softmax_cross_entropy(pred, target)

    step, now = made(loss=watched)
    fnn.scan(step, now, map(batch_at, range(50)))
    assert calls.count(True) == 1 + 2 + trust.TRIALS
    assert calls.count(False) == 2


def test_every_set_of_shapes_has_programs_of_its_own_over_the_same_memory():
    step, now = made()
    batches = [batch_at(i, (8, 5, 3)[i % 3]) for i in range(40)]
    jitted = fnn.jit(step)
    reached, _ = fnn.scan(jitted, now, batches)
    assert bits(reached) == bits(plain(step, now, batches))
    assert len(kinds(jitted)) == 3
    assert all(kind.is_ready for kind in kinds(jitted))


def test_more_kinds_of_batches_than_are_kept_take_the_step_itself():
    step, now = made()
    batches = [batch_at(i, 2 + i % (trust.MOST_KINDS + 5)) for i in range(60)]
    jitted = fnn.jit(step)
    assert bits(fnn.scan(jitted, now, batches)[0]) == bits(plain(step, now, batches))
    assert len(kinds(jitted)) == trust.MOST_KINDS


def test_the_environment_may_ask_for_the_plain_step(monkeypatch):
    monkeypatch.setenv("FNN_EXECUTOR", "plain")
    step, now = made()
    jitted = fnn.jit(step)
    fnn.scan(jitted, now, map(batch_at, range(12)))
    assert kinds(jitted) == []


def test_a_layer_that_cannot_be_recorded_is_named_with_its_place_and_trains_as_ever():
    def fwd(params, state, x, train, key):
        return np.asarray(x) * 2, state, lambda dy: ({}, dy * 2)

    double = fnn.make_layer("double", lambda shape: (shape, {}, {}), fwd)
    step, now = made(fnn.serial(fnn.Dense(5), double, fnn.Dense(3)))
    jitted, batches = fnn.jit(step), [batch_at(i) for i in range(10)]
    assert bits(fnn.scan(jitted, now, batches)[0]) == bits(plain(step, now, batches))
    assert "no program; an array is read by code that cannot be noted" in repr(jitted)
    assert os.path.basename(__file__) in repr(jitted)
    assert "np.asarray(x) * 2" in repr(jitted)


def test_a_table_that_somebody_could_write_to_is_never_taken_for_a_constant():
    table = np.ones(3, np.float32)

    def fwd(params, state, x, train, key):
        return x * table, state, lambda dy: ({}, dy * table)

    scale = fnn.make_layer("scale", lambda shape: (shape, {}, {}), fwd)
    step, now = made(fnn.serial(fnn.Dense(3), scale))
    jitted, expected = fnn.jit(step), now
    for i in range(20):
        table += np.float32(0.1)
        now, _ = jitted(now, batch_at(i))
        expected, _ = step(expected, batch_at(i))
        assert bits(now) == bits(expected)


def test_a_way_that_depends_on_the_numbers_has_a_program_for_each():
    step, now = made(optimizer=fnn.chain(fnn.clip_by_global_norm(0.9), fnn.sgd(0.1)))
    jitted, batches = fnn.jit(step), [batch_at(i) for i in range(60)]
    assert bits(fnn.scan(jitted, now, batches)[0]) == bits(plain(step, now, batches))
    (kind,) = kinds(jitted)
    assert len(kind.variants) == 2


# --- what goes back ------------------------------------------------------------------------------


def trained_jit(**options):
    step, now = made(**options)
    jitted = fnn.jit(step)
    now, _ = fnn.scan(jitted, now, map(batch_at, range(10)))
    assert kinds(jitted)[0].is_ready
    return step, jitted, now


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x, t: (x, np.where(np.arange(8) == 3, 7, t)),
        lambda x, t: (x * np.float32(np.nan), t),
        lambda x, t: (x * np.float32(1e38), t),
        lambda x, t: (x.astype(np.float64), t),
        lambda x, t: (x[:, :3], t),
        lambda x, t: (x, t[:5]),
        lambda x, t: (x.tolist(), t),
        lambda x, t: (x,),
    ],
    ids=["label", "nan", "overflow", "dtype", "width", "length", "list", "no target"],
)
def test_what_does_not_fit_raises_what_the_step_raises_and_leaves_the_state(spoil):
    step, jitted, now = trained_jit()
    before, bad = bits(now), spoil(*batch_at(11))
    with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever the step raises.
        step(now, bad)
    for run in (lambda: jitted(now, bad), lambda: fnn.scan(jitted, now, [batch_at(10), bad])):
        with pytest.raises(type(expected.value)) as found:
            run()
        assert str(found.value).split(" at step")[0] == str(expected.value).split(" at step")[0]
    assert bits(now) == before
    assert bits(jitted(now, batch_at(12))[0]) == bits(step(now, batch_at(12))[0])


def test_batches_in_another_order_of_memory_take_the_step_itself():
    step, jitted, now = trained_jit()
    x, target = batch_at(11)
    turned = np.asfortranarray(x), target
    assert bits(jitted(now, turned)[0]) == bits(step(now, turned)[0])


def test_gradients_that_are_not_finite_may_be_skipped():
    optimizer = fnn.skip_nonfinite(fnn.adam(0.01))
    step, now = made(fnn.serial(fnn.Dense(3)), optimizer=optimizer)
    batches = [batch_at(i) for i in range(20)]
    batches[13] = batches[13][0] * np.float32(1e38), batches[13][1]
    assert bits(fnn.scan(step, now, batches)[0]) == bits(plain(step, now, batches))


# --- purity -----------------------------------------------------------------------------------


def test_states_handed_out_stay_what_they_are():
    step, now = made()
    jitted, states = fnn.jit(step), []
    for i in range(20):
        now, _ = jitted(now, batch_at(i))
        states.append((now, bits(now)))
        assert not any(leaf.flags.writeable for leaf in tree.leaves(now.params))
        assert all(tree.freeze(leaf) is leaf for leaf in tree.leaves(now.params))
    assert all(bits(state) == before for state, before in states)


def test_logs_and_outputs_that_somebody_keeps_stay_what_they_are():
    kept = []

    def metric(pred, target):
        kept.append((pred, pred.copy()))
        return float(pred.sum())

    step, now = made(metrics=[metric])
    jitted, logs = fnn.jit(step), []
    for i in range(20):
        now, log = jitted(now, batch_at(i))
        logs.append((log["loss"], float(log["loss"])))
    assert len(kept) > 20
    assert all(np.array_equal(array, copied) for array, copied in kept)
    assert all(float(value) == before for value, before in logs)


def test_any_state_goes_on_whatever_lies_in_memory():
    step, jitted, _ = trained_jit()
    states = [made(seed=seed)[1] for seed in range(3)]
    rng = np.random.default_rng(0)
    for i in range(30):
        at, into = rng.integers(3, size=2)
        after = jitted(states[at], batch_at(i))[0]
        assert bits(after) == bits(step(states[at], batch_at(i))[0])
        states[into] = after


def test_a_scan_may_run_inside_of_another_one_s_batches():
    step, jitted, now = trained_jit()
    other = made(seed=5)[1]

    def drawing():
        for i in range(8):
            inner, _ = fnn.scan(jitted, other, [batch_at(40 + i)])
            assert bits(inner) == bits(step(other, batch_at(40 + i))[0])
            yield batch_at(i)

    reached, _ = fnn.scan(jitted, now, drawing())
    assert bits(reached) == bits(plain(step, now, [batch_at(i) for i in range(8)]))


def test_a_step_inside_of_a_step_takes_the_way_as_it_is_written():
    inner = []

    def metric(pred, target):
        if not busy:
            busy.append(True)
            inner.append(bits(jitted(first, batch_at(0))[0]))
            busy.pop()
        return 0.0

    busy = []
    step, first = made(metrics=[metric])
    jitted, now = fnn.jit(step), first
    for i in range(15):
        now, _ = jitted(now, batch_at(i))
    assert len(set(inner)) == 1


def test_threads_have_programs_of_their_own():
    step, _ = made()
    jitted, found = fnn.jit(step), {}

    def run(seed):
        found[seed] = bits(fnn.scan(jitted, made(seed=seed)[1], map(batch_at, range(60)))[0])

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert found[seed] == bits(plain(step, made(seed=seed)[1], map(batch_at, range(60))))
    assert kinds(jitted) == []


@pytest.mark.parametrize("again", [lambda j: pickle.loads(pickle.dumps(j)), copy.copy, copy.deepcopy])
def test_a_jitted_step_copies_without_its_programs(again):
    _, jitted, now = trained_jit()
    other = again(jitted)
    assert kinds(other) == []
    assert bits(other(now, batch_at(11))[0]) == bits(jitted(now, batch_at(11))[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_goes_on_by_itself():
    code = """
import os, sys, test_course as t
step, jitted, now = t.trained_jit()
child = os.fork()
after, _ = t.fnn.scan(jitted, now, map(t.batch_at, range(10, 20)))
assert t.bits(after) == t.bits(t.plain(step, now, map(t.batch_at, range(10, 20))))
if child:
    sys.exit(os.waitpid(child, 0)[1])
"""
    here = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=here, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_long_scan_keeps_its_memory(monkeypatch):
    monkeypatch.setenv("FNN_EXECUTOR", "list")  # Making machine code takes memory, once.
    _, jitted, now = trained_jit()
    tracemalloc.start()
    try:
        now, _ = fnn.scan(jitted, now, map(batch_at, range(200)))
        gc.collect()
        first = tracemalloc.get_traced_memory()[0]
        reached = now
        for i in range(3000):
            reached, _ = jitted.taken(reached, batch_at(i % 50))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - first < 50_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("executor", ["plain", "list", "machine"])
def test_a_fit_that_is_stopped_goes_on_with_the_same_bits_whatever_executes(executor, monkeypatch):
    if executor == "machine":
        pytest.importorskip("llvmlite")
    data = fnn.Dataset(*batch_at(0, 70))

    def run(**options):
        return fnn.fit(
            NET, fnn.softmax_cross_entropy, OPTIMIZER, data,
            epochs=6, batch_size=16, key=fnn.Key.of(0), progress=False, **options,
        )  # fmt: skip

    kept = []
    whole = run(save=kept.append, save_every=7)
    monkeypatch.setenv("FNN_EXECUTOR", executor)
    others = []
    assert bits(run(save=others.append, save_every=7).last) == bits(whole.last)
    assert [bits(each.now) for each in kept] == [bits(each.now) for each in others]
    for progress in kept:
        assert bits(run(start=progress).last) == bits(whole.last)
    monkeypatch.delenv("FNN_EXECUTOR")
    for progress in others:
        assert bits(run(start=progress).last) == bits(whole.last)


# --- outputs ----------------------------------------------------------------------------------


def test_predictions_by_a_program_have_the_bits_of_the_network_and_are_the_caller_s_own():
    _, now = made()
    _, other = made(seed=1)
    got = []
    for i in range(12):
        for weights, n in ((now, 8), (now, 8), (other, 8), (now, 3)):
            x, _ = batch_at(i, n)
            y = fnn.predict(NET, weights, x)
            expected, _ = NET.apply(weights.params, weights.state, x)
            assert y.tobytes() == expected.tobytes()
            got.append((y, y.copy()))
    assert all(np.array_equal(a, b) for a, b in got)
    got[-1][0][:] = 0  # It may be written to.


def test_programs_of_outputs_go_with_their_network():
    from fnn.training import outputs

    net = fnn.serial(fnn.Dense(3))
    now = fnn.init_train_state(net, OPTIMIZER, (4,), fnn.Key.of(0))
    for i in range(10):
        fnn.predict(net, now, batch_at(i)[0])
    assert id(net) in outputs._kept.programs
    ref, _ = outputs._kept.programs[id(net)]
    del net, now
    gc.collect()
    assert ref() is None


# --- what it says -----------------------------------------------------------------------------


def test_a_jitted_step_says_what_it_replays():
    step, now = made()
    jitted = fnn.jit(step)
    assert repr(jitted).endswith(": no program yet)")
    assert jitted.program() == "no program"
    fnn.scan(jitted, now, map(batch_at, range(10)))
    text = jitted.program()
    n = len(kinds(jitted)[0].variants[0].listed.program.ops)
    assert repr(jitted).endswith(f": 1 program of {n} operations)")
    assert text.startswith(f"x float32[8, 4], target int64[8]: {n} operations")
    assert "dot(x[8, 4]" in text
    assert "tanh(" in text
