"""Recycled memory: nothing reads what it has not written, nothing held changes, nothing grows."""

import gc
import threading

import attrs
import numpy as np
import pytest
from layer_cases import CASES, IDS, digest, like, make

import fnn
from fnn import tree
from fnn.kernels import affine, broadcasting, memory, unfolding
from fnn.kernels.memory import Arena, recycled

F32 = np.dtype("float32")


@pytest.fixture
def poisoned(monkeypatch):
    """Lend memory for arrays of every size, filled with NaN; run what large arrays run."""
    monkeypatch.setattr(memory, "SMALL", 1)
    monkeypatch.setattr(affine, "_FEW", 1)
    monkeypatch.setattr(broadcasting, "_MANY", 1)
    monkeypatch.setattr(broadcasting, "_SOME", 1)
    monkeypatch.setattr(Arena, "poison", True)


@pytest.fixture(params=[1, 10**9], ids=["by row", "by chunk"])
def long_row(request, monkeypatch):
    """Convolve the one way and the other, whatever the shapes."""
    monkeypatch.setattr(unfolding, "LONG_ROW", request.param)
    unfolding.unfolding.cache_clear()
    yield
    unfolding.unfolding.cache_clear()


# --- the arena


def test_memory_is_lent_again_when_nobody_holds_it():
    arena = Arena()
    first = arena.empty((100, 100), F32)
    address = first.ctypes.data
    second = arena.empty((100, 100), F32)
    assert second.ctypes.data != address
    del first
    assert arena.empty((50, 200), F32).ctypes.data == address


@pytest.mark.parametrize(
    "hold",
    [
        lambda a: a,
        lambda a: a[3:, ::2],
        lambda a: a.T,
        lambda a: a.reshape(-1)[5:6],
        lambda a: a.view(np.uint8),
        lambda a: memoryview(a),
        lambda a: np.lib.stride_tricks.as_strided(a, (2, 2), (4, 4)),
        lambda a: np.frombuffer(a, np.uint8),
        lambda a: np.broadcast_to(a, (3, *a.shape)),
        lambda a: [{"deep": (a,)}],
        lambda a: iter(a),
        lambda a: np.nditer(a),
        lambda a: lambda: a,
    ],
    ids=range(13),
)
def test_whatever_keeps_an_array_keeps_its_memory(hold):
    arena = Arena()
    array = arena.empty((64, 64), F32)
    address = array.ctypes.data
    held = hold(array)
    del array
    gc.collect()
    assert arena.empty((64, 64), F32).ctypes.data != address
    del held
    gc.collect()
    assert arena.empty((64, 64), F32).ctypes.data == address


def test_arrays_are_row_major_aligned_and_of_their_dtype():
    arena = Arena()
    kept = []
    for shape in [(3,), (100, 7), (2, 3, 5, 7), (0, 4), (1000, 1000)]:
        for dtype in map(np.dtype, ("float32", "float64", "complex128", "bool", "int64")):
            array = arena.empty(shape, dtype)
            assert array.shape == shape
            assert array.dtype is dtype
            assert array.flags.c_contiguous
            assert array.flags.writeable
            assert array.ctypes.data % 64 == 0
            array.fill(1)
            kept.append(array)
    assert all((array == 1).all() for array in kept)


def test_what_is_lent_again_is_poisoned_where_a_test_asks_for_it(poisoned):
    arena = Arena()
    arena.empty((40, 40), F32).fill(1)
    assert np.isnan(arena.empty((40, 40), F32)).all()
    assert np.isnan(arena.empty((20, 40), np.dtype("float64"))).all()
    with recycled(arena):
        assert (memory.zeros((40, 40), F32) == 0).all()


def test_sealed_memory_is_writeable_for_its_next_borrower():
    arena = Arena()
    vector = arena.empty((5000,), F32)
    memory.seal(vector)
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1
    assert tree.freeze(vector[3:]).base is vector.base  # It counts as immutable: no copy.
    del vector
    arena.empty((5000,), F32)[0] = 1


