"""The train step: pure, closed under structure and dtype, replayable, and honest when it diverges."""

import copy
import math
import pickle
import subprocess
import sys

import attrs
import numpy as np
import pytest

import fnn
from fnn import tree
from fnn.errors import DataError, DivergedError, DTypeError, OptionError, ShapeError, TreeError


def network(width=6):
    return fnn.serial(fnn.Dense(width), fnn.BatchNorm(), fnn.Tanh(), fnn.Dropout(0.3), fnn.Dense(3))


def data(n=24, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)).astype(dtype), rng.integers(0, 3, n)


def start(net=None, optimizer=None, dtype=np.float32, shape=(4,), seed=0):
    now = fnn.init_train_state(net or network(), optimizer or fnn.adam(0.01), shape, fnn.Key.of(seed))
    return attrs.evolve(
        now, **{name: tree.cast(getattr(now, name), dtype) for name in ("params", "state", "opt_state")}
    )


def all_of(now):
    return {"params": now.params, "state": now.state, "opt_state": now.opt_state}


def same_bits(a, b):
    return (a.step, a.key) == (b.step, b.key) and tree.digest(all_of(a)) == tree.digest(all_of(b))


def batches_of(n_batches=5, dtype=np.float32):
    return [data(dtype=dtype, seed=i) for i in range(n_batches)]


# --- purity -------------------------------------------------------------------------------------


def test_a_step_touches_no_argument_and_repeats_itself_bit_for_bit():
    step = fnn.train_step(network(), fnn.softmax_cross_entropy, fnn.adam(0.01))
    x, y = data()
    weight = np.linspace(0, 1, len(x), dtype=np.float32)
    now = start()
    before = tree.digest(all_of(now)), x.tobytes(), y.tobytes(), weight.tobytes()
    first, logs = step(now, (x, y, weight))
    second, again = step(now, (x, y, weight))
    assert (tree.digest(all_of(now)), x.tobytes(), y.tobytes(), weight.tobytes()) == before
    assert same_bits(first, second)
    assert logs == again
    assert now.step == 0
    assert first.step == 1
    assert first == second
    assert first != now


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [0.01, lambda step: np.float64(0.01) / (1 + step)])
@pytest.mark.parametrize("optimizer", [fnn.sgd, fnn.momentum, fnn.rmsprop, fnn.adagrad, fnn.adam])
def test_the_next_state_keeps_structure_shapes_and_dtypes(dtype, rate, optimizer):
    optimizer = optimizer(rate)
    step = fnn.train_step(network(), fnn.softmax_cross_entropy, optimizer)
    now = start(optimizer=optimizer, dtype=dtype)
    moved, logs = fnn.scan(step, now, batches_of(3, dtype))
    for before, after in zip(all_of(now).values(), all_of(moved).values(), strict=True):
        signature = [(path, leaf.shape, leaf.dtype) for path, leaf in tree.items(before)]
        assert signature == [(path, leaf.shape, leaf.dtype) for path, leaf in tree.items(after)]
    assert {leaf.dtype for leaf in tree.leaves(moved.params)} == {np.dtype(dtype)}
    assert logs["loss"].dtype == dtype
    assert type(moved.step) is int


def test_what_a_step_gives_is_immutable_and_shares_nothing_with_arrays_of_the_user():
    w = np.ones((4, 2), np.float32)
    mine = {"dense_0": {"w": w, "b": np.zeros(2, np.float32)}}
    net = fnn.serial(fnn.Dense(2))
    now = fnn.TrainState(0, fnn.Key.of(0), mine, {}, {})
    moved, _ = fnn.train_step(net, fnn.squared_error, fnn.sgd(0.0))(
        now, (data()[0], np.zeros((24, 2), np.float32))
    )
    w[:] = 7
    for state in (now, moved):
        leaf = state.params["dense_0"]["w"]
        assert np.all(leaf == 1)
        assert not np.shares_memory(leaf, w)
        with pytest.raises(ValueError, match="read-only"):
            leaf[0] = 0
        with pytest.raises(TypeError, match="immutable"):
            state.params["dense_0"] = {}
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            state.step = 3


