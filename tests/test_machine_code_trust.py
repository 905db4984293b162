"""When machine code is made and trusted: not before it is ready, and never with other bits."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
from machine_cases import batch_at, made, programs
from replay_cases import bits

import fnn
from fnn.compile import faster

pytest.importorskip("llvmlite")

from fnn.compile.machine import primitives, reductions, trials


@pytest.fixture
def at_once(monkeypatch):
    """Let machine code be made at once."""
    monkeypatch.setenv("FNN_EXECUTOR", "machine")


# --- faults -----------------------------------------------------------------------------------


def swapped(to, name, a, b):
    return to.do("fsub", name, b, a)


def contracted(to, name, a, b):
    return to.call("fma", name, a, b, to.number(name, 1e-9))


FAULTS = {"swapped": (np.subtract, swapped), "contracted": (np.multiply, contracted)}


@pytest.fixture
def forgotten(monkeypatch):
    """Let every work be tried anew."""
    monkeypatch.setattr(trials, "_passed", {})


def trained(monkeypatch):
    step, now = made(fnn.adam(0.01))
    jitted, batches = fnn.jit(step), [batch_at(i) for i in range(20)]
    expected = now
    for batch in batches:
        expected, _ = step(expected, batch)
    assert bits(fnn.scan(jitted, now, batches)[0]) == bits(expected)
    return programs(jitted)


@pytest.mark.parametrize("fault", FAULTS)
def test_work_that_gives_other_bits_is_left_to_numpy(fault, monkeypatch, at_once, forgotten):
    f, write = FAULTS[fault]
    monkeypatch.setitem(primitives.PRIMITIVES, f, write)
    (program,) = trained(monkeypatch)
    assert program.is_machine_code
    assert not any(work.f is f for item in program._at_work.items for work in item.works)


@pytest.mark.parametrize("fault", FAULTS)
def test_machine_code_that_gives_other_bits_is_never_trusted(fault, monkeypatch, at_once, forgotten):
    monkeypatch.setitem(primitives.PRIMITIVES, *FAULTS[fault])
    monkeypatch.setattr(trials._Trial, "passes", lambda self, address: True)
    (program,) = trained(monkeypatch)
    assert program.says() == "list (machine code gave other bits than the list)"


def test_a_sum_in_another_order_is_never_trusted(monkeypatch, at_once, forgotten):
    def backwards(loop, refs, dims, strides, sizes, steps, *args, **options):
        if steps[0] == 0:  # The second half first.
            steps, sizes = [0, 2 * steps[1], 0], [sizes[0] // 2]
        return called(loop, refs, dims, strides, sizes, steps, *args, **options)

    called = reductions.called_loop
    monkeypatch.setattr(reductions, "called_loop", backwards)
    (program,) = trained(monkeypatch)
    assert program.is_machine_code  # The trials of single calls saw it.
    assert any("reduce" in item.op.called() for item in program._at_work.items if item.native is None)
    monkeypatch.setattr(trials, "_passed", {})
    monkeypatch.setattr(trials, "_call_passes", lambda op, code, address: True)
    (program,) = trained(monkeypatch)
    assert program.says() == "list (machine code gave other bits than the list)"


def test_memory_that_is_used_again_while_it_lives_is_never_trusted(monkeypatch, at_once):
    from fnn.compile.machine import executor

    placed = executor.placed

    def overlapping(ops, kept):
        offsets, size = placed(ops, kept)
        return {block: at // 2 // 64 * 64 for block, at in offsets.items()}, size

    monkeypatch.setattr(executor, "placed", overlapping)
    (program,) = trained(monkeypatch)
    assert program.says() == "list (machine code gave other bits than the list)"


# --- when -------------------------------------------------------------------------------------


def test_the_list_goes_on_until_machine_code_is_ready(monkeypatch):
    monkeypatch.setattr(faster, "STEPS", 3)
    monkeypatch.setattr(faster, "SECONDS", 0.0)
    step, now = made(fnn.adam(0.01))
    jitted, n = fnn.jit(step), 0
    expected, deadline = now, time.monotonic() + 30
    while "machine code" not in repr(jitted):
        batch = batch_at(n)
        n += 1
        now, _ = jitted(now, batch)
        expected, _ = step(expected, batch)
        assert time.monotonic() < deadline
        time.sleep(0.002)
    for i in range(4):
        now, _ = jitted(now, batch_at(i))
        expected, _ = step(expected, batch_at(i))
    assert bits(now) == bits(expected)
    assert not [each for each in threading.enumerate() if each.name == "fnn machine code"]


def test_the_list_does_it_where_llvmlite_is_not_installed(monkeypatch, at_once, forgotten):
    monkeypatch.setattr(trials.COMPILER, "_known", {})
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    (program,) = trained(monkeypatch)
    says = program.says()
    assert says == 'list (no machine code: machine code needs llvmlite: pip install "fnn[fast]")'


def test_the_environment_may_ask_for_the_list(monkeypatch):
    monkeypatch.setenv("FNN_EXECUTOR", "list")
    monkeypatch.setattr(faster, "STEPS", 0)
    monkeypatch.setattr(faster, "SECONDS", 0.0)
    (program,) = trained(monkeypatch)
    assert program.says() == "list"


SCRIPT = """
import os, sys, threading, warnings
sys.path[:0] = {path!r}
warnings.simplefilter("error")
from fnn.compile import faster
from machine_cases import batch_at, fnn, made
from replay_cases import bits
faster.STEPS, faster.SECONDS = 2, 0.0
step, now = made(fnn.adam(0.01))
jitted = fnn.jit(step)
for i in range(9):
    now, _ = jitted(now, batch_at(i))