def test_outside_of_a_step_numpy_allocates():
    arena = Arena()
    with recycled(arena):
        inside = memory.empty((200, 200), F32)
        assert memory.scratch_like(inside).base is not None
        with recycled(Arena()):
            assert memory.scratch_like(inside).base is not inside.base
        assert memory.empty((2, 2), F32).base is None
    assert memory.empty((200, 200), F32).base is None
    assert memory.scratch_like(inside) is None
    assert memory.scratch((200, 200), F32) is None


def test_an_arena_serves_the_thread_that_entered_it_alone():
    found = []
    with recycled(Arena()):
        thread = threading.Thread(target=lambda: found.append(memory.scratch((200, 200), F32)))
        thread.start()
        thread.join()
        assert memory.scratch((200, 200), F32) is not None
    assert found == [None]


# --- layers inside of it


def run(made, dy):
    y, new_state, pullback = made.vjp(train=True)
    dparams, dx = pullback(dy)
    again, _ = pullback(dy)
    values = digest(y, new_state, dparams, dx, again)
    evaluated, _ = made.layer.apply(made.params, made.state, made.x)
    return values, digest(evaluated), y, dparams


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_layer_gives_the_same_bits_in_poisoned_memory(case, dtype, poisoned):
    made = make(case, dtype=dtype)
    dy = like(made.vjp(train=True)[0], np.random.default_rng(0), dtype)
    outside = run(made, dy)
    arena = Arena()
    kept = []
    for _ in range(3):
        with recycled(arena):
            inside = run(made, dy)
        assert inside[:2] == outside[:2]
        kept.append((inside[2], inside[3]))
    for y, dparams in kept:  # What is held was not written to by what came after.
        assert digest(y, dparams) == digest(outside[2], outside[3])


# --- steps

CNN = fnn.serial(
    fnn.Conv(6, 3, padding="same", groups=1), fnn.BatchNorm(), fnn.Relu(), fnn.MaxPool(2),
    fnn.residual(fnn.Conv(6, 3, padding="same", groups=2), fnn.LeakyRelu(0.1)), fnn.Dropout(0.2),
    fnn.AvgPool(2, padding=((1, 0), (0, 1))), fnn.Conv(4, 2, stride=2), fnn.Tanh(), fnn.Flatten(),
    fnn.Dense(20), fnn.Sigmoid(), fnn.Dense(5),
)  # fmt: skip
OPTIMIZERS = [fnn.sgd(0.1), fnn.adam(0.01), fnn.chain(fnn.clip_by_global_norm(0.1), fnn.momentum(0.1))]


def batch_at(i, n=12):
    rng = np.random.default_rng(i)
    return rng.normal(size=(n, 2, 12, 12)).astype("float32"), rng.integers(0, 5, n)


def bits(now):
    return tree.digest({"params": now.params, "state": now.state, "opt_state": now.opt_state})


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.usefixtures("poisoned", "long_row")
def test_steps_in_poisoned_memory_equal_pure_steps_bit_for_bit(optimizer):
    step = fnn.train_step(CNN, fnn.softmax_cross_entropy, optimizer)
    jitted = fnn.jit(step)
    now = expected = fnn.init_train_state(CNN, optimizer, (2, 12, 12), fnn.Key.of(0))
    held = []
    for i in range(8):
        batch = batch_at(i, 12 if i != 4 else 5)
        before = [part.copy() for part in batch]
        (now, logs), (expected, expected_logs) = jitted(now, batch), step(expected, batch)
        assert bits(now) == bits(expected)
        assert logs == expected_logs
        assert all((a == b).all() for a, b in zip(batch, before, strict=True))
        held.append((now, bits(now)))
    assert all(bits(state) == was for state, was in held)
    last, _ = fnn.scan(step, held[0][0], [batch_at(i, 12 if i != 4 else 5) for i in range(1, 8)])
    assert bits(last) == bits(now)