def test_a_layer_that_hands_on_its_own_buffer_as_state_is_copied():
    buffer = np.zeros(1, np.float32)

    def count(params, state, x, train, key):
        buffer[:] = state["n"] + 1
        return x, {"n": buffer}, lambda dy: ({}, dy)

    counter = fnn.make_layer(
        "count", lambda key, shape: (shape, {}, {"n": np.zeros(1, np.float32)}), count
    )
    net = fnn.serial(counter, fnn.Dense(3))
    now, seen = start(net, fnn.sgd(0.1)), []
    for batch in batches_of(3):
        now, _ = fnn.train_step(net, fnn.softmax_cross_entropy, fnn.sgd(0.1))(now, batch)
        seen.append(now.state)
    assert [float(state["count_0"]["n"][0]) for state in seen] == [1, 2, 3]


@pytest.mark.parametrize(
    ("after", "error", "what"),
    [
        (lambda n: {"n": n.astype(np.float64)}, DTypeError, "expected float32 as before the step"),
        (lambda n: {"n": np.append(n, n)}, ShapeError, r"expected \(1,\) as before the step"),
        (lambda n: {"n": n, "m": n}, TreeError, r"'state/drift_0/m'"),
    ],
)
def test_a_layer_whose_state_changes_its_nature_is_refused_by_path(after, error, what):
    def drift(params, state, x, train, key):
        return x, after(state["n"]), lambda dy: ({}, dy)

    layer = fnn.make_layer(
        "drift", lambda key, shape: (shape, {}, {"n": np.zeros(1, np.float32)}), drift
    )
    net = fnn.serial(layer, fnn.Dense(3))
    with pytest.raises(error, match=f"state/drift_0.*{what}|{what}"):
        fnn.train_step(net, fnn.softmax_cross_entropy, fnn.sgd(0.1))(start(net, fnn.sgd(0.1)), data())


def test_a_train_state_freezes_plain_dicts_and_draws_weights_from_the_keys_init():
    mine = np.zeros(2)
    now = fnn.TrainState(0, fnn.Key.of(0), {"a": mine}, {"b": mine}, {"c": {"a": mine}})
    assert [type(each) for each in all_of(now).values()] == [tree.Tree] * 3
    mine[:] = 1
    assert not any(leaf.any() for leaf in tree.leaves(all_of(now)))
    key = fnn.Key.of(5)
    _, params, state = network().init(key.fold("init"), (4,))
    now = fnn.init_train_state(network(), fnn.adam(), [4], key)
    assert (now.params, now.state, now.opt_state) == (params, state, fnn.adam().init(params))


def test_nobody_asks_for_the_derivative_in_the_data():
    asked = []

    def vjp(params, state, x, *, train=False, key=None):
        def pullback(dy, *, need_dx=True):
            asked.append(need_dx)
            return {}, None

        return x, state, pullback

    net = fnn.Layer("spy", lambda key, shape: (shape, {}, {}), vjp, vjp)
    batch = (np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))
    fnn.train_step(net, fnn.squared_error, fnn.sgd(0.1))(start(net, fnn.sgd(0.1), shape=(3,)), batch)
    fnn.value_and_grad(net, fnn.squared_error)({}, {}, batch)
    assert asked == [False, False]


# --- scan ---------------------------------------------------------------------------------------


def test_scan_is_the_fold_of_the_step_bit_for_bit_also_over_a_generator():
    step = fnn.train_step(network(), fnn.softmax_cross_entropy, fnn.adam(0.01), metrics=[fnn.accuracy])
    now, logs = start(), []
    for batch in batches_of():
        now, log = step(now, batch)
        logs.append(log)
    last, stacked = fnn.scan(step, start(), (batch for batch in batches_of()))
    assert same_bits(now, last)
    assert list(stacked) == ["loss", "accuracy"]
    assert stacked["loss"].tolist() == [log["loss"] for log in logs]
    assert stacked["accuracy"].tolist() == [log["accuracy"] for log in logs]


def test_scan_over_nothing_gives_the_state_and_no_logs():
    now = start()
    assert fnn.scan(lambda now, batch: 1 / 0, now, []) == (now, {})