assert any(each.name == "fnn machine code" for each in threading.enumerate())
"""
FORK = """
child = os.fork()
for i in range(60):
    now, _ = jitted(now, batch_at(i))
expected = fnn.init_train_state(step.net, fnn.adam(0.01), (4,), fnn.Key.of(0))
for i in [*range(9), *range(60)]:
    expected, _ = step(expected, batch_at(i))
assert bits(now) == bits(expected)
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(0)
"""


def in_a_process(code):
    code = code.replace("{path!r}", repr([path for path in sys.path if path]))
    run = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_ends_while_machine_code_is_made():
    in_a_process(SCRIPT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_goes_on_while_machine_code_is_made():
    in_a_process(SCRIPT.replace('warnings.simplefilter("error")', "") + FORK)


def test_long_loops_keep_their_memory(at_once):
    step, now = made(fnn.adam(0.01))
    jitted, batches = fnn.jit(step), [batch_at(i) for i in range(50)]
    now, _ = fnn.scan(jitted, now, batches)
    tracemalloc.start()
    try:
        now, _ = fnn.scan(jitted, now, batches * 4)
        gc.collect()
        first = tracemalloc.get_traced_memory()[0]
        now, _ = fnn.scan(jitted, now, batches * 40)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - first < 50_000
    finally:
        tracemalloc.stop()


def test_functions_go_with_the_programs_that_call_them(at_once):
    net = fnn.serial(fnn.Dense(11), fnn.Sigmoid(), fnn.Dense(3))
    step, now = made(fnn.sgd(0.01), net)
    jitted = fnn.jit(step)
    gc.collect()
    before = len(trials.COMPILER._known)
    fnn.scan(jitted, now, map(batch_at, range(12)))
    assert len(trials.COMPILER._known) > before
    del jitted
    gc.collect()
    assert len(trials.COMPILER._known) == before


def test_threads_train_at_one_time_with_the_same_bits(at_once):
    step, now = made(fnn.adam(0.01))
    jitted, found = fnn.jit(step), []
    batches = [batch_at(i) for i in range(20)]

    def run():
        found.append(bits(fnn.scan(jitted, now, batches)[0]))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    expected = now
    for batch in batches:
        expected, _ = step(expected, batch)
    assert found == [bits(expected)] * 3