def test_arrays_that_a_loss_a_metric_or_a_layer_keeps_stay_what_they_are(poisoned):
    kept = []

    def keeping(pred, target, *, weight=None):
        value, dpred = fnn.softmax_cross_entropy(pred, target, weight=weight)
        kept.append((pred, pred.copy()))
        kept.append((dpred, dpred.copy()))
        return value, dpred

    def metric(pred, target):
        kept.append((pred[2:], pred[2:].copy()))
        return 0.0

    spy = fnn.elementwise("spy", lambda x: kept.append((x, x.copy())) or x, lambda x, y, dy: dy)
    net = fnn.serial(fnn.Conv(4, 3), fnn.Relu(), spy, fnn.Flatten(), fnn.Dense(5))
    step = fnn.jit(fnn.train_step(net, keeping, fnn.adam(0.01), metrics=[metric]))
    now = fnn.init_train_state(net, fnn.adam(0.01), (2, 12, 12), fnn.Key.of(0))
    for i in range(6):
        now, _ = step(now, batch_at(i))
    assert len(kept) > 20
    assert all((array == copy).all() for array, copy in kept)


def test_batches_are_drawn_outside_of_recycled_memory():
    seen = []

    def drawing():
        for i in range(3):
            seen.append(memory.scratch((200, 200), F32))
            yield batch_at(i)

    optimizer = fnn.sgd(0.1)
    step = fnn.train_step(CNN, fnn.softmax_cross_entropy, optimizer)
    fnn.scan(step, fnn.init_train_state(CNN, optimizer, (2, 12, 12), fnn.Key.of(0)), drawing())
    assert seen == [None] * 3


def test_an_error_in_a_step_leaves_its_memory_behind():
    optimizer = fnn.sgd(0.1)
    step = fnn.jit(fnn.train_step(CNN, fnn.softmax_cross_entropy, optimizer))
    now = fnn.init_train_state(CNN, optimizer, (2, 12, 12), fnn.Key.of(0))
    x, y = batch_at(0)
    with pytest.raises(fnn.ShapeError):
        step(now, (x[:, :1], y))
    assert memory.scratch((200, 200), F32) is None
    after, _ = step(now, (x, y))
    assert bits(after) == bits(
        fnn.train_step(CNN, fnn.softmax_cross_entropy, optimizer)(now, (x, y))[0]
    )


def test_memory_does_not_grow_with_the_steps_nor_stay_for_states_once_held(monkeypatch):
    monkeypatch.setattr(memory, "SMALL", 1)
    optimizer = fnn.adam(0.01)
    step = fnn.jit(fnn.train_step(CNN, fnn.softmax_cross_entropy, optimizer))
    now = fnn.init_train_state(CNN, optimizer, (2, 12, 12), fnn.Key.of(0))
    arena, sizes, states = step._kept.arena, [], []
    for i in range(60):
        now, _ = step(now, batch_at(i))
        sizes.append(arena.size())
        if i >= 20:
            states.append(attrs.evolve(now))
    assert sizes[5] == sizes[19]
    assert sizes[-1] < 2 * sizes[19]
    assert len({bits(state) for state in states}) == 40


# --- scans


@pytest.mark.parametrize("hold", ["tree", "branch", "leaf", "view", "base"])
def test_parameters_that_a_layer_keeps_in_a_scan_stay_what_they_are(hold):
    kept = []

    def fwd(params, state, x, train, key):
        leaf = params["gain"]
        held = {
            "tree": params,
            "branch": params,
            "leaf": leaf,
            "view": leaf[1:],
            "base": leaf if leaf.base is None else leaf.base,
        }[hold]
        kept.append((held, {"gain": leaf.copy()} if isinstance(held, dict) else held.copy()))
        return x * leaf, state, lambda dy: ({"gain": (x * dy).sum(axis=0)}, dy * leaf)

    def init(key, in_shape):
        return in_shape, {"gain": np.ones(in_shape, "float32")}, {}

    net = fnn.serial(fnn.Dense(6), fnn.make_layer("gain", init, fwd), fnn.Dense(5))
    optimizer = fnn.momentum(0.05)
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    now = fnn.init_train_state(net, optimizer, (4,), fnn.Key.of(0))
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(8, 4)).astype("float32"), rng.integers(0, 5, 8)) for _ in range(7)]
    scanned, logs = fnn.scan(step, now, batches)
    assert len(kept) == 7
    assert all(np.array_equal(a, b) if not isinstance(a, dict) else a == b for a, b in kept)
    for batch, loss in zip(batches, logs["loss"], strict=True):
        now, log = step(now, batch)
        assert log["loss"] == loss
    assert bits(scanned) == bits(now)
    assert not any(leaf.flags.writeable for leaf in tree.leaves(scanned.params))
    assert all(
        tree.freeze(leaf) is leaf for leaf in tree.leaves(scanned.params)
    )  # Immutable to the base.


