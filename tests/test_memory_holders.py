"""Recycled memory is nobody else's, whatever runs in between and however somebody remembers it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
import weakref

import numpy as np
import pytest

import fnn
from fnn import tree
from fnn.kernels import memory
from fnn.kernels.memory import Arena, recycled

F32 = np.dtype("float32")
SHAPE = (100, 100)


def bits(now):
    return tree.digest({"params": now.params, "state": now.state, "opt_state": now.opt_state})


def test_counting_says_something_here():
    # Where it does not, nothing is recycled, and these tests would prove nothing.
    assert memory._IDLE > 0


# --- what runs between a count and its loan ---------------------------------------------------------


class Striking:
    """Runs a handler at one instruction of the arena's code, as a signal or a finaliser could."""

    def __init__(self, handler, at):
        self.handler, self.left, self.struck = handler, at, False

    def __call__(self, frame, event, arg):
        if frame.f_code.co_filename != memory.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not self.struck:
            self.left -= 1
            if self.left < 0:
                self.struck = True
                sys.settrace(None)
                self.handler()
        return None if self.struck else self

    def run(self, fn):
        before = sys.gettrace()
        sys.settrace(self)
        try:
            return fn()
        finally:
            sys.settrace(before)


def every_instruction(begin, call, handler):
    """Yield what begin, the handler and call return, the handler at one instruction after the other."""
    Striking(handler, 10_000).run(lambda: call(begin()))  # Python 3.12 tells no instructions at first.
    for at in range(10_000):
        given = begin()
        found = []
        strike = Striking(lambda given=given, found=found: found.append(handler(given)), at)
        got = strike.run(lambda given=given: call(given))
        if not strike.struck:
            assert at > 30, at  # It did strike inside.
            return
        yield given, found[0], got


def arena_with_idle(n):
    arena = Arena()
    held = [arena.empty(SHAPE, F32) for _ in range(n)]
    del held
    return arena


@pytest.mark.parametrize("n", [0, 1, 2])
def test_no_buffer_is_lent_twice_wherever_a_handler_strikes(n):
    def lend(arena):
        return arena.empty(SHAPE, F32)

    for arena, inner, outer in every_instruction(lambda: arena_with_idle(n), lend, lend):
        assert not np.shares_memory(inner, outer)
        third = arena.empty(SHAPE, F32)
        assert not np.shares_memory(third, inner)
        assert not np.shares_memory(third, outer)


def test_a_step_inside_of_a_step_ends_in_order_wherever_it_strikes():
    def step(arena):
        with recycled(arena):
            return [memory.empty(SHAPE, F32) for _ in range(2)]

    for _, inner, outer in every_instruction(lambda: arena_with_idle(1), step, step):
        arrays = [*inner, *outer]
        assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
        assert memory.scratch(SHAPE, F32) is None


def test_an_interrupt_at_any_instruction_leaves_an_arena_that_can_be_used():
    def interrupt():
        raise KeyboardInterrupt

    for at in range(10_000):
        arena = arena_with_idle(1)
        strike = Striking(interrupt, at)
        try:
            strike.run(lambda arena=arena: arena.empty(SHAPE, F32))
        except KeyboardInterrupt:
            arena.settle()
            first, second = arena.empty(SHAPE, F32), arena.empty(SHAPE, F32)
            assert not np.shares_memory(first, second)
        if not strike.struck:
            break
    assert at > 30


def test_a_finaliser_that_computes_between_two_kernels_of_a_step_changes_nothing():
    net = fnn.serial(fnn.Dense(64), fnn.Tanh(), fnn.Dense(64), fnn.Tanh(), fnn.Dense(3))
    optimizer = fnn.adam(0.01)
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(128, 8)).astype("float32"), rng.integers(0, 3, 128)
    plain = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    inner = fnn.jit(plain)
    now = fnn.init_train_state(net, optimizer, (8,), fnn.Key.of(0))
    expected = bits(plain(now, batch)[0])

    class Computing:
        def __init__(self):
            self.me = self  # A cycle: the collector ends it, at a moment of its own.

        def __del__(self):
            assert bits(inner(now, batch)[0]) == expected

    def met(x):
        Computing()
        gc.collect()
        return x + 0

    spied = fnn.serial(
        fnn.Dense(64), fnn.elementwise("met", met, lambda x, y, dy: met(dy)), fnn.Tanh(),
        fnn.Dense(64), fnn.Tanh(), fnn.Dense(3),
    )  # fmt: skip
    spied_step = fnn.train_step(spied, fnn.softmax_cross_entropy, optimizer)
    jitted = fnn.jit(spied_step)
    mine = wanted = now
    for _ in range(3):
        mine, _ = jitted(mine, batch)
        wanted, _ = plain(wanted, batch)
        assert bits(mine) == bits(wanted)


# --- who remembers by identity ----------------------------------------------------------------------


def test_a_buffer_that_is_remembered_by_a_weak_reference_is_not_lent_again():
    arena = Arena()
    array = arena.empty(SHAPE, F32)
    remembered = weakref.ref(array.base)
    del array
    other = arena.empty(SHAPE, F32)
    assert remembered() is None  # It is gone, so that nobody takes it for what it was.
    del other
    assert arena.size() == memory._buffer_size(SHAPE, 4)


