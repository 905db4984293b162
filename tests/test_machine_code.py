"""Machine code gives the bits of the list and of the step itself."""

from __future__ import annotations

import numpy as np
import optimizer_cases
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from layer_cases import CASES, VALUE_CASES
from machine_cases import assert_same, batch_at, compiled, made, programs
from replay_cases import assert_replayed, bits, inputs, squares

import fnn
from fnn.compile.listing import DeoptError

pytest.importorskip("llvmlite")

from fnn.compile.machine import trials
from fnn.compile.machine.trials import agree


@pytest.fixture
def at_once(monkeypatch):
    """Let machine code be made at once."""
    monkeypatch.setenv("FNN_EXECUTOR", "machine")


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
