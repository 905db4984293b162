"""`jit` equals the plain step bit for bit, whatever it is given, and says what it planned."""

import pickle
import threading

import attrs
import numpy as np
import pytest

import fnn
from fnn import tree
from fnn.errors import DivergedError, FnnError, OptionError
from fnn.optimizers import Transform
from fnn.training.step import TrainStep

OPTIMIZERS = {
    "sgd": fnn.sgd(0.1),
    "schedule": fnn.sgd(lambda step: np.float64(0.1) / (1 + step)),
    "momentum": fnn.momentum(0.1),
    "nesterov": fnn.momentum(0.1, nesterov=True),
    "rmsprop": fnn.rmsprop(0.01),
    "adagrad": fnn.adagrad(0.1),
    "adam": fnn.adam(0.01),
    "adamw": fnn.adamw(0.01),
    "chain": fnn.chain(fnn.add_decayed_weights(0.1), fnn.momentum(0.1)),
    "clipped": fnn.chain(fnn.clip_by_global_norm(0.1), fnn.adam(0.01)),
    "frozen": fnn.chain(fnn.adam(0.01), fnn.freeze("dense_0")),
}

# On a network of two layers alone: what they share with those above is proved there.
FURTHER = {
    "nesterov": fnn.nesterov(0.1),
    "adadelta": fnn.adadelta(),
    "nadam": fnn.nadam(),
    "radam": fnn.radam(0.01),
    "amsgrad": fnn.amsgrad(0.01),
    "adamax": fnn.adamax(0.01),
    "adabelief": fnn.adabelief(0.01),
    "yogi": fnn.yogi(),
    "sign_sgd": fnn.sign_sgd(0.01),
    "lion": fnn.lion(0.01),
    "rprop": fnn.rprop(),
    "lamb": fnn.lamb(0.1),
    "lars": fnn.lars(1.0),
    "novograd": fnn.novograd(),
    "adafactor": fnn.adafactor(0.1),
    "sm3": fnn.sm3(0.1),
    "muon": fnn.muon(0.01),
    "schedule": fnn.adam(fnn.one_cycle_schedule(0.1, 6)),
    "decayed": fnn.adamw(0.01, decayed="dense_0/w"),
    "blocks": fnn.chain(fnn.clip_by_value(0.1), fnn.scale_by_lion(), fnn.scale_by_learning_rate(0.1)),
    "by leaf": fnn.chain(
        fnn.centralize(), fnn.adaptive_clip(), fnn.clip_by_block_rms(1.0), fnn.sgd(0.1)
    ),
    "noise": fnn.chain(fnn.add_noise(0.1, key=fnn.Key.of(1)), fnn.sgd(0.1)),
    "masked": fnn.chain(fnn.masked(fnn.add_decayed_weights(0.1), "dense_0"), fnn.sgd(0.1)),
    "partition": fnn.partition({"a": fnn.adam(), "b": fnn.sgd(0.1)}, {"": "a", "dense_0": "b"}),
    "accumulate": fnn.accumulate(fnn.chain(fnn.add_decayed_weights(0.1), fnn.adam(0.01)), 3),
    "accumulate sgd": fnn.accumulate(fnn.sgd(0.1), 2),
    "accumulate lamb": fnn.accumulate(fnn.lamb(), 2),
    "lookahead": fnn.lookahead(fnn.adam(0.01), 2),
    "lookahead in accumulate": fnn.accumulate(fnn.lookahead(fnn.momentum(0.1), 2), 2),
    "skip": fnn.skip_nonfinite(fnn.adam(0.01)),
    "ema": fnn.chain(fnn.adam(0.01), fnn.ema(0.9)),
}

NETWORKS = {
    "plain": fnn.serial(fnn.Dense(6), fnn.Sigmoid(), fnn.Dense(3)),
    "nested": fnn.serial(
        fnn.Dense(5),
        fnn.residual(fnn.Dense(5), fnn.serial(fnn.BatchNorm(), fnn.Relu()), fnn.Dropout(0.2)),
        fnn.named("a_head", fnn.serial(fnn.Dense(3))),
    ),
    "one leaf": fnn.serial(fnn.Dense(3, bias=False)),
    "large": fnn.serial(fnn.Dense(400), fnn.Relu(), fnn.Dense(200), fnn.Dense(3)),
}