@pytest.mark.parametrize("base", [False, True], ids=["leaf", "its base"])
@pytest.mark.parametrize("way", ["ref", "dict", "finalize"])
def test_a_layer_that_remembers_by_identity_guarded_by_a_weak_reference_is_the_same_in_a_scan(
    way, base
):
    seen = weakref.WeakValueDictionary()
    memo = {}

    def transposed(w):
        """Return w's transpose in row-major order, made once for every array there is."""
        known = w if not base or w.base is None else w.base
        if way == "dict":
            if seen.get(id(known)) is not known:
                seen[id(known)] = known
                memo[id(known)] = w.T.copy()
        elif way == "finalize":
            if id(known) not in memo:
                memo[id(known)] = w.T.copy()
                weakref.finalize(known, memo.pop, id(known)).atexit = False
            return memo[id(known)]
        elif id(known) not in memo or memo[id(known)][0]() is not known:
            memo[id(known)] = weakref.ref(known), w.T.copy()
        return memo[id(known)] if way == "dict" else memo[id(known)][1]

    def fwd(params, state, x, train, key):
        (w,) = params.values()
        return x @ transposed(w).T, state, lambda dy: ({"w": x.T @ dy}, dy @ transposed(w))

    def init(key, in_shape):
        return in_shape, {"w": np.eye(*(2 * in_shape), dtype="float32")}, {}

    net = fnn.serial(fnn.make_layer("remembering", init, fwd))
    optimizer = fnn.momentum(0.1)
    step = fnn.train_step(net, fnn.half_squared_error, optimizer)
    rng = np.random.default_rng(0)
    # Large enough for memory of the step.
    batches = [tuple(rng.normal(size=(2, 8, 128)).astype("float32")) for _ in range(6)]
    now = start = fnn.init_train_state(net, optimizer, (128,), fnn.Key.of(0))
    jitted, called = fnn.jit(step), start
    for batch in batches:
        now, _ = step(now, batch)
        called, _ = jitted(called, batch)
    scanned, _ = fnn.scan(step, start, batches)
    assert bits(scanned) == bits(now)
    assert bits(called) == bits(now)


# --- whose step it is -------------------------------------------------------------------------------


def test_greenlets_that_switch_within_their_steps_leave_no_arena_behind():
    greenlet = pytest.importorskip("greenlet")
    seen = {}

    def steps(name):
        with recycled(Arena()):
            seen[name] = memory.scratch(SHAPE, F32) is not None
            main.switch()
        seen[name, "after"] = memory.scratch(SHAPE, F32) is None

    main = greenlet.getcurrent()
    first, second = greenlet.greenlet(steps), greenlet.greenlet(steps)
    first.switch("first")
    assert memory.scratch(SHAPE, F32) is None  # Outside of it, while it waits within its step.
    second.switch("second")
    first.switch()
    second.switch()
    assert seen == dict.fromkeys(["first", "second", ("first", "after"), ("second", "after")], True)
    assert memory.scratch(SHAPE, F32) is None


def test_a_context_copied_within_a_step_draws_nothing_after_it_and_nothing_in_another_thread():
    found = []

    def look():
        found.append(memory.scratch(SHAPE, F32))

    with recycled(Arena()):
        copied = contextvars.copy_context()
        copied.run(look)
        thread = threading.Thread(target=copied.run, args=[look])
        thread.start()
        thread.join()
    copied.run(look)
    assert [array is None for array in found] == [False, True, True]


def test_a_task_begun_within_a_step_is_outside_of_it_when_it_runs():
    found = []

    async def look():
        found.append(memory.scratch(SHAPE, F32))

    async def main():
        with recycled(Arena()):
            task = asyncio.get_running_loop().create_task(look())
        await task

    asyncio.run(main())
    assert found == [None]


def test_blocks_left_out_of_order_leave_nothing_active():
    first, second = recycled(Arena()), recycled(Arena())
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert memory.scratch(SHAPE, F32) is None


# --- where counts say nothing -----------------------------------------------------------------------


def test_where_references_are_not_counted_nothing_is_recycled_and_steps_are_the_same(monkeypatch):
    net, optimizer = fnn.serial(fnn.Dense(64), fnn.Tanh(), fnn.Dense(3)), fnn.adam(0.01)
    rng = np.random.default_rng(0)
    batches = [
        (rng.normal(size=(128, 64)).astype("float32"), rng.integers(0, 3, 128)) for _ in range(4)
    ]
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    now = fnn.init_train_state(net, optimizer, (64,), fnn.Key.of(0))
    expected, _ = fnn.scan(step, now, batches)
    monkeypatch.setattr(memory, "_IDLE", 0)
    jitted = fnn.jit(step)
    assert bits(fnn.scan(jitted, now, batches)[0]) == bits(expected)
    assert jitted._kept.arena.size() == 0


@pytest.mark.parametrize(
    "lie", [lambda thing: 1, lambda thing: 2, lambda thing: REAL(thing) // 100, lambda thing: 1 << 30]
)
def test_counts_that_do_not_follow_the_holders_are_not_believed(monkeypatch, lie):
    monkeypatch.setattr(sys, "getrefcount", lie)
    assert memory._idle_count() == 0


REAL = sys.getrefcount
