"""Transforms of parts, around others, and beside the parameters, in training."""

from __future__ import annotations

import math
import re

import attrs
import numpy as np
import pytest
from optimizer_cases import draw, run, same_bits

import fnn
from fnn import tree
from fnn.errors import DivergedError, OptionError, TreeError

NET = fnn.serial(fnn.Dense(6), fnn.Tanh(), fnn.Dense(3))


def examples(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)), rng.integers(0, 3, n)


def begin(net, optimizer, dtype="float64"):
    now = fnn.init_train_state(net, optimizer, (4,), fnn.Key.of(0))
    parts = ("params", "state", "opt_state")
    return attrs.evolve(now, **{name: tree.cast(getattr(now, name), dtype) for name in parts})


def trained(net, optimizer, batches, dtype="float64"):
    step, now = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer), begin(net, optimizer, dtype)
    for batch in batches:
        now, _ = step(now, batch)
    return now


def close(a, b, rtol=1e-12):
    assert [path for path, _ in tree.items(a)] == [path for path, _ in tree.items(b)]
    for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


# --- accumulate -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inner", [fnn.adamw(0.01), fnn.chain(fnn.clip_by_global_norm(0.1), fnn.momentum(0.1)), fnn.lamb()]
)
def test_accumulated_small_batches_are_one_large_batch(inner):
    x, y = examples(48)
    large = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 48, 16)]
    small = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 48, 4)]
    together, parts = trained(NET, inner, large), trained(NET, fnn.accumulate(inner, 4), small)
    close(parts.params, together.params)
    close(parts.opt_state["inner"], together.opt_state)
    assert (together.step, parts.step) == (3, 12)


def test_between_updates_every_bit_of_the_parameters_stays():
    params = {"w": np.array([0.0, -0.0, 1.5])}
    grads = {"w": np.array([1.0, 2.0, 3.0])}
    optimizer = fnn.accumulate(fnn.momentum(0.1), 3)
    moved, memory = run(optimizer, params, [grads, grads])
    assert same_bits(moved, params)
    assert memory == {"sum": {"w": [2, 4, 6]}, "inner": {"velocity": {"w": [0, 0, 0]}}}
    moved, memory = run(optimizer, params, [grads, grads, grads])
    np.testing.assert_allclose(moved["w"], [-0.1, -0.2, 1.2])
    assert memory == {"sum": {"w": [0, 0, 0]}, "inner": {"velocity": {"w": [1, 2, 3]}}}


def test_the_inner_clock_counts_updates():
    optimizer = fnn.accumulate(fnn.sgd(fnn.piecewise_schedule([1.0, 0.5], [1])), 2)
    assert [optimizer.numbers(step)["learning_rate"] for step in range(4)] == [1.0, 1.0, 0.5, 0.5]
    moved, _ = run(optimizer, {"w": np.zeros(1)}, [{"w": np.ones(1)}] * 4)
    assert moved == {"w": [-1.5]}


def test_accumulate_of_one_is_the_optimizer():
    params, grads = draw(0), [draw(1), draw(2)]
    wrapped, _ = run(fnn.accumulate(fnn.adam(), 1), params, grads)
    assert same_bits(wrapped, run(fnn.adam(), params, grads)[0])


# --- skip_nonfinite -------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing_but_the_clock(bad):
    params, optimizer = draw(0), fnn.skip_nonfinite(fnn.adam(0.1))
    _, memory = run(optimizer, params, [draw(1)])
    grads = tree.update(draw(2), {"dense_1/w": np.full((5, 7), bad)})
    u, after = optimizer.update(grads, memory, params, 1)
    assert same_bits(fnn.apply_updates(params, u), params)
    assert same_bits(after, memory)


@pytest.mark.parametrize(
    "wrap", [lambda o: o, lambda o: fnn.chain(o), fnn.jit], ids=["", "chain", "jit"]
)
def test_training_passes_over_a_batch_that_is_not_finite(wrap):
    net = fnn.serial(fnn.Dense(5), fnn.BatchNorm(), fnn.Dense(3))
    good, (x, y) = examples(8), examples(8, 1)
    x[3, 1] = math.nan
    inner = fnn.adam(0.1)
    optimizer = fnn.skip_nonfinite(inner)
    optimizer = optimizer if wrap is fnn.jit else wrap(optimizer)
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    step = fnn.jit(step) if wrap is fnn.jit else step
    first, _ = step(begin(net, optimizer), good)
    after, logs = step(first, (x, y))
    assert math.isnan(logs["loss"])
    for name in ("params", "state", "opt_state"):
        assert same_bits(getattr(after, name), getattr(first, name))
    assert after.step == first.step + 1
    again, logs = step(after, good)
    assert math.isfinite(logs["loss"])
    assert not same_bits(again.params, after.params)
    plain = fnn.train_step(net, fnn.softmax_cross_entropy, inner)
    with pytest.raises(DivergedError):
        plain(begin(net, inner), (x, y))