def test_a_scan_that_fails_leaves_the_state_it_began_from():
    optimizer = fnn.adam(0.01)
    step = fnn.jit(fnn.train_step(CNN, fnn.softmax_cross_entropy, optimizer))
    now = fnn.init_train_state(CNN, optimizer, (2, 12, 12), fnn.Key.of(0))
    before, (x, y) = bits(now), batch_at(3)
    plain, _ = step(now, batch_at(0))
    with pytest.raises(fnn.DivergedError) as expected:
        step(plain, (x * np.float32(1e30), y))
    with pytest.raises(fnn.DivergedError) as got:
        fnn.scan(step, now, [batch_at(0), (x * np.float32(1e30), y)])
    assert str(got.value) == str(expected.value)
    assert bits(now) == before
    assert bits(fnn.scan(step, now, [batch_at(0)])[0]) == bits(plain)


# --- layouts: large arrays whose operands lie differently

turned = fnn.elementwise("turned", lambda x: x + 0, lambda x, y, dy: np.asfortranarray(dy))
LAYOUTS = {
    "flattened images": (fnn.serial(fnn.Conv(4, 3), fnn.Flatten(), fnn.BatchNorm()), (1, 12, 12)),
    "relu": (fnn.serial(fnn.Conv(4, 3), fnn.Flatten(), fnn.BatchNorm(), fnn.Relu()), (1, 12, 12)),
    "residual": (
        fnn.serial(fnn.Conv(4, 3), fnn.Flatten(), fnn.BatchNorm(), fnn.residual(fnn.Dense(400))),
        (1, 12, 12),
    ),
    "pooled": (fnn.serial(fnn.Conv(128, 3), fnn.GlobalAvgPool(), fnn.BatchNorm()), (1, 12, 12)),
    "last axis": (
        fnn.serial(fnn.Conv(4, 3), fnn.BatchNorm(axis=-1), fnn.Relu(), fnn.Flatten(), fnn.Dense(10)),
        (1, 12, 12),
    ),
    "average": (fnn.serial(fnn.Conv(6, 3), fnn.BatchNorm(), fnn.AvgPool(2), fnn.Tanh()), (2, 12, 12)),
    "columns first": (fnn.serial(fnn.BatchNorm(), fnn.Relu()), (64,)),
    "softmax": (fnn.serial(fnn.BatchNorm(), fnn.Softmax()), (64,)),
    "turned": (
        fnn.serial(fnn.Dense(64), fnn.Relu(), turned, fnn.Sigmoid(), turned, fnn.Tanh(), turned),
        (64,),
    ),
    "turned kinks": (fnn.serial(fnn.Dense(64), fnn.LeakyRelu(0.1), turned, fnn.Relu(), turned), (64,)),
}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_steps_equal_pure_steps_whatever_way_their_arrays_lie(name, order):
    net, in_shape = LAYOUTS[name]
    optimizer = fnn.adam(0.01)
    step = fnn.train_step(net, fnn.half_squared_error, optimizer)
    now = fnn.init_train_state(net, optimizer, in_shape, fnn.Key.of(0))
    out_shape, _, _ = net.init(fnn.Key.of(0), in_shape)
    rng = np.random.default_rng(0)
    batches = [
        tuple(
            np.asarray(rng.normal(size=(256, *shape)), "float32", order=order)
            for shape in (in_shape, out_shape)
        )
        for _ in range(3)
    ]
    scanned, logs = fnn.scan(step, now, batches)
    jitted, called = fnn.jit(step), now
    for batch, loss in zip(batches, logs["loss"], strict=True):
        called, _ = jitted(called, batch)
        now, log = step(now, batch)
        assert log["loss"] == loss
    assert bits(scanned) == bits(called) == bits(now)
    assert tree.digest(scanned.state) == tree.digest(now.state)
