"""Members that train together are, bit for bit, what each becomes alone."""

import pickle
import time

import attrs
import numpy as np
import pytest

import fnn
from fnn import Key, tree
from fnn.ensemble import (
    Keys,
    diverging,
    member_metrics,
    over_members,
    per_member,
    stack,
    stacked,
    unstack,
)
from fnn.errors import DivergedError
from fnn.runs.checkpoint import Checkpoints

N = 5
SEEDS = (3, 1, 4, 15, 9)


def swish(x):
    return x / (1 + np.exp(-x))


def swish_vjp(x, y, dy):
    gate = 1 / (1 + np.exp(-x))
    return (gate + y * (1 - gate)) * dy


def parity_network():
    draw = fnn.uniform(-4, 4)
    wide = [fnn.Dense(width, init_w=draw, init_b=draw) for width in (20, 10, 5, 1)]
    return fnn.serial(*(layer for dense in wide for layer in (dense, fnn.Sigmoid())))


NETWORKS = {
    "parity": (parity_network(), (5,)),
    "images": (fnn.serial(fnn.AvgPool(2), fnn.Flatten(), fnn.Dense(6), fnn.Tanh()), (2, 4, 4)),
    "rows": (fnn.serial(fnn.Dense(3), fnn.LeakyRelu(0.1), fnn.Dense(2, bias=False)), (4, 3)),
    "dropout": (fnn.serial(fnn.Dropout(0.2), fnn.Dense(8), fnn.Relu(), fnn.Dropout(0.5)), (6,)),
    "user-made": (fnn.serial(fnn.Dense(7), fnn.elementwise("swish", swish, swish_vjp)), (3,)),
    "residual": (
        fnn.serial(
            fnn.residual(fnn.Dense(4), fnn.Relu()),
            fnn.residual(fnn.named("way", fnn.Dense(6)), shortcut=fnn.Dense(6)),
            fnn.named("end", fnn.serial(fnn.Dense(3), fnn.LogSoftmax())),
        ),
        (4,),
    ),
    "softmax": (fnn.named("all", fnn.serial(fnn.Reshape((6,)), fnn.Dense(3), fnn.Softmax())), (3, 2)),
}
OPTIMIZERS = {
    "sgd": fnn.sgd(0.002),
    "adam": fnn.adam(0.01),
    "clipped": fnn.chain(fnn.clip_by_global_norm(0.1), fnn.momentum(0.05)),
}


def cast(now, dtype):
    parts = {name: tree.cast(getattr(now, name), dtype) for name in ("params", "state", "opt_state")}
    return attrs.evolve(now, **parts)


def batches(in_shape, out_shape, dtype, lead, steps=6):
    for i in range(steps):
        rng = np.random.default_rng(i)
        yield rng.normal(size=(*lead, *in_shape)).astype(dtype), rng.random((*lead, *out_shape))


def trained(net, loss, optimizer, in_shape, key, dtype, data):
    now = cast(fnn.init_train_state(net, optimizer, in_shape, key), dtype)
    return fnn.scan(fnn.train_step(net, loss, optimizer), now, data)


def assert_same_bits(one, other):
    assert one.step == other.step
    assert one.key == other.key
    for name in ("params", "state", "opt_state"):
        assert tree.digest(getattr(one, name)) == tree.digest(getattr(other, name)), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", NETWORKS)
def test_each_member_ends_with_the_bits_of_its_own_run(name, optimizer, dtype):
    (net, in_shape), optimizer = NETWORKS[name], OPTIMIZERS[optimizer]
    out_shape = net.init(Key.of(0), in_shape)[0]
    data = list(batches(in_shape, out_shape, dtype, (32,)))
    for loss in (fnn.half_squared_error, fnn.squared_error):
        many, over = stacked(net, N), over_members(loss)
        now, _ = trained(many, over, optimizer, in_shape, Keys.of(SEEDS), dtype, data)
        for i, seed in enumerate(SEEDS):
            alone, _ = trained(net, loss, optimizer, in_shape, Key.of(seed), dtype, data)
            assert_same_bits(unstack(now, i), alone)


@pytest.mark.parametrize("name", ["parity", "images", "dropout"])
def test_members_may_have_batches_targets_and_weights_of_their_own(name):
    (net, in_shape), optimizer = NETWORKS[name], OPTIMIZERS["adam"]
    out_shape = net.init(Key.of(0), in_shape)[0]
    weight = np.random.default_rng(1).random((16, N))
    data = [(*batch, weight) for batch in batches(in_shape, out_shape, "float32", (16, N))]
    for loss in (fnn.half_squared_error, fnn.squared_error):
        over = over_members(loss, shared=False)
        many = stacked(net, N, shared=False)
        now, _ = trained(many, over, optimizer, (N, *in_shape), Keys.of(SEEDS), "float32", data)
        for i, seed in enumerate(SEEDS):
            own = [tuple(part[:, i].copy() for part in batch) for batch in data]
            alone, _ = trained(net, loss, optimizer, in_shape, Key.of(seed), "float32", own)
            assert_same_bits(unstack(now, i), alone)


