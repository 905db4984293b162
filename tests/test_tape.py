"""The tape: what is noted, what is refused, and that nothing happens to an array unseen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnn import Key
from fnn.compile.listing import Carry, DeoptError, Listed
from fnn.compile.recording import recorded
from fnn.compile.values import DrawnFrom, Number, UntraceableError, Value
from fnn.kernels import noting

F4 = np.float32


def program(f, *arrays, clock=3):
    """Return the program of f(*values, tape), which returns an array."""

    def run(recording):
        values = [recording.input(f"x{i}", array) for i, array in enumerate(arrays)]
        return {"y": f(*values)}

    return recorded(run)


def replayed(f, *arrays, others=()):
    """Return f of other arrays by the program that was recorded of the first."""
    made = program(f, *arrays)
    listed = Listed(made, Carry(made))
    return listed.run(list(others or arrays), 0, None)["y"].copy()


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(F4)


X, Z = drawn(4, 3), drawn(4, 3, seed=1)


def in_place(x):
    y = np.empty_like(x)
    np.multiply(x, 2, out=y)
    y += x
    y[1] = 7
    y[:, 0] *= x[:, 1]
    y[[0, 2]] = x[[2, 0]]
    np.add.at(y, ([0, 0, 1], [1, 1, 2]), F4(1))
    np.copyto(y, 0, where=x > 1)
    return y


SAME = {
    "arithmetic": lambda x: (x + 1) * x - x / 2 + (-x) ** 2 + abs(x) + (x > 0) * x,
    "with a scalar of NumPy": lambda x: F4(2) * x + np.float64(3),
    "reductions": lambda x: x.sum(axis=0) + x.max(axis=0, keepdims=True) - np.mean(x) + x.min(),
    "moments": lambda x: x.var(axis=0) + np.std(x, axis=0) + np.prod(x, axis=0),
    "products": lambda x: x @ x.T + np.dot(x, x.T) + np.matmul(x, x.T) + np.einsum("ij,kj->ik", x, x),
    "shapes": lambda x: np.moveaxis(x.reshape(2, 2, 3), 0, 2).swapaxes(0, 1)[..., ::-1].ravel(),
    "a copy where it must": lambda x: x.T.reshape(-1) + x.flatten(),
    "indices": lambda x: x[np.array([2, 0])] + x[1:3] + x[:2, :1] + np.take(x, [1, 1], axis=0),
    "masks": lambda x: np.where(x > 0, x, -x) + np.clip(x, -0.5, 0.5) + np.maximum(x, 0),
    "joined": lambda x: np.concatenate([x, np.stack([x[0], x[1]])]) + np.vstack([x, x])[:6],
    "split": lambda x: sum(np.split(x, 3, axis=1)) + np.broadcast_to(x[:, :1], (4, 3)).copy()[:, :1],
    "sorted": lambda x: np.sort(x, axis=0) + np.cumsum(x, axis=1) + np.argsort(x, axis=1),
    "along an axis": lambda x: np.take_along_axis(x, np.argmax(x, axis=1)[:, None], axis=1),
    "casts": lambda x: x.astype("f8") + x.astype("i4", copy=False) + (x > 0).astype(x.dtype),
    "several results": lambda x: np.modf(x)[0] + np.divmod(x, F4(0.3))[1] + np.linalg.qr(x)[0],
    "in place": in_place,
    "rows in turn": lambda x: np.stack([row * 2 for row in x]),
    "accumulated": lambda x: np.maximum.accumulate(x, axis=0) + np.add.reduceat(x, [0, 2], axis=0)[:1],
    "out by its place": lambda x: (
        np.take(x, [1, 0], 0, np.empty_like(x[:2]))
        + np.dot(x[:2], x[:3].T.copy().T, np.empty_like(x[:2]))
    ),
    "like another": lambda x: np.zeros_like(x) + np.ones_like(x) + np.full_like(x, 2) + x,
}


@pytest.mark.parametrize("name", SAME)
def test_a_program_does_with_other_numbers_what_the_code_does(name):
    f = SAME[name]
    expected = np.asarray(f(Z))
    got = replayed(f, X, others=[Z])
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert got.tobytes() == np.ascontiguousarray(expected).tobytes() or np.array_equal(got, expected)


OPERATIONS = [
    lambda x, y: x + y,
    lambda x, y: x * y,
    lambda x, y: x - y[::-1],
    lambda x, y: np.maximum(x, y),
    lambda x, y: x @ (y.T @ x),
    lambda x, y: np.tanh(x),
    lambda x, y: x / (1 + np.abs(y)),
    lambda x, y: np.where(x > y, x, y),
    lambda x, y: x - x.mean(axis=0),
    lambda x, y: np.concatenate([x[2:], y[:2]]),
    lambda x, y: x[np.argsort(y[:, 0])],
    lambda x, y: np.multiply(x, y, out=np.empty_like(x)),
    lambda x, y: x.T.copy().T * F4(0.5),
]


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.lists(st.tuples(*[st.integers(0, 12), st.integers(0, 9), st.integers(0, 9)]), max_size=30))
def test_random_programs_in_memory_that_is_used_again_give_the_bits_of_the_code(lines):
    def f(x):
        made = [x, x * 2]
        for operation, i, j in lines:
            made.append(OPERATIONS[operation](made[i % len(made)], made[j % len(made)]))
        return made[-1] + made[len(made) // 2]

    with np.errstate(all="ignore"):
        expected = f(Z)
        made = program(f, X)
        listed = Listed(made, Carry(made))
        # What a temporary holds before it is written counts for nothing.
        for fill in (0, 0xFF, 0):
            for memory, _ in listed._at.values():
                memory.fill(fill)
            got = listed.run([Z], 0, None)["y"]
            assert got.tobytes() == expected.tobytes()


# --- refusals ---------------------------------------------------------------------------------

KEPT = np.ones(3, F4)


def writing_to_a_constant(x):
    np.add(x[0], KEPT, out=KEPT)
    return x


REFUSED = {
    "a float": lambda x: x * float(x[0, 0]),
    "an item": lambda x: x * x[0, 0].item(),
    "a list": lambda x: np.array(x.tolist()),
    "a conversion": lambda x: np.asarray(x) + x,
    "a write past it": lambda x: np.empty(x.shape, F4).__setitem__(slice(None), x),
    "a function of Python's": lambda x: x * math.exp(x[0, 0]),
    "an answer": lambda x: x if np.array_equal(x, x) else -x,
    "a buffer": lambda x: np.frombuffer(x, F4),
    "a base": lambda x: np.ndarray((2,), F4, x),
    "undefined numbers": lambda x: np.add(x, 1, where=x > 0),
    "its own argument": lambda x: np.add(x, 1, out=x),
    "several results in place": lambda x: np.modf(x, out=(np.empty_like(x), np.empty_like(x)))[0],
    "objects": lambda x: x * np.array([1, None, 3], object),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_noted_is_refused(name):
    with pytest.raises((UntraceableError, TypeError)):
        program(REFUSED[name], X)


def test_a_constant_that_somebody_keeps_and_could_change_is_told_from_one_that_the_code_makes():
    table = np.ones(3, F4)

    def with_table(x):
        return x * table

    def with_its_own(x):
        return x * np.arange(3, dtype=F4)

    assert not program(with_table, X).is_like(program(with_table, Z))
    assert program(with_its_own, X).is_like(program(with_its_own, Z))
    table.flags.writeable = False
    assert program(with_table, X).is_like(program(with_table, Z))


def test_a_constant_that_follows_from_the_numbers_makes_two_recordings_differ():
    def hidden(x):
        return x * np.full(3, seen.pop(), F4)

    seen = [1.0, 2.0]
    assert not program(hidden, X).is_like(program(hidden, Z))


def test_an_array_of_numpy_s_own_is_not_written_to_for_nobody_would_see_what_is_read_of_it():
    def f(x):
        mask = np.zeros(x.shape, bool)
        np.greater(x, 0, out=mask)
        return x * F4(mask.sum())

    with pytest.raises(UntraceableError, match=r"np\.zeros_like\(x\)"):
        program(f, X)


def test_a_question_becomes_a_guard():
    def f(x):
        return x + 1 if (x > 0).all() else x - 1

    made = program(f, np.abs(X))
    listed = Listed(made, Carry(made))
    np.testing.assert_array_equal(listed.run([np.abs(Z)], 0, None)["y"], np.abs(Z) + 1)
    with pytest.raises(DeoptError):
        listed.run([Z], 0, None)


def test_a_whole_number_that_is_asked_for_becomes_a_guard():
    def f(x):
        return x[: int((x[:, 0] > -9).sum())]

    made = program(f, X)
    listed = Listed(made, Carry(made))
    listed.run([Z], 0, None)
    with pytest.raises(DeoptError):
        listed.run([Z - 100], 0, None)


def test_a_result_of_another_shape_ends_the_program():
    def f(x):
        return np.unique(x[:, 0])

    made = program(f, np.zeros((4, 3), F4))
    with pytest.raises(DeoptError):
        Listed(made, Carry(made)).run([X], 0, None)


# --- numbers and keys -------------------------------------------------------------------------


def of_the_clock(f, steps):
    """Return what f(x, clock) gives at some steps, by a program recorded at step 3."""

    def run(recording):
        x = recording.input("x", X)
        return {"y": f(x, Number(3, "step", recording.tape))}

    made = recorded(run)
    listed = Listed(made, Carry(made))
    return [listed.run([X], step, None)["y"].copy() for step in steps]


def test_numbers_of_a_step_are_computed_anew():
    def f(x, n):
        rate = 0.1 / (1 + n) + noting.sqrt(1.0 - 0.9**n) - (n % 2) * (n // 3) + abs(-n)
        return x * rate + n

    for step, got in zip((3, 4, 9), of_the_clock(f, (3, 4, 9)), strict=True):
        assert got.tobytes() == np.asarray(f(X, step)).tobytes()


def test_a_branch_that_depends_on_the_clock_is_guarded():
    def f(x, n):
        return x if n < 5 else -x

    assert np.array_equal(of_the_clock(f, (4,))[0], X)
    with pytest.raises(DeoptError):
        of_the_clock(f, (5,))


@pytest.mark.parametrize("f", [math.sqrt, float, int, np.sqrt, lambda n: [0] * n])
def test_a_number_that_is_read_unseen_is_refused(f):
    with pytest.raises(UntraceableError):
        of_the_clock(lambda x, n: x * F4(f(n)), (3,))


def test_draws_follow_from_the_key_of_the_step():
    def f(key):
        generator = key.fold("a", 1).generator()
        return generator.random((2, 3), "float32") + generator.standard_normal((2, 3), "float32")

    def run(recording):
        key = DrawnFrom(Key.of(0).bits, recording.tape, "key")
        return {"y": f(key) * recording.input("x", F4([1.0]))}

    made = recorded(run)
    listed = Listed(made, Carry(made))
    for seed in (0, 1, 2):
        got = listed.run([np.ones(1, F4)], 0, Key.of(seed))["y"]
        assert got.tobytes() == f(Key.of(seed)).tobytes()


def test_a_key_that_is_split_is_refused():
    def run(recording):
        key = DrawnFrom(Key.of(0).bits, recording.tape, "key")
        return {"y": key.split(2)[0].generator().random(3) * recording.input("x", X)}

    with pytest.raises(UntraceableError):
        recorded(run)


# --- values themselves ------------------------------------------------------------------------


def test_a_value_is_an_array_to_who_asks_and_readable_when_the_recording_is_over():
    kept = []

    def f(x):
        assert isinstance(x, np.ndarray)
        assert not isinstance(x, tuple | float)
        assert (x.shape, x.dtype, x.ndim, x.size, len(x)) == ((4, 3), np.dtype("f4"), 2, 12, 4)
        kept.append(x)
        return x * 2

    program(f, X)
    (value,) = kept
    assert type(value) is Value
    assert np.array_equal(value, X)
    assert float(value[0, 0]) == X[0, 0]
    assert np.array_equal(np.asarray(value) + 1, value + 1)
    with pytest.raises(ValueError, match="read-only"):
        value[0] = 1
