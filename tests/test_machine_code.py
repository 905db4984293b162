"""Machine code gives the bits of the list and of the step itself, or it is not trusted."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import optimizer_cases
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from layer_cases import CASES, VALUE_CASES
from replay_cases import assert_replayed, bits, inputs, kinds, squares

import fnn
from fnn.compile import faster
from fnn.compile.listing import Carry, DeoptError, Listed
from fnn.compile.recording import recorded

pytest.importorskip("llvmlite")

from fnn.compile.machine import primitives, reductions, trials
from fnn.compile.machine.executor import Machine
from fnn.compile.machine.trials import agree

NET = fnn.serial(fnn.Dense(8), fnn.BatchNorm(), fnn.Tanh(), fnn.Dropout(0.2), fnn.Dense(3))


@pytest.fixture
def at_once(monkeypatch):
    """Let machine code be made at once."""
    monkeypatch.setenv("FNN_EXECUTOR", "machine")


def batch_at(i, n=8):
    rng = np.random.default_rng(i)
    return rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n)


def made(optimizer, net=NET):
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    return step, fnn.init_train_state(net, optimizer, (4,), fnn.Key.of(0))


def programs(jitted):
    return [each.listed for kind in kinds(jitted) for each in kind.variants]


def compiled(f, *arrays):
    """Return a program of f as machine code and as the list, with what the memory of neither says."""

    def run(recording):
        return {"y": f(*(recording.input(f"x{i}", each) for i, each in enumerate(arrays)))}

    program = recorded(run)
    listed, machine = Listed(program, Carry(program)), Machine(program, Carry(program))
    machine._memory[:] = 0xFF
    for memory, _ in listed._at.values():
        memory[:] = 0xFF
    return machine, listed


@np.errstate(all="ignore")
def assert_same(f, *arrays, native=True):
    """Assert that a function has equal bits as machine code, and as the list."""
    machine, listed = compiled(f, *arrays)
    found = machine.run(list(arrays), 0, None)["y"]
    assert agree(found.copy(), listed.run(list(arrays), 0, None)["y"])
    if native:
        left = [item.op.text({}) for item in machine.items if item.native is None]
        assert not left
    return machine


# --- what ships -------------------------------------------------------------------------------

ROWS = [*CASES, *VALUE_CASES]


def assert_layer(layer, in_shape):
    optimizer = fnn.sgd(0.01)
    now = fnn.init_train_state(layer, optimizer, in_shape, fnn.Key.of(0))
    batches = [(inputs(layer, in_shape, 6, seed), np.zeros(6, np.float32)) for seed in range(10)]
    jitted = assert_replayed(fnn.train_step(layer, squares, optimizer), now, batches)
    assert all(each.is_machine_code for each in programs(jitted)), [p.says() for p in programs(jitted)]


@pytest.mark.parametrize("i", range(0, len(ROWS), 6))
def test_a_layer_has_the_same_bits_as_machine_code(i, at_once):
    if "MeanCell" not in repr(ROWS[i][0]):
        assert_layer(*ROWS[i])


@pytest.mark.slow
@pytest.mark.parametrize("i", range(len(ROWS)))
def test_every_layer_has_the_same_bits_as_machine_code(i, at_once):
    if "MeanCell" not in repr(ROWS[i][0]):
        assert_layer(*ROWS[i])


@pytest.mark.parametrize("i", range(0, len(optimizer_cases.ELEMENTWISE), 2))
def test_an_optimizer_has_the_same_bits_as_machine_code(i, at_once):
    step, now = made(optimizer_cases.ELEMENTWISE[i])
    assert_replayed(step, now, [batch_at(i) for i in range(16)])


def test_two_sizes_of_batches_in_turn_share_their_state(at_once):
    step, now = made(fnn.adam(0.01))
    jitted = assert_replayed(step, now, [batch_at(i, (8, 5)[i % 2]) for i in range(30)])
    assert repr(jitted).endswith("operations, 2 as machine code)")
    assert "bytes between them, by machine code of" in jitted.program()


# --- elementwise work -------------------------------------------------------------------------

UNARY = [np.negative, np.absolute, np.sqrt, np.square, np.reciprocal, np.sign, np.exp]
BINARY = [np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum]
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38, 1e-38, 88.8, -104.0]
SHAPES = [(7, 37), (37,), (7, 1), (1, 37), (1,)]


@st.composite
def elementwise(draw):
    """Return arrays of shapes that go together, and the calls of a program on them."""
    dtype = draw(st.sampled_from(["f4", "f8"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = []
    for shape in SHAPES:
        array = rng.normal(0, 2, shape).astype(dtype)
        if draw(st.booleans()):
            array.flat[:: draw(st.integers(1, 9))] = draw(st.sampled_from(SPECIAL))
        arrays.append(array)
    calls = draw(
        st.lists(
            st.tuples(
                st.sampled_from([*UNARY, *BINARY, "where", "rows", "columns", "reverse"]),
                st.integers(0, 99),
                st.integers(0, 99),
                st.integers(0, 3),
            ),
            min_size=3,
            max_size=14,
        )
    )
    return arrays, calls


def run_calls(calls, *arrays):
    """Run the calls: a third write in place, some into rows or every other column of a result."""
    known = list(arrays)
    whole = known[0] * 1.0
    for f, i, j, way in calls:
        a, b = known[i % len(known)], known[j % len(known)]
        if f == "where":
            whole = np.where(a > b, whole, a + b)
        elif f == "rows":
            whole[1:4] = whole[1:4] * a[..., :1].reshape(-1)[:1]
        elif f == "columns":
            np.multiply(whole[:, ::2], whole[:, ::2], out=whole[:, ::2])
        elif f == "reverse":
            whole = whole.T * 2.0
            whole = (whole - 1.0).T
        elif way == 0:
            f(whole, *((b,) if f in BINARY else ()), out=whole)
        elif way == 1:
            whole = f(*((whole, b) if f in BINARY else (a * 1.0,))) + whole
        else:
            known.append(f(*((a, b) if f in BINARY else (a,))))
    return whole + known[-1]


# A program that fails is short enough to be read; to make it shorter takes minutes.
NO_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]


@settings(max_examples=25, deadline=None, phases=NO_SHRINKING)
@given(elementwise())
@np.errstate(all="ignore")
def test_random_programs_have_numpy_s_bits(case):
    arrays, calls = case
    expected = run_calls(calls, *arrays)
    machine, listed = compiled(lambda *values: run_calls(calls, *values), *arrays)
    found = machine.run(arrays, 0, None)["y"].copy()
    assert agree(found, listed.run(arrays, 0, None)["y"])
    assert agree(found, expected)


@pytest.mark.parametrize("name", ["f4", "f8"])
@pytest.mark.parametrize("f", [*UNARY, *BINARY, np.positive], ids=lambda f: f.__name__)
def test_every_number_of_note_gives_numpy_s_bits(f, name):
    with np.errstate(all="ignore"):
        x = trials.edges(name)
        y = np.random.default_rng(1).permutation(x)
        assert_same(lambda x, y: f(x, y) if f.nin == 2 else f(x), x, y)


def test_exponentials_of_a_million_numbers_are_numpy_s():
    x = np.random.default_rng(0).integers(0, 2**32, 1_000_000).astype(np.uint32).view(np.float32)
    machine = assert_same(lambda x: np.exp(x), x)
    assert any(item.works for item in machine.items)


COMPARED = [np.greater, np.less_equal, np.equal, np.not_equal, np.less, np.greater_equal]


@pytest.mark.parametrize("name", ["f4", "i8", "u1", "i4", "u8"])
def test_comparisons_and_masks_have_numpy_s_bits(name):
    x = trials.edges(name)
    y = np.random.default_rng(1).permutation(x)
    for f in COMPARED:
        assert_same(lambda x, y, f=f: np.logical_not(f(x, y)) | (x > y), x, y)
    assert_same(lambda x, y: np.where(x > y, x, y), x, y)
    assert_same(lambda x, y: (x > y).astype(np.float32) * np.float32(3), x, y)

    def written(x, y):
        z = x * 1
        np.copyto(z, y, where=x > y)
        z[y > x] = 3
        return z

    assert_same(written, x, y)


# --- memory -----------------------------------------------------------------------------------


def test_what_overlaps_at_other_places_is_not_done_in_one_loop():
    x = np.random.default_rng(0).normal(size=(6, 40)).astype(np.float32)

    def shifted(x):
        y = x * 2
        np.add(y[1:], y[:-1], out=y[1:])
        y[:, 1:] = y[:, :-1] + y[:, 1:] * 3
        np.multiply(y, y[2], out=y)
        y[::2] = y[1::2] - 1
        return y + y[:, ::-1]

    assert_same(shifted, x, native=False)


def test_rows_that_are_written_beside_each_other_share_a_loop():
    x = np.random.default_rng(0).normal(size=(6, 40)).astype(np.float32)

    def parts(x):
        y = np.empty_like(x)
        y[:, ::2] = x[:, ::2] * 2
        y[:, 1::2] = x[:, ::2] * 3
        return y * 1

    machine = assert_same(parts, x)
    assert len([item for item in machine.items if item.works]) == 2


def test_what_only_a_loop_looks_at_has_no_memory():
    x = np.ones((1000, 100), np.float32)
    machine = assert_same(lambda x: np.exp(-(x * 2 + 1)) / 3 - x, x)
    assert len(machine.items) == 1
    assert machine.size == x.nbytes


@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 31, 33, 47])
def test_every_length_of_a_row_is_done_to_its_end(n):
    rng = np.random.default_rng(n)
    x, row = rng.normal(size=(5, n)).astype("f4"), rng.normal(size=n).astype("f4")
    column = rng.normal(size=(5, 1)).astype("f4")
    assert_same(lambda x, row, column: (x + row) * column - x.T.copy().T, x, row, column)


# --- other calls ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["f4", "f8"])
def test_products_are_those_of_numpy(name):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 33)).astype(name), rng.normal(size=(33, 17)).astype(name)
    column, row = rng.normal(size=(33, 1)).astype(name), rng.normal(size=(1, 9)).astype(name)
    v = rng.normal(size=33).astype(name)
    for f in (
        lambda: (lambda a, b: a.dot(b), a, b),
        lambda: (lambda a, b: b.T.dot(a.T), a, b),
        lambda: (lambda a, v: a.dot(v), a, v),
        lambda: (lambda a, v: v.dot(a.T), a, v),
        lambda: (lambda v, b: v.dot(b), v, b),
        lambda: (lambda v: v.dot(v), v),
        lambda: (lambda a, c: a.dot(c), a, column),
        lambda: (lambda r, a: r.dot(a), row, a),
        lambda: (lambda c, r: c.dot(r), column, row),
        lambda: (lambda a, b: np.matmul(np.stack([a, a]), b), a, b),
    ):
        given = f()
        assert_same(*given, native=False)


@pytest.mark.parametrize("f", [np.add, np.maximum, np.minimum, np.multiply], ids=lambda f: f.__name__)
def test_reductions_are_those_of_numpy(f):
    rng = np.random.default_rng(0)
    for shape in ((300,), (7, 130), (3, 5, 33), (1, 40), (40, 1)):
        x = rng.normal(size=shape).astype(np.float32)
        for axis in (None, *range(len(shape)), -1):
            for keepdims in (False, True):
                assert_same(
                    lambda x, axis=axis, keepdims=keepdims: f.reduce(x, axis=axis, keepdims=keepdims),
                    x, native=False,
                )  # fmt: skip


def test_rows_are_taken_and_written_as_by_numpy_and_none_outside():
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    at, rows = np.array([4, -1, 0, 2]), np.arange(4)

    def taken(x, at):
        y = x * 1
        y[rows, at] = y[rows, at] * 2
        y[at] = y[at[::-1].copy()] + 1
        return y[at]

    machine, _ = compiled(taken, x, at)
    assert_same(taken, x, at, native=False)
    with pytest.raises(DeoptError):
        machine.run([x, np.array([4, 5, 0, 2])], 0, None)


def test_a_batch_that_fails_a_guard_takes_the_step_which_says_why(at_once):
    step, now = made(fnn.adam(0.01))
    jitted = fnn.jit(step)
    now, _ = fnn.scan(jitted, now, map(batch_at, range(12)))
    assert all(each.is_machine_code for each in programs(jitted))
    x, target = batch_at(12)
    with pytest.raises(fnn.DataError):
        jitted(now, (x, np.where(np.arange(8) == 3, 7, target)))
    with pytest.raises(fnn.DivergedError):
        jitted(now, (x * np.float32(np.nan), target))
    assert bits(jitted(now, (x, target))[0]) == bits(step(now, (x, target))[0])


def test_batches_begin_at_any_number(at_once):
    net = fnn.serial(fnn.Dense(4), fnn.Relu(), fnn.Dense(3))
    optimizer = fnn.sgd(0.1)
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    now = fnn.init_train_state(net, optimizer, (3,), fnn.Key.of(0))
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    batches = [(x[i : i + 5], np.arange(i, i + 5) % 3) for i in range(30)]
    jitted = assert_replayed(step, now, batches)
    (program,) = programs(jitted)
    assert program.is_machine_code
    at_bytes = np.empty(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    at_bytes[...] = x
    with pytest.raises(DeoptError):
        program.run([at_bytes[:5], batches[0][1]], 0, None)
    assert bits(jitted(now, (at_bytes[:5], batches[0][1]))[0]) == bits(step(now, batches[0])[0])


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
from test_machine_code import batch_at, bits, fnn, made
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