def test_a_finite_gradient_that_throws_the_parameters_out_is_an_error_still():
    optimizer = fnn.skip_nonfinite(fnn.sgd(3e38))
    x, y = examples(8)
    step = fnn.train_step(NET, fnn.softmax_cross_entropy, optimizer)
    with pytest.raises(DivergedError, match="params"):
        step(begin(NET, optimizer, "float32"), (100 * x.astype("float32"), y))


# --- lookahead, ema -------------------------------------------------------------------------


def test_lookahead_returns_to_between_its_slow_points():
    params, grads = {"w": np.zeros(1)}, [{"w": np.ones(1)}] * 4
    optimizer = fnn.lookahead(fnn.sgd(1.0), 2, alpha=0.25)
    points = [float(run(optimizer, params, grads[:n])[0]["w"][0]) for n in range(5)]
    assert points == [0.0, -1.0, -0.5, -1.5, -1.0]


def test_averages_are_evaluated_in_place_of_the_parameters():
    optimizer = fnn.chain(fnn.adam(0.1), fnn.ema(0.5))
    step, now, points = fnn.train_step(NET, fnn.softmax_cross_entropy, optimizer), None, []
    now = begin(NET, optimizer)
    average = now.params
    for i in range(5):
        now, _ = step(now, examples(8, i))
        points.append(now.params)
        average = tree.map(lambda a, p: 0.5 * a + 0.5 * p, average, now.params)
    smooth = fnn.averaged_state(now)
    close(smooth.params, average)
    assert smooth.opt_state == now.opt_state
    data = fnn.Dataset(*examples(20, 9))
    measured = fnn.evaluate(NET, smooth, data, {"loss": fnn.softmax_cross_entropy})
    y, _ = NET.apply(smooth.params, {}, data.x)
    assert measured["loss"] == pytest.approx(float(fnn.softmax_cross_entropy(y, data.y)[0]))


def test_averages_of_frozen_layers_are_their_parameters():
    net = fnn.serial(fnn.frozen(fnn.Dense(6)), fnn.Dense(3))
    now = trained(net, fnn.chain(fnn.sgd(0.1), fnn.ema(0.5)), [examples(8), examples(8, 1)])
    smooth = fnn.averaged_state(now)
    (still,) = net.frozen
    for path, leaf in tree.items(now.params):
        same = same_bits(tree.get(smooth.params, path), leaf)
        assert same is path.startswith(f"{still}/")


def test_what_keeps_no_average_or_two_says_so():
    now = begin(NET, fnn.adam())
    with pytest.raises(OptionError, match=r"^averaged_state: expected one average by `ema`, got a mem"):
        fnn.averaged_state(now)
    now = begin(NET, fnn.chain(fnn.ema(), fnn.sgd(0.1), fnn.ema()))
    with pytest.raises(OptionError, match=r"got \['ema_0', 'ema_1'\]$"):
        fnn.averaged_state(now)


# --- masked, partition ----------------------------------------------------------------------


def is_vector(path, leaf):
    return leaf.ndim == 1


def test_masked_sees_and_remembers_its_own_leaves_alone():
    params, grads = draw(0), draw(1)
    own = fnn.masked(fnn.chain(fnn.clip_by_global_norm(0.1), fnn.trace()), ["dense_0/w", "scale"])
    memory = own.init(params)
    assert [path for path, _ in tree.items(memory["trace_0"]["velocity"])] == ["dense_0/w", "scale"]
    u, _ = own.update(grads, memory, params, 0)
    part = {"w": grads["dense_0"]["w"], "s": grads["scale"]}
    short, _ = fnn.clip_by_global_norm(0.1).update(part, {}, part, 0)
    assert same_bits(u["dense_0"]["w"], short["w"])
    assert same_bits(u["dense_1"], fnn.Tree(grads["dense_1"]))
    vectors = fnn.masked(fnn.sgd(0.1), is_vector)
    moved, _ = vectors.update(grads, {}, params, 0)
    np.testing.assert_allclose(moved["dense_0"]["b"], -0.1 * grads["dense_0"]["b"])
    assert same_bits(moved["dense_0"]["w"], grads["dense_0"]["w"])