def test_an_optimizer_that_looks_at_the_whole_network_is_lifted_member_by_member():
    (net, in_shape), optimizer = NETWORKS["parity"], OPTIMIZERS["clipped"]
    loss, lifted = fnn.half_squared_error, per_member(OPTIMIZERS["clipped"], N)
    assert lifted.numbers(0) == optimizer.numbers(0)
    data = list(batches(in_shape, (1,), "float32", (32,)))
    many, over = stacked(net, N), over_members(loss)
    now, _ = trained(many, over, lifted, in_shape, Keys.of(SEEDS), "float32", data)
    mixed, _ = trained(many, over, optimizer, in_shape, Keys.of(SEEDS), "float32", data)
    for i, seed in enumerate(SEEDS):
        alone, _ = trained(net, loss, optimizer, in_shape, Key.of(seed), "float32", data)
        assert_same_bits(unstack(now, i), alone)
        assert unstack(mixed, i).params != alone.params


def test_what_does_not_depend_on_the_member_is_computed_once_and_given_to_each():
    net = fnn.serial(fnn.Tanh(), fnn.Flatten())
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    y, _, pullback = stacked(net, 3).vjp({}, {}, x)
    assert y.shape == (4, 3, 6)
    np.testing.assert_array_equal(y, np.repeat(np.tanh(x).reshape(4, 1, 6), 3, axis=1))
    _, dx = pullback(np.ones_like(y))
    np.testing.assert_allclose(dx, 3 * (1 - np.tanh(x) ** 2), rtol=1e-14)


def test_the_parts_of_a_loss_over_members_are_those_of_each():
    pred = np.random.default_rng(0).normal(size=(8, N, 3)).astype("float32")
    labels, weight = np.arange(8) % 3, np.linspace(0, 1, 8)
    value, dpred = over_members(fnn.softmax_cross_entropy)(pred, labels, weight=weight)
    alone = [fnn.softmax_cross_entropy(pred[:, i].copy(), labels, weight=weight) for i in range(N)]
    assert value.dtype == dpred.dtype == np.float32
    np.testing.assert_allclose(value, sum(part for part, _ in alone), rtol=1e-6)
    np.testing.assert_array_equal(dpred, np.stack([part for _, part in alone], axis=1))


def test_stacked_states_come_apart_again_and_go_on_without_some():
    net, in_shape = NETWORKS["dropout"]
    parts = [fnn.init_train_state(net, fnn.adam(), in_shape, Key.of(seed)) for seed in SEEDS]
    now = stack(parts)
    together = fnn.init_train_state(stacked(net, N), fnn.adam(), in_shape, Keys.of(SEEDS))
    assert_same_bits(now, together)
    assert_same_bits(pickle.loads(pickle.dumps(now)), now)
    for i, part in enumerate(parts):
        assert_same_bits(unstack(now, i), part)
    fewer = stack([unstack(now, i) for i in (0, 2)])
    assert fewer.key == Keys.of((3, 4)) != now.key
    assert fewer.params["dense_0"]["w"].shape == (2, 6, 8)


def test_keys_derive_what_every_member_would():
    keys = Keys.of(SEEDS)
    for i, seed in enumerate(SEEDS):
        assert keys.fold("a", 1).members[i] == Key.of(seed).fold("a", 1)
        assert keys.split(3)[2].members[i] == Key.of(seed).split(3)[2]
    assert keys.fold("a") != keys
    assert keys.generator().random() == Keys.of(SEEDS).generator().random()


def test_a_single_key_is_split_among_the_members():
    net, in_shape = NETWORKS["parity"]
    _, params, _ = stacked(net, 3).init(Key.of(0), in_shape)
    for i, key in enumerate(Key.of(0).split(3)):
        assert unstack(params, i) == net.init(key, in_shape)[1]


def test_an_ensemble_prints_compares_and_pickles_as_the_code_that_makes_it():
    many = stacked(fnn.serial(fnn.Dense(2), fnn.Relu()), 3, shared=False)
    assert repr(many) == "stacked(serial(Dense(2), Relu()), 3, shared=False)"
    assert pickle.loads(pickle.dumps(many)) == many
    assert repr(per_member(fnn.sgd(0.1), 3)) == "per_member(sgd(0.1), 3)"