def test_weights_in_a_batch_weigh_the_loss():
    net, optimizer = fnn.serial(fnn.Dense(3)), fnn.sgd(0.1)
    x, y = data()
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    weight = (np.arange(len(x)) < 10).astype(np.float32)
    weighted, logs = step(start(net, optimizer), (x, y, weight))
    alone, logs_alone = step(start(net, optimizer), (x[:10], y[:10]))
    assert logs["loss"] == pytest.approx(logs_alone["loss"], rel=1e-6)
    for a, b in zip(tree.leaves(weighted.params), tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


# --- replay -------------------------------------------------------------------------------------


def test_randomness_depends_on_the_key_and_the_step_alone():
    step = fnn.train_step(network(), fnn.softmax_cross_entropy, fnn.adam(0.01))
    now = start()
    at = [attrs.evolve(now, step=i) for i in (0, 0, 1)]
    other = attrs.evolve(now, key=fnn.Key.of(1))
    losses = [step(each, data())[1]["loss"] for each in (*at, other)]
    assert losses[0] == losses[1]
    assert len({float(loss) for loss in losses}) == 3


def test_resuming_from_any_state_repeats_the_straight_run_bit_for_bit_also_after_pickling():
    step = fnn.train_step(network(), fnn.softmax_cross_entropy, fnn.adam(0.01))
    straight = [start()]
    for batch in batches_of():
        straight.append(step(straight[-1], batch)[0])
    for i, now in enumerate(straight):
        for copied in (pickle.loads(pickle.dumps(now)), copy.deepcopy(now), copy.copy(now)):
            assert copied == now
            resumed, _ = fnn.scan(pickle.loads(pickle.dumps(step)), copied, batches_of()[i:])
            assert same_bits(resumed, straight[-1])
            assert not any(leaf.flags.writeable for leaf in tree.leaves(all_of(copied)))


CHILD = """
import pickle, sys
from tests_of_training import *
now = pickle.load(sys.stdin.buffer)
step = fnn.train_step(network(), fnn.softmax_cross_entropy, fnn.adam(0.01))
print(tree.digest(all_of(fnn.scan(step, now, batches_of()[2:])[0])))
"""


def test_resuming_in_another_process_repeats_the_run_bit_for_bit():
    step = fnn.train_step(network(), fnn.softmax_cross_entropy, fnn.adam(0.01))
    half, _ = fnn.scan(step, start(), batches_of()[:2])
    whole, _ = fnn.scan(step, half, batches_of()[2:])
    load = (
        "import importlib.util, sys; "
        f"spec = importlib.util.spec_from_file_location('tests_of_training', {__file__!r}); "
        "module = importlib.util.module_from_spec(spec); sys.modules[spec.name] = module; "
        "spec.loader.exec_module(module)"
    )
    done = subprocess.run(
        [sys.executable, "-c", load + CHILD], input=pickle.dumps(half), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == tree.digest(all_of(whole))


# --- divergence ---------------------------------------------------------------------------------


def diverges(now, batch, net=None, optimizer=None, loss=fnn.softmax_cross_entropy):
    before = tree.digest(all_of(now))
    with pytest.raises(DivergedError) as caught:
        fnn.train_step(net or network(), loss, optimizer or fnn.adam(0.01))(now, batch)
    assert tree.digest(all_of(now)) == before
    assert isinstance(caught.value, ArithmeticError)
    assert repr(caught.value.leaf) in str(caught.value)
    assert f"step {now.step}" in str(caught.value)
    return caught.value


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_number_in_the_inputs_names_x_and_all_that_is_known(bad):
    x, y = data()
    x[3, 1] = bad
    error = diverges(attrs.evolve(start(), step=7), (x, y))
    assert (error.leaf, error.step, error.learning_rate) == ("x", 7, 0.01)
    assert math.isnan(error.grad_norm)
    assert "learning rate 0.01" in str(error)
    assert "gradient norm nan" in str(error)


def test_a_bad_number_in_targets_or_weights_names_them():
    net, x = fnn.serial(fnn.Dense(1)), data()[0]
    target = np.zeros((24, 1), np.float32)
    target[5] = math.nan
    error = diverges(start(net, fnn.sgd(0.1)), (x, target), net, fnn.sgd(0.1), fnn.squared_error)
    assert error.leaf == "target"


def test_a_bad_number_in_a_parameter_or_in_the_state_names_its_path():
    now = start()
    for name, path in (("params", "dense_1/w"), ("state", "batch_norm_0/mean")):
        good = getattr(now, name)
        bad = np.full_like(tree.get(good, path), math.nan)
        broken = attrs.evolve(now, **{name: tree.update(good, {path: bad})})
        assert diverges(broken, data()).leaf == f"{name}/{path}"


def test_a_gradient_that_overflows_is_named_though_the_loss_is_finite():
    net = fnn.serial(fnn.Dense(3))
    now = start(net, fnn.sgd(0.1))

    def steep(pred, target, *, weight=None):
        return np.float32(1), np.full_like(pred, math.inf)

    error = diverges(now, data(), net, fnn.sgd(0.1), steep)
    assert error.leaf == "grads/dense_0/b"
    assert "expected finite params after step 0" in str(error)


def test_a_huge_learning_rate_diverges_at_once_or_one_step_later_without_a_warning():
    net, optimizer = fnn.serial(fnn.Dense(8), fnn.Relu(), fnn.Dense(3)), fnn.sgd(3e38)
    step = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)
    with pytest.raises(DivergedError) as caught:
        fnn.scan(step, start(net, optimizer), [data()] * 3)
    assert caught.value.step < 3
    assert caught.value.learning_rate == 3e38


def test_parameters_whose_squares_overflow_are_finite_all_the_same():
    net, optimizer = fnn.serial(fnn.Dense(3, init_w=fnn.constant(1e30))), fnn.sgd(1e-3)
    now, _ = fnn.train_step(net, fnn.softmax_cross_entropy, optimizer)(start(net, optimizer), data())
    assert now.step == 1


def test_an_optimizer_that_divides_by_zero_is_reported_without_a_warning():
    def update(updates, opt_state, params, step):
        return tree.map(lambda g: 1 / (0 * g), updates), opt_state

    net = fnn.serial(fnn.Dense(3))
    optimizer = fnn.Transform("bad", lambda params: {}, update, elementwise=True)
    error = diverges(start(net, optimizer), data(), net, optimizer)
    assert error.leaf == "params/dense_0/b"
    assert error.learning_rate is None
    with pytest.raises(DivergedError):
        fnn.jit(fnn.train_step(net, fnn.softmax_cross_entropy, optimizer))(
            start(net, optimizer), data()
        )


def test_running_statistics_that_overflow_are_named():
    x, y = data()
    error = diverges(start(), (x * np.float32(1e30), y))
    assert error.leaf == "state/batch_norm_0/var"


# --- bad input ----------------------------------------------------------------------------------


def test_arguments_that_are_no_layer_loss_or_optimizer_are_refused_at_once():
    net, loss, optimizer = network(), fnn.squared_error, fnn.sgd(0.1)
    with pytest.raises(OptionError, match=r"train_step: net: expected a Layer.*call it: Dense"):
        fnn.train_step(fnn.Dense, loss, optimizer)
    with pytest.raises(OptionError, match=r"optimizer: expected a Transform.*call it: sgd"):
        fnn.train_step(net, loss, fnn.sgd)
    with pytest.raises(OptionError, match="loss: expected a function, got 'mse'"):
        fnn.train_step(net, "mse", optimizer)
    with pytest.raises(OptionError, match="expected a Key, got 0"):
        fnn.init_train_state(net, optimizer, (4,), 0)
    with pytest.raises(OptionError, match="in_shape: expected the shape of one example"):
        fnn.init_train_state(net, optimizer, 4, fnn.Key.of(0))
    with pytest.raises(OptionError, match=r"step: expected an integer, got 1\.5"):
        attrs.evolve(start(), step=1.5)
    with pytest.raises(OptionError, match="step: expected 0 or more"):
        attrs.evolve(start(), step=-1)
    with pytest.raises(OptionError, match="TrainState: key"):
        attrs.evolve(start(), key=None)


@pytest.mark.parametrize("batch", [(1,), (1, 2, 3, 4), np.zeros((2, 2)), None])
def test_what_is_no_batch_is_refused(batch):
    step = fnn.train_step(network(), fnn.squared_error, fnn.sgd(0.1))
    with pytest.raises(DataError, match=r"expected a batch \(x, target\)"):
        step(start(), batch)


def test_an_optimizers_memory_of_another_optimizer_is_refused():
    step = fnn.train_step(network(), fnn.softmax_cross_entropy, fnn.adam(0.01))
    with pytest.raises(TreeError, match="from another optimizer"):
        step(start(optimizer=fnn.momentum(0.1)), data())


def test_metrics_need_names_of_their_own_and_must_give_numbers():
    def step_of(metrics):
        return fnn.train_step(network(), fnn.softmax_cross_entropy, fnn.adam(0.01), metrics=metrics)

    for bad in ({"loss": fnn.accuracy}, [fnn.accuracy, fnn.accuracy], "accuracy", 3, ["a"], {1: len}):
        with pytest.raises(OptionError, match="metrics: expected"):
            step_of(bad)
    step = step_of({"shape": lambda pred, target: pred[0]})
    with pytest.raises(OptionError, match=r"expected a number from 'shape', got shape \(3,\)"):
        step(start(), data())
    _, logs = step_of([fnn.softmax_cross_entropy])(start(), data())
    assert logs["softmax_cross_entropy"] == logs["loss"]