def test_a_bare_array_is_masked_by_a_predicate():
    on, off = (fnn.masked(fnn.sgd(0.1), lambda path, leaf, yes=yes: yes) for yes in (True, False))
    assert run(on, np.ones(2), [np.ones(2)])[0].tolist() == [0.9, 0.9]
    assert run(off, np.ones(2), [np.ones(2)])[0].tolist() == [2.0, 2.0]


def test_partition_keeps_memories_by_label_and_takes_the_longest_path():
    optimizer = fnn.partition(
        {"slow": fnn.momentum(0.1), "fast": fnn.adam(), "none": fnn.sgd(0.5)},
        {"": "slow", "dense_0": "fast", "dense_0/b": "none"},
    )
    params = draw(0)
    memory = optimizer.init(params)
    assert sorted(path for path, _ in tree.items(memory)) == [
        "fast/m/dense_0/w",
        "fast/v/dense_0/w",
        "slow/velocity/dense_1/w",
        "slow/velocity/scale",
    ]
    moved, _ = run(optimizer, params, [draw(1)])
    np.testing.assert_allclose(
        moved["dense_0"]["b"], params["dense_0"]["b"] - 0.5 * draw(1)["dense_0"]["b"]
    )
    alone, _ = run(fnn.adam(), {"w": params["dense_0"]["w"]}, [{"w": draw(1)["dense_0"]["w"]}])
    assert same_bits(moved["dense_0"]["w"], alone["w"])
    assert optimizer.numbers(0)["none/learning_rate"] == 0.5


def test_decayed_leaves_take_the_bits_of_adamw_and_others_of_adam():
    params, grads = draw(0), [draw(1), draw(2)]
    some, _ = run(fnn.adamw(0.1, decayed="dense_0/w"), params, grads)
    whole, none = run(fnn.adamw(0.1), params, grads)[0], run(fnn.adam(0.1), params, grads)[0]
    assert same_bits(some["dense_0"]["w"], whole["dense_0"]["w"])
    assert same_bits(some["dense_1"], none["dense_1"])


def test_noise_follows_from_key_step_and_path_alone():
    key = fnn.Key.of(3)
    noise, zeros = fnn.add_noise(0.5, key=key), tree.map(np.zeros_like, draw(0))
    u, _ = noise.update(zeros, {}, zeros, 4)
    alone, _ = noise.update({"dense_1": zeros["dense_1"]}, {}, zeros, 4)
    assert same_bits(alone["dense_1"], u["dense_1"])
    later, _ = noise.update(zeros, {}, zeros, 5)
    assert not np.any(later["dense_1"]["w"] == u["dense_1"]["w"])
    many, _ = fnn.add_noise(0.5, key=key).update(np.zeros(40_000), {}, np.zeros(40_000), 0)
    assert float(np.std(many)) == pytest.approx(0.5, rel=0.02)


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.masked("adam", "w"), "masked: expected a transform, got 'adam'"),
        (
            lambda: fnn.masked(fnn.adam(), 3),
            "masked: where: expected paths such as 'dense_0/w', or a pred",
        ),
        (lambda: fnn.masked(fnn.adam(), ["w", ""]), "masked: where: expected paths"),
        (lambda: fnn.adamw(decayed=7), "adamw: decayed: expected paths"),
        (
            lambda: fnn.lion(decayed="w", weight_decay=-1),
            "lion: weight_decay: expected a number in [0.0",
        ),
        (lambda: fnn.partition({}, {}), "partition: transforms: expected them by label, got {}"),
        (lambda: fnn.partition({"a/b": fnn.adam()}, {}), "expected a name as label, got 'a/b'"),
        (lambda: fnn.partition({"a": 3}, {}), "partition: expected a transform, got 3"),
        (
            lambda: fnn.partition({"a": fnn.adam()}, 3),
            "partition: labels: expected them by path, got 3",
        ),
        (
            lambda: fnn.partition({"a": fnn.adam()}, {"w": "b"}),
            "labels: expected one of ['a'], got 'b'",
        ),
        (lambda: fnn.accumulate(fnn.adam(), 0), "accumulate: n: expected 1 or more, got 0"),
        (lambda: fnn.accumulate(3, 2), "accumulate: expected a transform, got 3"),
        (lambda: fnn.lookahead(fnn.adam(), alpha=0), "lookahead: alpha: expected a number in ["),
        (lambda: fnn.skip_nonfinite(None), "skip_nonfinite: expected a transform, got None"),
        (
            lambda: fnn.add_noise(0.1, key=3),
            "add_noise: key: expected a Key, got 3; write Key.of(seed)",
        ),
        (lambda: fnn.add_noise(-1, key=fnn.Key.of(0)), "add_noise: noise: expected a number in [0.0"),
        (lambda: fnn.ema(1.0), "ema: decay: expected a number in [0.0, 1.0), got 1.0"),
        (
            lambda: fnn.rprop(lambda step: 0.1),
            "rprop: learning_rate: expected a number, got a schedule",
        ),
        (lambda: fnn.rprop(least=2, most=1), "rprop: most: expected a number in [2.0"),
        (lambda: fnn.muon(steps=0), "muon: steps: expected 1 or more, got 0"),
        (lambda: fnn.muon(coefficients=[1]), "muon: coefficients: expected three numbers, got [1]"),
        (
            lambda: fnn.adafactor(decay_power=2),
            "adafactor: decay_power: expected a number in [0.0, 1.0]",
        ),
        (
            lambda: fnn.nadam(momentum_decay=-1),
            "nadam: momentum_decay: expected a number in [0.0, inf)",
        ),
        (lambda: fnn.clip_by_value(-1), "clip_by_value: max_value: expected a number in [0.0"),
        (lambda: fnn.adaptive_clip(eps=0), "adaptive_clip: eps: expected a number in [1.08"),
    ],
)
def test_options_out_of_range_raise_at_construction(make, message):
    with pytest.raises(OptionError, match=re.escape(message)):
        make()