def test_fit_trains_an_ensemble_and_measures_each_member():
    data = fnn.parity(3)
    data = fnn.Dataset(data.x, data.y[:, None])
    net = fnn.serial(fnn.Dense(6), fnn.Tanh(), fnn.Dense(1))
    metrics = member_metrics(fnn.squared_error, 3)
    fit = fnn.fit(
        stacked(net, 3),
        over_members(fnn.squared_error),
        fnn.adam(0.03),
        data,
        epochs=3,
        batch_size=4,
        key=Keys.of(range(3)),
        validation=data,
        metrics=metrics,
    )
    now = fit.last
    pred = fnn.predict(stacked(net, 3), now, data.x)
    for i in range(3):
        alone = fnn.predict(net, unstack(now, i), data.x)
        np.testing.assert_array_equal(pred[:, i], alone)
        measured = fnn.squared_error(alone, data.y)[0]
        assert fit.history[-1][f"validation_squared_error_{i}"] == pytest.approx(measured, rel=1e-6)
    assert len({fit.history[-1][f"squared_error_{i}"] for i in range(3)}) == 3


def test_a_member_that_diverges_stops_the_step_and_is_found_and_left_behind():
    net, data = fnn.serial(fnn.Dense(3)), next(batches((2,), (3,), "float32", (8,)))
    optimizer = fnn.sgd(0.1)
    many = stacked(net, N)
    step = fnn.jit(fnn.train_step(many, over_members(fnn.half_squared_error), optimizer))
    now = fnn.init_train_state(many, optimizer, (2,), Keys.of(SEEDS))
    bad = now.params["dense_0"]["w"].copy()
    bad[2] = 1e30
    now = attrs.evolve(now, params=tree.update(now.params, {"dense_0/w": bad}))
    with pytest.raises(DivergedError, match="got a loss of inf"):
        step(now, data)
    found = diverging(step, now, data)
    assert list(found) == [2]
    assert "step 0" in str(found[2])
    rest = stack([unstack(now, i) for i in range(N) if i not in found])
    fewer = fnn.train_step(stacked(net, N - 1), over_members(fnn.half_squared_error), optimizer)
    assert fewer(rest, data)[0].step == 1
    own = per_member(optimizer, N)
    slow = fnn.train_step(many, over_members(fnn.half_squared_error), own)
    assert list(diverging(slow, now, data)) == [2]


@pytest.mark.alone
@pytest.mark.parametrize("n", [1, 32])
def test_the_parity_network_takes_far_less_time_together(n):
    """A third is the bar, and about a tenth is measured."""
    net, loss, optimizer = parity_network(), fnn.half_squared_error, fnn.adam(0.01)
    x, target = next(batches((5,), (1,), "float32", (32,)))
    data, many = [(x, target)] * 100, stacked(parity_network(), n)
    single = fnn.jit(fnn.train_step(net, loss, optimizer))
    together = fnn.jit(fnn.train_step(many, over_members(loss), optimizer))
    starts = [fnn.init_train_state(net, optimizer, (5,), Key.of(i)) for i in range(n)]
    start = stack(starts)
    ratios = []
    for _ in range(3):
        marks = [time.perf_counter()]
        ends = [fnn.scan(single, now, data)[0] for now in starts]
        marks.append(time.perf_counter())
        now, _ = fnn.scan(together, start, data)
        marks.append(time.perf_counter())
        ratios.append((marks[2] - marks[1]) / (marks[1] - marks[0]))
        for i, end in enumerate(ends):
            assert_same_bits(unstack(now, i), end)
    assert min(ratios) <= (1 / 3 if n > 1 else 4), ratios


def test_an_ensemble_that_drops_out_resumes_from_a_file(tmp_path):
    net = fnn.stacked(fnn.serial(fnn.Dense(6), fnn.Dropout(0.3), fnn.Dense(2)), 3)
    loss, optimizer = fnn.over_members(fnn.softmax_cross_entropy), fnn.adam(0.01)
    rng = np.random.default_rng(0)
    data = fnn.Dataset(rng.normal(size=(20, 4)).astype("float32"), rng.integers(0, 2, 20))
    key = fnn.Keys.of(range(3))

    def fit(epochs, **more):
        return fnn.fit(
            net, loss, optimizer, data, epochs=epochs, batch_size=5, key=key, progress=False, **more
        )

    whole = fit(4)
    checkpoints = Checkpoints(tmp_path)
    fit(2, save=checkpoints.save)
    start = checkpoints.latest(like=fnn.init_train_state(net, optimizer, (4,), key))
    assert start.now.key == key
    assert fit(4, start=start).last == whole.last