def batch_at(i, dtype=np.float32, n=16):
    rng = np.random.default_rng(i)
    return rng.normal(size=(n, 4)).astype(dtype), rng.integers(0, 3, n)


def start(net, optimizer, dtype=np.float32, seed=0):
    now = fnn.init_train_state(net, optimizer, (4,), fnn.Key.of(seed))
    return attrs.evolve(
        now, **{name: tree.cast(getattr(now, name), dtype) for name in ("params", "state", "opt_state")}
    )


def bits(now):
    trees = {"params": now.params, "state": now.state, "opt_state": now.opt_state}
    return now.step, now.key, tree.digest(trees)


def order(node):
    return {name: order(value) for name, value in node.items()} if isinstance(node, dict) else None


def assert_same(planned, plain, *, ordered=True):
    (now, logs), (expected, expected_logs) = planned, plain
    assert bits(now) == bits(expected)
    assert logs == expected_logs
    assert type(logs["loss"]) is type(expected_logs["loss"])
    for name in ("params", "state", "opt_state"):
        mine, theirs = getattr(now, name), getattr(expected, name)
        assert not ordered or str(order(mine)) == str(order(theirs))
        assert not any(leaf.flags.writeable for leaf in tree.leaves(mine))


# --- equal bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_jitted_step_equals_the_plain_one_bit_for_bit(name, optimizer, dtype):
    if "frozen" in str(optimizer) and name == "one leaf":
        pytest.skip("nothing would be left to train")
    net = NETWORKS[name]
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer, metrics=[fnn.accuracy])
    jitted = fnn.jit(step)
    now = expected = start(net, optimizer, dtype)
    for i in range(6):
        planned, plain = jitted(now, batch_at(i, dtype)), step(expected, batch_at(i, dtype))
        assert_same(planned, plain)
        now, expected = planned[0], plain[0]


@pytest.mark.parametrize("optimizer", FURTHER.values(), ids=FURTHER)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_jit_and_scan_equal_the_plain_steps_under_every_optimizer(optimizer, dtype):
    net = NETWORKS["plain"]
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    jitted, given = fnn.jit(step), [batch_at(i, dtype) for i in range(7)]
    first = now = expected = start(net, optimizer, dtype)
    for batch in given:
        planned, plain = jitted(now, batch), step(expected, batch)
        assert_same(planned, plain)
        now, expected = planned[0], plain[0]
    folded, _ = fnn.scan(step, first, given)
    assert bits(folded) == bits(expected)
    assert {leaf.dtype for leaf in tree.leaves(expected.opt_state)} <= {np.dtype(dtype)}


@pytest.mark.parametrize("optimizer", FURTHER.values(), ids=FURTHER)
def test_a_memory_pickled_between_two_steps_goes_on_with_the_same_bits(optimizer):
    net = NETWORKS["plain"]
    step = fnn.jit(fnn.train_step(net, fnn.softmax_cross_entropy, optimizer))
    now = start(net, optimizer)
    for i in range(3):
        now, _ = step(now, batch_at(i))
    again = pickle.loads(pickle.dumps((step, now)))
    for i in range(3, 6):
        now, _ = step(now, batch_at(i))
        again = again[0], again[0](again[1], batch_at(i))[0]
    assert bits(again[1]) == bits(now)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_any_state_may_be_given_in_any_order(optimizer):
    net = NETWORKS["nested"]
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    jitted = fnn.jit(step)
    states = [start(net, optimizer, seed=seed) for seed in range(3)]
    states += [start(net, optimizer, np.float64)]
    rng = np.random.default_rng(0)
    for i in range(30):
        now = states[int(rng.integers(len(states)))]
        batch = batch_at(i, tree.leaves(now.params)[0].dtype)
        before = bits(now)
        planned = jitted(now, batch)
        assert_same(planned, step(now, batch))
        assert bits(now) == before
        states[int(rng.integers(len(states)))] = planned[0]