def test_paths_and_labels_that_are_not_there_are_named():
    with pytest.raises(TreeError, match=r"^masked \(\S+\): expected .*got \['dense_0', 'dense_1', 'sc"):
        fnn.masked(fnn.adam(), "dense_9").init(draw(0))
    with pytest.raises(TreeError, match=r"^adamw \(\S+\): expected"):
        fnn.adamw(decayed="dense_9").init(draw(0))
    with pytest.raises(TreeError, match=r"^partition \(\S+\): labels: expected one for 'dense_1/w'"):
        fnn.partition({"a": fnn.adam()}, {"dense_0": "a"}).init(draw(0))
    with pytest.raises(
        OptionError, match=r"^partition \(\S+\): labels: .*\['a'\], got 'c' at 'dense_0/b'"
    ):
        fnn.partition({"a": fnn.adam()}, lambda path, leaf: "c").init(draw(0))


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (fnn.muon(), "['m', 'mean', 'v']"),
        (fnn.adafactor(), "['column', 'row', 'square']"),
        (fnn.sm3(0.1), "['axis_0', 'axis_1', 'm']"),
        (fnn.accumulate(fnn.adam(), 2), "['inner', 'sum']"),
        (fnn.lookahead(fnn.sgd(0.1)), "['inner', 'slow']"),
        (fnn.partition({"a": fnn.adam()}, {"": "a"}), "['a']"),
        (fnn.ema(), "['average']"),
    ],
    ids=repr,
)
def test_the_memory_of_another_optimizer_is_refused(transform, expected):
    other = fnn.momentum(0.1).init(draw(0))
    message = re.escape(f"opt_state: expected {expected}, got ['velocity']; from another optimizer?")
    with pytest.raises(TreeError, match=message):
        transform.update(draw(1), other, draw(0), 0)


def test_an_error_inside_is_placed():
    optimizer = fnn.accumulate(fnn.partition({"a": fnn.sgd(lambda step: -1.0)}, {"": "a"}), 1)
    with pytest.raises(
        OptionError, match=r"^accumulate/partition/sgd \(\S+\): learning_rate at step 0: "
    ):
        optimizer.update(draw(1), optimizer.init(draw(0)), draw(0), 0)


@pytest.mark.parametrize("transform", [fnn.lamb(), fnn.muon(), fnn.adafactor(), fnn.sm3(0.1)], ids=repr)
def test_gradients_and_memories_that_do_not_fit_are_refused_with_their_path(transform):
    params = draw(0, "float32")
    memory = transform.init(params)
    wide = tree.update(params, {"dense_1/w": np.ones((5, 7))})
    with pytest.raises(fnn.DTypeError, match=r"dense_1/w \(\S+\): expected float32, got float64$"):
        transform.update(wide, memory, params, 0)
    first = next(path for path, _ in tree.items(memory))
    other = tree.update(memory, {first: np.ones((9, 9), "float32")})
    with pytest.raises(fnn.ShapeError, match=rf"{first} \(\S+\): expected .*, got \(9, 9\)$"):
        transform.update(params, other, params, 0)
    missing = tree.filter(memory, lambda path, _: path != first)
    with pytest.raises(TreeError, match="opt_state: expected"):
        transform.update(params, missing, params, 0)