def test_a_state_from_anywhere_will_do():
    net, optimizer = NETWORKS["plain"], fnn.adam(0.01)
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    jitted = fnn.jit(step)
    now, _ = jitted(start(net, optimizer), batch_at(0))
    others = [
        pickle.loads(pickle.dumps(now)),
        attrs.evolve(now, key=fnn.Key.of(5), step=9),
        attrs.evolve(now, params=tree.map(lambda leaf: leaf * 2, now.params)),
        attrs.evolve(now, opt_state=optimizer.init(now.params)),
        attrs.evolve(
            now, params={name: {**dict(now.params[name])} for name in reversed(list(now.params))}
        ),
        attrs.evolve(now, params=tree.map(np.asfortranarray, now.params)),
    ]
    for other in others:
        planned, plain = jitted(other, batch_at(1)), step(other, batch_at(1))
        assert bits(planned[0]) == bits(plain[0])
        assert_same(jitted(planned[0], batch_at(2)), step(plain[0], batch_at(2)), ordered=False)


def test_two_threads_may_share_a_jitted_step():
    net, optimizer = NETWORKS["nested"], fnn.adam(0.01)
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    jitted, found = fnn.jit(step), {}

    def run(seed):
        now = start(net, optimizer, seed=seed)
        for i in range(100):
            now, _ = jitted(now, batch_at(i))
        found[seed] = bits(now)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        last, _ = fnn.scan(step, start(net, optimizer, seed=seed), map(batch_at, range(100)))
        assert found[seed] == bits(last)


def test_parameters_of_two_dtypes_are_left_to_the_step():
    net, optimizer = fnn.serial(fnn.Dense(3)), fnn.sgd(0.1)
    now = start(net, optimizer)
    wide = now.params["dense_0"]["b"].astype(np.float64)
    mixed = attrs.evolve(now, params=tree.update(now.params, {"dense_0/b": wide}))
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    assert raised(fnn.jit(step), mixed, batch_at(0)) == raised(step, mixed, batch_at(0))


def test_an_elementwise_optimizer_of_ones_own_may_remember_numbers_of_its_own():
    def init(params):
        return {"count": np.zeros((), np.int64), "last": tree.map(np.zeros_like, params)}

    def update(updates, opt_state, params, step):
        scale = -0.1 / float(1 + opt_state["count"])
        moved = {"count": opt_state["count"] + 1, "last": updates}
        return tree.map(lambda g, last: (g + last) * scale, updates, opt_state["last"]), moved

    optimizer = Transform("counting", init, update, elementwise=True)
    net = NETWORKS["plain"]
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    jitted, now = fnn.jit(step), start(net, optimizer)
    for i in range(4):
        planned = jitted(now, batch_at(i))
        assert_same(planned, step(now, batch_at(i)))
        now = planned[0]


def test_an_optimizer_that_was_given_another_update_is_not_run_by_its_old_rule():
    half = fnn.sgd(0.05)
    optimizer = attrs.evolve(fnn.sgd(0.1), update=half.core.update)
    net = NETWORKS["plain"]
    now = start(net, optimizer)
    for other in (optimizer, fnn.chain(optimizer)):
        step = fnn.train_step(net, fnn.softmax_cross_entropy, other)
        assert_same(fnn.jit(step)(now, batch_at(0)), step(now, batch_at(0)))
    assert optimizer.rule is None
    assert half.rule is not None
    assert attrs.evolve(half, where="here").rule is half.rule


def test_a_network_without_parameters_is_left_to_the_step():
    net = fnn.serial(fnn.Tanh())
    step = fnn.train_step(net, fnn.softmax_cross_entropy, fnn.sgd(0.1))
    jitted, now = fnn.jit(step), start(net, fnn.sgd(0.1))
    assert_same(jitted(now, batch_at(0)), step(now, batch_at(0)))


def test_any_function_may_be_jitted():
    def step(now, batch):
        return now, {"loss": batch[0]}

    assert fnn.jit(step)("state", (1, 2)) == ("state", {"loss": 1})
    assert fnn.jit(fnn.jit(step)).step is step
    with pytest.raises(OptionError, match="jit: expected a step, got 3"):
        fnn.jit(3)


# --- equal errors -----------------------------------------------------------------------------------


def raised(step, now, batch):
    with pytest.raises(FnnError) as caught:
        step(now, batch)
    return type(caught.value), str(caught.value)


def with_memory(now, **changes):
    return attrs.evolve(now, opt_state={**now.opt_state, **changes})


@pytest.mark.parametrize(
    "change",
    [
        lambda now: attrs.evolve(now, opt_state={}),
        lambda now: attrs.evolve(now, opt_state={"velocity": now.params}),
        lambda now: with_memory(now, v=now.opt_state["m"], extra=now.params),
        lambda now: with_memory(now, m=tree.map(lambda leaf: leaf.T.copy(), now.params)),
        lambda now: with_memory(now, m=tree.cast(now.params, np.float64)),
        lambda now: with_memory(now, m=tree.ravel(now.params)[0]),
        lambda now: with_memory(now, m={"dense_0": now.params["dense_0"]}),
        lambda now: attrs.evolve(now, params=now.params | {"dense_9": now.params["dense_0"]}),
        lambda now: attrs.evolve(now, params={"dense_0": now.params["dense_0"]}),
    ],
)
def test_a_state_that_does_not_fit_raises_what_the_step_raises(change):
    net, optimizer = NETWORKS["plain"], fnn.adam(0.01)
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    jitted, now = fnn.jit(step), start(net, optimizer)
    now, _ = jitted(now, batch_at(0))
    assert raised(jitted, change(now), batch_at(1)) == raised(step, change(now), batch_at(1))
    # The failure leaves no trace.
    assert_same(jitted(now, batch_at(1)), step(now, batch_at(1)))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda dw: {"w": dw.T.copy()},
        lambda dw: {"w": dw.astype(np.float64)},
        lambda dw: {"w": dw[:2]},
        lambda dw: {"v": dw},
        lambda dw: {},
        lambda dw: {"w": dw, "v": dw},
    ],
)
def test_a_gradient_of_another_shape_is_never_paired_by_its_length(wrong):
    def fwd(params, state, x, train, key):
        return x @ params["w"], state, lambda dy: (wrong(x.T @ dy), dy @ params["w"].T)

    layer = fnn.make_layer(
        "wrong", lambda key, shape: ((3,), {"w": np.ones((4, 3), np.float32)}, {}), fwd
    )
    net, optimizer = fnn.serial(layer), fnn.sgd(0.1)
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    now = start(net, optimizer)
    assert raised(fnn.jit(step), now, batch_at(0)) == raised(step, now, batch_at(0))


def test_divergence_is_told_as_the_step_tells_it():
    net, optimizer = NETWORKS["one leaf"], fnn.sgd(3e38)
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    now = start(net, optimizer)
    x, y = batch_at(0)
    huge = (x * np.float32(1e3), y)
    for batch in (huge, (x * np.float32(np.nan), y)):
        told = raised(fnn.jit(step), now, batch)
        assert told == raised(step, now, batch)
        assert told[0] is DivergedError


# --- what it says ------------------------------------------------------------------------------------


def test_a_subclass_of_the_step_is_called_as_it_is():
    class Halving(TrainStep):
        def moved(self, now, batch, value, grads, state):
            after = super().moved(now, batch, value, grads, state)
            return attrs.evolve(after, params=tree.map(lambda leaf: leaf / 2, after.params))

    net, optimizer = NETWORKS["plain"], fnn.sgd(0.1)
    step, now = Halving(net, fnn.softmax_cross_entropy, optimizer), start(net, optimizer)
    assert_same(fnn.jit(step)(now, batch_at(0)), step(now, batch_at(0)))
    assert bits(fnn.scan(step, now, [batch_at(0)])[0]) == bits(step(now, batch_at(0))[0])


def test_a_memory_with_entries_beside_its_own_is_refused_as_by_the_step():
    net, optimizer = NETWORKS["plain"], fnn.chain(fnn.momentum(0.1))
    step, now = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer), start(net, optimizer)
    inner = now.opt_state["momentum_0"]
    odd = attrs.evolve(now, opt_state={"momentum_0": {**inner, "junk": inner["velocity"]}})
    expected = raised(step, odd, batch_at(0))
    assert raised(fnn.jit(step), odd, batch_at(0)) == expected
    assert raised(lambda now, batch: fnn.scan(step, now, [batch]), odd, batch_at(0)) == expected
